//! Whole walkthroughs: the built `hythe` binary, real services, real clients.
//!
//! Every test has a home of its own (`hythe_testkit::home::Home`) with everything on free ports, so they run
//! side by side. Those that put load on the gateway take turns ([`world::alone`]): two cores carry one of
//! them. `HYTHE_LONG=1` makes the load last longer, for use by hand.

#![expect(clippy::unwrap_used, reason = "what is not there is a test that fails")]

mod apps;
mod changes;
mod containers;
mod crashes;
mod dashboard;
mod databases;
mod dependencies;
mod deploys;
mod ecosystems;
mod example;
mod explanations;
mod footprint;
mod grpc;
mod hard_coded_ports;
mod health;
mod hostile;
mod http2;
mod limits;
mod listeners;
mod nginx;
mod output;
mod pm2;
mod policies;
mod programs;
mod projects;
mod proxies;
mod rollouts;
mod scaling;
mod security;
mod server_loss;
mod sockets;
mod startups;
mod stopping;
mod streams;
mod swaps;
mod tls;
mod upgrades;
mod verbs;
mod world;
