//! The seam for what teams do to requests: authenticate, limit, rewrite, answer.
//!
//! A plugin is one file: its settings, their `parse`, its behaviour, its tests; and one line in the list
//! of built-ins (`app/src/builtin.rs`). Nothing registers itself. For each request the chain of its route
//! is already built: scoped (the most specific instance of a plugin wins) and ordered by priority, so a
//! request pays for the plugins it has and nothing else. Changes to fields are edits beside the bytes; what else
//! may be decided about a request (path, host, destination, a limit of its body) is in `Decisions`.
//!
//! A plugin runs on the worker's thread and must not block. [`Verdict::Await`] hands a future that may
//! wait for another system; only that costs an allocation.

pub mod answer;
pub mod basic_auth;
pub mod canary;
pub mod chain;
pub mod compression;
pub mod concurrency_limit;
pub mod configured;
pub mod correlation_id;
pub mod files;
#[cfg(test)]
pub(crate) mod fixture;
pub mod ip_restriction;
pub mod mirror;
mod password;
mod query;
pub mod redirect;
pub mod request_rules;
pub mod request_size_limiting;
pub mod request_termination;
pub mod request_transformer;
pub mod response_transformer;
pub mod rewrite;
pub mod settings;
mod shares;
pub mod stub_status;
pub mod template;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use hythe_model::Name;
use serde_json::{Map, Value};

use self::answer::AnswerView;
use crate::exchange::Exchange;
use crate::respond::Reply;

/// A plugin with its settings read and checked.
pub trait Plugin: Send + Sync {
    /// Sees the request before it is sent upstream.
    fn before(&self, _exchange: &mut Exchange<'_>) -> Verdict {
        Verdict::Continue
    }

    /// Whether it looks at answers: chains in which nobody does pay nothing for it.
    fn sees_answers(&self) -> bool {
        false
    }

    /// Sees an answer before it is sent to the client, be it the service's or the gateway's own.
    fn after(&self, _answer: &mut AnswerView<'_>) {}

    /// The services it may send requests to; see [`Exchange::send_to`].
    fn destinations(&self) -> &[Name] {
        &[]
    }
}

/// What happens next.
pub enum Verdict {
    /// The next plugin, then the upstream.
    Continue,
    /// This answer; nothing is sent upstream.
    Respond(Reply),
    /// Whatever comes of this future. It must bound its own waiting: a client that has left is not noticed
    /// before it is answered.
    Await(Pin<Box<dyn Future<Output = Resume>>>),
}

/// What a plugin does with the request after a [`Verdict::Await`].
pub type Resume = Box<dyn FnOnce(&mut Exchange<'_>) -> Verdict>;

/// An entry in the list of built-in plugins: everything there is to know about one.
#[derive(Clone, Copy)]
pub struct PluginKind {
    /// Its name, as in manifests and Kong's API.
    pub name: &'static str,
    /// Order: higher runs first (Kong's numbers).
    pub priority: i32,
    /// One line for people.
    pub summary: &'static str,
    /// Reads its settings; all mistakes at once.
    pub parse: Parse,
}

/// Makes a plugin of its `config`.
pub type Parse = fn(&Map<String, Value>) -> Result<Box<dyn Plugin>, Vec<SettingProblem>>;

/// A mistake in a plugin's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingProblem {
    /// Where, from the top of `config`.
    pub path: Vec<String>,
    /// What is wrong, in Kong's words where it has them.
    pub message: String,
    /// What to write instead.
    pub suggestion: Option<String>,
}

impl fmt::Debug for PluginKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginKind")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for SettingProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "config.{}: {}", self.path.join("."), self.message)
    }
}
