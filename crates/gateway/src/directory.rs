//! Who may call: consumers, as plugins ask for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use hythe_model::{Desired, FullName, ProjectName};

use crate::edits::Edits;

/// The consumers of all projects.
#[derive(Debug, Default)]
pub struct Directory {
    /// By project, and in it by id and by username.
    callers: BTreeMap<ProjectName, BTreeMap<String, Arc<Caller>>>,
}

/// A consumer, as a request finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Its name.
    pub name: FullName,
    /// Its id in the store.
    pub id: String,
    /// Kong's `username`.
    pub username: Option<String>,
    /// Kong's `custom_id`.
    pub custom_id: Option<String>,
}

/// What a caller showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof<'a> {
    /// This credential, by its name.
    Credential(&'a str),
    /// Nothing: the plugin lets others pass as this consumer.
    Anonymous,
}

impl Directory {
    pub(crate) fn of(desired: &Desired) -> Self {
        let mut directory = Self::default();
        for (name, entry) in desired.consumers.iter() {
            directory.add(Caller {
                name: name.clone(),
                id: entry.uid.clone(),
                username: entry.spec.username.clone(),
                custom_id: entry.spec.custom_id.clone(),
            });
        }
        directory
    }

    pub(crate) fn add(&mut self, caller: Caller) {
        let caller = Arc::new(caller);
        let project = self.callers.entry(caller.name.project.clone()).or_default();
        for key in [Some(&caller.id), caller.username.as_ref()].into_iter().flatten() {
            project.insert(key.clone(), Arc::clone(&caller));
        }
    }

    /// A consumer of `project` by its id or its username.
    pub fn caller(&self, project: &ProjectName, wanted: &str) -> Option<&Arc<Caller>> {
        self.callers.get(project)?.get(wanted)
    }
}

impl Caller {
    /// Tells the upstream who calls (Kong 3.9: `X-Consumer-*`).
    pub(crate) fn tell(&self, proof: Proof<'_>, edits: &mut Edits) {
        edits.set("X-Consumer-ID", self.id.as_bytes());
        if let Some(custom_id) = &self.custom_id {
            edits.set("X-Consumer-Custom-ID", custom_id.as_bytes());
        }
        if let Some(username) = &self.username {
            edits.set("X-Consumer-Username", username.as_bytes());
        }
        match proof {
            Proof::Credential(credential) => edits.set("X-Credential-Identifier", credential.as_bytes()),
            Proof::Anonymous => edits.set("X-Anonymous-Consumer", &b"true"[..]),
        }
    }
}
