//! The writing of heads, for the fuzz targets; no part of the gateway's interface.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use hythe_http1::{RequestHead, ResponseHead};

use crate::edits::Edits;
use crate::heads::{Answer, AnswerFraming, Forward, Way, write_answer, write_request};

/// The `Host` that heads are written with.
pub const HOST: &str = "service.test";
/// The client they are written for.
pub const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// The head sent upstream, to `path`, for the request in `bytes`.
pub fn head_for_upstream(head: &RequestHead, bytes: &[u8], path: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut way = Way::default();
    way.see(PEER, 8000, false);
    let forward = Forward {
        head,
        bytes,
        method: head.method.of(bytes),
        path,
        query: head.query.map(|query| query.of(bytes)),
        host: HOST.as_bytes(),
        peer: PEER,
        proxy: None,
        local: SocketAddr::from(([127, 0, 0, 1], 8000)),
        way: &way,
        received: "1.1",
        https: false,
        certificate: None,
        stripped_prefix: None,
        request_id: "0123456789abcdef",
        edits: &Edits::default(),
    };
    write_request(&mut out, &forward);
    out
}

/// The head sent to the client, with a body in chunks, for the answer in `bytes`.
pub fn head_for_client(head: &ResponseHead, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let answer = Answer {
        head,
        bytes,
        framing: AnswerFraming::Chunked,
        received: "1.1",
        request_id: "0123456789abcdef",
        date: b"Sun, 06 Nov 1994 08:49:37 GMT",
        edits: &Edits::default(),
        close: false,
        announce_keep_alive: false,
    };
    write_answer(&mut out, &answer);
    out
}
