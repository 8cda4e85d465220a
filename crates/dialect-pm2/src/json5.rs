//! JSON with comments, trailing commas, bare keys and the rest of JSON5, with places.
//!
//! PM2 evaluates such files as JavaScript. Here a file of data stays data: expressions and calls are refused,
//! with the advice to name the file `.config.js`.

use std::ops::Range;

use hythe_stdx::Lines;
use jsonc_parser::ast::{Object, ObjectProp, ObjectPropName, Value as Tree};
use jsonc_parser::common::Ranged;
use jsonc_parser::errors::{ParseError, ParseErrorKind};
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use crate::node::{Entry, Node, Value};
use crate::problem::{Place, Problem, Severity};

/// The key that marks a regular expression: `{"$re": "source", "flags": "i"}`.
const REGEX: &str = "$re";

/// The tree, and a warning for each key given twice (the last one counts).
///
/// # Errors
/// The first thing that is not JSON5.
pub(crate) fn parse(text: &str) -> Result<(Node, Vec<Problem>), Box<Problem>> {
    let start = text.len() - text.trim_start_matches('\u{feff}').len();
    parse_part(text, start..text.len())
}

/// The same of a part of a text, with the places of the whole.
///
/// # Errors
/// The first thing that is not JSON5.
pub(crate) fn parse_part(text: &str, part: Range<usize>) -> Result<(Node, Vec<Problem>), Box<Problem>> {
    let lines = Lines::of(text);
    let mut builder = Builder {
        lines: &lines,
        start: part.start,
        problems: Vec::new(),
    };
    let parsed = parse_to_ast(&text[part], &CollectOptions::default(), &options())
        .map_err(|error| Box::new(builder.syntax_error(text, &error)))?;
    let Some(tree) = parsed.value else {
        return Err(Box::new(Problem::error(None, "the file is empty")));
    };
    let node = builder.node(&tree);
    Ok((node, builder.problems))
}

/// All of JSON5; commas may not be left out, as they may not in JavaScript.
fn options() -> ParseOptions {
    ParseOptions {
        allow_missing_commas: false,
        ..ParseOptions::default()
    }
}

struct Builder<'t> {
    lines: &'t Lines<'t>,
    /// Bytes before what the parser sees.
    start: usize,
    problems: Vec<Problem>,
}

impl Builder<'_> {
    fn node(&mut self, tree: &Tree<'_>) -> Node {
        let value = match tree {
            Tree::NullKeyword(_) => Value::Null,
            Tree::BooleanLit(literal) => Value::Flag(literal.value),
            Tree::StringLit(literal) => Value::Text(literal.value.to_string()),
            Tree::NumberLit(literal) => number(literal.value),
            Tree::Array(array) => Value::List(array.elements.iter().map(|item| self.node(item)).collect()),
            Tree::Object(object) => self.object(object),
        };
        Node {
            value,
            place: Some(self.place(tree)),
        }
    }

    fn object(&mut self, object: &Object<'_>) -> Value {
        let mut entries: Vec<Entry> = Vec::with_capacity(object.properties.len());
        for property in &object.properties {
            let entry = self.entry(property);
            if let Some(at) = entries.iter().position(|before| before.key == entry.key) {
                let message = "is given twice; the last one counts";
                let problem = Problem::new(Severity::Warning, entry.place.clone(), message);
                self.problems.push(problem.field(&entry.key));
                entries.remove(at);
            }
            entries.push(entry);
        }
        regex(&entries).unwrap_or(Value::Map(entries))
    }

    fn entry(&mut self, property: &ObjectProp<'_>) -> Entry {
        let key = match &property.name {
            ObjectPropName::String(literal) => literal.value.to_string(),
            ObjectPropName::Word(word) => word.value.to_owned(),
        };
        Entry {
            key,
            place: Some(self.place(&property.name)),
            value: self.node(&property.value),
        }
    }

    fn place(&self, ranged: &impl Ranged) -> Place {
        let range = ranged.range();
        Place::of(self.lines, range.start + self.start..range.end + self.start)
    }

    fn syntax_error(&self, text: &str, error: &ParseError) -> Problem {
        let range = error.range();
        let span = range.start + self.start..range.end + self.start;
        let at = text.get(span.start..).unwrap_or_default();
        let place = Some(Place::of(self.lines, span));
        if is_code(at, error.kind()) {
            return Problem::error(place, "code in a JSON file is not evaluated").help(
                "write the value itself, or name the file `ecosystem.config.js` and export the object",
            );
        }
        Problem::error(
            place,
            format!("not JSON5: {}", error.kind().to_string().to_lowercase()),
        )
    }
}

