//! Which route a request takes, and the upstream path it gets.
//!
//! ```text
//!  routes ── compile ──► RouteTable ── find(request) ──► Match ── upstream_path ──► bytes to send
//!                            │
//!                            └── explain(request): the same answer in words
//! ```
//!
//! The rules are Kong's (`traditional_compatible`). A route lists hosts, headers, paths, methods and server
//! names; it takes a request when every kind it lists has a member that matches. Ours beside Kong's: a route may be
//! bound to listeners, and is not there for the others; of two that are equal otherwise the bound one wins. Of all routes that
//! take a request the best one wins ([`RouteTable::in_order`] shows the order).
//!
//! # How a request is found
//! Every pair of a route and one of its paths is a *candidate*. Its precedence is packed into one number, its *weight*,
//! so "which is better" is one comparison of integers.
//!
//! ```text
//!  host ─► bucket of the exact host ┐
//!       ─► buckets of *.suffix      ├─► radix tree of paths ─► stops on the way ─► least weight that passes
//!       ─► buckets of prefix.*      │      (longest first)      (sorted by weight)   method, port, regex, SNI,
//!       ─► bucket of routes without ┘                                                headers
//! ```
//!
//! A regex stands in the tree at the text it must begin with, a route without paths at the empty text, so one walk
//! finds all three sorts. A stop knows the weight of its best candidate, which ends most
//! walks after one look. The cost depends on the length of host and path, not on the number of routes, with
//! one exception: routes that share host *and* path and differ only in methods, headers or server names are
//! tried one after another.
//!
//! # How a table changes
//! A table never changes; [`RouteTable::changed`] makes the next one, which shares with it all that no changed route
//! stands in: trees share their nodes, stops and regexes. What is made anew is the way to the stops of the changed
//! routes and these stops. A weight says nothing of other routes, so none has to be moved for a newcomer. The
//! exception is the same: a stop is one part, with all routes that share host and path.
//!
//! # What is left out
//! Normalising the request path is the caller's: a path must come in decoded and without dot segments. Regexes are
//! linear-time, so look-around and back references are refused at compile time. `sources` and
//! `destinations` do not exist in the model. Nothing here locks or does IO; nothing allocates for a request,
//! except that a stop with many regexes asks them all at once and takes a byte for each, and where more than eight
//! paths of routes are prefixes of one another.

mod bucket;
mod change;
mod explain;
mod header_matcher;
mod host_index;
mod host_name;
mod methods;
mod node_text;
mod path_matcher;
mod pattern;
mod precedence;
mod radix;
mod ranked;
mod room;
mod route_matcher;
mod table;
mod upstream_path;

#[cfg(test)]
mod tests;

pub use change::{CompileProblem, RouteChange};
pub use explain::{Candidate, Verdict};
pub use header_matcher::HeaderLookup;
pub use path_matcher::MatchedPath;
pub use table::{Match, RequestKey, RouteEntry, RouteTable};
pub use upstream_path::upstream_path;
