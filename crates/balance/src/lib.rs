//! Which endpoint of a pool serves a request.
//!
//! ```text
//!  EndpointTable ── one EndpointStats for each address, shared by all pools and all their versions
//!        │
//!  Pool::new(name, algorithm, endpoints, &table)     immutable: who may be picked, in which rotation
//!        │
//!  PoolCell::replace(pool)                           the one mutable place; the rotation goes on
//!        │
//!  PoolCell::pick(&tried) ──► Lease                  counts itself in flight until it is dropped
//! ```
//!
//! Health and weights are part of a pool: a change makes a new one, so that picking reads nothing that changes but
//! counters. Rotation is nginx's smooth weighted round robin (see the module `rotation`), least
//! connections compares requests in flight by weight. Counters are atomics for the whole node, so both are exact
//! across workers.
//!
//! # Draining an endpoint
//! A pool *lists* the members it may pick from when it is built and takes that back when it is replaced.
//! A pick counts itself in flight first and looks whether its member is still listed afterwards; whoever drains
//! asks [`is_listed`](hythe_ports::traffic::Traffic::is_listed) first and
//! [`in_flight`](hythe_ports::traffic::Traffic::in_flight) afterwards. In the one order of all these steps
//! either the drainer sees the request or the request sees that it must go elsewhere, however
//! long somebody holds on to an old pool.
//!
//! # What is left out
//! Weights that fall with failures, slow start, backup members and hashing by a key. Health is judged elsewhere
//! and arrives as a new pool.

mod endpoint_table;
mod lease;
mod pool;
mod pool_cell;
mod rotation;

#[cfg(test)]
mod tests;

pub use endpoint_table::{EndpointStats, EndpointTable};
pub use lease::{Lease, Tried};
pub use pool::{Member, Pool};
pub use pool_cell::PoolCell;
