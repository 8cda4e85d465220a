//! What calls of gRPC are told by the gateway itself: an answer that is all trailers, or the trailers of an answer
//! that its service did not bring to an end.
//!
//! Everything else about gRPC is HTTP/2 with trailers. Rules and texts are those of Kong 3.9.

use hythe_http1::{RequestHead, push_field, reason_phrase};

use crate::connection::Client;
use crate::exchange::named_value;
use crate::respond::{Failure, Reply};
use crate::worker::Workspace;

/// Statuses of gRPC that the gateway gives.
mod status {
    pub(super) const OK: u8 = 0;
    pub(super) const CANCELLED: u8 = 1;
    pub(super) const UNKNOWN: u8 = 2;
    pub(super) const INVALID_ARGUMENT: u8 = 3;
    pub(super) const DEADLINE_EXCEEDED: u8 = 4;
    pub(super) const PERMISSION_DENIED: u8 = 7;
    pub(super) const RESOURCE_EXHAUSTED: u8 = 8;
    pub(super) const UNIMPLEMENTED: u8 = 12;
    pub(super) const INTERNAL: u8 = 13;
    pub(super) const UNAVAILABLE: u8 = 14;
    pub(super) const UNAUTHENTICATED: u8 = 16;
}

/// A reply as the client is told it: for a call a status with its message, otherwise as it is.
pub(crate) fn told(client: &Client, space: &Workspace, reply: Reply) -> Reply {
    if !client.link.is_stream() || !is_call(&space.head, space.inbox.bytes()) {
        return reply;
    }
    let message = message_of(&reply);
    status(reply, &message)
}

/// Whether a request says that it is a call.
pub(crate) fn is_call(head: &RequestHead, bytes: &[u8]) -> bool {
    named_value(head, bytes, b"content-type")
        .and_then(|value| value.get(..b"application/grpc".len()))
        .is_some_and(|value| value.eq_ignore_ascii_case(b"application/grpc"))
}

/// Why a route for calls does not take this request, if it does not.
pub(crate) fn mismatch(client: &Client, space: &Workspace) -> Option<Failure> {
    match (is_call(&space.head, space.inbox.bytes()), client.link.is_stream()) {
        (false, _) => Some(Failure::NotGrpc),
        (true, false) => Some(Failure::Http2Required),
        (true, true) => None,
    }
}

/// Ends the body, in chunks, of an answer that broke off, with a status in its trailers.
pub(crate) fn push_end(out: &mut Vec<u8>, failure: Failure) {
    let (status, message) = failure.says();
    out.extend_from_slice(b"0\r\n");
    push_field(out, b"grpc-status", of(status).to_string().as_bytes());
    push_field(out, b"grpc-message", encoded(message).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// What a page says.
fn message_of(reply: &Reply) -> String {
    let body: Option<serde_json::Value> = serde_json::from_slice(&reply.body).ok();
    let message = body.as_ref().and_then(|body| body.get("message")?.as_str());
    message.unwrap_or(reason_phrase(reply.status)).to_owned()
}

/// A reply that is `message` and the status of gRPC that comes nearest.
fn status(reply: Reply, message: &str) -> Reply {
    let mut fields = reply.fields;
    fields.push(("grpc-status".to_owned(), of(reply.status).to_string()));
    fields.push(("grpc-message".to_owned(), encoded(message)));
    Reply {
        status: 200,
        content_type: "application/grpc".to_owned(),
        fields,
        body: Vec::new(),
    }
}

/// The status of gRPC for one of HTTP.
fn of(status: u16) -> u8 {
    match status {
        200..300 => status::OK,
        400 => status::INVALID_ARGUMENT,
        401 => status::UNAUTHENTICATED,
        403 => status::PERMISSION_DENIED,
        404 | 405 | 501 => status::UNIMPLEMENTED,
        408 | 504 => status::DEADLINE_EXCEEDED,
        413 | 429 => status::RESOURCE_EXHAUSTED,
        499 => status::CANCELLED,
        500 => status::INTERNAL,
        502 | 503 => status::UNAVAILABLE,
        _ => status::UNKNOWN,
    }
}

/// A message as it may stand in a field: percent-encoded but for visible ASCII and spaces (gRPC over HTTP/2).
fn encoded(message: &str) -> String {
    let mut encoded = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_encoded() {
        assert_eq!(encoded("no Route matched"), "no Route matched");
        assert_eq!(encoded("100 %\r\n\u{e9}"), "100 %25%0D%0A%C3%A9");
    }

    #[test]
    fn a_page_is_quoted() {
        let reply = |body: &str| Reply::new(403, String::new(), body.as_bytes().to_vec());
        assert_eq!(message_of(&reply(r#"{"message":"Not you"}"#)), "Not you");
        assert_eq!(message_of(&reply("<h1>Not you</h1>")), "Forbidden");
    }

    #[test]
    fn a_reply_becomes_a_status() {
        let mut reply = Reply::new(401, "application/json".to_owned(), b"{}".to_vec());
        reply
            .fields
            .push(("WWW-Authenticate".to_owned(), "Key".to_owned()));
        let reply = status(reply, "Unauthorized");
        assert_eq!(
            (reply.status, reply.content_type.as_str()),
            (200, "application/grpc")
        );
        assert!(reply.body.is_empty());
        let fields: Vec<_> = reply
            .fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let expected = [
            ("WWW-Authenticate", "Key"),
            ("grpc-status", "16"),
            ("grpc-message", "Unauthorized"),
        ];
        assert_eq!(fields, expected);
    }
}
