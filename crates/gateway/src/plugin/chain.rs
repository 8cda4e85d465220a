//! Which plugins a route runs, and in which order.

use std::sync::Arc;

use hythe_model::traffic::Plugin as Document;
use hythe_model::{Desired, Entry, FullName, Name};

use super::{Plugin, PluginKind, SettingProblem, Verdict};
use crate::exchange::Exchange;
use crate::respond::{Failure, Form, Reply};

/// The plugins of one route, first to last.
#[derive(Clone, Default)]
pub struct Chain {
    links: Arc<[Link]>,
}

/// One plugin in a chain.
#[derive(Clone)]
pub struct Link {
    /// What it is.
    pub kind: &'static str,
    /// Where it was set: `route users`, `service users`, `everywhere`.
    pub scope: String,
    /// It, with its settings.
    pub plugin: Arc<dyn Plugin>,
}

/// Every enabled plugin of the desired state with its settings read.
#[derive(Default)]
pub struct Plugins {
    list: Vec<Configured>,
}

/// A plugin that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginProblem {
    /// Name of the document.
    pub document: FullName,
    /// What is wrong.
    pub problems: Vec<String>,
}

#[derive(Clone)]
struct Configured {
    kind: PluginKind,
    document: FullName,
    route: Option<FullName>,
    service: Option<FullName>,
    consumer: bool,
    /// Of the document it was read from; `None` if that could not be read.
    generation: Option<u64>,
    plugin: Arc<dyn Plugin>,
}

/// Stands in for a plugin that could not be read: nobody passes.
struct Closed;

const CLOSED: PluginKind = PluginKind {
    name: "closed",
    priority: i32::MAX,
    summary: "stands in for a plugin that cannot be read",
    parse: |_| Ok(Box::new(Closed)),
};

impl Plugin for Closed {
    fn before(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let form = Form::wanted_by(exchange.head, exchange.bytes);
        Verdict::Respond(Reply::page(Failure::Misconfigured, form, exchange.request_id))
    }
}

/// Finds a document's plugin and reads its settings; all mistakes, in words.
fn load(builtin: &[PluginKind], document: &Document) -> Result<(PluginKind, Arc<dyn Plugin>), Vec<String>> {
    let kind = builtin.iter().find(|kind| kind.name == document.name);
    let kind = kind.ok_or_else(|| vec![not_enabled(&document.name)])?;
    match (kind.parse)(&document.config) {
        Ok(plugin) => Ok((*kind, Arc::from(plugin))),
        Err(mistakes) => Err(mistakes.iter().map(SettingProblem::to_string).collect()),
    }
}

impl Plugins {
    /// Reads every plugin of `desired`. Those that stand unchanged in `earlier` keep their state
    /// (counters): a change elsewhere must not reset a limit. One that cannot be read stays as it is in
    /// `earlier`; if it is not there, it is closed and refuses every request.
    pub fn read(desired: &Desired, builtin: &[PluginKind], earlier: &Self) -> (Self, Vec<PluginProblem>) {
        let mut plugins = Self::default();
        let mut problems = Vec::new();
        for (document, entry) in desired.plugins.iter().filter(|(_, entry)| entry.spec.enabled) {
            let known = earlier.list.iter().find(|known| known.document == *document);
            let configured = match known {
                Some(known) if known.generation == Some(entry.generation) => known.clone(),
                _ => match load(builtin, &entry.spec) {
                    Ok((kind, plugin)) => Configured::new(document, entry, kind, plugin),
                    Err(mistakes) => {
                        problems.push(PluginProblem {
                            document: document.clone(),
                            problems: mistakes,
                        });
                        known
                            .cloned()
                            .unwrap_or_else(|| Configured::closed(document, entry))
                    }
                },
            };
            plugins.list.push(configured);
        }
        (plugins, problems)
    }

