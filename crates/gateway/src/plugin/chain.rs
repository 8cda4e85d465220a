//! Which plugins a request runs, and in which order.
//!
//! A chain has a slot for each plugin that applies to its route, by falling priority. What runs in a slot
//! depends on who calls, which a plugin earlier in the chain may find out: the most specific instance wins
//! (Kong 3.9: route, service and consumer; route and consumer; service and consumer; route and service;
//! consumer; route; service; everywhere).

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use hythe_model::FullName;

use super::Plugin;
use crate::snapshot::ServicePlan;

/// The plugins of one route, first to last.
#[derive(Clone, Default)]
pub struct Chain {
    slots: Arc<[Slot]>,
    sees_answers: bool,
}

/// The place of one plugin in a chain, with its instances.
#[derive(Clone)]
pub struct Slot {
    /// Its name.
    pub kind: &'static str,
    pub(super) priority: i32,
    /// For any caller.
    pub(super) plain: Option<Link>,
    /// Whether `plain` is more specific than what is set for a consumer alone.
    pub(super) plain_wins: bool,
    /// For some consumers, with this route or its service.
    pub(super) here: BTreeMap<FullName, Link>,
    /// For some consumers, everywhere.
    pub(super) anywhere: Arc<BTreeMap<FullName, Link>>,
}

/// An instance of a plugin in a chain.
#[derive(Clone)]
pub struct Link {
    /// What it is.
    pub kind: &'static str,
    /// Where it was set: `route users`, `service users`, `everywhere`.
    pub scope: String,
    /// It, with its settings.
    pub plugin: Arc<dyn Plugin>,
    /// The services it may send to, in its own order.
    pub(crate) destinations: Arc<[Destination]>,
}

/// A service that a plugin names; `None` if it is missing or disabled.
pub(crate) type Destination = Option<Arc<ServicePlan>>;

impl Chain {
    /// Puts the slots in order.
    pub(super) fn of(mut slots: Vec<Slot>) -> Self {
        slots.sort_by_key(|slot| (Reverse(slot.priority), slot.kind));
        let sees_answers = slots
            .iter()
            .flat_map(Slot::links)
            .any(|link| link.plugin.sees_answers());
        Self {
            slots: slots.into(),
            sees_answers,
        }
    }

    /// The slots, first to last.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Whether any plugin looks at answers.
    pub fn sees_answers(&self) -> bool {
        self.sees_answers
    }

    /// Every instance that may run, first to last.
    pub fn links(&self) -> impl Iterator<Item = &Link> {
        self.slots.iter().flat_map(Slot::links)
    }
}

impl Slot {
    /// What runs for this caller.
    pub fn for_caller(&self, caller: Option<&FullName>) -> Option<&Link> {
        let Some(caller) = caller else {
            return self.plain.as_ref();
        };
        if let Some(link) = self.here.get(caller) {
            return Some(link);
        }
        match &self.plain {
            Some(link) if self.plain_wins => Some(link),
            plain => self.anywhere.get(caller).or(plain.as_ref()),
        }
    }

    fn links(&self) -> impl Iterator<Item = &Link> {
        let scoped = self.here.values().chain(self.anywhere.values());
        self.plain.iter().chain(scoped)
    }
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.links().map(|link| (link.kind, &link.scope)))
            .finish()
    }
}
