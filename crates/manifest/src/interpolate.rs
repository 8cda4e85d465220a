//! Compose's variables: `$NAME`, `${NAME}`, `:-` `-` `:?` `?` `:+` `+` with nested words, `$$` for a dollar.
//!
//! Only values under `services` are interpolated, and of those not `routes` and `plugins`, which are in
//! Kong's words: a `$` there ends a regular expression.

use std::rc::Rc;

use crate::context::Context;
use crate::node::{Entry, Node, Value};
use crate::position::{Lines, Span};
use crate::problem::Finding;

const IN_KONGS_WORDS: [&str; 2] = ["routes", "plugins"];
const DEEPEST: usize = 32;
/// What is reported of one text: a text full of variables must not cost the square of its length.
const MOST_ODDITIES: usize = 100;

/// The values of all services with their variables replaced.
pub(crate) fn services(cx: &Context<'_>, services: &Node) -> Node {
    map_entries(services, |service| {
        map_entries(&service.value, |entry| {
            let literal = IN_KONGS_WORDS.contains(&&*entry.key) || entry.key.starts_with("x-");
            if literal {
                entry.value.clone()
            } else {
                node(cx, &entry.value)
            }
        })
    })
}

/// The text with its variables replaced, and what was odd about it. `None`: not a template.
pub(crate) fn expand<'l>(
    text: &'l str,
    lookup: &'l dyn Fn(&str) -> Option<String>,
) -> (Option<String>, Vec<Oddity<'l>>) {
    let mut template = Template {
        lookup,
        oddities: Vec::new(),
    };
    let expanded = template.expand(text, 0);
    (expanded, template.oddities)
}

/// Something wrong with one variable.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Oddity<'t> {
    /// The part of the text that it is about.
    pub(crate) fragment: &'t str,
    pub(crate) kind: OddityKind,
    pub(crate) message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OddityKind {
    /// Only a warning.
    Unset,
    Required,
    /// Not a variable at all.
    Invalid,
}

impl Oddity<'_> {
    /// As a finding about the part of `span`, which holds `text` as it is written, that it is about.
    pub(crate) fn finding(self, lines: &Lines<'_>, span: Span, text: &str) -> Finding {
        let place = self.place(lines, span, text).unwrap_or(span);
        match self.kind {
            OddityKind::Unset => Finding::warning(place, self.message),
            OddityKind::Required => Finding::error(place, self.message),
            OddityKind::Invalid => Finding::error(place, self.message).help("write `$$` for a dollar sign"),
        }
    }

    /// The same occurrence of the fragment in the source: quotes and folding may stand between.
    fn place(&self, lines: &Lines<'_>, span: Span, text: &str) -> Option<Span> {
        let offset = (self.fragment.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
        let earlier = text.get(..offset)?.matches(self.fragment).count();
        let written = lines.text().get(span.range())?;
        let (at, _) = written.match_indices(self.fragment).nth(earlier)?;
        Some(Span::new(span.start + at, span.start + at + self.fragment.len()))
    }
}

fn map_entries(node: &Node, change: impl Fn(&Entry) -> Node) -> Node {
    let Value::Map(entries) = &node.value else {
        return node.clone();
    };
    let changed: Rc<[Entry]> = entries
        .iter()
        .map(|entry| Entry {
            value: change(entry),
            ..entry.clone()
        })
        .collect();
    Node {
        value: Value::Map(changed),
        span: node.span,
    }
}

fn node(cx: &Context<'_>, original: &Node) -> Node {
    match &original.value {
        Value::Map(_) => map_entries(original, |entry| node(cx, &entry.value)),
        Value::List(items) => {
            let items = items.iter().map(|item| node(cx, item)).collect();
            Node {
                value: Value::List(items),
                span: original.span,
            }
        }
        Value::Scalar { text, .. } if text.contains('$') => scalar(cx, original, text),
        Value::Scalar { .. } | Value::Unusable => original.clone(),
    }
}

fn scalar(cx: &Context<'_>, original: &Node, text: &str) -> Node {
    let lookup = |name: &str| cx.variable(name).map(str::to_owned);
    let (expanded, oddities) = expand(text, &lookup);
    let failed = oddities.iter().any(|oddity| oddity.kind != OddityKind::Unset);
    for oddity in oddities {
        cx.report(oddity.finding(&cx.lines, original.span, text));
    }
    let value = match expanded {
        // Not plain: never null, even if nothing is left.
        Some(text) if !failed => Value::Scalar {
            text: text.into(),
            plain: false,
        },
        _ => Value::Unusable,
    };
    Node {
        value,
        span: original.span,
    }
}

struct Template<'l> {
    lookup: &'l dyn Fn(&str) -> Option<String>,
    oddities: Vec<Oddity<'l>>,
}

