//! One entity naming another: `service: users`, or Kong's `service: {name: users}`.

use hythe_model::Name;

use crate::context::Context;
use crate::keys::{Shape, Table, ignored, key};
use crate::node::Node;
use crate::position::Span;
use crate::problem::Finding;
use crate::reader::Block;

pub(crate) const REFERENCE: Shape = Shape::Either(&[Shape::Text, Shape::Block(&BY_NAME)]);

static BY_NAME: Table = Table {
    name: "reference",
    title: "a reference",
    doc: "Another entity, by its name.",
    interpolated: false,
    keys: &[
        key("name", Shape::Text, "Its name. Required."),
        ignored("id", Shape::Text, "Of Kong's declarative files."),
    ],
};

/// The name and where it stands.
pub(crate) fn read(block: &Block<'_>, key: &str) -> Option<(Name, Span)> {
    of(block.cx, block.get(key)?, key)
}

/// The name that a value is, and where it stands. `what` is named, for messages.
pub(crate) fn of(cx: &Context<'_>, node: &Node, what: &str) -> Option<(Name, Span)> {
    let (text, span) = text_of(cx, node, what)?;
    Some((cx.accept(span, text.parse())?, span))
}

/// The names in a list of texts; `found` is told of each.
pub(crate) fn list(block: &Block<'_>, key: &str, mut found: impl FnMut(&Name, Span)) -> Vec<Name> {
    let mut names = Vec::new();
    for (node, _) in block.texts(key) {
        if let Some(name) = block.cx.name(node) {
            found(&name, node.span);
            names.push(name);
        }
    }
    names
}

/// The text and where it stands.
pub(crate) fn text<'a>(block: &Block<'a>, key: &str) -> Option<(&'a str, Span)> {
    text_of(block.cx, block.get(key)?, key)
}

fn text_of<'a>(cx: &'a Context<'_>, node: &'a Node, what: &str) -> Option<(&'a str, Span)> {
    if node.map().is_none() {
        return Some((cx.text(node)?, node.span));
    }
    let reference = Block::open(cx, node, &BY_NAME)?;
    let Some(name) = reference.get("name") else {
        cx.report(node.error(format!("the {what} needs a `name`")));
        return None;
    };
    Some((cx.text(name)?, name.span))
}

/// For an entity that stands inside the one it would name.
pub(crate) fn refuse(block: &Block<'_>, key: &str) {
    if let Some(entry) = block.entry(key) {
        let message = format!("what stands inside a {key} belongs to it and names none");
        block.cx.report(Finding::error(entry.key_span, message));
    }
}
