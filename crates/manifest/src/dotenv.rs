//! Environment files, by Compose's rules.
//!
//! `KEY=value` a line; `export ` before it and a byte order mark before all are skipped; a comment starts
//! the line or follows a space. Values without quotes and in double quotes are interpolated, and only in
//! the latter `\n`, `\t`, `\r`, `\"`, `\\` and `\$` mean something; single quotes keep everything. A quoted
//! value may span lines. `KEY` alone takes the variable's own value.

use std::collections::BTreeMap;
use std::path::Path;

use crate::context::Context;
use crate::interpolate;
use crate::position::{Lines, Span};
use crate::problem::Finding;

/// The variables of the file at `path`; later lines win and may use earlier ones after `outer`.
pub(crate) fn read(
    cx: &Context<'_>,
    path: &Path,
    text: &str,
    outer: &dyn Fn(&str) -> Option<String>,
) -> BTreeMap<String, String> {
    let mut reader = Reader {
        lines: Lines::of(text),
        text,
        at: 0,
        outer,
        found: BTreeMap::new(),
        findings: Vec::new(),
    };
    if text.starts_with('\u{feff}') {
        reader.at = '\u{feff}'.len_utf8();
    }
    while reader.at < text.len() {
        reader.line();
    }
    for finding in reader.findings {
        cx.report_in(path, &reader.lines, finding);
    }
    reader.found
}

/// The variables of a file with `format: raw`: everything after `=` is the value.
pub(crate) fn read_raw(text: &str) -> BTreeMap<String, String> {
    let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim_start);
    let pairs = lines
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='));
    pairs
        .map(|(name, value)| (name.trim().to_owned(), value.to_owned()))
        .collect()
}

struct Reader<'t> {
    lines: Lines<'t>,
    text: &'t str,
    at: usize,
    outer: &'t dyn Fn(&str) -> Option<String>,
    found: BTreeMap<String, String>,
    findings: Vec<Finding>,
}

impl<'t> Reader<'t> {
    fn line(&mut self) {
        let start = self.at;
        let line = self.rest_of_line();
        let indent = line.len() - line.trim_start().len();
        let statement = line.trim_start();
        if statement.is_empty() || statement.starts_with('#') {
            self.at = self.after_line(start);
            return;
        }
        let exported = statement
            .strip_prefix("export ")
            .map_or(statement, str::trim_start);
        let name_at = start + indent + (statement.len() - exported.len());
        let name_length = exported.find(['=', '#']).unwrap_or(exported.len());
        let name = exported[..name_length].trim_end();
        if !is_name(name) {
            let place = Span::new(name_at, name_at + exported.trim_end().len());
            self.findings.push(Finding::error(place, "expected `KEY=value`"));
            self.at = self.after_line(start);
        } else if exported[name_length..].starts_with('=') {
            self.at = name_at + name_length + 1;
            let value = self.value();
            self.found.insert(name.to_owned(), value);
        } else {
            self.at = self.after_line(start);
            if let Some(value) = self.lookup(name) {
                self.found.insert(name.to_owned(), value);
            }
        }
    }

    fn value(&mut self) -> String {
        let line = self.rest_of_line();
        self.at += line.len() - line.trim_start().len();
        let value = match self.text[self.at..].chars().next() {
            Some(quote @ ('"' | '\'')) => self.quoted(quote),
            _ => self.unquoted(),
        };
        self.at = self.after_line(self.at);
        value
    }

    fn unquoted(&mut self) -> String {
        let line = self.rest_of_line();
        let comment = if line.starts_with('#') {
            Some(0)
        } else {
            line.find(" #").or_else(|| line.find("\t#"))
        };
        let value = line[..comment.unwrap_or(line.len())].trim();
        self.expand(value, Span::new(self.at, self.at + value.len()))
    }

    fn quoted(&mut self, quote: char) -> String {
        let start = self.at;
        let inside = &self.text[start + 1..];
        let Some(length) = end_of_quote(inside, quote) else {
            self.findings.push(Finding::error(
                Span::new(start, start + 1),
                "the quote is never closed",
            ));
            self.at = self.text.len();
            return String::new();
        };
        self.at = start + length + 2;
        let after = self.rest_of_line().trim();
        if !after.is_empty() && !after.starts_with('#') {
            let place = Span::new(self.at, self.after_line(self.at));
            self.findings
                .push(Finding::error(place, "nothing may follow the closing quote"));
        }
        let value = &inside[..length];
        if quote == '\'' {
            value.to_owned()
        } else {
            self.expand(&unescaped(value), Span::new(start, self.at))
        }
    }

    fn expand(&mut self, value: &str, span: Span) -> String {
        let lookup = |name: &str| self.lookup(name);
        let (expanded, oddities) = interpolate::expand(value, &lookup);
        let findings: Vec<_> = oddities
            .into_iter()
            .map(|oddity| oddity.finding(&self.lines, span, value))
            .collect();
        self.findings.extend(findings);
        expanded.unwrap_or_default()
    }

    fn lookup(&self, name: &str) -> Option<String> {
        (self.outer)(name).or_else(|| self.found.get(name).cloned())
    }

    fn rest_of_line(&self) -> &'t str {
        let rest = &self.text[self.at..];
        &rest[..rest.find(['\n', '\r']).unwrap_or(rest.len())]
    }

    fn after_line(&self, from: usize) -> usize {
        self.text[from..]
            .find(['\n', '\r'])
            .map_or(self.text.len(), |end| from + end + 1)
    }
}

fn is_name(name: &str) -> bool {
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    name.bytes()
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && name.bytes().all(rest)
}

fn end_of_quote(inside: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    inside.char_indices().find_map(|(at, character)| {
        let closes = character == quote && !escaped;
        escaped = quote == '"' && character == '\\' && !escaped;
        closes.then_some(at)
    })
}

/// Escapes resolved, and `\$` as the template's own `$$`.
fn unescaped(value: &str) -> String {
    let mut plain = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            plain.push(character);
            continue;
        }
        match characters.next() {
            Some('n') => plain.push('\n'),
            Some('t') => plain.push('\t'),
            Some('r') => plain.push('\r'),
            Some('$') => plain.push_str("$$"),
            Some(other @ ('"' | '\\')) => plain.push(other),
            Some(other) => plain.extend(['\\', other]),
            None => plain.push('\\'),
        }
    }
    plain
}
