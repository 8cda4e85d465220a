//! Every enabled plugin of the desired state with its settings read, and the chains made of them.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hythe_model::desired::Map;
use hythe_model::traffic::Plugin as Document;
use hythe_model::{Desired, Entry, FullName, Name};

use super::chain::{Chain, Destination, Link, Slot};
use super::{Plugin, PluginKind, SettingProblem, Verdict};
use crate::compile::{Plans, References, changed_names};
use crate::exchange::Exchange;
use crate::respond::{Failure, Form, Reply};
use crate::snapshot::Problem;

/// The plugins that there are now.
#[derive(Clone, Default)]
pub struct Plugins {
    /// The documents they were read from.
    seen: Map<Document>,
    list: BTreeMap<FullName, Configured>,
    /// Those of one route, perhaps with a service beside.
    of_routes: References,
    /// Those of one service and no route.
    of_services: References,
    /// Those of neither, for any caller.
    everywhere: BTreeSet<FullName>,
    /// Those of consumers alone, by plugin.
    of_consumers: BTreeMap<&'static str, OfConsumers>,
    /// Those that may send to services.
    senders: BTreeSet<FullName>,
    /// What is wrong with those that cannot be used as they are set up.
    problems: BTreeMap<FullName, Vec<String>>,
}

/// Where plugins are others than before.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    pub(crate) routes: BTreeSet<FullName>,
    pub(crate) services: BTreeSet<FullName>,
    pub(crate) everywhere: bool,
}

/// The instances of one plugin that are for consumers alone.
#[derive(Clone)]
struct OfConsumers {
    priority: i32,
    /// By consumer; of several for one the last by name runs.
    names: References,
    links: Arc<BTreeMap<FullName, Link>>,
}

#[derive(Clone)]
struct Configured {
    kind: PluginKind,
    route: Option<FullName>,
    service: Option<FullName>,
    consumer: Option<FullName>,
    /// Of the document it was read from; `None` if that could not be read.
    generation: Option<u64>,
    link: Link,
}

/// Stands in for a plugin that could not be read: nobody passes.
struct Closed;

const CLOSED: PluginKind = PluginKind {
    name: "closed",
    priority: i32::MAX,
    summary: "stands in for a plugin that cannot be read",
    parse: |_| Ok(Box::new(Closed)),
};

