//! Which plugins a route runs, and in which order.

use std::sync::Arc;

use hythe_model::{Desired, FullName};

use super::{Plugin, PluginKind, SettingProblem};

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

struct Configured {
    kind: PluginKind,
    document: FullName,
    route: Option<FullName>,
    service: Option<FullName>,
    consumer: bool,
    generation: u64,
    plugin: Arc<dyn Plugin>,
}

impl Plugins {
    /// Reads every plugin of `desired`. Those that stand unchanged in `earlier` keep their state
    /// (counters): a change elsewhere must not reset a limit.
    ///
    /// # Errors
    /// Every plugin that is unknown or has settings that cannot be read.
    pub fn read(
        desired: &Desired,
        builtin: &[PluginKind],
        earlier: &Self,
    ) -> Result<Self, Vec<PluginProblem>> {
        let mut plugins = Self::default();
        let mut problems = Vec::new();
        for (document, entry) in desired.plugins.iter().filter(|(_, entry)| entry.spec.enabled) {
            let full = |name: &hythe_model::Name| FullName::new(document.project.clone(), name.clone());
            let kind = builtin.iter().find(|kind| kind.name == entry.spec.name);
            let Some(kind) = kind else {
                problems.push(PluginProblem {
                    document: document.clone(),
                    problems: vec![not_enabled(&entry.spec.name)],
                });
                continue;
            };
            let kept = earlier
                .list
                .iter()
                .find(|known| known.document == *document && known.generation == entry.generation)
                .map(|known| Arc::clone(&known.plugin));
            let plugin = match kept.map_or_else(|| (kind.parse)(&entry.spec.config).map(Arc::from), Ok) {
                Ok(plugin) => plugin,
                Err(mistakes) => {
                    let problem = mistakes.iter().map(SettingProblem::to_string).collect();
                    problems.push(PluginProblem {
                        document: document.clone(),
                        problems: problem,
                    });
                    continue;
                }
            };
            plugins.list.push(Configured {
                kind: *kind,
                document: document.clone(),
                route: entry.spec.route.as_ref().map(full),
                service: entry.spec.service.as_ref().map(full),
                consumer: entry.spec.consumer.is_some(),
                generation: entry.generation,
                plugin,
            });
        }
        if problems.is_empty() {
            Ok(plugins)
        } else {
            Err(problems)
        }
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
        let plugins = Plugins::read(&desired, &BUILTIN, &Plugins::default()).unwrap();
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
        let problems = Plugins::read(&desired, &BUILTIN, &Plugins::default())
            .err()
            .unwrap();
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
    }
}
