//! `routes`: what the gateway serves, in the order in which it is tried.

use hythe_model::view::RouteView;

use crate::Context;
use crate::arguments::ReadOptions;
use crate::failure::Outcome;
use crate::terminal::{Cell, Tone};

pub(crate) fn run(context: &mut Context, options: &ReadOptions) -> Outcome {
    let routes: Vec<RouteView> = context.client.get("/v1/routes")?;
    if options.json {
        return context.out.json(&routes);
    }
    let rows: Vec<_> = routes.iter().map(row).collect();
    context
        .out
        .table(&["NAME", "MATCHES", "SERVICE", "PLUGINS"], &rows)
}

fn row(route: &RouteView) -> Vec<Cell> {
    vec![
        Cell::new(&route.name, Tone::Strong),
        matches(route).into(),
        route.service.clone().unwrap_or_else(|| "-".to_owned()).into(),
        route.plugins.join(", ").into(),
    ]
}

/// `GET shop.test /users, /search x-tier: gold`.
fn matches(route: &RouteView) -> String {
    let parts = [
        route.methods.join("|"),
        route.hosts.join(", "),
        route.paths.join(", "),
        route.headers.join(", "),
    ];
    let said: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    if said.is_empty() {
        "everything".to_owned()
    } else {
        said.join("  ")
    }
}
