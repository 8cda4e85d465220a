//! Reading a block by its table: one line per key in the code that says what a block means.
//!
//! A value of the wrong kind is reported and then absent, so that reading goes on and finds the rest.

use std::fmt;

use hythe_model::Name;

use crate::context::Context;
use crate::keys::{Key, Shape, Status, Table};
use crate::node::{Entry, Node};
use crate::position::Span;
use crate::problem::Finding;
use crate::suggest::did_you_mean;

/// A year: longer times are slips, and their sums could overflow.
const LONGEST_MS: u64 = 365 * 86_400_000;

/// A map whose keys are those of a table.
#[derive(Clone, Copy)]
pub(crate) struct Block<'a> {
    pub(crate) cx: &'a Context<'a>,
    pub(crate) node: &'a Node,
    table: &'static Table,
}

impl<'a> Block<'a> {
    /// `None` if it is not a map. Reports unknown keys and those that nothing acts on yet.
    pub(crate) fn open(cx: &'a Context<'a>, node: &'a Node, table: &'static Table) -> Option<Self> {
        let entries = cx.entries(node)?;
        for entry in entries.iter().filter(|entry| !entry.key.starts_with("x-")) {
            match table.find(&entry.key) {
                None => cx.report(unknown_key(entry, table)),
                Some(key) if key.status == Status::NotYet && !entry.value.is_null() => {
                    let message = format!("`{}` is accepted, not acted on yet", entry.key);
                    cx.report(Finding::warning(entry.key_span, message));
                }
                Some(_) => {}
            }
        }
        Some(Self { cx, node, table })
    }

    /// The entry, unless its value is null.
    pub(crate) fn entry(&self, key: &str) -> Option<&'a Entry> {
        debug_assert!(
            self.table.find(key).is_some(),
            "`{key}` is not in the table of {}",
            self.table.title
        );
        self.node.entry(key).filter(|entry| !entry.value.is_null())
    }

    pub(crate) fn get(&self, key: &str) -> Option<&'a Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    /// The block inside this one.
    pub(crate) fn block(&self, key: &str, table: &'static Table) -> Option<Self> {
        Self::open(self.cx, self.get(key)?, table)
    }

    pub(crate) fn text(&self, key: &str) -> Option<&'a str> {
        self.cx.text(self.get(key)?)
    }

    pub(crate) fn boolean(&self, key: &str) -> Option<bool> {
        self.cx.boolean(self.get(key)?)
    }

    /// A whole number in the range of the table, as any type that holds that range.
    pub(crate) fn integer<T: TryFrom<i64>>(&self, key: &str) -> Option<T> {
        let Shape::Integer(from, to) = self.known(key)?.shape else {
            return None;
        };
        self.cx.integer(self.get(key)?, from, to)
    }

    /// One of the table's words.
    pub(crate) fn choice(&self, key: &str) -> Option<&'static str> {
        let Shape::OneOf(words) = self.known(key)?.shape else {
            return None;
        };
        self.cx.choice(self.get(key)?, words)
    }

    /// Milliseconds.
    pub(crate) fn duration(&self, key: &str) -> Option<u64> {
        self.cx.duration(self.get(key)?)
    }

    /// The items of a list; none if it is absent.
    pub(crate) fn list(&self, key: &str) -> &'a [Node] {
        self.get(key)
            .and_then(|node| self.cx.list(node))
            .unwrap_or_default()
    }

    /// The texts of a list, each with its node.
    pub(crate) fn texts(&self, key: &str) -> Vec<(&'a Node, &'a str)> {
        self.list(key)
            .iter()
            .filter_map(|item| Some((item, self.cx.text(item)?)))
            .collect()
    }

    pub(crate) fn tags(&self) -> Vec<String> {
        self.texts("tags")
            .into_iter()
            .map(|(_, tag)| tag.to_owned())
            .collect()
    }

    pub(crate) fn name(&self, key: &str) -> Option<Name> {
        self.cx.name(self.get(key)?)
    }

    fn known(&self, key: &str) -> Option<&'static Key> {
        let known = self.table.find(key);
        debug_assert!(
            known.is_some(),
            "`{key}` is not in the table of {}",
            self.table.title
        );
        known
    }
}

impl Context<'_> {
    pub(crate) fn entries<'n>(&self, node: &'n Node) -> Option<&'n [Entry]> {
        self.expect(node, node.map(), "a map")
    }

    pub(crate) fn list<'n>(&self, node: &'n Node) -> Option<&'n [Node]> {
        self.expect(node, node.list(), "a list")
    }

    /// A scalar's text, numbers and booleans as they are written.
    pub(crate) fn text<'n>(&self, node: &'n Node) -> Option<&'n str> {
        self.expect(node, node.text(), "a text")
    }

    pub(crate) fn boolean(&self, node: &Node) -> Option<bool> {
        self.expect(node, node.boolean(), "true or false")
    }

    pub(crate) fn integer<T: TryFrom<i64>>(&self, node: &Node, from: i64, to: i64) -> Option<T> {
        let inside = node.integer().filter(|number| (from..=to).contains(number));
        self.expect(
            node,
            inside.and_then(|number| T::try_from(number).ok()),
            &format!("a whole number from {from} to {to}"),
        )
    }

    pub(crate) fn choice(&self, node: &Node, words: &'static [&'static str]) -> Option<&'static str> {
        let text = node.text().unwrap_or_default();
        let found = words.iter().find(|word| **word == text).copied();
        if found.is_none() && !node.is_unusable() {
            let finding = node.error(format!(
                "expected one of {}, found {}",
                quoted_list(words),
                node.shown()
            ));
            self.report(finding.maybe_help(did_you_mean(text, words.iter().copied())));
        }
        found
    }

    /// Milliseconds, a year at most.
    pub(crate) fn duration(&self, node: &Node) -> Option<u64> {
        let text = self.text(node)?;
        let duration = self.accept(node.span, hythe_stdx::parse_duration(text))?;
        let milliseconds = u64::try_from(duration.as_millis())
            .ok()
            .filter(|ms| *ms <= LONGEST_MS);
        self.expect(node, milliseconds, "a duration of at most a year")
    }

    pub(crate) fn name(&self, node: &Node) -> Option<Name> {
        self.accept(node.span, self.text(node)?.parse())
    }

    /// The value, or a report of why there is none.
    pub(crate) fn accept<T, E: fmt::Display>(&self, span: Span, result: Result<T, E>) -> Option<T> {
        result
            .map_err(|error| self.report(Finding::error(span, error.to_string())))
            .ok()
    }

    fn expect<T>(&self, node: &Node, value: Option<T>, what: &str) -> Option<T> {
        if value.is_none() && !node.is_unusable() {
            self.report(node.error(format!("expected {what}, found {}", node.shown())));
        }
        value
    }
}

/// `` `a`, `b` `` for messages.
pub(crate) fn quoted_list(words: &[&str]) -> String {
    words
        .iter()
        .map(|word| format!("`{word}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn unknown_key(entry: &Entry, table: &Table) -> Finding {
    let known = table.keys.iter().map(|key| key.name);
    Finding::error(entry.key_span, format!("unknown key `{}`", entry.key))
        .label(format!("not a key of {}", table.title))
        .maybe_help(did_you_mean(&entry.key, known))
}
