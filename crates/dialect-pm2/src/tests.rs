//! What files and flags become, as tables of text in and text out.

mod apps;
mod deploys;
mod ecosystems;
mod javascript;
mod options;

use crate::file::{Parsed, parse_json};
use crate::{App, Problem};

/// The apps of a file without errors.
fn apps(json: &str) -> Vec<App> {
    let Parsed { ecosystem, problems } = parse_json(json);
    ecosystem.unwrap_or_else(|| panic!("{json}: {problems:#?}")).apps
}

/// The only app of a file, from its fields.
fn app(fields: &str) -> App {
    let mut apps = apps(&format!("{{script: 'a.js', {fields}}}"));
    assert_eq!(apps.len(), 1, "{fields}");
    apps.remove(0)
}

fn told(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}
