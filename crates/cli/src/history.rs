//! `history`: the last changes.

use hythe_model::view::HistoryView;

use crate::Context;
use crate::arguments::HistoryOptions;
use crate::failure::Outcome;
use crate::terminal::Cell;

pub(crate) fn run(context: &mut Context, options: &HistoryOptions) -> Outcome {
    let mut path = format!("/v1/history?limit={}", options.limit);
    if !options.all_projects {
        path.push_str(&format!("&project={}", context.scope()?.project));
    }
    let history: Vec<HistoryView> = context.client.get(&path)?;
    if options.json {
        return context.out.json(&history);
    }
    let rows: Vec<_> = history.iter().map(row).collect();
    context
        .out
        .table(&["GENERATION", "WHEN", "WHO", "WHAT", "CHANGED"], &rows)
}

fn row(entry: &HistoryView) -> Vec<Cell> {
    vec![
        entry.generation.to_string().into(),
        local_time(entry.at).into(),
        entry.actor.clone().into(),
        entry.reason.clone().into(),
        entry.changes.join(", ").into(),
    ]
}

fn local_time(at: u64) -> String {
    let stamp = jiff::Timestamp::from_millisecond(i64::try_from(at).unwrap_or(i64::MAX)).unwrap_or_default();
    stamp
        .to_zoned(jiff::tz::TimeZone::system())
        .strftime("%Y-%m-%d %H:%M:%S")
        .to_string()
}
