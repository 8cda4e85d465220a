//! The desired state at one generation: every document of the kinds we understand, typed.
//!
//! A map is an `Arc` that is copied only when a change touches it, and then shares with the copy all but the parts that
//! the change is in; an entry is an `Arc` that is shared with every later state. So readers compare pointers to see what
//! changed, and find it without going over what did not ([`SharedMap::differences`]).

use std::sync::Arc;

pub use hythe_stdx::SharedMap;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::certificate::{CaCertificate, Certificate};
use crate::listener::Listener;
use crate::name::{FullName, Name, ProjectName};
use crate::project::ProjectSpec;
use crate::traffic::{Consumer, Plugin, Route, Service, Target, Upstream};
use crate::workload::Workload;

/// A kind of document.
pub trait Kind: Serialize + DeserializeOwned + PartialEq + Send + Sync + 'static {
    /// Its name in the store.
    const KIND: &'static str;
    /// Whether it belongs to one node (what that node runs) or is shared by every node.
    const LOCAL: bool;
    /// Its map in the desired state.
    fn map(desired: &mut Desired) -> &mut Map<Self>;
}

/// The documents of one kind.
pub type Map<T> = Arc<SharedMap<FullName, Arc<Entry<T>>>>;

/// What is of one project, of all that has a name.
pub fn of_project<'a, V>(
    map: &'a SharedMap<FullName, V>,
    project: &ProjectName,
) -> impl Iterator<Item = (&'a FullName, &'a V)> {
    map.iter_after(|name| name.project < *project)
        .take_while(|(name, _)| name.project == *project)
}

/// A document with what the store knows of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry<T> {
    /// Stable id (UUID text).
    pub uid: String,
    /// Generation of its last write.
    pub generation: u64,
    /// When it was created, Unix milliseconds.
    pub created_at: u64,
    /// What it says.
    pub spec: T,
}

/// The last manifest applied to a project, kept to tell what changed in the *file*.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AppliedManifest {
    /// The manifest's path; absolute.
    pub path: String,
    /// What it said.
    pub spec: ProjectSpec,
}

/// Everything that should be, at one generation.
#[derive(Debug, Clone, Default)]
pub struct Desired {
    /// The store's generation this is.
    pub generation: u64,
    /// What this node runs.
    pub workloads: Map<Workload>,
    /// Services of the gateway.
    pub services: Map<Service>,
    /// Routes.
    pub routes: Map<Route>,
    /// Upstreams.
    pub upstreams: Map<Upstream>,
    /// Targets of upstreams.
    pub targets: Map<Target>,
    /// Consumers.
    pub consumers: Map<Consumer>,
    /// Plugins.
    pub plugins: Map<Plugin>,
    /// Where the gateway listens besides the node's own addresses.
    pub listeners: Map<Listener>,
    /// Certificates.
    pub certificates: Map<Certificate>,
    /// Certificates of authorities.
    pub ca_certificates: Map<CaCertificate>,
    /// The applied manifest of each project, under the name `manifest`.
    pub manifests: Map<AppliedManifest>,
}

/// One change of one document, as the store reports it. `body: None`: it was deleted.
#[derive(Debug, Clone)]
pub struct DocumentChange<'a> {
    /// Kind, as in [`Kind::KIND`].
    pub kind: &'a str,
    /// Project.
    pub scope: &'a str,
    /// Name inside the project.
    pub name: &'a str,
    /// Stable id.
    pub uid: &'a str,
    /// Generation of this change.
    pub generation: u64,
    /// When the document was created, Unix milliseconds.
    pub created_at: u64,
    /// Its content.
    pub body: Option<&'a serde_json::Value>,
}

/// A document that this binary cannot read; the others are not affected.
#[derive(Debug, thiserror::Error)]
#[error("the stored {kind} `{scope}.{name}` cannot be read")]
pub struct UnreadableDocument {
    /// Kind.
    pub kind: String,
    /// Project.
    pub scope: String,
    /// Name.
    pub name: String,
    /// Why.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl Desired {
    /// Takes one change in. Kinds this binary does not know are left alone.
    ///
    /// # Errors
    /// When the document cannot be read; the state is then unchanged.
    pub fn apply(&mut self, change: &DocumentChange<'_>) -> Result<(), UnreadableDocument> {
        match change.kind {
            Workload::KIND => self.apply_to::<Workload>(change),
            Service::KIND => self.apply_to::<Service>(change),
            Route::KIND => self.apply_to::<Route>(change),
            Upstream::KIND => self.apply_to::<Upstream>(change),
            Target::KIND => self.apply_to::<Target>(change),
            Consumer::KIND => self.apply_to::<Consumer>(change),
            Plugin::KIND => self.apply_to::<Plugin>(change),
            Listener::KIND => self.apply_to::<Listener>(change),
            Certificate::KIND => self.apply_to::<Certificate>(change),
            CaCertificate::KIND => self.apply_to::<CaCertificate>(change),
            AppliedManifest::KIND => self.apply_to::<AppliedManifest>(change),
            _ => Ok(()),
        }
    }

    fn apply_to<T: Kind>(&mut self, change: &DocumentChange<'_>) -> Result<(), UnreadableDocument>
    where
        Entry<T>: Clone,
    {
        let unreadable = |source: Box<dyn std::error::Error + Send + Sync>| UnreadableDocument {
            kind: change.kind.to_owned(),
            scope: change.scope.to_owned(),
            name: change.name.to_owned(),
            source,
        };
        let project = change
            .scope
            .parse::<ProjectName>()
            .map_err(|error| unreadable(error.into()))?;
        let name = change
            .name
            .parse::<Name>()
            .map_err(|error| unreadable(error.into()))?;
        let name = FullName::new(project, name);
        let Some(body) = change.body else {
            Arc::make_mut(T::map(self)).remove(&name);
            return Ok(());
        };
        let spec = T::deserialize(body).map_err(|error| unreadable(error.into()))?;
        let entry = Entry {
            uid: change.uid.to_owned(),
            generation: change.generation,
            created_at: change.created_at,
            spec,
        };
        Arc::make_mut(T::map(self)).insert(name, Arc::new(entry));
        Ok(())
    }
}

macro_rules! kinds {
    ($($kind:ty, $name:literal, $local:literal, $field:ident;)*) => {$(
        impl Kind for $kind {
            const KIND: &'static str = $name;
            const LOCAL: bool = $local;
            fn map(desired: &mut Desired) -> &mut Map<Self> {
                &mut desired.$field
            }
        }
    )*};
}
kinds! {
    Workload, "workload", true, workloads;
    Service, "service", false, services;
    Route, "route", false, routes;
    Upstream, "upstream", false, upstreams;
    Target, "target", false, targets;
    Consumer, "consumer", false, consumers;
    Plugin, "plugin", false, plugins;
    Listener, "listener", false, listeners;
    Certificate, "certificate", false, certificates;
    CaCertificate, "ca_certificate", false, ca_certificates;
    AppliedManifest, "manifest", true, manifests;
}
