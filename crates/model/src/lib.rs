//! The words of Hythe: ids, desired state, observed state, and what people see of both.
//!
//! Pure: no IO, no clock, no randomness, no tokio. Times are milliseconds since the Unix epoch that the
//! caller hands in.
//!
//! - [`name`]: names and projects, parsed once.
//! - [`workload`]: what this node runs, [`log_rules`]: what becomes of its output. [`traffic`]: routes, services, upstreams, targets, consumers,
//!   plugins, and [`listener`] (shared by every gateway node). [`desired`]: all of it at one generation.
//! - [`balancing`]: by what requests are told apart, and what becomes of those that fail.
//! - [`project`]: what one manifest says.
//! - [`health`]: when an endpoint counts as healthy.
//! - [`instance`]: what runs. [`endpoint`]: what may receive traffic.
//! - [`schedule`]: when a cron expression comes due. [`watch`]: which changed files count.
//! - [`view`]: the documented, versioned shapes that `--json` and the native API show.

pub mod balancing;
pub mod certificate;
pub mod desired;
pub mod endpoint;
pub mod health;
pub mod instance;
pub mod listener;
pub mod log_rules;
pub mod name;
mod own_address;
pub mod project;
pub mod schedule;
pub mod traffic;
pub mod view;
pub mod watch;
pub mod workload;

pub use certificate::{CaCertificate, Certificate};
pub use desired::{Desired, Entry, Kind};
pub use endpoint::{Endpoint, Endpoints};
pub use health::HealthChecks;
pub use instance::{Exit, Instance, InstanceId, InstanceState, Instances};
pub use listener::{ClientVerify, Listener, ListenerProtocol, ProxyProtocol};
pub use log_rules::LogRules;
pub use name::{FullName, Name, NameError, ProjectName};
pub use own_address::{is_own_address, own_address};
pub use project::ProjectSpec;
pub use schedule::Schedule;
pub use traffic::{Consumer, Plugin, Route, Service, Target, Upstream};
pub use workload::{Revision, Workload};
