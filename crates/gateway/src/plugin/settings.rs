//! Reads a plugin's `config` field by field and collects every mistake.

use serde_json::{Map, Value};

use super::SettingProblem;

/// A reader over one `config`. Take each known field, then [`Settings::finish`].
#[derive(Debug)]
pub struct Settings<'a> {
    fields: &'a Map<String, Value>,
    known: Vec<&'static str>,
    problems: Vec<SettingProblem>,
}

impl<'a> Settings<'a> {
    /// Starts reading.
    pub fn of(fields: &'a Map<String, Value>) -> Self {
        Self {
            fields,
            known: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// A text; `None` if it is not there or `null`.
    pub fn text(&mut self, name: &'static str) -> Option<&'a str> {
        let value = self.take(name)?;
        let text = value.as_str();
        if text.is_none() {
            self.problem(name, "expected a string");
        }
        text
    }

    /// A truth; `default` if it is not there.
    pub fn truth(&mut self, name: &'static str, default: bool) -> bool {
        let Some(value) = self.take(name) else {
            return default;
        };
        value.as_bool().unwrap_or_else(|| {
            self.problem(name, "expected a boolean");
            default
        })
    }

    /// A whole number within bounds; `default` if it is not there.
    pub fn integer(&mut self, name: &'static str, default: u64, least: u64, most: u64) -> u64 {
        let Some(value) = self.take(name) else {
            return default;
        };
        match value.as_u64() {
            Some(number) if (least..=most).contains(&number) => number,
            Some(_) => {
                self.problem(name, &format!("value should be between {least} and {most}"));
                default
            }
            None => {
                self.problem(name, "expected an integer");
                default
            }
        }
    }

    /// One of a few texts; the first if it is not there.
    pub fn choice<T: Copy>(&mut self, name: &'static str, choices: &[(&'static str, T)]) -> Option<T> {
        let Some(text) = self.text(name) else {
            return choices.first().map(|(_, value)| *value);
        };
        let found = choices
            .iter()
            .find(|(choice, _)| *choice == text)
            .map(|(_, value)| *value);
        if found.is_none() {
            let names: Vec<_> = choices.iter().map(|(choice, _)| *choice).collect();
            self.problem(name, &format!("expected one of: {}", names.join(", ")));
        }
        found
    }

    /// Notes a mistake in a field.
    pub fn problem(&mut self, name: &str, message: &str) {
        self.problems.push(SettingProblem {
            path: vec![name.to_owned()],
            message: message.to_owned(),
            suggestion: None,
        });
    }

    /// Every mistake, unknown fields among them.
    ///
    /// # Errors
    /// When there is any.
    pub fn finish(mut self) -> Result<(), Vec<SettingProblem>> {
        for name in self
            .fields
            .keys()
            .filter(|name| !self.known.contains(&name.as_str()))
        {
            self.problems.push(SettingProblem {
                path: vec![name.clone()],
                message: "unknown field".to_owned(),
                suggestion: (!self.known.is_empty()).then(|| format!("known are: {}", self.known.join(", "))),
            });
        }
        if self.problems.is_empty() {
            Ok(())
        } else {
            Err(self.problems)
        }
    }

    fn take(&mut self, name: &'static str) -> Option<&'a Value> {
        self.known.push(name);
        self.fields.get(name).filter(|value| !value.is_null())
    }
}
