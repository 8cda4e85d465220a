//! Requests and answers that only this API has; the others are [`hythe_model::view`]. Fields are added,
//! never renamed or removed; a reader ignores fields it does not know.

use std::collections::BTreeMap;

use hythe_model::view::{GenerationsView, ServiceView};
use hythe_model::workload::Replicas;
use hythe_model::{Name, ProjectSpec, Service, Workload};
use serde::{Deserialize, Serialize};
use utoipa::{ToResponse, ToSchema};

/// Why a request was refused: problem details (RFC 9457).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema, ToResponse)]
#[response(description = "Why not.", content_type = "application/problem+json")]
pub struct Problem {
    /// `urn:hythe:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What is wrong, naming the thing.
    pub detail: String,
    /// What is wrong, for programs; stable.
    pub code: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Every single mistake, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
}

/// Applies a project.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyRequest {
    /// The manifest's path; absolute.
    pub path: String,
    /// What it says, resolved.
    #[schema(value_type = Object)]
    pub spec: ProjectSpec,
    /// Who asks, for the history.
    #[serde(default)]
    pub actor: Option<String>,
    /// Only tell what would change.
    #[serde(default)]
    pub dry_run: bool,
    /// Also when the project was applied from another file that still exists.
    #[serde(default)]
    pub force: bool,
}

/// Has services run that no manifest describes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddRequest {
    /// What is run, by service.
    #[schema(value_type = Object)]
    pub workloads: BTreeMap<Name, Workload>,
    /// How the gateway reaches them, where that is not as usual, by service.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub services: BTreeMap<Name, Service>,
    /// Replace the instances of those that are there and unchanged, too.
    #[serde(default)]
    pub restart: bool,
    /// Who asks, for the history.
    #[serde(default)]
    pub actor: Option<String>,
    /// Only tell what would change.
    #[serde(default)]
    pub dry_run: bool,
}

/// Who asks, for the history.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ActionRequest {
    /// Who asks, for the history.
    #[serde(default)]
    pub actor: Option<String>,
}

/// Sets how many copies run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScaleRequest {
    /// A number, 0 to 1,000, or `max`: one for each core.
    pub replicas: ReplicasText,
    /// Who asks, for the history.
    #[serde(default)]
    pub actor: Option<String>,
}

/// Sends a signal to instances of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignalRequest {
    /// The signal, by number.
    pub signal: i32,
    /// Only to these, by id; to all if none is named.
    #[serde(default)]
    pub instances: Vec<String>,
}

/// A number or `max`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum ReplicasText {
    /// This many.
    Count(u32),
    /// `max`.
    Text(String),
}

/// Ends the server and the minder.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StopServerRequest {
    /// End the services too; without it a server with running services refuses.
    #[serde(default)]
    pub with_services: bool,
}

/// Goes on as another binary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpgradeRequest {
    /// Its path on the server's machine; absolute.
    pub binary: String,
}

/// How far a change is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WaitView {
    /// Whether supervisor, registry and gateway have acted on the generation and every service asked for is
    /// settled.
    pub done: bool,
    /// Whether all three have acted on the generation.
    pub acted: bool,
    /// Where they are.
    pub generations: GenerationsView,
    /// The services asked for, as they are; one that is gone is left out.
    pub services: Vec<ServiceView>,
    /// What the gateway does not serve of the projects asked for, and why.
    #[serde(default)]
    pub problems: Vec<String>,
    /// What it does not serve of other projects.
    #[serde(default)]
    pub other_problems: Vec<String>,
}

/// A project that was applied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProjectView {
    /// Name.
    pub name: String,
    /// The manifest it was applied from.
    pub path: String,
    /// Generation of the last manifest.
    pub generation: u64,
    /// Its services, by name.
    pub services: Vec<String>,
}

/// Everything about one service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ServiceDetail {
    /// As `ls` shows it.
    pub service: ServiceView,
    /// What is run, if it runs here. Values of the environment are not shown.
    #[schema(value_type = Option<Object>)]
    pub workload: Option<Workload>,
    /// How the gateway reaches it, if it does.
    #[schema(value_type = Option<Object>)]
    pub gateway: Option<Service>,
}

/// An event of `/v1/events`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChangeEvent {
    /// Where the subsystems are.
    pub generations: GenerationsView,
    /// Services that are not as they were in the event before; in the first event all.
    pub services: Vec<ServiceView>,
    /// Services that are gone, by name.
    pub removed: Vec<String>,
}

impl ReplicasText {
    /// What is meant, unless it is neither a number up to 1,000 nor `max`.
    pub fn parse(&self) -> Option<Replicas> {
        match self {
            Self::Count(count) if *count <= 1_000 => Some(Replicas::Count(*count)),
            Self::Text(text) if text == "max" => Some(Replicas::Max),
            Self::Count(_) | Self::Text(_) => None,
        }
    }
}
