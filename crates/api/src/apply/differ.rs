//! Differences of one field, in words. Values of environments, of plugin settings and of keys are never shown: they
//! hold secrets. Certificates are not shown either: nobody reads them.

use serde_json::{Map, Value};

const LONGEST: usize = 60;

/// `replicas: 2 -> 4`, `environment: +A ~B -C`.
pub(crate) fn change(field: &str, before: Option<&Value>, after: &Value) -> String {
    if let (Some(Value::Object(before)), Value::Object(after), true) = (before, after, is_secret(field)) {
        return format!("{field}: {}", keys(before, after));
    }
    let before = before.map_or_else(|| "none".to_owned(), |value| show(field, value));
    format!("{field}: {before} -> {}", show(field, after))
}

/// A value for people.
pub(crate) fn show(field: &str, value: &Value) -> String {
    let text = match value {
        Value::Object(keys) if is_secret(field) => format!("{} keys", keys.len()),
        Value::Object(keys) => match (keys.len(), keys.get("count")) {
            (1, Some(count)) => count.to_string(),
            _ => value.to_string(),
        },
        Value::String(_) if is_pem(field) => "(PEM)".to_owned(),
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.iter().all(Value::is_string) => {
            let texts: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            format!("[{}]", texts.join(", "))
        }
        _ => value.to_string(),
    };
    shorten(text)
}

fn is_secret(field: &str) -> bool {
    matches!(field, "environment" | "config")
}

fn is_pem(field: &str) -> bool {
    matches!(field, "cert" | "key" | "cert_alt" | "key_alt")
}

fn keys(before: &Map<String, Value>, after: &Map<String, Value>) -> String {
    let mut words: Vec<String> = Vec::new();
    for (key, value) in after {
        match before.get(key) {
            None => words.push(format!("+{key}")),
            Some(earlier) if earlier != value => words.push(format!("~{key}")),
            Some(_) => {}
        }
    }
    words.extend(
        before
            .keys()
            .filter(|key| !after.contains_key(*key))
            .map(|key| format!("-{key}")),
    );
    shorten(words.join(" "))
}

fn shorten(text: String) -> String {
    if text.chars().count() <= LONGEST {
        return text;
    }
    let kept: String = text.chars().take(LONGEST - 3).collect();
    format!("{kept}...")
}
