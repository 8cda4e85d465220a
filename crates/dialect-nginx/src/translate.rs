//! From nginx's words to a manifest's, and a note on everything that is lost on the way.
//!
//! The result is the text of a `hythe.yaml`: what `hythe import nginx` writes is what `nginx -c` runs, and both are read
//! by the same reader as everything else. Servers become routes bound to listeners, `proxy_pass` becomes a
//! service, `upstream` an upstream with targets, and most of the rest plugins of routes.
//!
//! nginx chooses a server first, by address and name, and only then a location; here all routes of a listener stand
//! in one order. [`servers`] and [`locations`] tell how that order is made to come out the same.
//!
//! What is done to a request before that, `if` and `rewrite`, becomes rules ([`rules`]), and so does what a table says
//! ([`tables`]). Left out: whatever nginx computes per request beyond the templates that plugins take.

mod certificates;
mod choices;
mod clients;
mod files;
mod health;
mod locations;
mod node;
mod places;
mod plugins;
mod proxy;
mod rules;
mod scope;
mod servers;
mod streams;
mod tables;
mod upstreams;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::files::Configuration;
use crate::report::{self, Effect, Note};
use crate::translate::certificates::{Certificate, with_names};
use crate::tree::Directive;
use crate::yaml::{MapOf, Yaml};

pub use node::NodeSettings;

/// What a configuration says, in our words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translation {
    /// The text of a manifest.
    pub manifest: String,
    /// What is not a manifest's to say.
    pub node: NodeSettings,
    /// What is not said by it, in the order of the files.
    pub notes: Vec<Note>,
}

/// What is wrong with the settings of a plugin; nothing for those it takes.
pub type PluginCheck<'a> = dyn Fn(&str, &Map<String, Value>) -> Vec<String> + 'a;

/// Translates a configuration that nginx would start with.
pub fn translate(configuration: &Configuration, plugin_check: &PluginCheck<'_>) -> Translation {
    let mut draft = Draft {
        configuration,
        plugin_check,
        notes: report::untranslated(&configuration.main),
        http: None,
        tables: Vec::new(),
        node: NodeSettings::default(),
        upgrades: Vec::new(),
        pools: BTreeMap::new(),
        listeners: Vec::new(),
        certificates: Vec::new(),
        own_certificates: Vec::new(),
        authorities: Vec::new(),
        upstreams: Vec::new(),
        services: Vec::new(),
        routes: Vec::new(),
        route_names: Vec::new(),
    };
    let main = configuration.main.flat();
    let blocks = |name: &'static str| {
        main.iter()
            .copied()
            .filter(move |directive| directive.name == name)
    };
    for http in blocks("http") {
        draft.http(http);
    }
    for stream in blocks("stream") {
        draft.stream(stream);
    }
    draft.finish()
}

/// A manifest that is being written.
struct Draft<'a> {
    configuration: &'a Configuration,
    plugin_check: &'a PluginCheck<'a>,
    notes: Vec<Note>,
    /// The block of `http`.
    http: Option<&'a Directive>,
    /// Variables whose values are looked up: `map` and `split_clients`.
    tables: Vec<&'a Directive>,
    node: NodeSettings,
    /// Variables that say `upgrade` when the client does.
    upgrades: Vec<&'a str>,
    /// Upstreams by the name that nginx knows, with what others need of them.
    pools: BTreeMap<String, Pool>,
    listeners: Vec<(String, Yaml)>,
    certificates: Vec<Certificate>,
    /// Certificates by which services know us, by name.
    own_certificates: Vec<(String, Yaml)>,
    /// Certificates of those who vouch for services, by name.
    authorities: Vec<(String, Yaml)>,
    upstreams: Vec<Yaml>,
    services: Vec<(String, Yaml)>,
    routes: Vec<Yaml>,
    route_names: Vec<String>,
}

/// What those who use an upstream need to know.
struct Pool {
    name: String,
    members: usize,
}

