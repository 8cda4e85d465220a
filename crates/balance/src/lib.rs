//! Which endpoint of a pool serves a request.
//!
//! ```text
//!  EndpointTable ── one EndpointStats for each address, shared by all pools and all their versions
//!        │
//!  Pool::new(name, rules, endpoints, &table, now)    immutable: who may be picked, in which rotation
//!        │
//!  PoolCell::replace(pool.next_version(..))          the one mutable place; turns and failures go on
//!        │
//!  PoolCell::pick(&mut query, now) ──► Lease         counts itself in flight until it is dropped, and
//!                                                    tells then what became of the request
//! ```
//!
//! Health and weights are part of a pool: a change makes a new one, so that picking reads nothing that changes but
//! counters. Choices are nginx's, exactly, for one request after the other: smooth weighted round robin
//! (module `rotation`), least connections, `ip_hash` (module `ip_hash`), and what failures do to all three (module `standing`). State
//! is the whole node's, as if nginx had one worker (or a `zone`).
//!
//! What must be exact needs an order of requests. Round robin takes it from one shared counter (module `turn`) as long as
//! nothing is held against any member, which is nearly always; then a pick costs an increment. Otherwise,
//! and for least connections, a short lock gives the order. Chance, the pace of members (module `pace`), addresses and
//! keys (module `slots`) need none.
//!
//! A member that comes or comes back may start slowly: for a while its weight grows from nearly nothing, evenly with
//! time, and until it is whole turns are uneven.
//!
//! Beside the picking: how many retries a pool takes ([`RetryBudget`]), and when it takes no requests at all
//! ([`CircuitBreaker`]).
//!
//! # Where it differs from nginx
//! - Time is counted in milliseconds and not in whole seconds.
//! - When failures have left nobody, failures are overlooked, so that somebody is asked rather than nobody. nginx
//!   answers 502 at once, which is what `panic_threshold: 0` does.
//! - A request that nobody has judged (the client left) does not clear a member's failures.
//! - `ip_hash` may have backups.
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
//! Active checks: they are judged elsewhere and arrive as a new pool, as does what passive checks (module `conduct`)
//! lead to; only ejected outliers (module `outlier`) come and go by the clock. Picking from more members than a scan should go
//! over: while something is held against a member, and for least connections, a pick costs by their number.

mod circuit_breaker;
mod conduct;
mod endpoint_table;
mod group;
mod ip_hash;
mod lease;
mod member;
mod outlier;
mod pace;
mod pool;
mod pool_cell;
mod query;
mod retry_budget;
mod rotation;
mod slots;
mod standing;
mod statuses;
mod turn;

#[cfg(test)]
mod tests;

pub use circuit_breaker::{BreakerRules, BreakerState, CircuitBreaker, Pass};
pub use conduct::PassiveRules;
pub use endpoint_table::{EndpointStats, EndpointTable};
pub use lease::{Fault, Lease, Timing};
pub use member::{Member, Obstacle};
pub use outlier::OutlierRules;
pub use pool::{Pool, Rules};
pub use pool_cell::PoolCell;
pub use query::Query;
pub use retry_budget::{RetryBudget, RetryShare};
pub use statuses::Statuses;