/// The same for one of some consumer: it comes last, when it is known who calls.
const CLOSED_TO_CONSUMER: PluginKind = PluginKind {
    name: "closed to a consumer",
    priority: i32::MIN,
    ..CLOSED
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
    /// Takes the newest documents in; tells where plugins are others now. Those that stand unchanged keep their state
    /// (counters): a change elsewhere must not reset a limit. One that cannot be read stays as it was; if it never
    /// was, it is closed and refuses every request that it is for. `plans` are the services that plugins may send to,
    /// of which `changed` are others than before.
    pub(crate) fn follow(
        &mut self,
        desired: &Desired,
        builtin: &[PluginKind],
        plans: &Plans,
        changed: &BTreeSet<FullName>,
    ) -> Reach {
        let mut concerned = changed_names(&self.seen, &desired.plugins);
        let senders = self
            .senders
            .iter()
            .filter(|sender| self.sends_to(sender, changed));
        concerned.extend(senders.cloned());
        // What cannot be used is tried again: what it lacks may be there now.
        concerned.extend(self.problems.keys().cloned());
        self.seen = Arc::clone(&desired.plugins);
        let mut reach = Reach::default();
        for name in concerned {
            let now = self.configured(&name, desired, builtin, plans);
            self.replace(name, now, &mut reach);
        }
        reach
    }

    pub(crate) fn problems(&self) -> impl Iterator<Item = Problem> {
        Problem::of_each("plugin", &self.problems)
    }

    fn sends_to(&self, sender: &FullName, services: &BTreeSet<FullName>) -> bool {
        let plugin = self.list.get(sender);
        let mut destinations = plugin
            .into_iter()
            .flat_map(|plugin| plugin.link.plugin.destinations());
        destinations.any(|service| {
            let service = FullName::new(sender.project.clone(), service.clone());
            services.contains(&service)
        })
    }

    /// A plugin as its document says now, or as near as can be; what is wrong with it is remembered.
    fn configured(
        &mut self,
        name: &FullName,
        desired: &Desired,
        builtin: &[PluginKind],
        plans: &Plans,
    ) -> Option<Configured> {
        self.problems.remove(name);
        let entry = desired.plugins.get(name).filter(|entry| entry.spec.enabled)?;
        let known = self.list.get(name);
        let mut mistakes = Vec::new();
        let mut configured = match known {
            Some(known) if known.generation == Some(entry.generation) => known.clone(),
            _ => match load(builtin, &entry.spec) {
                Ok((kind, plugin)) => Configured::new(name, entry, kind, plugin),
                Err(found) => {
                    mistakes = found;
                    Configured::closed(name, entry).or_known(known)
                }
            },
        };
        mistakes.extend(configured.find_destinations(name, plans));
        if !mistakes.is_empty() {
            self.problems.insert(name.clone(), mistakes);
        }
        Some(configured)
    }

    /// Puts a plugin in the place of the one before.
    fn replace(&mut self, name: FullName, now: Option<Configured>, reach: &mut Reach) {
        if let Some(before) = self.list.remove(&name) {
            if now.as_ref().is_some_and(|now| now.is_the_same(&before)) {
                self.list.insert(name, before);
                return;
            }
            reach.add(&before);
            self.unlist(&name, &before);
        }
        if let Some(now) = now {
            reach.add(&now);
            self.list.insert(name.clone(), now.clone());
            self.enlist(&name, &now);
        }
    }

    fn enlist(&mut self, name: &FullName, plugin: &Configured) {
        if !plugin.link.destinations.is_empty() {
            self.senders.insert(name.clone());
        }
        match (&plugin.route, &plugin.service, &plugin.consumer) {
            (Some(route), _, _) => self.of_routes.insert(route.clone(), name.clone()),
            (None, Some(service), _) => self.of_services.insert(service.clone(), name.clone()),
            (None, None, None) => {
                self.everywhere.insert(name.clone());
            }
            (None, None, Some(consumer)) => {
                let of_consumers = self.of_consumers.entry(plugin.kind.name);
                let known = of_consumers.or_insert_with(|| OfConsumers::new(plugin.kind.priority));
                known.names.insert(consumer.clone(), name.clone());
                known.choose(consumer, &self.list);
            }
        }
    }

    fn unlist(&mut self, name: &FullName, plugin: &Configured) {
        self.senders.remove(name);
        match (&plugin.route, &plugin.service, &plugin.consumer) {
            (Some(route), _, _) => self.of_routes.remove(route, name),
            (None, Some(service), _) => self.of_services.remove(service, name),
            (None, None, None) => {
                self.everywhere.remove(name);
            }
            (None, None, Some(consumer)) => {
                if let Some(known) = self.of_consumers.get_mut(plugin.kind.name) {
                    known.names.remove(consumer, name);
                    known.choose(consumer, &self.list);
                }
                self.of_consumers.retain(|_, known| !known.names.is_empty());
            }
        }
    }

    /// The chain of a route.
    pub fn chain(&self, route: &FullName, service: Option<&FullName>) -> Chain {
        let mut slots: BTreeMap<&'static str, (Slot, Ranks)> = BTreeMap::new();
        for (kind, of_consumers) in &self.of_consumers {
            let mut slot = slot(kind, of_consumers.priority);
            slot.anywhere = Arc::clone(&of_consumers.links);
            slots.insert(kind, (slot, Ranks::default()));
        }
        for plugin in self.concerning(route, service) {
            let kind = plugin.kind;
            let (slot, ranks) = slots
                .entry(kind.name)
                .or_insert_with(|| (slot(kind.name, kind.priority), Ranks::default()));
            ranks.settle(slot, plugin);
        }
        Chain::of(slots.into_values().map(|(slot, _)| slot).collect())
    }

    fn concerning(&self, route: &FullName, service: Option<&FullName>) -> impl Iterator<Item = &Configured> {
        let of_route = self.of_routes.get(route);
        let of_service = service.and_then(|service| self.of_services.get(service));
        let names = of_route.into_iter().chain(of_service).flatten();
        names
            .chain(&self.everywhere)
            .filter_map(|name| self.list.get(name))
            .filter(move |plugin| plugin.service.is_none() || plugin.service.as_ref() == service)
    }
}

impl OfConsumers {
    fn new(priority: i32) -> Self {
        Self {
            priority,
            names: References::default(),
            links: Arc::default(),
        }
    }

    /// Sets what runs for one consumer.
    fn choose(&mut self, consumer: &FullName, list: &BTreeMap<FullName, Configured>) {
        let links = Arc::make_mut(&mut self.links);
        let last = self.names.get(consumer).and_then(BTreeSet::last);
        match last.and_then(|name| list.get(name)) {
            Some(plugin) => links.insert(consumer.clone(), plugin.link.clone()),
            None => links.remove(consumer),
        };
    }
}