impl<'a> Draft<'a> {
    fn http(&mut self, http: &'a Directive) {
        self.http = Some(http);
        self.real_ip(http);
        for table in http.inside() {
            match table.name.as_str() {
                "map" if table.arg(0) == "$http_upgrade" => {
                    self.upgrades.push(table.arg(1));
                    self.tables.push(table);
                }
                "map" | "split_clients" => self.tables.push(table),
                _ => {}
            }
        }
        for upstream in http.all("upstream") {
            self.upstream(upstream);
        }
        self.servers(http);
    }

    fn note(&mut self, directive: &Directive, effect: Effect, reason: impl Into<String>) {
        let note = Note::on(directive, effect, reason);
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    fn not_applied(&mut self, directive: &Directive, reason: impl Into<String>) {
        self.note(directive, Effect::NotApplied, reason);
    }

    /// A plugin, if there is one that takes these settings; otherwise `because` of which it is wanted is not applied.
    fn plugin(&mut self, name: &str, config: Yaml, because: &Directive) -> Option<Yaml> {
        let settings = config.json().as_object().cloned().unwrap_or_default();
        match (self.plugin_check)(name, &settings).into_iter().next() {
            Some(problem) => {
                self.not_applied(because, format!("the plugin `{name}` cannot do it: {problem}"));
                None
            }
            None => {
                let plugin = MapOf::default()
                    .with("name", Yaml::text(name))
                    .with("config", config);
                Some(plugin.done())
            }
        }
    }

    /// The name of a service that is as `service` says; `wanted` if that is free.
    fn service(&mut self, wanted: &str, service: Yaml) -> String {
        if let Some((name, _)) = self.services.iter().find(|(_, known)| *known == service) {
            return name.clone();
        }
        let taken: Vec<&str> = self.services.iter().map(|(name, _)| name.as_str()).collect();
        let name = free(wanted, &taken);
        self.services.push((name.clone(), service));
        name
    }

    fn finish(mut self) -> Translation {
        self.notes.sort();
        self.notes.dedup();
        let shown = self.certificates.into_iter().map(Certificate::written);
        let certificates = shown.chain(with_names(self.own_certificates));
        let manifest = MapOf::default()
            .with("listeners", Yaml::Map(self.listeners))
            .with("certificates", Yaml::List(certificates.collect()))
            .with(
                "ca_certificates",
                Yaml::List(with_names(self.authorities).collect()),
            )
            .with("upstreams", Yaml::List(self.upstreams))
            .with("services", Yaml::Map(self.services))
            .with("routes", Yaml::List(self.routes));
        let manifest = if manifest.is_empty() {
            "{}\n".to_owned()
        } else {
            manifest.done().to_string()
        };
        Translation {
            manifest,
            node: self.node,
            notes: self.notes,
        }
    }
}

/// `wanted` as a name: what may not be in one becomes `-`.
fn name_of(wanted: &str) -> String {
    let allowed = |character: char| character.is_ascii_alphanumeric() || "-._".contains(character);
    let name: String = wanted
        .chars()
        .map(|character| if allowed(character) { character } else { '-' })
        .take(100)
        .collect();
    match name.trim_matches(['-', '.', '_']) {
        "" => "default".to_owned(),
        name => name.to_owned(),
    }
}

/// `wanted`, or the first of `wanted-2`, `wanted-3`... that is not taken.
fn free<T: AsRef<str>>(wanted: &str, taken: &[T]) -> String {
    let is_taken = |name: &str| taken.iter().any(|taken| taken.as_ref() == name);
    let mut name = wanted.to_owned();
    let mut number = 1;
    while is_taken(&name) {
        number += 1;
        name = format!("{wanted}-{number}");
    }
    name
}

/// A time as a manifest writes it.
fn duration(milliseconds: u64) -> Yaml {
    Yaml::Text(if milliseconds.is_multiple_of(1_000) {
        format!("{}s", milliseconds / 1_000)
    } else {
        format!("{milliseconds}ms")
    })
}

fn number(number: u64) -> Yaml {
    Yaml::Number(i64::try_from(number).unwrap_or(i64::MAX))
}
