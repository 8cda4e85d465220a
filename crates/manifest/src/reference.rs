//! One entity naming another: `service: users`, or Kong's `service: {name: users}`.

use hythe_model::Name;

use crate::keys::{Shape, Table, ignored, key};
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
    let (text, span) = text(block, key)?;
    Some((block.cx.accept(span, text.parse())?, span))
}

/// The text and where it stands.
pub(crate) fn text<'a>(block: &Block<'a>, key: &str) -> Option<(&'a str, Span)> {
    let node = block.get(key)?;
    if node.map().is_none() {
        return Some((block.cx.text(node)?, node.span));
    }
    let reference = Block::open(block.cx, node, &BY_NAME)?;
    let Some(name) = reference.get("name") else {
        block.cx.report(node.error(format!("the {key} needs a `name`")));
        return None;
    };
    Some((block.cx.text(name)?, name.span))
}

/// For an entity that stands inside the one it would name.
pub(crate) fn refuse(block: &Block<'_>, key: &str) {
    if let Some(entry) = block.entry(key) {
        let message = format!("what stands inside a {key} belongs to it and names none");
        block.cx.report(Finding::error(entry.key_span, message));
    }
}