    /// The chain of a route: of each plugin the most specific instance (Kong: route and service, route,
    /// service, everywhere), by falling priority. Instances for consumers wait for consumers to be known.
    pub fn chain(&self, route: &FullName, service: Option<&FullName>) -> Chain {
        let mut chosen: Vec<(&Configured, u8)> = Vec::new();
        for plugin in self.list.iter().filter(|plugin| !plugin.consumer) {
            let Some(specific) = plugin.specificity(route, service) else {
                continue;
            };
            match chosen
                .iter_mut()
                .find(|(other, _)| other.kind.name == plugin.kind.name)
            {
                Some(other) if other.1 < specific => *other = (plugin, specific),
                Some(_) => {}
                None => chosen.push((plugin, specific)),
            }
        }
        chosen.sort_by_key(|(plugin, _)| (-plugin.kind.priority, plugin.kind.name));
        let links = chosen.into_iter().map(|(plugin, _)| Link {
            kind: plugin.kind.name,
            scope: plugin.scope(),
            plugin: Arc::clone(&plugin.plugin),
        });
        Chain {
            links: links.collect(),
        }
    }
}

/// Kong's text for a plugin that is not there.
pub fn not_enabled(name: &str) -> String {
    format!("plugin '{name}' not enabled; add it to the 'plugins' configuration property")
}

impl Configured {
    fn new(name: &FullName, entry: &Entry<Document>, kind: PluginKind, plugin: Arc<dyn Plugin>) -> Self {
        let full = |other: &Name| FullName::new(name.project.clone(), other.clone());
        Self {
            kind,
            document: name.clone(),
            route: entry.spec.route.as_ref().map(full),
            service: entry.spec.service.as_ref().map(full),
            consumer: entry.spec.consumer.is_some(),
            generation: Some(entry.generation),
            plugin,
        }
    }

    fn closed(name: &FullName, entry: &Entry<Document>) -> Self {
        Self {
            generation: None,
            ..Self::new(name, entry, CLOSED, Arc::new(Closed))
        }
    }

    fn specificity(&self, route: &FullName, service: Option<&FullName>) -> Option<u8> {
        let route_fits = self.route.as_ref().map(|wanted| wanted == route);
        let service_fits = self.service.as_ref().map(|wanted| Some(wanted) == service);
        match (route_fits, service_fits) {
            (Some(false), _) | (_, Some(false)) => None,
            (Some(true), Some(true)) => Some(3),
            (Some(true), None) => Some(2),
            (None, Some(true)) => Some(1),
            (None, None) => Some(0),
        }
    }

    fn scope(&self) -> String {
        match (&self.route, &self.service) {
            (Some(route), Some(service)) => format!("route {route} and service {service}"),
            (Some(route), None) => format!("route {route}"),
            (None, Some(service)) => format!("service {service}"),
            (None, None) => "everywhere".to_owned(),
        }
    }
}

