//! The tables of `docs/manifest.md`, written from the tables of keys. Only the test below needs them.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value as Json;

use crate::keys::{Key, Shape, Status, Table};
use crate::schema::{schema, tables};

const OPEN: &str = "<!-- keys: ";
const CLOSE: &str = "<!-- end of keys -->";

fn written(table: &Table) -> String {
    let mut text = format!(
        "{}\n\n| key | value | meaning |\n| --- | --- | --- |\n",
        table.doc
    );
    for key in with(table, Status::Enforced) {
        let _ = writeln!(
            text,
            "| `{}` | {} | {} |",
            key.name,
            cell(&shape(&key.shape)),
            cell(key.doc)
        );
    }
    for (status, words) in [
        (Status::NotYet, "Accepted, not acted on yet"),
        (Status::Ignored, "Ignored"),
    ] {
        let names: Vec<_> = with(table, status).map(|key| format!("`{}`", key.name)).collect();
        if !names.is_empty() {
            let _ = writeln!(text, "\n{words}: {}.", names.join(", "));
        }
    }
    text
}

fn with(table: &Table, status: Status) -> impl Iterator<Item = &Key> {
    table.keys.iter().filter(move |key| key.status == status)
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn shape(of: &Shape) -> String {
    match of {
        Shape::Text => "text".to_owned(),
        Shape::Integer(from, to) => format!("{from} to {to}"),
        Shape::Number => "number".to_owned(),
        Shape::Boolean => "`true`, `false`".to_owned(),
        Shape::Duration => "duration".to_owned(),
        Shape::Size => "size".to_owned(),
        Shape::OneOf(words) => crate::reader::quoted_list(words),
        Shape::List(inner) => format!("list of {}", shape(inner)),
        Shape::Map(inner) => format!("map to {}", shape(inner)),
        Shape::Block(table) => format!("[{0}](#{0})", table.name),
        Shape::Either(shapes) => shapes.iter().map(shape).collect::<Vec<_>>().join(" or "),
        Shape::Anything => "anything".to_owned(),
    }
}

/// `page` with its tables as they should be. Every table stands after a line that names it.
fn with_tables(page: &str) -> String {
    let mut fresh = String::new();
    let mut rest = page;
    while let Some(open) = rest.find(OPEN) {
        let after = &rest[open + OPEN.len()..];
        let (name, body) = after.split_once(" -->\n").expect("a marker ends its line");
        let table = tables()
            .get(name)
            .copied()
            .unwrap_or_else(|| panic!("no table is named `{name}`"));
        let close = body.find(CLOSE).expect("a table is closed");
        let _ = write!(
            fresh,
            "{}{OPEN}{name} -->\n{}{CLOSE}",
            &rest[..open],
            written(table)
        );
        rest = &body[close + CLOSE.len()..];
    }
    fresh + rest
}

#[test]
fn the_reference_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/manifest.md");
    let page = fs::read_to_string(&path).unwrap();
    let fresh = with_tables(&page);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &fresh).unwrap();
    } else {
        assert!(
            page == fresh,
            "docs/manifest.md is out of date; UPDATE_DOCS=1 cargo test -p hythe-manifest rewrites it"
        );
    }
    for name in tables().keys() {
        assert!(
            page.contains(&format!("{OPEN}{name} -->")),
            "docs/manifest.md has no table of `{name}`"
        );
    }
}

#[test]
fn every_key_is_explained() {
    for table in tables().values() {
        for key in with(table, Status::Enforced) {
            assert!(
                key.doc.ends_with('.') || key.doc.ends_with('`'),
                "`{}` of {}",
                key.name,
                table.title
            );
        }
    }
}

#[test]
fn the_schema_refers_to_what_it_defines() {
    let schema = schema();
    let mut references = Vec::new();
    collect_references(&schema, &mut references);
    assert!(references.len() > 10);
    for reference in references {
        assert!(
            schema.pointer(reference.trim_start_matches('#')).is_some(),
            "{reference}"
        );
    }
    let replicas = &schema["$defs"]["deploy"]["properties"]["replicas"];
    assert_eq!(replicas["anyOf"][0]["anyOf"][0]["maximum"], 1_000);
    assert_eq!(
        schema["properties"]["services"]["additionalProperties"]["$ref"],
        "#/$defs/service"
    );
}

fn collect_references(value: &Json, found: &mut Vec<String>) {
    match value {
        Json::Object(map) => {
            found.extend(map.get("$ref").and_then(Json::as_str).map(str::to_owned));
            map.values().for_each(|value| collect_references(value, found));
        }
        Json::Array(items) => items.iter().for_each(|item| collect_references(item, found)),
        _ => {}
    }
}