impl Reach {
    fn add(&mut self, plugin: &Configured) {
        match (&plugin.route, &plugin.service) {
            (Some(route), _) => {
                self.routes.insert(route.clone());
            }
            (None, Some(service)) => {
                self.services.insert(service.clone());
            }
            (None, None) => self.everywhere = true,
        }
    }
}

/// How specific the instances are that a slot holds so far.
#[derive(Default)]
struct Ranks {
    plain: Option<u8>,
    here: BTreeMap<FullName, u8>,
}

impl Ranks {
    /// Puts an instance into its slot, unless a more specific one is there.
    fn settle(&mut self, slot: &mut Slot, plugin: &Configured) {
        let rank = plugin.rank();
        match &plugin.consumer {
            None if self.plain.is_none_or(|known| known < rank) => {
                self.plain = Some(rank);
                slot.plain = Some(plugin.link.clone());
                slot.plain_wins = plugin.route.is_some() && plugin.service.is_some();
            }
            Some(consumer) if self.here.get(consumer).is_none_or(|known| *known < rank) => {
                self.here.insert(consumer.clone(), rank);
                slot.here.insert(consumer.clone(), plugin.link.clone());
            }
            _ => {}
        }
    }
}

fn slot(kind: &'static str, priority: i32) -> Slot {
    Slot {
        kind,
        priority,
        plain: None,
        plain_wins: false,
        here: BTreeMap::new(),
        anywhere: Arc::default(),
    }
}

/// Kong's text for a plugin that is not there.
pub fn not_enabled(name: &str) -> String {
    format!("plugin '{name}' not enabled; add it to the 'plugins' configuration property")
}

impl Configured {
    fn new(name: &FullName, entry: &Entry<Document>, kind: PluginKind, plugin: Arc<dyn Plugin>) -> Self {
        let full = |other: &Name| FullName::new(name.project.clone(), other.clone());
        let mut configured = Self {
            kind,
            route: entry.spec.route.as_ref().map(full),
            service: entry.spec.service.as_ref().map(full),
            consumer: entry.spec.consumer.as_ref().map(full),
            generation: Some(entry.generation),
            link: Link {
                kind: kind.name,
                scope: String::new(),
                plugin,
                destinations: Arc::default(),
            },
        };
        configured.link.scope = configured.scope();
        configured
    }

    fn closed(name: &FullName, entry: &Entry<Document>) -> Self {
        let kind = if entry.spec.consumer.is_some() {
            CLOSED_TO_CONSUMER
        } else {
            CLOSED
        };
        Self {
            generation: None,
            ..Self::new(name, entry, kind, Arc::new(Closed))
        }
    }

    /// The one that is known, which it stands in for; but one that is closed itself must be for the same requests: it
    /// guards what the newest document is for.
    fn or_known(self, known: Option<&Self>) -> Self {
        let stays = |known: &&Self| known.generation.is_some() || known.is_for_the_same(&self);
        known.filter(stays).cloned().unwrap_or(self)
    }

    fn is_for_the_same(&self, other: &Self) -> bool {
        (&self.route, &self.service, &self.consumer) == (&other.route, &other.service, &other.consumer)
    }

    /// Whether it runs as the other one does, and sends to the same services.
    fn is_the_same(&self, other: &Self) -> bool {
        let same = |(own, other): (&Destination, &Destination)| match (own, other) {
            (Some(own), Some(other)) => Arc::ptr_eq(own, other),
            (own, other) => own.is_none() && other.is_none(),
        };
        let (own, others) = (&self.link, &other.link);
        Arc::ptr_eq(&own.plugin, &others.plugin)
            && own.destinations.iter().zip(&*others.destinations).all(same)
    }

    /// Looks up the services that it may send to, as they are now; those that are missing, in words.
    fn find_destinations(&mut self, document: &FullName, services: &Plans) -> Vec<String> {
        let wanted = self.link.plugin.destinations();
        let mut missing = Vec::new();
        let find = |name: &Name| {
            let full = FullName::new(document.project.clone(), name.clone());
            let found = services.get(&full).cloned();
            if found.is_none() {
                missing.push(format!("there is no service `{name}`"));
            }
            found
        };
        self.link.destinations = wanted.iter().map(find).collect();
        missing
    }

    fn rank(&self) -> u8 {
        u8::from(self.route.is_some()) * 2 + u8::from(self.service.is_some())
    }

    fn scope(&self) -> String {
        let parts: Vec<_> = [
            ("route", &self.route),
            ("service", &self.service),
            ("consumer", &self.consumer),
        ]
        .into_iter()
        .filter_map(|(kind, name)| Some(format!("{kind} {}", name.as_ref()?)))
        .collect();
        if parts.is_empty() {
            "everywhere".to_owned()
        } else {
            parts.join(" and ")
        }
    }
}
