//! Values as YAML, written for people: blocks, and short lists on one line.

use std::fmt::{self, Write as _};

use serde_json::Value;

/// A value in the order in which it is written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Yaml {
    Text(String),
    Number(i64),
    /// A number of hundredths, written with two decimals at most.
    Hundredths(u32),
    Flag(bool),
    List(Vec<Yaml>),
    Map(Vec<(String, Yaml)>),
}

/// Widest list that is written on one line.
const WIDE: usize = 80;

impl Yaml {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub(crate) fn texts<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Self {
        Self::List(texts.into_iter().map(|text| Self::text(text.as_ref())).collect())
    }

    /// The same as JSON, for those who read settings.
    pub(crate) fn json(&self) -> Value {
        match self {
            Self::Text(text) => Value::from(text.as_str()),
            Self::Number(number) => Value::from(*number),
            Self::Hundredths(number) => Value::from(f64::from(*number) / 100.0),
            Self::Flag(flag) => Value::from(*flag),
            Self::List(items) => items.iter().map(Self::json).collect(),
            Self::Map(entries) => Value::Object(
                entries
                    .iter()
                    .map(|(key, value)| (key.clone(), value.json()))
                    .collect(),
            ),
        }
    }

    /// The value of an entry.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        let Self::Map(entries) = self else { return None };
        let found = entries.iter().find(|(known, _)| known == key);
        found.map(|(_, value)| value)
    }

    /// Puts an entry into a map, before the one called `next`, or last.
    pub(crate) fn insert_before(&mut self, next: &str, key: &str, value: Self) {
        if let Self::Map(entries) = self {
            let place = entries.iter().position(|(known, _)| known == next);
            entries.insert(place.unwrap_or(entries.len()), (key.to_owned(), value));
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::List(items) => items.is_empty(),
            Self::Map(entries) => entries.is_empty(),
            _ => false,
        }
    }

    /// On one line, if it is a plain value or a short list of plain values.
    fn inline(&self) -> Option<String> {
        let line = match self {
            Self::Text(text) => quoted(text),
            Self::Number(number) => number.to_string(),
            Self::Hundredths(number) => (f64::from(*number) / 100.0).to_string(),
            Self::Flag(flag) => flag.to_string(),
            Self::Map(entries) if entries.is_empty() => "{}".to_owned(),
            Self::Map(_) => return None,
            Self::List(items) => {
                let nested = |item: &Self| matches!(item, Self::List(_) | Self::Map(_));
                if items.iter().any(nested) {
                    return None;
                }
                let items: Option<Vec<_>> = items.iter().map(Self::inline).collect();
                format!("[{}]", items?.join(", "))
            }
        };
        let short = line.len() <= WIDE || !matches!(self, Self::List(_));
        short.then_some(line)
    }

    fn write(&self, out: &mut String, indent: usize) -> fmt::Result {
        match self {
            Self::Map(entries) => entries.iter().try_for_each(|(key, value)| {
                write!(out, "{:indent$}{}:", "", quoted(key))?;
                value.write_behind(out, indent)
            }),
            Self::List(items) => items.iter().try_for_each(|item| {
                let start = out.len();
                match item.inline() {
                    Some(line) => writeln!(out, "{:indent$}- {line}", ""),
                    None => {
                        item.write(out, indent + 2)?;
                        // The first line of the item begins behind the dash.
                        out.replace_range(start + indent..start + indent + 1, "-");
                        Ok(())
                    }
                }
            }),
            _ => Ok(()),
        }
    }

    fn write_behind(&self, out: &mut String, indent: usize) -> fmt::Result {
        match self.inline() {
            Some(line) => writeln!(out, " {line}"),
            None => {
                out.push('\n');
                self.write(out, indent + 2)
            }
        }
    }
}

impl fmt::Display for Yaml {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        self.write(&mut out, 0)?;
        f.write_str(&out)
    }
}

/// As it is where no reader could take it for something else, otherwise in double quotes.
fn quoted(text: &str) -> String {
    let plain_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./~".contains(&byte);
    let word = ["true", "false", "null", "yes", "no", "on", "off", "~", "y", "n"];
    let plain = text.bytes().all(plain_byte)
        && text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/')
        && !word.contains(&text.to_ascii_lowercase().as_str());
    if plain {
        return text.to_owned();
    }
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control.is_control() => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// Puts together a map, leaving out what is empty.
#[derive(Debug, Default)]
pub(crate) struct MapOf(Vec<(String, Yaml)>);

impl MapOf {
    /// With another entry.
    pub(crate) fn with(mut self, key: &str, value: Yaml) -> Self {
        if !value.is_empty() {
            self.0.push((key.to_owned(), value));
        }
        self
    }

    /// With a list, also if it is empty.
    pub(crate) fn with_list(mut self, key: &str, items: Vec<Yaml>) -> Self {
        self.0.push((key.to_owned(), Yaml::List(items)));
        self
    }

    /// With another entry if there is a value.
    pub(crate) fn with_some(self, key: &str, value: Option<Yaml>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// With the entries of another.
    pub(crate) fn with_all(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn done(self) -> Yaml {
        Yaml::Map(self.0)
    }
}

impl From<Vec<(String, Yaml)>> for MapOf {
    fn from(entries: Vec<(String, Yaml)>) -> Self {
        Self(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::{MapOf, Yaml};

    #[test]
    fn blocks_and_short_lists() {
        let route = MapOf::default()
            .with("paths", Yaml::texts(["/", "~/a\\.b$", "no"]))
            .with("plugins", Yaml::List(Vec::new()))
            .done();
        let all = MapOf::default()
            .with("routes", Yaml::List(vec![route.clone(), route]))
            .with("count", Yaml::Number(3))
            .done();
        assert_eq!(
            all.to_string(),
            "routes:\n  - paths: [/, \"~/a\\\\.b$\", \"no\"]\n  - paths: [/, \"~/a\\\\.b$\", \"no\"]\ncount: 3\n"
        );
    }
}
