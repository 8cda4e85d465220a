//! The YAML tree with positions, and what a scalar means in YAML 1.2's core schema.
//!
//! Lists and maps are shared, so that an alias costs a pointer and not a copy.

use std::rc::Rc;

use serde_json::{Map, Number, Value as Json};

use crate::position::Span;
use crate::problem::Finding;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) span: Span,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// `plain`: without quotes, so that it may be a number, a boolean or null.
    Scalar {
        text: Rc<str>,
        plain: bool,
    },
    List(Rc<[Node]>),
    Map(Rc<[Entry]>),
    /// What was here is wrong and reported already; whoever reads it stays silent.
    Unusable,
}

/// One `key: value`.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: Rc<str>,
    pub(crate) key_span: Span,
    pub(crate) value: Node,
}

impl Node {
    pub(crate) fn error(&self, message: impl Into<String>) -> Finding {
        Finding::error(self.span, message)
    }

    pub(crate) fn warning(&self, message: impl Into<String>) -> Finding {
        Finding::warning(self.span, message)
    }

    /// The text of a scalar that is not null.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } if !self.is_null() => Some(text),
            _ => None,
        }
    }

    pub(crate) fn list(&self) -> Option<&[Node]> {
        if let Value::List(items) = &self.value {
            Some(items)
        } else {
            None
        }
    }

    pub(crate) fn map(&self) -> Option<&[Entry]> {
        if let Value::Map(entries) = &self.value {
            Some(entries)
        } else {
            None
        }
    }

    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.map()?.iter().find(|entry| &*entry.key == key)
    }

    pub(crate) fn is_null(&self) -> bool {
        self.plain()
            .is_some_and(|text| matches!(text, "" | "~" | "null" | "Null" | "NULL"))
    }

    pub(crate) fn is_unusable(&self) -> bool {
        matches!(self.value, Value::Unusable)
    }

    /// Whether it is a boolean that was not quoted.
    pub(crate) fn is_boolean(&self) -> bool {
        self.plain().is_some_and(|text| boolean(text).is_some())
    }

    /// Quoted booleans count too: what a variable is replaced by has no quotes to leave out.
    pub(crate) fn boolean(&self) -> Option<bool> {
        boolean(self.text()?)
    }

    /// Quoted numbers count too.
    pub(crate) fn integer(&self) -> Option<i64> {
        integer(self.text()?)
    }

    /// Quoted numbers count too.
    pub(crate) fn number(&self) -> Option<f64> {
        number(self.text()?)
    }

    /// How a message calls it.
    pub(crate) fn shown(&self) -> String {
        match &self.value {
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
            Value::Scalar { .. } if self.is_null() => "nothing".to_owned(),
            Value::Scalar { text, .. } if text.is_empty() => "an empty text".to_owned(),
            Value::Scalar { text, .. } => format!("`{}`", hythe_stdx::shortened(text)),
            Value::Unusable => "something unusable".to_owned(),
        }
    }

    pub(crate) fn to_json(&self) -> Json {
        match &self.value {
            Value::List(items) => items.iter().map(Node::to_json).collect(),
            Value::Map(entries) => Json::Object(to_object(entries)),
            Value::Scalar { text, plain: true } => plain_to_json(text),
            Value::Scalar { text, .. } => Json::String(text.to_string()),
            Value::Unusable => Json::Null,
        }
    }

    fn plain(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, plain: true } => Some(text),
            _ => None,
        }
    }
}

impl Entry {
    /// Key and value together.
    pub(crate) fn span(&self) -> Span {
        if self.key_span.start <= self.value.span.start {
            Span::new(self.key_span.start, self.value.span.end)
        } else {
            self.key_span
        }
    }
}

pub(crate) fn to_object(entries: &[Entry]) -> Map<String, Json> {
    entries
        .iter()
        .map(|entry| (entry.key.to_string(), entry.value.to_json()))
        .collect()
}

fn plain_to_json(text: &str) -> Json {
    let integer = || {
        integer(text)
            .map(Json::from)
            .or_else(|| text.parse::<u64>().ok().map(Json::from))
    };
    let float = || number(text).and_then(Number::from_f64).map(Json::Number);
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Json::Null,
        _ => boolean(text)
            .map(Json::Bool)
            .or_else(integer)
            .or_else(float)
            .unwrap_or_else(|| Json::String(text.to_owned())),
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

fn integer(text: &str) -> Option<i64> {
    if let Some(digits) = text.strip_prefix("0x") {
        return digits
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit())
            .then(|| i64::from_str_radix(digits, 16).ok())?;
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return digits
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| i64::from_str_radix(digits, 8).ok())?;
    }
    text.parse().ok()
}

/// Numbers of the core schema; Rust's own parser also takes words such as `inf`.
fn number(text: &str) -> Option<f64> {
    let numeric = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte))
        && text.bytes().any(|byte| byte.is_ascii_digit());
    if numeric { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn plain_scalars_follow_the_core_schema() {
        let rows = [
            ("true", json!(true)),
            ("yes", json!("yes")),
            ("no", json!("no")),
            ("12", json!(12)),
            ("0x1F", json!(31)),
            ("0o17", json!(15)),
            ("-3", json!(-3)),
            ("18446744073709551615", json!(u64::MAX)),
            ("1.5", json!(1.5)),
            ("1e3", json!(1000.0)),
            (".inf", json!(".inf")),
            ("inf", json!("inf")),
            ("1.2.3", json!("1.2.3")),
            ("0x-1", json!("0x-1")),
            ("~", json!(null)),
            ("", json!(null)),
        ];
        for (text, expected) in rows {
            assert_eq!(plain_to_json(text), expected, "{text}");
        }
    }
}
