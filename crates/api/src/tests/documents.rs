//! What is published about the API is what it does. UPDATE_DOCS=1 rewrites it.

use utoipa::openapi::RefOr;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn};

use crate::code::Code;

const DESCRIPTION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
const REFERENCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/api.md");

#[test]
fn the_description_is_as_published() {
    let text = crate::openapi_document().to_pretty_json().unwrap();
    is_published(DESCRIPTION, &format!("{text}\n"));
}

#[test]
fn the_reference_has_every_path_and_every_code() {
    let text = std::fs::read_to_string(REFERENCE).unwrap();
    let text = with_section(&text, "paths", &paths());
    let text = with_section(&text, "codes", &codes());
    is_published(REFERENCE, &text);
}

fn is_published(path: &str, text: &str) {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, text).unwrap();
    }
    let published = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        published == text,
        "{path} is out of date: run the tests of hythe-api with UPDATE_DOCS=1"
    );
}

fn with_section(text: &str, name: &str, section: &str) -> String {
    let start = format!("<!-- generated: {name} -->\n");
    let (before, rest) = text.split_once(&start).unwrap();
    let (_, after) = rest.split_once("<!-- end -->").unwrap();
    format!("{before}{start}\n{section}\n<!-- end -->{after}")
}

fn paths() -> String {
    let mut table = "| request | what it does |\n| --- | --- |\n".to_owned();
    for (path, item) in crate::openapi_document().paths.paths {
        let methods = [
            ("GET", item.get),
            ("PUT", item.put),
            ("POST", item.post),
            ("DELETE", item.delete),
        ];
        for (method, operation) in methods {
            let Some(operation) = operation else { continue };
            let query = query(&operation);
            let summary = operation.summary.unwrap_or_default();
            let query = if query.is_empty() {
                query
            } else {
                format!(" Query: {query}.")
            };
            table.push_str(&format!("| `{method} {path}` | {summary}{query} |\n"));
        }
    }
    table
}

fn query(operation: &Operation) -> String {
    let named = |parameter: &RefOr<Parameter>| match parameter {
        RefOr::T(parameter) if matches!(parameter.parameter_in, ParameterIn::Query) => {
            Some(format!("`{}`", parameter.name))
        }
        _ => None,
    };
    operation
        .parameters
        .iter()
        .flatten()
        .filter_map(named)
        .collect::<Vec<_>>()
        .join(", ")
}

fn codes() -> String {
    let mut table = "| status | code | meaning |\n| --- | --- | --- |\n".to_owned();
    for code in Code::ALL {
        table.push_str(&format!(
            "| {} | `{}` | {} |\n",
            code.status.as_u16(),
            code.name,
            code.meaning
        ));
    }
    table
}
