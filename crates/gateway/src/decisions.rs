//! What plugins decided about one request beside edits of its fields. Most requests have none, and then
//! there is nothing here to look at.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::directory::Caller;
use crate::files::Files;
use crate::mirror::Mirroring;
use crate::snapshot::ServicePlan;

/// The decisions about one request; the last one counts.
#[derive(Default)]
pub struct Decisions {
    /// Method to send instead of the client's.
    pub method: Option<Vec<u8>>,
    /// Path to send, without a query, instead of the one the route makes. It must be one: `/` first, and only
    /// what may stand in a path.
    pub path: Option<Vec<u8>>,
    /// Query to send instead of the client's; empty: none.
    pub query: Option<Vec<u8>>,
    /// `Host` to send.
    pub host: Option<Vec<u8>>,
    /// Most bytes that the request's body may have; beyond: 413.
    pub body_limit: Option<u64>,
    /// Who calls.
    pub caller: Option<Arc<Caller>>,
    /// The service that gets the request instead of the route's.
    pub(crate) destination: Option<Arc<ServicePlan>>,
    /// The files that answer instead of any service.
    pub(crate) files: Option<Arc<Files>>,
    /// Who gets a copy of the request.
    pub(crate) mirroring: Option<Mirroring>,
    /// Kept until the request is over.
    held: Vec<Box<dyn Any>>,
}

impl Decisions {
    /// Keeps something until the request is over, however it ends: a place in a limit.
    pub fn hold(&mut self, guard: impl Any) {
        self.held.push(Box::new(guard));
    }
}

impl fmt::Debug for Decisions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decisions")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("query", &self.query)
            .field("host", &self.host)
            .field("body_limit", &self.body_limit)
            .field("caller", &self.caller)
            .field("held", &self.held.len())
            .finish_non_exhaustive()
    }
}
