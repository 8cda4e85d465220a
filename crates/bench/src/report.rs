//! The table, for a terminal or for `docs/benchmarks.md`.

use std::fmt::Write as _;

use crate::candidates::Candidate;
use crate::footprint::Footprint;
use crate::idle;
use crate::run::{Results, Row};
use crate::scenario::Scenario;
use crate::series::Series;

/// For a terminal: aligned columns.
pub(crate) fn plain(results: &Results) -> String {
    let mut text = format!(
        "{}\n{}\n",
        results.machine.hardware,
        results.machine.versions.join("\n")
    );
    let _ = writeln!(text, "{}", method(results));
    for table in tables(results) {
        let _ = write!(text, "\n{}", aligned(&table));
    }
    if let Some(footprint) = &results.footprint {
        let _ = write!(text, "\n{}", aligned(&beside_requests(footprint)));
    }
    text
}

/// For the document: the same as Markdown, under a heading with the date.
pub(crate) fn markdown(results: &Results) -> String {
    let machine = &results.machine;
    let mut text = format!(
        "### {}\n\n{}.\n{}.\n",
        machine.date,
        machine.hardware,
        machine.versions.join("; ")
    );
    let _ = writeln!(text, "{}.", method(results));
    for table in tables(results) {
        let _ = write!(text, "\n{}", piped(&table));
    }
    if let Some(footprint) = &results.footprint {
        let _ = write!(text, "\n{}", piped(&beside_requests(footprint)));
    }
    text
}

fn method(results: &Results) -> String {
    format!(
        "{} rounds of {} s, medians (lowest - highest)",
        results.rounds, results.seconds
    )
}

type Table = Vec<Vec<String>>;

/// One per scenario, then memory of idle connections.
fn tables(results: &Results) -> Vec<Table> {
    let measured = |scenario: &Scenario| results.rows.iter().any(|row| row.scenario == *scenario);
    let scenarios = Scenario::ALL.into_iter().filter(measured);
    let mut tables: Vec<Table> = scenarios.map(|scenario| proxies(results, scenario)).collect();
    if !results.idle.is_empty() {
        tables.push(idle_connections(&results.idle));
    }
    tables
}

fn proxies(results: &Results, scenario: Scenario) -> Table {
    let mut heading = vec![scenario.title().to_owned(), "CPU us per request".to_owned()];
    if scenario.body_bytes().is_some() {
        heading.push("MB per CPU second".to_owned());
    }
    heading.extend(["of nginx".to_owned(), "requests/s".to_owned()]);
    if scenario.has_latency() {
        heading.push(format!("p99 us at {}/s", results.rate));
    }
    let nginx = results.row(scenario, Candidate::Nginx);
    let rows = results.rows.iter().filter(|row| row.scenario == scenario);
    std::iter::once(heading)
        .chain(rows.map(|row| proxy(row, nginx)))
        .collect()
}

fn proxy(row: &Row, nginx: Option<&Row>) -> Vec<String> {
    let of_nginx = nginx.map(|nginx| row.cpu_us.over(&nginx.cpu_us).median());
    let mut cells = vec![row.candidate.title().to_owned(), figure(&row.cpu_us, 1)];
    if let Some(bytes) = row.scenario.body_bytes() {
        cells.push(format!("{:.0}", bytes as f64 / row.cpu_us.median()));
    }
    cells.push(of_nginx.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")));
    cells.push(figure(&row.requests_per_second, 0));
    if row.scenario.has_latency() {
        let p99 = row.p99_us.as_ref();
        cells.push(p99.map_or_else(|| "-".to_owned(), |p99| figure(p99, 0)));
    }
    cells
}

fn idle_connections(measured: &[(Candidate, f64)]) -> Table {
    let heading = vec![
        format!("{} idle connections", idle::CONNECTIONS),
        "bytes each (PSS)".to_owned(),
    ];
    let rows = measured
        .iter()
        .map(|(candidate, bytes)| vec![candidate.title().to_owned(), format!("{bytes:.0}")]);
    std::iter::once(heading).chain(rows).collect()
}

fn beside_requests(footprint: &Footprint) -> Table {
    [
        ("beside requests", "hythe".to_owned()),
        ("memory at rest, MB (PSS)", figure(&footprint.memory_mb, 1)),
        ("hythe ls of 100 services, ms", figure(&footprint.list_ms, 1)),
        ("start to first answer, ms", figure(&footprint.ready_ms, 1)),
    ]
    .map(|(what, value)| vec![what.to_owned(), value])
    .to_vec()
}

fn figure(series: &Series, decimals: usize) -> String {
    let (lowest, highest) = series.spread();
    let median = series.median();
    if lowest == highest {
        format!("{median:.decimals$}")
    } else {
        format!("{median:.decimals$} ({lowest:.decimals$} - {highest:.decimals$})")
    }
}

fn aligned(table: &Table) -> String {
    let widths = widths(table);
    let line = |row: &Vec<String>| {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("   ").trim_end())
    };
    table.iter().map(line).collect()
}

fn piped(table: &Table) -> String {
    let widths = widths(table);
    let line = |row: &Vec<String>| {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!(" {cell:width$} |"));
        format!("|{}\n", cells.collect::<String>())
    };
    let mut lines: Vec<String> = table.iter().map(line).collect();
    lines.insert(
        1,
        format!(
            "|{}\n",
            widths
                .iter()
                .map(|width| format!(" {} |", "-".repeat(*width)))
                .collect::<String>()
        ),
    );
    lines.concat()
}

fn widths(table: &Table) -> Vec<usize> {
    let columns = table.first().map_or(0, Vec::len);
    (0..columns)
        .map(|column| table.iter().map(|row| row[column].len()).max().unwrap_or(0))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bars::tests::results;

    #[test]
    fn for_a_terminal() {
        let expected = "\
a machine
wrk 1
nginx 2
3 rounds of 5 s, medians (lowest - highest)

small answers   CPU us per request   of nginx   requests/s   p99 us at 1000/s
relay           10.0                 0.83       50000        300
hythe plain     10.5 (10.0 - 11.0)   0.88       50000        300
nginx           12.0                 1.00       50000        310

10000 idle connections   bytes each (PSS)
hythe plain              900

beside requests                hythe
memory at rest, MB (PSS)       9.0
hythe ls of 100 services, ms   4.0 (3.0 - 5.0)
start to first answer, ms      40.0
";
        let results = results(&[
            (Candidate::Relay, &[10.0; 3], 300.0),
            (Candidate::Plain, &[10.0, 10.5, 11.0], 300.0),
            (Candidate::Nginx, &[12.0; 3], 310.0),
        ]);
        assert_eq!(plain(&results), expected);
    }

    #[test]
    fn for_the_document() {
        let expected = "\
### 2026-01-31

a machine.
wrk 1; nginx 2.
3 rounds of 5 s, medians (lowest - highest).

| small answers | CPU us per request | of nginx | requests/s | p99 us at 1000/s |
| ------------- | ------------------ | -------- | ---------- | ---------------- |
| relay         | 10.0               | -        | 50000      | 300              |
";
        let mut results = results(&[(Candidate::Relay, &[10.0; 3], 300.0)]);
        (results.footprint, results.idle) = (None, Vec::new());
        assert_eq!(markdown(&results), expected);
    }
}
