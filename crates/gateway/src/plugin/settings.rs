//! Reads a plugin's `config` field by field and collects every mistake.

use hythe_model::Name;
use serde_json::{Map, Value};

use super::SettingProblem;
use super::template::Template;

/// A reader over one `config`. Take each known field, then [`Settings::finish`].
#[derive(Debug)]
pub struct Settings<'a> {
    fields: Option<&'a Map<String, Value>>,
    /// Where these fields stand, from the top.
    inside: Vec<String>,
    known: Vec<&'static str>,
    problems: Vec<SettingProblem>,
}

impl<'a> Settings<'a> {
    /// Starts reading.
    pub fn of(fields: &'a Map<String, Value>) -> Self {
        Self::at(Some(fields), Vec::new())
    }

    fn at(fields: Option<&'a Map<String, Value>>, inside: Vec<String>) -> Self {
        Self {
            fields,
            inside,
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

    /// The name of something in the plugin's project.
    pub fn name(&mut self, name: &'static str) -> Option<Name> {
        let text = self.text(name)?;
        let parsed = text.parse::<Name>();
        parsed
            .map_err(|error| self.problem(name, &error.to_string()))
            .ok()
    }

    /// A text with values of the request in it.
    pub fn template(&mut self, name: &'static str) -> Option<Template> {
        let text = self.text(name)?;
        let template = Template::parse(text);
        template.map_err(|message| self.problem(name, &message)).ok()
    }

    /// The texts of a list, each as `read` understands it; what it does not is a problem of its own.
    pub fn texts<T>(&mut self, name: &'static str, read: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let mut found = Vec::new();
        for (at, value) in self.list(name).iter().enumerate() {
            let text = value.as_str().ok_or_else(|| "expected a string".to_owned());
            match text.and_then(&read) {
                Ok(item) => found.push(item),
                Err(message) => self.problem_in(name, &[at.to_string()], message),
            }
        }
        found
    }

    /// Each record of a list.
    pub fn records<T>(&mut self, name: &'static str, read: impl Fn(&mut Settings<'a>) -> T) -> Vec<T> {
        let mut found = Vec::new();
        for (at, value) in self.list(name).iter().enumerate() {
            match value.as_object() {
                Some(fields) => found.push(self.nested(Some(fields), &[name, &at.to_string()], &read)),
                None => self.problem_in(name, &[at.to_string()], "expected a record".to_owned()),
            }
        }
        found
    }

    /// A record inside this one; all its fields are absent if it is.
    pub fn record<T>(&mut self, name: &'static str, read: impl Fn(&mut Settings<'a>) -> T) -> T {
        let value = self.take(name);
        let fields = value.and_then(Value::as_object);
        if value.is_some() && fields.is_none() {
            self.problem(name, "expected a record");
        }
        self.nested(fields, &[name], read)
    }

    /// A map of texts.
    pub fn map(&mut self, name: &'static str) -> Vec<(&'a str, &'a str)> {
        let Some(value) = self.take(name) else {
            return Vec::new();
        };
        let Some(entries) = value.as_object() else {
            self.problem(name, "expected a map");
            return Vec::new();
        };
        let mut found = Vec::new();
        for (key, value) in entries {
            match value.as_str() {
                Some(text) => found.push((key.as_str(), text)),
                None => self.problem_in(name, std::slice::from_ref(key), "expected a string".to_owned()),
            }
        }
        found
    }

    /// Whether the field is there and not `null`.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    fn list(&mut self, name: &'static str) -> &'a [Value] {
        let Some(value) = self.take(name) else { return &[] };
        value.as_array().map_or_else(
            || {
                self.problem(name, "expected an array");
                &[][..]
            },
            Vec::as_slice,
        )
    }

    fn nested<T>(
        &mut self,
        fields: Option<&'a Map<String, Value>>,
        path: &[&str],
        read: impl Fn(&mut Settings<'a>) -> T,
    ) -> T {
        let mut inside = self.inside.clone();
        inside.extend(path.iter().map(ToString::to_string));
        let mut nested = Settings::at(fields, inside);
        let value = read(&mut nested);
        self.problems.extend(nested.finish().err().unwrap_or_default());
        value
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

    /// A number within bounds; `default` if it is not there.
    pub fn number(&mut self, name: &'static str, default: f64, least: f64, most: f64) -> f64 {
        let Some(value) = self.take(name) else {
            return default;
        };
        match value.as_f64() {
            Some(number) if (least..=most).contains(&number) => number,
            Some(_) => {
                self.problem(name, &format!("value should be between {least} and {most}"));
                default
            }
            None => {
                self.problem(name, "expected a number");
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
        self.problem_in(name, &[], message.to_owned());
    }

    /// Notes a mistake somewhere inside a field.
    pub fn problem_in(&mut self, name: &str, deeper: &[String], message: String) {
        let mut path = self.inside.clone();
        path.push(name.to_owned());
        path.extend_from_slice(deeper);
        self.problems.push(SettingProblem {
            path,
            message,
            suggestion: None,
        });
    }

    /// Every mistake, unknown fields among them.
    ///
    /// # Errors
    /// When there is any.
    pub fn finish(mut self) -> Result<(), Vec<SettingProblem>> {
        let fields = self.fields.iter().flat_map(|fields| fields.keys());
        for name in fields.filter(|name| !self.known.contains(&name.as_str())) {
            let mut path = self.inside.clone();
            path.push(name.clone());
            self.problems.push(SettingProblem {
                path,
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
        self.get(name)
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        self.fields?.get(name).filter(|value| !value.is_null())
    }
}
