//! What JSON5, YAML and evaluated JavaScript have in common: values with their places.

use std::fmt::Write as _;

use serde_json::{Number, Value as Json};

use crate::problem::Place;

/// The largest integer that JavaScript tells from its neighbours; stands for `Infinity`.
const LARGEST: i64 = (1 << 53) - 1;

/// A value and where it stands, if that is known.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) place: Option<Place>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Flag(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    /// In the order of the file; no key twice.
    Map(Vec<Entry>),
    Regex {
        source: String,
        flags: String,
    },
}

/// One `key: value`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) place: Option<Place>,
    pub(crate) value: Node,
}

impl Node {
    /// A value from nowhere, as a flag gives.
    pub(crate) fn bare(value: Value) -> Self {
        Self { value, place: None }
    }

    pub(crate) fn map(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    pub(crate) fn list(&self) -> Option<&[Node]> {
        match &self.value {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        let entry = self.map()?.iter().find(|entry| entry.key == key)?;
        Some(&entry.value)
    }

    pub(crate) fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// For what was read from a text that nobody wrote.
    pub(crate) fn without_places(mut self) -> Self {
        self.place = None;
        self.value = match self.value {
            Value::List(items) => Value::List(items.into_iter().map(Node::without_places).collect()),
            Value::Map(entries) => Value::Map(entries.into_iter().map(Entry::without_places).collect()),
            value => value,
        };
        self
    }

    /// How a message calls it.
    pub(crate) fn shown(&self) -> String {
        match &self.value {
            Value::Null => "null".to_owned(),
            Value::Flag(flag) => flag.to_string(),
            Value::Number(number) => number.to_string(),
            Value::Text(text) if text.is_empty() => "an empty text".to_owned(),
            Value::Text(text) => format!("`{}`", hythe_stdx::shortened(text)),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
            Value::Regex { .. } => "a regular expression".to_owned(),
        }
    }

    /// As the value of an environment variable: texts as they are, the rest as JavaScript makes texts of
    /// them.
    pub(crate) fn variable(&self) -> String {
        match &self.value {
            Value::Text(text) => text.clone(),
            _ => self.json_text(),
        }
    }

    /// Compact JSON that keeps the order of keys.
    pub(crate) fn json_text(&self) -> String {
        let mut text = String::new();
        self.write_json(&mut text);
        text
    }

    pub(crate) fn to_json(&self) -> Json {
        match &self.value {
            Value::Null => Json::Null,
            Value::Flag(flag) => Json::Bool(*flag),
            Value::Number(number) => Json::Number(number.clone()),
            Value::Text(text) => Json::String(text.clone()),
            Value::List(items) => items.iter().map(Node::to_json).collect(),
            Value::Map(entries) => entries
                .iter()
                .map(|entry| (entry.key.clone(), entry.value.to_json()))
                .collect(),
            Value::Regex { source, flags } => Json::String(format!("/{source}/{flags}")),
        }
    }

    fn write_json(&self, out: &mut String) {
        match &self.value {
            Value::List(items) => write_between(out, '[', items, ']', |out, item| item.write_json(out)),
            Value::Map(entries) => write_between(out, '{', entries, '}', |out, entry| {
                let _ = write!(out, "{}:", Json::from(entry.key.as_str()));
                entry.value.write_json(out);
            }),
            Value::Regex { .. } => out.push_str("{}"),
            _ => {
                let _ = write!(out, "{}", self.to_json());
            }
        }
    }
}

impl Entry {
    fn without_places(self) -> Self {
        Self {
            place: None,
            value: self.value.without_places(),
            ..self
        }
    }
}

impl Value {
    /// A JavaScript number: whole ones lose their fraction, and infinity becomes the largest safe integer.
    pub(crate) fn number(number: f64) -> Self {
        let largest = LARGEST as f64;
        if number.fract() == 0.0 && number.abs() <= largest {
            return Self::Number(Number::from(number as i64));
        }
        if number.is_infinite() {
            let sign = if number > 0.0 { 1 } else { -1 };
            return Self::Number(Number::from(sign * LARGEST));
        }
        Number::from_f64(number).map_or(Self::Null, Self::Number)
    }
}

fn write_between<T>(out: &mut String, open: char, items: &[T], close: char, write: impl Fn(&mut String, &T)) {
    out.push(open);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write(out, item);
    }
    out.push(close);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_javascript() {
        let rows = [
            (1.0, "1"),
            (1.5, "1.5"),
            (-0.0, "0"),
            (f64::INFINITY, "9007199254740991"),
            (f64::NAN, "null"),
        ];
        for (number, expected) in rows {
            assert_eq!(Node::bare(Value::number(number)).variable(), expected);
        }
    }
}
