//! What one manifest says, resolved: the form in which the CLI hands a project to the server.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::certificate::{CaCertificate, Certificate};
use crate::listener::Listener;
use crate::name::{Name, ProjectName};
use crate::traffic::{Consumer, Plugin, Route, Service, Target, Upstream};
use crate::workload::Workload;

/// A whole project. Things that a manifest leaves unnamed (routes, targets, plugins) got stable names
/// from what they are, so that applying the same file again names them the same.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProjectSpec {
    /// The project; the default one if the manifest names none.
    #[serde(default)]
    pub project: ProjectName,
    /// What runs here.
    #[serde(default)]
    pub workloads: BTreeMap<Name, Workload>,
    /// Services of the gateway: one for each workload with a port, and those that only have a URL or
    /// targets.
    #[serde(default)]
    pub services: BTreeMap<Name, Service>,
    /// Routes.
    #[serde(default)]
    pub routes: BTreeMap<Name, Route>,
    /// Upstreams.
    #[serde(default)]
    pub upstreams: BTreeMap<Name, Upstream>,
    /// Targets.
    #[serde(default)]
    pub targets: BTreeMap<Name, Target>,
    /// Consumers.
    #[serde(default)]
    pub consumers: BTreeMap<Name, Consumer>,
    /// Plugins.
    #[serde(default)]
    pub plugins: BTreeMap<Name, Plugin>,
    /// Listeners.
    #[serde(default)]
    pub listeners: BTreeMap<Name, Listener>,
    /// Certificates.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub certificates: BTreeMap<Name, Certificate>,
    /// Certificates of authorities.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ca_certificates: BTreeMap<Name, CaCertificate>,
}
