//! The project while it is read: what is defined where, and who refers to whom.
//!
//! References are checked once everything is known. What leads to a service in an inactive profile is left
//! out with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use hythe_model::{Name, ProjectSpec};

use crate::context::Context;
use crate::position::Span;
use crate::problem::Finding;
use crate::suggest::did_you_mean;

#[derive(Default)]
pub(crate) struct Draft {
    pub(crate) spec: ProjectSpec,
    /// Services of profiles that are not active, with those profiles.
    pub(crate) inactive: BTreeMap<Name, Vec<String>>,
    pub(crate) dependencies: Vec<Edge>,
    defined: BTreeMap<(Kind, Name), Span>,
    claimed: BTreeSet<String>,
    references: Vec<Reference>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Service,
    Route,
    Upstream,
    Consumer,
    Plugin,
    Listener,
    Certificate,
    CaCertificate,
}

/// `from` waits for `on`.
pub(crate) struct Edge {
    pub(crate) from: Name,
    pub(crate) on: Name,
    pub(crate) span: Span,
    pub(crate) required: bool,
}

struct Reference {
    owner: (Kind, Name),
    to: (Kind, Name),
    span: Span,
}

impl Draft {
    /// Takes `name`; reports it when it is taken already.
    pub(crate) fn define(&mut self, cx: &Context<'_>, kind: Kind, name: &Name, span: Span) -> bool {
        let known = self.defined.get(&(kind, name.clone())).copied();
        if let Some(first) = known {
            let finding = Finding::error(span, format!("another {kind} is named `{name}`"));
            cx.report(finding.label(format!("first on line {}", cx.line(first))));
        } else {
            self.defined.insert((kind, name.clone()), span);
        }
        known.is_none()
    }

    /// Takes something else that may be there only once; `false` if it is taken.
    pub(crate) fn claim(&mut self, what: String) -> bool {
        self.claimed.insert(what)
    }

    /// Notes that `owner` names `to`, at `span`.
    pub(crate) fn refer(&mut self, owner: (Kind, Name), to: (Kind, Name), span: Span) {
        self.references.push(Reference { owner, to, span });
    }

    pub(crate) fn is_defined(&self, kind: Kind, name: &Name) -> bool {
        self.defined.contains_key(&(kind, name.clone()))
    }

    pub(crate) fn names(&self, kind: Kind) -> impl Iterator<Item = &str> {
        self.defined
            .keys()
            .filter(move |(other, _)| *other == kind)
            .map(|(_, name)| name.as_str())
    }

    /// Reports references to nothing and leaves out what leads to inactive services.
    pub(crate) fn check_references(&mut self, cx: &Context<'_>) {
        let references = std::mem::take(&mut self.references);
        let mut left_out = BTreeSet::new();
        // Routes first: plugins of a route that is left out go with it.
        for kind in [Kind::Service, Kind::Route, Kind::Plugin, Kind::Listener] {
            for reference in references.iter().filter(|reference| reference.owner.0 == kind) {
                if left_out.contains(&reference.to) || self.leads_nowhere(cx, reference) {
                    left_out.insert(reference.owner.clone());
                }
            }
        }
        for (kind, name) in left_out {
            match kind {
                Kind::Route => drop(self.spec.routes.remove(&name)),
                Kind::Listener => drop(self.spec.listeners.remove(&name)),
                _ => drop(self.spec.plugins.remove(&name)),
            }
        }
    }

    /// Whether it leads to something inactive; an error if it leads to nothing at all.
    fn leads_nowhere(&self, cx: &Context<'_>, reference: &Reference) -> bool {
        let (kind, name) = &reference.to;
        if self.defined.contains_key(&reference.to) {
            return false;
        }
        if *kind == Kind::Service && self.inactive.contains_key(name) {
            let owner = reference.owner.0;
            let message =
                format!("the service `{name}` is in a profile that is not active; this {owner} is left out");
            cx.report(Finding::warning(reference.span, message));
            return true;
        }
        let finding = Finding::error(reference.span, format!("no {kind} is named `{name}`"));
        cx.report(finding.maybe_help(did_you_mean(name.as_str(), self.names(*kind))));
        false
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Service => "service",
            Self::Route => "route",
            Self::Upstream => "upstream",
            Self::Consumer => "consumer",
            Self::Plugin => "plugin",
            Self::Listener => "listener",
            Self::Certificate => "certificate",
            Self::CaCertificate => "CA certificate",
        })
    }
}
