//! Kong's consumers: who calls.

use hythe_model::Consumer;

use crate::context::Context;
use crate::derived_name::of_consumer;
use crate::draft::{Draft, Kind};
use crate::keys::{Shape, TAGS_DOC, TEXTS, Table, ignored, key, not_yet};
use crate::node::Node;
use crate::plugin::{self, Scope};
use crate::reader::Block;

pub(crate) static CONSUMER: Table = Table {
    name: "consumer",
    title: "a consumer",
    doc: "Somebody who calls. It needs a `username` or a `custom_id`.",
    interpolated: false,
    keys: &[
        key("username", Shape::Text, "Its name, unique."),
        key("custom_id", Shape::Text, "Its id elsewhere, unique."),
        key("tags", TEXTS, TAGS_DOC),
        key(
            "plugins",
            Shape::List(&Shape::Block(&plugin::PLUGIN)),
            "Plugins for its requests.",
        ),
        not_yet("keyauth_credentials", Shape::Anything, "Its keys."),
        not_yet("basicauth_credentials", Shape::Anything, "Its passwords."),
        not_yet("hmacauth_credentials", Shape::Anything, "Its signing secrets."),
        not_yet("jwt_secrets", Shape::Anything, "Its token secrets."),
        not_yet("acls", Shape::Anything, "Its groups."),
        ignored("id", Shape::Text, "Of Kong's declarative files."),
    ],
};

pub(crate) fn read(cx: &Context<'_>, node: &Node, draft: &mut Draft) {
    let Some(block) = Block::open(cx, node, &CONSUMER) else {
        return;
    };
    let username = block
        .text("username")
        .filter(|text| !text.is_empty())
        .map(str::to_owned);
    let custom_id = block
        .text("custom_id")
        .filter(|text| !text.is_empty())
        .map(str::to_owned);
    let Some(called) = username.as_ref().or(custom_id.as_ref()) else {
        return cx
            .report(node.error("at least one of these fields must be non-empty: 'custom_id', 'username'"));
    };
    let Some(name) = of_consumer(called) else { return };
    let span = block
        .get("username")
        .or_else(|| block.get("custom_id"))
        .unwrap_or(node)
        .span;
    draft.define(cx, Kind::Consumer, &name, span);
    if let (Some(id), Some(node)) = (&custom_id, block.get("custom_id"))
        && !draft.claim(format!("custom_id {id:?}"))
    {
        cx.report(node.error("another consumer has this `custom_id`"));
    }
    let scope = Scope {
        consumer: Some(name.clone()),
        ..Scope::default()
    };
    for item in block.list("plugins") {
        plugin::read(cx, item, &scope, draft);
    }
    draft.spec.consumers.insert(
        name,
        Consumer {
            username,
            custom_id,
            tags: block.tags(),
        },
    );
}
