//! One request on its way through: what plugins see and may change.

use std::net::IpAddr;

use hythe_http1::{Known, RequestHead};

use crate::edits::Edits;

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
    /// Whether it came over TLS.
    pub https: bool,
    /// Its id: the client's `X-Request-Id` if it sent a usable one, otherwise 32 hex digits of our own.
    pub request_id: &'a str,
    /// Name of the matched route.
    pub route: &'a str,
    /// Name of the route's service.
    pub service: Option<&'a str>,
    /// Changes to the request sent upstream.
    pub request_edits: &'a mut Edits,
    /// Changes to the answer.
    pub answer_edits: &'a mut Edits,
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
