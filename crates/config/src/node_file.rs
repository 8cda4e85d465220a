//! The node file: TOML, flat, the same names as the flags with `_` for `-`.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::problem::ConfigProblem;

/// One setting of the file.
#[derive(Debug)]
pub(crate) struct FileSetting {
    pub(crate) key: String,
    pub(crate) origin: String,
    pub(crate) values: Vec<String>,
}

/// The settings of a file called `name` with `text`; `known` are the names there are.
pub(crate) fn read(name: &str, text: &str, known: &[&str]) -> (Vec<FileSetting>, Vec<ConfigProblem>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let at = |offset: usize| format!("{name}:{}", line(text, offset));
    let mut problems: Vec<(usize, String)> = errors
        .iter()
        .map(|error| {
            (
                error.span().map_or(0, |span| span.start),
                error.message().to_owned(),
            )
        })
        .collect();
    let mut settings = Vec::new();
    for (key, value) in table.get_ref() {
        let start = key.span().start;
        let key = key.get_ref().to_string();
        let checked = if known.contains(&key.as_str()) {
            texts(value)
        } else {
            Err(unknown(&key, known))
        };
        match checked {
            Ok(values) => settings.push(FileSetting {
                key,
                origin: at(start),
                values,
            }),
            Err(message) => problems.push((start, message)),
        }
    }
    problems.sort();
    let problem = |(start, message)| ConfigProblem {
        origin: at(start),
        message,
    };
    (settings, problems.into_iter().map(problem).collect())
}

fn texts(value: &Spanned<DeValue<'_>>) -> Result<Vec<String>, String> {
    match value.get_ref() {
        DeValue::Array(items) => items.iter().map(text).collect(),
        _ => Ok(vec![text(value)?]),
    }
}

fn text(value: &Spanned<DeValue<'_>>) -> Result<String, String> {
    match value.get_ref() {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Ok(number.as_str().to_owned()),
        DeValue::Boolean(false) => Ok("off".to_owned()),
        DeValue::Boolean(true) => Ok("on".to_owned()),
        _ => Err("expected a text, a number, or a list of texts".to_owned()),
    }
}

fn unknown(key: &str, known: &[&str]) -> String {
    let near = known
        .iter()
        .map(|name| (strsim::osa_distance(key, name), name))
        .min();
    match near {
        Some((distance, name)) if distance <= 3 => format!("unknown setting `{key}`; did you mean `{name}`?"),
        _ => format!("unknown setting `{key}`; there are {}", known.join(", ")),
    }
}

fn line(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}
