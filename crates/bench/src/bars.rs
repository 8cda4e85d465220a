//! The bars Hythe holds itself to, and how a run compares with them.
//!
//! A *required* bar that is missed fails `--check`, and so does one that could not be measured; an *aim* is
//! only reported. Ratios are taken round by round and their median counts.

use std::fmt::Write as _;

use crate::candidates::Candidate::{self, Full, Haproxy, Nginx, Plain, Relay, Ten, TenThousand};
use crate::footprint::Footprint;
use crate::run::{Results, Row};
use crate::scenario::Scenario::{self, Handshakes, Http2, Large, Small, Tls};
use crate::series::Series;

/// One bar and what was measured against it.
pub(crate) struct Verdict {
    what: &'static str,
    limit: f64,
    required: bool,
    measured: Option<f64>,
}

impl Verdict {
    fn met(&self) -> bool {
        self.measured.is_some_and(|measured| measured <= self.limit)
    }
}

/// Compares a run with every bar.
pub(crate) fn compare(results: &Results) -> Vec<Verdict> {
    let cpu_in = |scenario, of, over| ratio(results, scenario, of, over, |row| Some(&row.cpu_us));
    let cpu = |of, over| cpu_in(Small, of, over);
    let p99 = |of, over| ratio(results, Small, of, over, |row| row.p99_us.as_ref());
    let idle = results.idle.iter().find(|(candidate, _)| *candidate == Plain);
    let footprint =
        |figure: fn(&Footprint) -> &Series| results.footprint.as_ref().map(|own| figure(own).median());
    let required = |what, limit, measured| Verdict {
        what,
        limit,
        required: true,
        measured,
    };
    let aim = |what, limit, measured| Verdict {
        what,
        limit,
        required: false,
        measured,
    };
    vec![
        required("plain, CPU of nginx", 1.00, cpu(Plain, Nginx)),
        aim("plain, CPU of nginx", 0.90, cpu(Plain, Nginx)),
        aim("plain, CPU of HAProxy", 0.85, cpu(Plain, Haproxy)),
        aim("plain, CPU of the relay", 1.10, cpu(Plain, Relay)),
        required("plain, p99 of nginx", 1.00, p99(Plain, Nginx)),
        required("full, CPU of bare nginx", 1.00, cpu(Full, Nginx)),
        aim("10,000 routes, CPU of 10", 1.05, cpu(TenThousand, Ten)),
        aim("1 MB answers, CPU of nginx", 1.00, cpu_in(Large, Plain, Nginx)),
        aim("TLS kept alive, CPU of nginx", 1.00, cpu_in(Tls, Plain, Nginx)),
        aim(
            "TLS handshakes, CPU of nginx",
            1.00,
            cpu_in(Handshakes, Plain, Nginx),
        ),
        aim("HTTP/2, CPU of nginx", 1.00, cpu_in(Http2, Plain, Nginx)),
        aim("idle connection, KB", 8.0, idle.map(|(_, bytes)| bytes / 1000.0)),
        aim("memory at rest, MB", 25.0, footprint(|own| &own.memory_mb)),
        aim(
            "hythe ls of 100 services, ms",
            15.0,
            footprint(|own| &own.list_ms),
        ),
        aim("start to first answer, ms", 100.0, footprint(|own| &own.ready_ms)),
    ]
}

/// True when nothing required was missed.
pub(crate) fn all_required_met(verdicts: &[Verdict]) -> bool {
    verdicts.iter().all(|verdict| verdict.met() || !verdict.required)
}

/// A line per bar.
pub(crate) fn render(verdicts: &[Verdict]) -> String {
    let mut text = String::new();
    for verdict in verdicts {
        let outcome = match (verdict.met(), verdict.required) {
            (true, _) => "met",
            (false, true) => "MISSED",
            (false, false) => "missed",
        };
        let kind = if verdict.required { "required" } else { "aim" };
        let measured = verdict
            .measured
            .map_or_else(|| "not measured".to_owned(), |measured| format!("{measured:.2}"));
        let (what, limit) = (verdict.what, verdict.limit);
        let _ = writeln!(
            text,
            "{outcome:6}  {kind:8}  {what:29} <= {limit:<6.2}  {measured}"
        );
    }
    text
}

