//! A service that is a folder of files: served by the gateway itself, through its plugin `files`.

use hythe_model::{Name, Plugin, Service as GatewayService, Upstream};
use serde_json::{Map, Value};

use crate::PluginFinding;
use crate::derived_name::derived;
use crate::draft::{Draft, Kind};
use crate::keys::{Shape, Table, key};
use crate::plugin::{self, Scope};
use crate::problem::Finding;
use crate::reader::Block;
use crate::service::Service;

pub(crate) static FILES: Table = Table {
    name: "files",
    title: "`files`",
    doc: "A folder whose files the gateway serves: `files: ./public`, or a map where more is to be said.",
    interpolated: true,
    keys: &[
        key(
            "root",
            Shape::Text,
            "The folder, relative to the manifest's. Required.",
        ),
        key(
            "fallback",
            Shape::Text,
            "A file in the folder that is sent, with status 200, for what is not there: `index.html` of an application that runs in the browser. Default: 404.",
        ),
    ],
};

/// The plugin that serves them.
const PLUGIN: &str = "files";

/// Reads a service that is a folder: a pool nobody is in, and the plugin that answers instead.
pub(crate) fn read(service: &Service<'_>, draft: &mut Draft) {
    let cx = service.block.cx;
    let Some(node) = service.block.get("files") else {
        return;
    };
    if let Some(entry) = service.block.entry("upstream") {
        let message = format!("`upstream` has no effect: `{}` is a folder", service.name);
        cx.report(Finding::warning(entry.key_span, message));
    }
    let mut config = Map::new();
    let mut put = |key: &str, text: &str| config.insert(key.to_owned(), Value::from(text));
    let root = if node.map().is_some() {
        let Some(block) = Block::open(cx, node, &FILES) else {
            return;
        };
        if let Some(fallback) = block.text("fallback") {
            put("fallback", fallback);
        }
        block.text("root")
    } else {
        cx.text(node)
    };
    let Some(root) = root else {
        return cx.report(node.error("`files` needs a `root`: the folder"));
    };
    let folder = cx.folder.join(root.strip_prefix("./").unwrap_or(root));
    put("root", &folder.to_string_lossy());
    for finding in (cx.inputs.plugin_check)(PLUGIN, &config) {
        if let PluginFinding::Problem(problem) = finding {
            cx.report(node.error(problem.message).maybe_help(problem.suggestion));
        }
    }
    define(service, config, draft);
}

fn define(service: &Service<'_>, config: Map<String, Value>, draft: &mut Draft) {
    let cx = service.block.cx;
    let span = service.entry.key_span;
    let name: &Name = &service.name;
    let Some(plugin) = derived(PLUGIN, &[name.as_str()]) else {
        return;
    };
    let scope = Scope {
        service: Some(name.clone()),
        ..Scope::default()
    };
    draft.define(cx, Kind::Upstream, name, span);
    draft.define(cx, Kind::Plugin, &plugin, span);
    plugin::claim(draft, PLUGIN, &scope);
    draft.spec.upstreams.insert(name.clone(), Upstream::default());
    draft
        .spec
        .services
        .insert(name.clone(), GatewayService::at(name.as_str()));
    let document = Plugin {
        name: PLUGIN.to_owned(),
        service: scope.service,
        route: None,
        consumer: None,
        config,
        enabled: true,
        tags: Vec::new(),
    };
    draft.spec.plugins.insert(plugin, document);
}
