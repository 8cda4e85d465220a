//! `hythe.yaml`: from text to [`hythe_model::ProjectSpec`], with every mistake and its position at once.
//!
//! ```text
//! text -> tree            YAML with spans; anchors and merge keys resolved
//!      -> interpolate     ${VARIABLES} under `services`
//!      -> project         block by block, each by its table of keys (keys, reader)
//!      -> draft           names defined, references noted; checked when all is known
//!      -> ProjectSpec     if there was no error
//! ```
//!
//! A table of keys is the only place that knows a key: the reader takes ranges, choices and suggestions
//! from it, and the JSON [`schema`] and the reference in `docs/manifest.md` are written from it.
//! Reading goes on after a mistake: what is wrong is reported and then treated as absent.
//!
//! Under `services` the words are the Compose specification's, everywhere else Kong's. Left out on purpose:
//! merging of several files, `extends`, `include`, custom YAML tags, writing manifests. The settings of
//! plugins and the insides of certificates are checked by the caller, who knows them.

mod address;
mod autoscale;
mod certificate;
mod consumer;
mod context;
mod dependency;
mod deploy;
mod derived_name;
mod dotenv;
mod draft;
mod environment;
mod files;
mod find;
mod folder;
mod gateway_service;
mod healthcheck;
mod healthchecks;
mod interpolate;
mod keys;
mod limits;
mod listener;
mod logs;
#[cfg(test)]
mod manual;
mod matcher;
mod node;
mod path;
mod plugin;
mod position;
mod problem;
mod project;
mod reader;
mod reference;
mod report;
mod route;
mod rules;
mod schema;
mod service;
mod signal;
mod suggest;
mod tree;
mod upstream;
mod words;
mod workload;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

use hythe_model::{Name, ProjectName, ProjectSpec};

pub use files::{DiskFiles, Files, LARGEST_FILE};
pub use find::{FindError, find};
pub use problem::{Problem, Severity};
pub use report::render;
pub use schema::schema;

/// A manifest as it was read.
#[derive(Debug, Clone)]
pub struct Source {
    /// Where it is; its folder is where relative paths start.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
}

/// What a manifest's meaning depends on beside its text.
pub struct Inputs<'a> {
    /// The shell's variables; they win over those of `.env`.
    pub environment: BTreeMap<String, String>,
    /// The active profiles; `*` for all.
    pub profiles: Vec<String>,
    /// What is wrong with the settings of a plugin.
    pub plugin_check: &'a PluginCheck<'a>,
    /// What is wrong with a certificate.
    pub certificate_check: &'a CertificateCheck<'a>,
    /// Where `.env`, environment files, certificates and keys are read from.
    pub files: &'a dyn Files,
}

/// Checks a plugin by its name and settings.
pub type PluginCheck<'a> =
    dyn Fn(&str, &serde_json::Map<String, serde_json::Value>) -> Vec<PluginFinding> + 'a;

/// Something that a plugin's settings say to who knows the plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PluginFinding {
    /// Something is wrong.
    Problem(PluginProblem),
    /// Requests may be sent to this service of the project.
    Service {
        /// The keys (or indexes) that lead from `config` to its name.
        path: Vec<String>,
        /// Its name.
        name: Name,
    },
}

/// Something wrong with the settings of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginProblem {
    /// The keys (or indexes) that lead from `config` to it; empty if it is the plugin itself.
    pub path: Vec<String>,
    /// What is wrong, as a lower-case fragment.
    pub message: String,
    /// What to do about it.
    pub suggestion: Option<String>,
}

/// Checks a chain of certificates and, unless it is an authority's, its key; both are PEM.
pub type CertificateCheck<'a> = dyn Fn(&str, Option<&str>) -> Vec<CertificateProblem> + 'a;

/// Something wrong with a certificate or its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateProblem {
    /// Whether the key is to blame, and not the certificate.
    pub of_key: bool,
    /// Whether it cannot be used at all.
    pub fatal: bool,
    /// What is wrong, as a lower-case fragment that shows nothing of the key.
    pub message: String,
}

/// What became of a manifest.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// The project; `None` if any problem is an error.
    pub project: Option<ProjectSpec>,
    /// All problems in the order of the manifest, then those of environment files.
    pub problems: Vec<Problem>,
}

/// Reads a manifest.
pub fn parse(source: &Source, inputs: &Inputs<'_>) -> Parsed {
    let cx = context::Context::new(source, inputs);
    let project = project::read(&cx);
    let (problems, failed) = cx.finish();
    Parsed {
        project: project.filter(|_| !failed),
        problems,
    }
}

/// The project's name of a manifest that may have mistakes elsewhere; `None` if it does not name one.
///
/// # Errors
/// Every problem of a text that is no YAML map, or whose `name` is none.
pub fn project_name(source: &Source) -> Result<Option<ProjectName>, Vec<Problem>> {
    let inputs = Inputs {
        environment: BTreeMap::new(),
        profiles: Vec::new(),
        plugin_check: &|_, _| Vec::new(),
        certificate_check: &|_, _| Vec::new(),
        files: &DiskFiles,
    };
    let cx = context::Context::new(source, &inputs);
    let name = project::read_name(&cx);
    match cx.finish() {
        (problems, true) => Err(problems),
        (_, false) => Ok(name),
    }
}
