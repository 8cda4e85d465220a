//! One request on its way through: what plugins see and may change.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hythe_http1::{Known, RequestHead, path};
use hythe_model::ProjectName;
use hythe_routing::Match;
use hythe_tls::Presented;

use crate::decisions::Decisions;
use crate::directory::{Caller, Directory, Proof};
use crate::edits::Edits;
use crate::metrics::Metrics;
use crate::plugin::chain::Destination;
use crate::respond::{Form, Reply};
use crate::snapshot::{RoutePlan, ServicePlan};

/// A request, as a head of byte ranges that is never rewritten in place, plus lists of edits for the
/// request sent upstream and for the answer sent back.
#[derive(Debug)]
pub struct Exchange<'a> {
    /// The head as it came in.
    pub head: &'a RequestHead,
    /// The bytes its ranges point into.
    pub bytes: &'a [u8],
    /// Who sent it: the other end of the connection.
    pub peer: IpAddr,
    /// Where it came in.
    pub local: SocketAddr,
    /// Whether it came over TLS.
    pub https: bool,
    /// The certificate that the client showed and that was verified.
    pub client_certificate: Option<&'a Presented>,
    /// Its id: the client's `X-Request-Id` if it sent a usable one, otherwise 32 hex digits of our own.
    pub request_id: &'a str,
    /// Project of the matched route.
    pub project: &'a ProjectName,
    /// Name of the matched route.
    pub route: &'a str,
    /// Name of the route's service.
    pub service: Option<&'a str>,
    /// Changes to the request sent upstream.
    pub request_edits: &'a mut Edits,
    /// Changes to the answer.
    pub answer_edits: &'a mut Edits,
    /// Who may call.
    pub directory: &'a Directory,
    /// What the gateway counts.
    pub metrics: &'a Metrics,
    pub(crate) decisions: &'a mut Option<Box<Decisions>>,
    /// The services that the plugin at work may send to, in its own order.
    pub(crate) destinations: &'a [Destination],
    pub(crate) matched: Option<&'a Match<'a, RoutePlan>>,
}

impl<'a> Exchange<'a> {
    /// The method.
    pub fn method(&self) -> &'a [u8] {
        self.head.method.of(self.bytes)
    }

    /// The path as sent, without the query.
    pub fn path(&self) -> &'a [u8] {
        self.head.path.of(self.bytes)
    }

    /// The query, without its `?`.
    pub fn query(&self) -> Option<&'a [u8]> {
        self.head.query.map(|query| query.of(self.bytes))
    }

    /// Every value of a header, by a name in any case.
    pub fn headers(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let bytes = self.bytes;
        let name = name.as_bytes().to_owned();
        self.head
            .fields
            .iter()
            .filter(move |field| field.name.of(bytes).eq_ignore_ascii_case(&name))
            .map(move |field| field.value.of(bytes))
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers(name).next()
    }

    /// Makes `caller` the one who calls, and tells the upstream.
    pub fn identify(&mut self, caller: &Arc<Caller>, proof: Proof<'_>) {
        caller.tell(proof, self.request_edits);
        self.decide().caller = Some(Arc::clone(caller));
    }

    /// An error page in the form that the client asks for.
    pub fn page(&self, status: u16, message: &str) -> Reply {
        let form = Form::wanted_by(self.head, self.bytes);
        Reply::error(status, message, form, self.request_id)
    }

    /// What is decided about the request so far.
    pub fn decisions(&self) -> Option<&Decisions> {
        self.decisions.as_deref()
    }

    /// Decides about the request.
    pub fn decide(&mut self) -> &mut Decisions {
        self.decisions.get_or_insert_default()
    }

    /// Sends the request to the plugin's destination at this place of its list; `false` if there is no such
    /// service.
    pub fn send_to(&mut self, place: usize) -> bool {
        let service = self.destination(place);
        let found = service.is_some();
        if found {
            self.decide().destination = service;
        }
        found
    }

    /// The plugin's destination at this place of its list, if there is such a service.
    pub(crate) fn destination(&self, place: usize) -> Option<Arc<ServicePlan>> {
        self.destinations.get(place)?.clone()
    }

    /// The named groups of the route's path regex.
    pub fn captures(&self) -> Vec<(&'a str, Vec<u8>)> {
        let Some(matched) = self.matched else {
            return Vec::new();
        };
        let normal = path::normalize(self.path());
        let captures = matched.captures(&normal);
        captures
            .into_iter()
            .map(|(name, value)| (name, value.to_vec()))
            .collect()
    }

    /// The first value of a header that the wire knows.
    pub fn known(&self, known: Known) -> Option<&'a [u8]> {
        known_value(self.head, self.bytes, known)
    }
}

/// The first value of a known header of a head.
pub(crate) fn known_value<'a>(head: &RequestHead, bytes: &'a [u8], known: Known) -> Option<&'a [u8]> {
    head.fields
        .iter()
        .find(|field| field.known == Some(known))
        .map(|field| field.value.of(bytes))
}

/// The first value of a header of a head, by a name in any case.
pub(crate) fn named_value<'a>(head: &RequestHead, bytes: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    head.fields
        .iter()
        .find(|field| field.name.of(bytes).eq_ignore_ascii_case(name))
        .map(|field| field.value.of(bytes))
}