/// Whether a mistake looks like an expression: a name that is no value, a call, an operator, a template.
/// Where a comma is missing, a name is more likely the next key.
fn is_code(at: &str, kind: &ParseErrorKind) -> bool {
    let at = at.trim_start();
    let is_comment = at.starts_with("//") || at.starts_with("/*");
    let begins = |letters: &str| at.starts_with(|first| letters.contains(first));
    let is_name = || begins("_$`") || at.starts_with(char::is_alphabetic);
    let continues = || begins("(.=+-*/%|&?!<>");
    match kind {
        ParseErrorKind::String(_) | ParseErrorKind::UnterminatedCommentBlock => false,
        // What was taken for a sign adds or subtracts.
        ParseErrorKind::ExpectedDigitFollowingNegativeSign => true,
        ParseErrorKind::ExpectedComma => continues() && !is_comment,
        _ => is_name() || (continues() && !is_comment),
    }
}

fn number(text: &str) -> Value {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let hex = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let magnitude = match (hex, digits) {
        (Some(hex), _) => u64::from_str_radix(hex, 16).map_or(f64::NAN, |number| number as f64),
        (None, "Infinity") => f64::INFINITY,
        // Rust's parser takes leading and trailing points as JSON5 does.
        (None, _) => digits.parse().unwrap_or(f64::NAN),
    };
    Value::number(if negative { -magnitude } else { magnitude })
}

fn regex(entries: &[Entry]) -> Option<Value> {
    let marked = entries
        .iter()
        .all(|entry| entry.key == REGEX || entry.key == "flags");
    let text = |key: &str| {
        let entry = entries.iter().find(|entry| entry.key == key)?;
        entry.value.text().map(str::to_owned)
    };
    let source = text(REGEX).filter(|_| marked)?;
    Some(Value::Regex {
        source,
        flags: text("flags").unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json5_is_read() {
        let rows = [
            (r#"{"a": 1, "b": [true, null]}"#, r#"{"a":1,"b":[true,null]}"#),
            ("{a: 'x', /* c */ b: .5, // d\n}", r#"{"a":"x","b":0.5}"#),
            ("\u{feff}[0x10, +1, -2.0, 1e3,]", "[16,1,-2,1000]"),
            (
                r#"{z: 1, a: 'it\'s\
 on'}"#,
                r#"{"z":1,"a":"it's on"}"#,
            ),
            (r#"{a: 1, a: 2}"#, r#"{"a":2}"#),
            ("[Infinity]", "[9007199254740991]"),
            (r#"[{"$re": "^a", "flags": "i"}]"#, "[{}]"),
        ];
        for (text, expected) in rows {
            let (node, _) = parse(text).unwrap_or_else(|problem| panic!("{text}: {problem}"));
            assert_eq!(node.json_text(), expected, "{text}");
        }
    }

    #[test]
    fn code_and_mistakes_are_told_apart() {
        let rows = [
            ("{apps: require('./apps')}", "code", (1, 8)),
            ("module.exports = {}", "code", (1, 1)),
            ("{\n  a: process.env.A }", "code", (2, 6)),
            ("{a: 60 * 1000}", "code", (1, 8)),
            ("{a: `x`}", "code", (1, 5)),
            ("{a: 1", "not JSON5: unterminated object", (1, 1)),
            ("{a: 1 + 2}", "code", (1, 8)),
            ("{a: f(1)}", "code", (1, 5)),
            ("{a: 1 \"b\": 2}", "not JSON5: expected comma", (1, 6)),
            ("{a: 1 // c\n b: 2}", "not JSON5: expected comma", (1, 6)),
            ("{a: \"x}", "not JSON5: unterminated string literal", (1, 5)),
        ];
        for (text, message, position) in rows {
            let problem = parse(text).expect_err(text);
            assert!(problem.message.starts_with(message), "{text}: {problem}");
            let place = problem.place.expect("a place");
            assert_eq!((place.line, place.column), position, "{text}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let problem = parse(&"[".repeat(100_000)).expect_err("too deep");
        assert!(problem.message.contains("nesting"), "{problem}");
    }
}
