//! A service's variables: `env_file`s first, `environment` over them.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use crate::context::Context;
use crate::dotenv;
use crate::keys::{Shape, Table, key};
use crate::node::Node;
use crate::position::Span;
use crate::problem::Finding;
use crate::reader::Block;
use crate::service::Service;

pub(crate) const VARIABLES: Shape = Shape::Either(&[Shape::Map(&Shape::Text), Shape::List(&Shape::Text)]);

pub(crate) const ENV_FILES: Shape = Shape::Either(&[
    Shape::Text,
    ENV_FILE,
    Shape::List(&Shape::Either(&[Shape::Text, ENV_FILE])),
]);
const ENV_FILE: Shape = Shape::Block(&FILE);

static FILE: Table = Table {
    name: "env-file",
    title: "an environment file",
    doc: "A file of `KEY=value` lines.",
    interpolated: true,
    keys: &[
        key(
            "path",
            Shape::Text,
            "Where it is, relative to the manifest. Required.",
        ),
        key(
            "required",
            Shape::Boolean,
            "`false`: it may be missing. Default: `true`.",
        ),
        key(
            "format",
            Shape::OneOf(&["raw"]),
            "`raw`: values are taken as they are, without quotes and variables.",
        ),
    ],
};

type Variables = BTreeMap<String, String>;

/// The variables of a service. Files of services in inactive profiles are not read.
pub(crate) fn read(service: &Service<'_>) -> Variables {
    let cx = service.block.cx;
    let mut variables = Variables::new();
    for file in files(&service.block).filter(|_| service.active) {
        variables.extend(read_file(cx, &file));
    }
    if let Some(node) = service.block.get("environment") {
        own(cx, node, &mut variables);
    }
    variables
}

struct EnvFile<'a> {
    path: &'a str,
    span: Span,
    required: bool,
    raw: bool,
}

fn files<'a>(block: &Block<'a>) -> impl Iterator<Item = EnvFile<'a>> {
    let cx = block.cx;
    let node = block.get("env_file");
    let items = node
        .map(|node| node.list().unwrap_or(std::slice::from_ref(node)))
        .unwrap_or_default();
    items.iter().filter_map(move |item| file(cx, item))
}

fn file<'a>(cx: &'a Context<'a>, node: &'a Node) -> Option<EnvFile<'a>> {
    if node.map().is_none() {
        return Some(EnvFile {
            path: cx.text(node)?,
            span: node.span,
            required: true,
            raw: false,
        });
    }
    let block = Block::open(cx, node, &FILE)?;
    let raw = block.choice("format").is_some();
    let required = block.boolean("required").unwrap_or(true);
    let Some(path) = block.get("path") else {
        cx.report(node.error("an environment file needs a `path`"));
        return None;
    };
    Some(EnvFile {
        path: cx.text(path)?,
        span: path.span,
        required,
        raw,
    })
}

fn read_file(cx: &Context<'_>, file: &EnvFile<'_>) -> Variables {
    let path = cx.folder.join(file.path);
    match cx.inputs.files.read(&path) {
        Ok(text) if file.raw => dotenv::read_raw(&text),
        Ok(text) => dotenv::read(cx, &path, &text, &|name| cx.variable(name).map(str::to_owned)),
        Err(error) => {
            if file.required || error.kind() != io::ErrorKind::NotFound {
                cx.report(unreadable(file, &path, &error));
            }
            Variables::new()
        }
    }
}

fn unreadable(file: &EnvFile<'_>, path: &Path, error: &io::Error) -> Finding {
    if error.kind() == io::ErrorKind::NotFound {
        let finding = Finding::error(
            file.span,
            format!("the environment file `{}` does not exist", path.display()),
        );
        finding.help("write `{path: ..., required: false}` if it may be missing")
    } else {
        Finding::error(
            file.span,
            format!(
                "the environment file `{}` cannot be read: {error}",
                path.display()
            ),
        )
    }
}

fn own(cx: &Context<'_>, node: &Node, variables: &mut Variables) {
    if let Some(items) = node.list() {
        for item in items {
            let Some(text) = cx.text(item) else { continue };
            let (name, value) = text
                .split_once('=')
                .map_or((text, None), |(name, value)| (name, Some(value)));
            set(cx, item.span, name, value, variables);
        }
        return;
    }
    if node.map().is_none() && !node.is_unusable() {
        return cx.report(node.error(format!(
            "expected a map or a list of `KEY=value`, found {}",
            node.shown()
        )));
    }
    for entry in node.map().unwrap_or_default() {
        let value = if entry.value.is_null() {
            None
        } else {
            Some(cx.text(&entry.value).unwrap_or_default())
        };
        set(cx, entry.key_span, &entry.key, value, variables);
    }
}

/// A name without value takes the shell's; unset there, it is left out, whatever a file says.
fn set(cx: &Context<'_>, span: Span, name: &str, value: Option<&str>, variables: &mut Variables) {
    if name.is_empty() || name.contains(['=', '\0']) {
        return cx.report(Finding::error(
            span,
            format!("`{name}` is not the name of a variable"),
        ));
    }
    match value.or_else(|| cx.variable(name)) {
        Some(value) => drop(variables.insert(name.to_owned(), value.to_owned())),
        None => drop(variables.remove(name)),
    }
}
