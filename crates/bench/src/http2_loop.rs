//! Load over HTTP/2 as fast as the proxy takes it: `h2load` with one thread, 8 connections of 8 streams.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};

use crate::programs::pinned;
use crate::throughput::Throughput;

/// Loads `address` for some seconds over TLS; any failed request fails the measurement.
pub(crate) async fn load(core: usize, address: SocketAddr, path: &str, seconds: u32) -> Result<Throughput> {
    let mut h2load = tokio::process::Command::from(pinned(core, "h2load"));
    h2load
        .args(["-t1", "-c8", "-m8", &format!("-D{seconds}")])
        .arg(format!("https://{address}{path}"));
    let output = h2load
        .kill_on_drop(true)
        .output()
        .await
        .context("cannot run h2load")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "h2load failed: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    parse(&text)
}

fn parse(text: &str) -> Result<Throughput> {
    ensure!(
        text.contains("Application protocol: h2"),
        "h2load did not speak HTTP/2: {text}"
    );
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("requests: "))
        .context("h2load counted no requests")?;
    let count = |what: &str| -> Option<u64> {
        let part = line.split(", ").find_map(|part| part.strip_suffix(what))?;
        part.trim().parse().ok()
    };
    for trouble in [" failed", " errored", " timeout"] {
        ensure!(count(trouble) == Some(0), "requests failed: {line}");
    }
    let per_second = text
        .lines()
        .find_map(|line| line.strip_prefix("finished in ")?.split(", ").nth(1))
        .and_then(|rate| rate.strip_suffix(" req/s")?.parse().ok());
    Ok(Throughput {
        requests: count(" succeeded")
            .filter(|&requests| requests > 0)
            .context("h2load counted no requests")?,
        requests_per_second: per_second.context("h2load printed no rate")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "starting benchmark...
Application protocol: h2

finished in 5.00s, 20312.80 req/s, 1.12MB/s
requests: 101564 total, 101628 started, 101564 done, 101564 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 101564 2xx, 0 3xx, 0 4xx, 0 5xx
";

    #[test]
    fn a_clean_run() {
        let expected = Throughput {
            requests: 101_564,
            requests_per_second: 20_312.8,
        };
        assert_eq!(parse(GOOD).unwrap(), expected);
    }

    #[test]
    fn failures_are_errors() {
        for (from, to) in [
            ("protocol: h2", "protocol: http/1.1"),
            ("0 failed", "1 failed"),
            ("0 errored", "2 errored"),
            ("requests:", "nothing:"),
            ("101564 succeeded", "0 succeeded"),
        ] {
            assert!(parse(&GOOD.replace(from, to)).is_err(), "{to}");
        }
    }
}
