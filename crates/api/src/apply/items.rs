//! A project's documents, as JSON objects by kind and name.

use std::collections::{BTreeMap, BTreeSet};

use hythe_model::desired::Kind;
use hythe_model::{
    CaCertificate, Certificate, Consumer, Listener, Name, Plugin, ProjectName, ProjectSpec, Route, Service,
    Target, Upstream, Workload,
};
use hythe_ports::documents::{Expect, Identity, NodeId, OnDelete, Placement, Put, Reference};
use serde::Serialize;
use serde_json::{Map, Value};

/// The fields of a document's body.
pub(crate) type Fields = Map<String, Value>;

/// A document of a project, in the order in which changes are told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ItemKey {
    pub(crate) kind: ItemKind,
    pub(crate) name: String,
}

/// The kinds that a manifest makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ItemKind {
    Workload,
    Certificate,
    CaCertificate,
    Service,
    Upstream,
    Target,
    Route,
    Consumer,
    Plugin,
    Listener,
}

impl ItemKind {
    pub(crate) const ALL: [Self; 10] = [
        Self::Workload,
        Self::Certificate,
        Self::CaCertificate,
        Self::Service,
        Self::Upstream,
        Self::Target,
        Self::Route,
        Self::Consumer,
        Self::Plugin,
        Self::Listener,
    ];

    /// Its name in the store.
    pub(crate) fn in_store(self) -> &'static str {
        match self {
            Self::Workload => Workload::KIND,
            Self::Certificate => Certificate::KIND,
            Self::CaCertificate => CaCertificate::KIND,
            Self::Service => Service::KIND,
            Self::Upstream => Upstream::KIND,
            Self::Target => Target::KIND,
            Self::Route => Route::KIND,
            Self::Consumer => Consumer::KIND,
            Self::Plugin => Plugin::KIND,
            Self::Listener => Listener::KIND,
        }
    }

    /// Its fields that name another document of the project. What only makes sense with the other one goes
    /// with it; a route keeps its service.
    fn references(self) -> &'static [(&'static str, Self, OnDelete)] {
        match self {
            Self::Service => &[
                ("client_certificate", Self::Certificate, OnDelete::Restrict),
                ("ca_certificates", Self::CaCertificate, OnDelete::Restrict),
            ],
            Self::Route => &[("service", Self::Service, OnDelete::Restrict)],
            Self::Listener => &[
                ("service", Self::Service, OnDelete::Restrict),
                ("snis", Self::Service, OnDelete::Restrict),
                ("client_ca", Self::CaCertificate, OnDelete::Restrict),
            ],
            Self::Target => &[("upstream", Self::Upstream, OnDelete::Cascade)],
            Self::Plugin => &[
                ("service", Self::Service, OnDelete::Cascade),
                ("route", Self::Route, OnDelete::Cascade),
                ("consumer", Self::Consumer, OnDelete::Cascade),
            ],
            Self::Workload | Self::Certificate | Self::CaCertificate | Self::Upstream | Self::Consumer => &[],
        }
    }

    /// A stored body with every field that this binary knows, so that a field that an older one did not
    /// write counts as its default.
    pub(crate) fn complete(self, body: &Value) -> Fields {
        let complete = match self {
            Self::Workload => reread::<Workload>(body),
            Self::Certificate => reread::<Certificate>(body),
            Self::CaCertificate => reread::<CaCertificate>(body),
            Self::Service => reread::<Service>(body),
            Self::Upstream => reread::<Upstream>(body),
            Self::Target => reread::<Target>(body),
            Self::Route => reread::<Route>(body),
            Self::Consumer => reread::<Consumer>(body),
            Self::Plugin => reread::<Plugin>(body),
            Self::Listener => reread::<Listener>(body),
        };
        match complete.unwrap_or_else(|| body.clone()) {
            Value::Object(fields) => fields,
            _ => Fields::new(),
        }
    }
}

impl ItemKey {
    /// `users` for what runs, `route users` for the rest.
    pub(crate) fn label(&self) -> String {
        match self.kind {
            ItemKind::Workload => self.name.clone(),
            kind => format!("{} {}", kind.in_store(), self.name),
        }
    }

    pub(crate) fn identity(&self, project: &ProjectName) -> Identity {
        Identity::new(self.kind.in_store(), project.as_str(), &self.name)
    }

    /// The write that gives the document these fields.
    pub(crate) fn put(&self, project: &ProjectName, node: &NodeId, fields: Fields, expect: Expect) -> Put {
        let references = references(self.kind, project, &fields);
        let placement = match self.kind {
            ItemKind::Workload => Placement::Local(node.clone()),
            _ => Placement::Shared,
        };
        Put {
            placement,
            references,
            expect,
            ..Put::new(self.identity(project), Value::Object(fields))
        }
    }
}

fn references(kind: ItemKind, project: &ProjectName, fields: &Fields) -> BTreeSet<Reference> {
    let of_field = |(field, target, on_delete): &(&str, ItemKind, OnDelete)| {
        let reference = |name: &str| Reference {
            field: (*field).to_owned(),
            kind: target.in_store().to_owned(),
            scope: project.as_str().to_owned(),
            name: name.to_owned(),
            on_delete: *on_delete,
        };
        names(fields.get(*field))
            .into_iter()
            .map(reference)
            .collect::<Vec<_>>()
    };
    kind.references().iter().flat_map(of_field).collect()
}

/// A field that names one document, a list of them, or several by some key.
fn names(value: Option<&Value>) -> Vec<&str> {
    let values: Vec<&Value> = match value {
        Some(Value::Array(names)) => names.iter().collect(),
        Some(Value::Object(names)) => names.values().collect(),
        other => other.into_iter().collect(),
    };
    values.into_iter().filter_map(Value::as_str).collect()
}

/// Every document that a manifest asks for.
pub(crate) fn items(spec: &ProjectSpec) -> serde_json::Result<BTreeMap<ItemKey, Fields>> {
    let mut items = BTreeMap::new();
    add(&mut items, ItemKind::Workload, &spec.workloads)?;
    add(&mut items, ItemKind::Certificate, &spec.certificates)?;
    add(&mut items, ItemKind::CaCertificate, &spec.ca_certificates)?;
    add(&mut items, ItemKind::Service, &spec.services)?;
    add(&mut items, ItemKind::Upstream, &spec.upstreams)?;
    add(&mut items, ItemKind::Target, &spec.targets)?;
    add(&mut items, ItemKind::Route, &spec.routes)?;
    add(&mut items, ItemKind::Consumer, &spec.consumers)?;
    add(&mut items, ItemKind::Plugin, &spec.plugins)?;
    add(&mut items, ItemKind::Listener, &spec.listeners)?;
    Ok(items)
}

fn add<T: Serialize>(
    items: &mut BTreeMap<ItemKey, Fields>,
    kind: ItemKind,
    specs: &BTreeMap<Name, T>,
) -> serde_json::Result<()> {
    for (name, spec) in specs {
        if let Value::Object(fields) = serde_json::to_value(spec)? {
            items.insert(
                ItemKey {
                    kind,
                    name: name.to_string(),
                },
                fields,
            );
        }
    }
    Ok(())
}

fn reread<T: Kind>(body: &Value) -> Option<Value> {
    T::deserialize(body)
        .ok()
        .and_then(|spec| serde_json::to_value(spec).ok())
}