impl Chain {
    /// The plugins, first to last.
    pub fn links(&self) -> &[Link] {
        &self.links
    }
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.links.iter().map(|link| (link.kind, &link.scope)))
            .finish()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::IpAddr;

    use hythe_http1::{Limits, RequestHead};
    use hythe_model::Entry;
    use hythe_model::traffic::Plugin as Document;
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::edits::Edits;
    use crate::exchange::Exchange;
    use crate::plugin::{Verdict, correlation_id, request_termination};

    /// A plugin's settings from JSON.
    pub(crate) fn settings(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    /// Runs a plugin that continues; what it adds to the request and to the answer, a line a field.
    pub(crate) fn ran(plugin: &dyn Plugin, request: &str) -> (String, String) {
        let (verdict, request, answer) = run(plugin, request);
        assert!(matches!(verdict, Verdict::Continue));
        (lines(&request), lines(&answer))
    }

    /// Runs a plugin; the answer it gives itself.
    pub(crate) fn answered(plugin: &dyn Plugin, request: &str) -> Option<(u16, String)> {
        match run(plugin, request).0 {
            Verdict::Respond(reply) => Some((reply.status, String::from_utf8(reply.body.clone()).unwrap())),
            Verdict::Continue => None,
            Verdict::Await(_) => panic!("nothing here waits"),
        }
    }

    fn run(plugin: &dyn Plugin, request: &str) -> (Verdict, Edits, Edits) {
        let mut head = RequestHead::default();
        head.parse(request.as_bytes(), &Limits::default()).unwrap();
        let (mut request_edits, mut answer_edits) = (Edits::default(), Edits::default());
        let mut exchange = Exchange {
            head: &head,
            bytes: request.as_bytes(),
            peer: IpAddr::from([127, 0, 0, 1]),
            https: false,
            request_id: "0123",
            route: "r",
            service: None,
            request_edits: &mut request_edits,
            answer_edits: &mut answer_edits,
        };
        let verdict = plugin.before(&mut exchange);
        (verdict, request_edits, answer_edits)
    }

    fn lines(edits: &Edits) -> String {
        edits
            .added()
            .map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value)))
            .collect()
    }

    /// Document, plugin, service, route, config.
    type Row<'a> = (&'a str, &'a str, Option<&'a str>, Option<&'a str>, Value);

    fn desired(plugins: &[Row<'_>]) -> Desired {
        let mut desired = Desired::default();
        for (name, plugin, service, route, config) in plugins {
            let spec = Document {
                name: (*plugin).to_owned(),
                service: service.map(|service| service.parse().unwrap()),
                route: route.map(|route| route.parse().unwrap()),
                consumer: None,
                config: settings(config.clone()),
                enabled: true,
                tags: Vec::new(),
            };
            let entry = Entry {
                uid: String::new(),
                generation: 1,
                created_at: 0,
                spec,
            };
            Arc::make_mut(&mut desired.plugins).insert(name.parse().unwrap(), Arc::new(entry));
        }
        desired
    }

    const BUILTIN: [PluginKind; 2] = [correlation_id::KIND, request_termination::KIND];

    #[test]
    fn the_most_specific_wins_and_priority_orders() {
        let desired = desired(&[
            ("a", "request-termination", None, None, json!({})),
            ("b", "request-termination", Some("s"), None, json!({})),
            ("c", "request-termination", None, Some("r"), json!({})),
            ("d", "correlation-id", None, None, json!({})),
        ]);
        let plugins = Plugins::read(&desired, &BUILTIN, &Plugins::default()).0;
        let chain = |route: &str, service: Option<&str>| {
            let service = service.map(|service| service.parse().unwrap());
            let chain = plugins.chain(&route.parse().unwrap(), service.as_ref());
            chain
                .links()
                .iter()
                .map(|link| format!("{} {}", link.kind, link.scope))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            chain("r", Some("s")),
            ["correlation-id everywhere", "request-termination route r"]
        );
        assert_eq!(
            chain("x", Some("s")),
            ["correlation-id everywhere", "request-termination service s"]
        );
        assert_eq!(
            chain("x", None),
            ["correlation-id everywhere", "request-termination everywhere"]
        );
    }

    #[test]
    fn every_problem_is_told() {
        let desired = desired(&[
            ("a", "nonsense", None, None, json!({})),
            (
                "b",
                "request-termination",
                None,
                None,
                json!({"status_code": "x"}),
            ),
        ]);
        let (plugins, problems) = Plugins::read(&desired, &BUILTIN, &Plugins::default());
        let texts: Vec<_> = problems
            .into_iter()
            .flat_map(|problem| problem.problems)
            .collect();
        assert_eq!(
            texts,
            [
                "plugin 'nonsense' not enabled; add it to the 'plugins' configuration property",
                "config.status_code: expected an integer",
            ]
        );
        // Nobody passes where a guard cannot be read.
        let chain = plugins.chain(&"any".parse().unwrap(), None);
        let kinds: Vec<_> = chain.links().iter().map(|link| link.kind).collect();
        assert_eq!(kinds, ["closed"]);
        let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(answered(&*chain.links()[0].plugin, request).unwrap().0, 503);
    }

    #[test]
    fn a_plugin_that_became_bad_stays_as_it_was() {
        let termination = |generation, status| {
            let mut desired = desired(&[(
                "a",
                "request-termination",
                None,
                None,
                json!({"status_code": status}),
            )]);
            for entry in Arc::make_mut(&mut desired.plugins).values_mut() {
                Arc::make_mut(entry).generation = generation;
            }
            desired
        };
        let (good, problems) = Plugins::read(&termination(1, json!(410)), &BUILTIN, &Plugins::default());
        assert_eq!(problems, []);
        let (kept, problems) = Plugins::read(&termination(2, json!("x")), &BUILTIN, &good);
        assert_eq!(problems.len(), 1);
        let chain = kept.chain(&"any".parse().unwrap(), None);
        assert_eq!(
            answered(&*chain.links()[0].plugin, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                .unwrap()
                .0,
            410
        );
        // As long as it is bad it is told.
        assert_eq!(
            Plugins::read(&termination(2, json!("x")), &BUILTIN, &kept)
                .1
                .len(),
            1
        );
    }
}