fn ratio(
    results: &Results,
    scenario: Scenario,
    of: Candidate,
    over: Candidate,
    figure: fn(&Row) -> Option<&Series>,
) -> Option<f64> {
    let of = figure(results.row(scenario, of)?)?;
    let over = figure(results.row(scenario, over)?)?;
    Some(of.over(over).median())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::machine::Machine;

    fn series(values: &[f64]) -> Series {
        Series::new(values.to_vec()).unwrap()
    }

    /// A made-up run with CPU and p99 figures per candidate.
    pub(crate) fn results(rows: &[(Candidate, &[f64], f64)]) -> Results {
        let row = |&(candidate, cpu_us, p99_us): &(Candidate, &[f64], f64)| Row {
            scenario: Small,
            candidate,
            cpu_us: series(cpu_us),
            requests_per_second: series(&[50_000.0]),
            p99_us: Some(series(&[p99_us])),
        };
        Results {
            machine: Machine {
                date: "2026-01-31".to_owned(),
                hardware: "a machine".to_owned(),
                versions: vec!["wrk 1".to_owned(), "nginx 2".to_owned()],
            },
            rounds: 3,
            seconds: 5,
            rate: 1000,
            rows: rows.iter().map(row).collect(),
            idle: vec![(Plain, 900.0)],
            footprint: Some(Footprint {
                memory_mb: series(&[9.0]),
                list_ms: series(&[3.0, 4.0, 5.0]),
                ready_ms: series(&[40.0]),
            }),
        }
    }

    #[test]
    fn a_missed_aim_fails_nothing() {
        let verdicts = compare(&results(&[
            (Plain, &[9.4, 9.4], 90.0),
            (Full, &[10.0, 10.0], 500.0),
            (Nginx, &[10.0, 10.0], 90.0),
            (Haproxy, &[20.0, 20.0], 1.0),
            (Relay, &[9.0, 9.0], 1.0),
        ]));
        let expected = "\
met     required  plain, CPU of nginx           <= 1.00    0.94
missed  aim       plain, CPU of nginx           <= 0.90    0.94
met     aim       plain, CPU of HAProxy         <= 0.85    0.47
met     aim       plain, CPU of the relay       <= 1.10    1.04
met     required  plain, p99 of nginx           <= 1.00    1.00
met     required  full, CPU of bare nginx       <= 1.00    1.00
missed  aim       10,000 routes, CPU of 10      <= 1.05    not measured
missed  aim       1 MB answers, CPU of nginx    <= 1.00    not measured
missed  aim       TLS kept alive, CPU of nginx  <= 1.00    not measured
missed  aim       TLS handshakes, CPU of nginx  <= 1.00    not measured
missed  aim       HTTP/2, CPU of nginx          <= 1.00    not measured
met     aim       idle connection, KB           <= 8.00    0.90
met     aim       memory at rest, MB            <= 25.00   9.00
met     aim       hythe ls of 100 services, ms  <= 15.00   4.00
met     aim       start to first answer, ms     <= 100.00  40.00
";
        assert_eq!(render(&verdicts), expected);
        assert!(all_required_met(&verdicts));
    }

    #[test]
    fn what_is_required_must_be_measured_and_met() {
        for (rows, met) in [
            (
                &[
                    (Plain, &[9.0][..], 1.0),
                    (Full, &[9.0], 1.0),
                    (Nginx, &[10.0], 1.0),
                ][..],
                true,
            ),
            (
                &[(Plain, &[10.1], 1.0), (Full, &[9.0], 1.0), (Nginx, &[10.0], 1.0)],
                false,
            ),
            (
                &[(Plain, &[9.0], 1.1), (Full, &[9.0], 1.0), (Nginx, &[10.0], 1.0)],
                false,
            ),
            (
                &[(Plain, &[9.0], 1.0), (Full, &[10.1], 1.0), (Nginx, &[10.0], 1.0)],
                false,
            ),
            (&[(Plain, &[9.0], 1.0), (Full, &[9.0], 1.0)], false),
            (&[(Plain, &[9.0], 1.0), (Nginx, &[10.0], 1.0)], false),
        ] {
            assert_eq!(all_required_met(&compare(&results(rows))), met);
        }
    }
}
