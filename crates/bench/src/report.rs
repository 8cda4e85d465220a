//! The table, for a terminal or for `docs/benchmarks.md`.

use std::fmt::Write as _;

use crate::candidates::Candidate;
use crate::footprint::Footprint;
use crate::run::{Results, Row};
use crate::series::Series;

/// For a terminal: aligned columns.
pub(crate) fn plain(results: &Results) -> String {
    let mut text = format!(
        "{}\n{}\n",
        results.machine.hardware,
        results.machine.versions.join("\n")
    );
    let _ = write!(text, "{}\n\n{}", method(results), aligned(&proxies(results)));
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
    let _ = write!(text, "{}.\n\n{}", method(results), piped(&proxies(results)));
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

fn proxies(results: &Results) -> Table {
    let mut table = vec![vec![
        "proxy".to_owned(),
        "CPU us per request".to_owned(),
        "of nginx".to_owned(),
        "requests/s".to_owned(),
        format!("p99 us at {}/s", results.rate),
    ]];
    let nginx = results.row(Candidate::Nginx);
    table.extend(results.rows.iter().map(|row| proxy(row, nginx)));
    table
}

fn proxy(row: &Row, nginx: Option<&Row>) -> Vec<String> {
    let of_nginx = nginx.map(|nginx| row.cpu_us.over(&nginx.cpu_us).median());
    vec![
        row.candidate.title().to_owned(),
        figure(&row.cpu_us, 1),
        of_nginx.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
        figure(&row.requests_per_second, 0),
        figure(&row.p99_us, 0),
    ]
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

proxy         CPU us per request   of nginx   requests/s   p99 us at 1000/s
relay         10.0                 0.83       50000        300
hythe plain   10.5 (10.0 - 11.0)   0.88       50000        300
nginx         12.0                 1.00       50000        310

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

| proxy | CPU us per request | of nginx | requests/s | p99 us at 1000/s |
| ----- | ------------------ | -------- | ---------- | ---------------- |
| relay | 10.0               | -        | 50000      | 300              |
";
        let mut results = results(&[(Candidate::Relay, &[10.0; 3], 300.0)]);
        results.footprint = None;
        assert_eq!(markdown(&results), expected);
    }
}
