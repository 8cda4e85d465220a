//! The JSON Schema of the manifest, for editors; made from the tables that the parser reads by.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use crate::keys::{Key, Shape, Status, Table};
use crate::project::PROJECT;

/// The JSON Schema (draft 2020-12) of a manifest.
pub fn schema() -> Json {
    let mut definitions = Map::new();
    for (name, table) in tables() {
        if name != PROJECT.name {
            definitions.insert(name.to_owned(), block(table));
        }
    }
    let mut schema = Map::new();
    schema.insert(
        "$schema".to_owned(),
        json!("https://json-schema.org/draft/2020-12/schema"),
    );
    schema.insert("title".to_owned(), json!("Hythe manifest"));
    if let Json::Object(root) = block(&PROJECT) {
        schema.extend(root);
    }
    schema.insert("$defs".to_owned(), Json::Object(definitions));
    Json::Object(schema)
}

/// All tables by name.
pub(crate) fn tables() -> BTreeMap<&'static str, &'static Table> {
    let mut found = BTreeMap::new();
    collect(&PROJECT, &mut found);
    found
}

fn collect(table: &'static Table, found: &mut BTreeMap<&'static str, &'static Table>) {
    if found.insert(table.name, table).is_none() {
        table.keys.iter().for_each(|key| collect_shape(&key.shape, found));
    }
}

fn collect_shape(shape: &'static Shape, found: &mut BTreeMap<&'static str, &'static Table>) {
    match shape {
        Shape::Block(table) => collect(table, found),
        Shape::List(inner) | Shape::Map(inner) => collect_shape(inner, found),
        Shape::Either(shapes) => shapes.iter().for_each(|shape| collect_shape(shape, found)),
        _ => {}
    }
}

fn block(table: &Table) -> Json {
    let properties: Map<String, Json> = table
        .keys
        .iter()
        .map(|key| (key.name.to_owned(), property(key, table.interpolated)))
        .collect();
    json!({
        "description": table.doc,
        "type": "object",
        "properties": properties,
        "patternProperties": {"^x-": true},
        "additionalProperties": false,
    })
}

fn property(key: &Key, interpolated: bool) -> Json {
    let mut property = match value(&key.shape, interpolated) {
        Json::Object(property) => property,
        _ => Map::new(),
    };
    let doc = match key.status {
        Status::Enforced => key.doc.to_owned(),
        Status::NotYet => format!("Accepted, not acted on yet. {}", key.doc)
            .trim_end()
            .to_owned(),
        Status::Ignored => format!("Ignored. {}", key.doc),
    };
    property.insert("description".to_owned(), json!(doc));
    Json::Object(property)
}

/// Every value may be null, which is as good as absent.
fn value(shape: &Shape, interpolated: bool) -> Json {
    let or_variable = |strict: Json| {
        let variable = json!({"type": "string", "pattern": "\\$"});
        if interpolated {
            json!({"anyOf": [strict, variable]})
        } else {
            strict
        }
    };
    match shape {
        Shape::Text => json!({"type": ["string", "number", "boolean", "null"]}),
        Shape::Integer(from, to) => {
            or_variable(json!({"type": ["integer", "null"], "minimum": from, "maximum": to}))
        }
        Shape::Number => or_variable(json!({"type": ["number", "string", "null"]})),
        Shape::Boolean => or_variable(json!({"type": ["boolean", "null"]})),
        Shape::Duration => or_variable(json!({
            "type": ["string", "integer", "null"],
            "pattern": "^([0-9]+|([0-9.]+(us|ms|s|m|h|d))+)$",
        })),
        Shape::Size => or_variable(json!({
            "type": ["string", "integer", "null"],
            "pattern": "^[0-9.]+ *([bB]|[kKmMgGtT]([iI]?[bB]|[iI])?)?$",
        })),
        Shape::OneOf(words) => or_variable(json!({"enum": words})),
        Shape::List(inner) => json!({"type": ["array", "null"], "items": value(inner, interpolated)}),
        Shape::Map(inner) => {
            json!({"type": ["object", "null"], "additionalProperties": value(inner, interpolated)})
        }
        Shape::Block(table) => json!({"$ref": format!("#/$defs/{}", table.name)}),
        Shape::Either(shapes) => {
            let shapes: Vec<Json> = shapes.iter().map(|shape| value(shape, interpolated)).collect();
            json!({"anyOf": shapes})
        }
        Shape::Anything => json!({}),
    }
}
