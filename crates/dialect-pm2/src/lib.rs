//! PM2's words, read into values: ecosystem files, Procfiles, flags, environments and selectors.
//!
//! ```text
//! .json      ─► json5      ┐
//! .yml .yaml ─► yaml       ├─► tree ─► ecosystem ─► App, with every problem at once
//! .config.js ─► javascript ┘           Procfile ──┘  │
//!               (the user's node)      flags ────────┤ options: over an App, or an App of their own
//!                                                    ▼
//!                        shell, deploy, env, env_<name> ─► environment: what a process gets
//!                                                    │
//!                                                    └─► workload: what Hythe runs
//! ```
//!
//! One table of keys ([`App`]'s fields with their other names) serves files and flags, so that both take the
//! same values and make the same remarks. Reading goes on after a mistake: what is wrong is reported and then
//! treated as absent. Values are what the file says; nothing is looked up on this machine except by
//! [`file::load`], [`file::find_for_start`] and [`file::find_for_deploy`].
//!
//! Behaviour is PM2 7's where files depend on it. Left out on purpose: what PM2's paid services read (such
//! keys are accepted and remarked on), `node@<version>` being found through nvm, whether a script without an
//! extension is a binary (but for [`workload`]), and whether a cron expression is one. Only Linux can evaluate
//! JavaScript, as the rest of Hythe.

mod app;
mod convert;
pub mod deploy;
pub mod dump;
mod ecosystem;
pub mod environment;
mod fields;
pub mod file;
mod javascript;
mod json5;
mod literal;
mod node;
pub mod options;
mod problem;
pub mod procfile;
pub mod selector;
mod split;
pub mod workload;
mod yaml;

#[cfg(test)]
mod tests;

pub use app::{
    Account, App, ExecMode, FilterEnv, Instances, Interpreter, LogFile, LogType, Pattern, Watch, file_name,
};
pub use ecosystem::{Ecosystem, StaticSite};
pub use environment::Variables;
pub use file::{Format, LoadError, Parsed};
pub use javascript::{EvaluateError, Evaluator};
pub use options::Options;
pub use problem::{Place, Problem, Severity};
pub use split::split;