impl<'t> Template<'t> {
    fn expand(&mut self, text: &'t str, depth: usize) -> Option<String> {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(dollar) = rest.find('$') {
            expanded.push_str(&rest[..dollar]);
            let (value, length) = self.variable(&rest[dollar..], depth)?;
            expanded.push_str(&value);
            rest = &rest[dollar + length..];
        }
        expanded.push_str(rest);
        Some(expanded)
    }

    /// The value of the variable at the start of `text` and how long its name is there, dollar included.
    fn variable(&mut self, text: &'t str, depth: usize) -> Option<(String, usize)> {
        let after = &text[1..];
        if after.starts_with('$') {
            return Some(("$".to_owned(), 2));
        }
        if after.starts_with('{') {
            let Some(inside) = braced(after) else {
                return self.invalid(text);
            };
            let length = inside.len() + 3;
            let value = self.expression(&text[..length], inside, depth)?;
            return Some((value, length));
        }
        let name = name_at_start(after);
        if name.is_empty() {
            return self.invalid(text);
        }
        let length = name.len() + 1;
        Some((self.value_or_nothing(&text[..length], name), length))
    }

    /// What stands between the braces.
    fn expression(&mut self, whole: &'t str, inside: &'t str, depth: usize) -> Option<String> {
        let name = name_at_start(inside);
        let operation = &inside[name.len()..];
        if name.is_empty() || depth >= DEEPEST {
            return self.invalid(whole);
        }
        if operation.is_empty() {
            return Some(self.value_or_nothing(whole, name));
        }
        let (empty_counts_as_unset, operation) = match operation.strip_prefix(':') {
            Some(operation) => (true, operation),
            None => (false, operation),
        };
        let value = (self.lookup)(name).filter(|value| !(empty_counts_as_unset && value.is_empty()));
        match (operation.split_at_checked(1), value) {
            (Some(("-" | "?", _)), Some(value)) => Some(value),
            (Some(("-", word)), None) | (Some(("+", word)), Some(_)) => self.expand(word, depth + 1),
            (Some(("+", _)), None) => Some(String::new()),
            (Some(("?", word)), None) => {
                let reason = self.expand(word, depth + 1)?;
                let colon = if reason.is_empty() { "" } else { ": " };
                self.odd(
                    whole,
                    OddityKind::Required,
                    format!("the variable `{name}` is required{colon}{reason}"),
                );
                Some(String::new())
            }
            _ => self.invalid(whole),
        }
    }

    fn value_or_nothing(&mut self, whole: &'t str, name: &str) -> String {
        (self.lookup)(name).unwrap_or_else(|| {
            self.odd(
                whole,
                OddityKind::Unset,
                format!("the variable `{name}` is not set; nothing takes its place"),
            );
            String::new()
        })
    }

    fn invalid<T>(&mut self, whole: &'t str) -> Option<T> {
        let end = whole.find(char::is_whitespace).unwrap_or(whole.len());
        self.odd(
            &whole[..end],
            OddityKind::Invalid,
            format!("`{}` is not a variable", &whole[..end]),
        );
        None
    }

    fn odd(&mut self, fragment: &'t str, kind: OddityKind, message: String) {
        let is_first_error =
            kind != OddityKind::Unset && self.oddities.iter().all(|odd| odd.kind == OddityKind::Unset);
        if self.oddities.len() < MOST_ODDITIES || is_first_error {
            self.oddities.push(Oddity {
                fragment,
                kind,
                message,
            });
        }
    }
}

/// What stands between `{` at the start and the brace that closes it.
fn braced(text: &str) -> Option<&str> {
    let mut open = 0_usize;
    let mut previous = ' ';
    for (at, character) in text.char_indices() {
        match character {
            '{' if at == 0 || previous == '$' => open += 1,
            '}' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return Some(&text[1..at]);
        }
        previous = character;
    }
    None
}

fn name_at_start(text: &str) -> &str {
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        return "";
    }
    let end = text.find(|character: char| !character.is_ascii_alphanumeric() && character != '_');
    &text[..end.unwrap_or(text.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "SET" => Some("value".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn templates() {
        let rows = [
            ("plain", "plain"),
            ("$SET-${SET}", "value-value"),
            ("$$SET $${SET}", "$SET ${SET}"),
            ("${UNSET:-default}", "default"),
            ("${EMPTY:-default}", "default"),
            ("${EMPTY-default}", ""),
            ("${UNSET-default}", "default"),
            ("${UNSET-a:-b}", "a:-b"),
            ("${SET:+other}", "other"),
            ("${EMPTY:+other}", ""),
            ("${EMPTY+other}", "other"),
            ("${UNSET+other}", ""),
            ("${SET:?why}", "value"),
            ("${UNSET:-${EMPTY:-${SET}}}", "value"),
            ("${UNSET:-{\"a\"}", "{\"a\""),
            ("${UNSET:-$$}", "$"),
            ("${UNSET:-}", ""),
        ];
        for (text, expected) in rows {
            assert_eq!(
                expand(text, &lookup),
                (Some(expected.to_owned()), vec![]),
                "{text}"
            );
        }
    }

    #[test]
    fn oddities_name_their_part_of_the_text() {
        let rows = [
            (
                "a $UNSET b",
                Some("a  b"),
                "$UNSET",
                "the variable `UNSET` is not set; nothing takes its place",
                OddityKind::Unset,
            ),
            (
                "${EMPTY:?it says where}",
                Some(""),
                "${EMPTY:?it says where}",
                "the variable `EMPTY` is required: it says where",
                OddityKind::Required,
            ),
            (
                "cost: 5$",
                None,
                "$",
                "`$` is not a variable",
                OddityKind::Invalid,
            ),
            ("$1", None, "$1", "`$1` is not a variable", OddityKind::Invalid),
            (
                "${SET",
                None,
                "${SET",
                "`${SET` is not a variable",
                OddityKind::Invalid,
            ),
            (
                "${SET!x} y",
                None,
                "${SET!x}",
                "`${SET!x}` is not a variable",
                OddityKind::Invalid,
            ),
            ("${}", None, "${}", "`${}` is not a variable", OddityKind::Invalid),
        ];
        for (text, expected, fragment, message, kind) in rows {
            let oddity = Oddity {
                fragment,
                kind,
                message: message.to_owned(),
            };
            assert_eq!(
                expand(text, &lookup),
                (expected.map(str::to_owned), vec![oddity]),
                "{text}"
            );
        }
    }
}
