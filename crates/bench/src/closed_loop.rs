//! Load as fast as the proxy takes it: `wrk` with one thread and 64 connections. Each waits for its answer
//! before it asks again, which is right for throughput and CPU per request, and useless for latency.

use anyhow::{Context, Result, ensure};

use crate::programs::pinned;
use crate::throughput::Throughput;

const CONNECTIONS: u32 = 64;

/// Loads a URL for some seconds; any failed request fails the measurement.
pub(crate) async fn load(core: usize, url: &str, seconds: u32) -> Result<Throughput> {
    let mut wrk = tokio::process::Command::from(pinned(core, "wrk"));
    wrk.args(["-t1", &format!("-c{CONNECTIONS}"), &format!("-d{seconds}s")])
        .arg(url);
    let output = wrk.kill_on_drop(true).output().await.context("cannot run wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "wrk failed: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    parse(&text)
}

fn parse(text: &str) -> Result<Throughput> {
    for complaint in ["Socket errors:", "Non-2xx or 3xx responses:"] {
        let line = text.lines().find(|line| line.trim_start().starts_with(complaint));
        ensure!(
            line.is_none(),
            "requests failed: {}",
            line.unwrap_or_default().trim()
        );
    }
    let requests = text
        .lines()
        .find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok());
    let per_second = text
        .lines()
        .find_map(|line| line.strip_prefix("Requests/sec:")?.trim().parse().ok());
    Ok(Throughput {
        requests: requests
            .filter(|&requests| requests > 0)
            .context("wrk counted no requests")?,
        requests_per_second: per_second.context("wrk printed no rate")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "Running 2s test @ http://127.0.0.1:1/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.00ms  100.00us   2.00ms   90.00%
  127906 requests in 2.00s, 9.51MB read
Requests/sec:  63907.29
Transfer/sec:      4.75MB
";

    #[test]
    fn a_clean_run() {
        let expected = Throughput {
            requests: 127_906,
            requests_per_second: 63_907.29,
        };
        assert_eq!(parse(GOOD).unwrap(), expected);
    }

    #[test]
    fn failures_are_errors() {
        for (line, message) in [
            (
                "  Non-2xx or 3xx responses: 12",
                "requests failed: Non-2xx or 3xx responses: 12",
            ),
            (
                "  Socket errors: connect 0, read 3, write 0, timeout 0",
                "requests failed: Socket errors: connect 0, read 3, write 0, timeout 0",
            ),
        ] {
            assert_eq!(
                parse(&format!("{GOOD}{line}\n")).unwrap_err().to_string(),
                message
            );
        }
        assert_eq!(parse("").unwrap_err().to_string(), "wrk counted no requests");
        assert_eq!(
            parse("  0 requests in 2.00s, 0B read\n").unwrap_err().to_string(),
            "wrk counted no requests"
        );
    }
}
