//! Writes the head that goes upstream and the head that goes back, from the head that came in.
//!
//! Fields are never passed on as raw bytes of the other side: each goes out as `name: value`. Neighbours
//! that already stand in exactly that form are copied as one run, which is nearly always all of them.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};

use hythe_http1::{
    Field, Framing, Known, RequestHead, ResponseHead, push_decimal, push_field, push_status_line,
};

use crate::client_certificate::ClientCertificate;
use crate::decisions::Decisions;
use crate::edits::Edits;
use crate::exchange::known_value;

/// What the request's head gets beside what the client sent.
pub(crate) struct Forward<'a> {
    pub(crate) head: &'a RequestHead,
    pub(crate) bytes: &'a [u8],
    pub(crate) method: &'a [u8],
    pub(crate) path: &'a [u8],
    pub(crate) query: Option<&'a [u8]>,
    pub(crate) host: &'a [u8],
    pub(crate) peer: IpAddr,
    /// The proxy it came from, if its word counts: what it says of the way is kept.
    pub(crate) proxy: Option<IpAddr>,
    pub(crate) local: SocketAddr,
    /// What `peer`, `local` and `https` come to.
    pub(crate) way: &'a Way,
    /// The version that the request came in.
    pub(crate) received: &'static str,
    pub(crate) https: bool,
    /// What the client proved to be.
    pub(crate) certificate: Option<&'a ClientCertificate>,
    /// The part of the path that the route cut off.
    pub(crate) stripped_prefix: Option<&'a [u8]>,
    pub(crate) request_id: &'a str,
    pub(crate) edits: &'a Edits,
}

/// The fields that say the same for every request of a connection, written once for all of them.
#[derive(Debug, Default)]
pub(crate) struct Way {
    of: Option<(IpAddr, u16, bool)>,
    fields: Vec<u8>,
}

impl Way {
    /// Is about requests of `peer` that come in at `port` from now on.
    pub(crate) fn see(&mut self, peer: IpAddr, port: u16, https: bool) {
        let of = Some((peer, port, https));
        if self.of != of {
            self.of = of;
            self.fields.clear();
            // Writing to a Vec cannot fail.
            let _ = write!(
                self.fields,
                "X-Real-IP: {peer}\r\nX-Forwarded-For: {peer}\r\nX-Forwarded-Proto: {}\r\nX-Forwarded-Port: {port}\r\n",
                if https { "https" } else { "http" },
            );
        }
    }
}

impl<'a> Forward<'a> {
    /// Takes what plugins decided instead.
    pub(crate) fn heed(&mut self, decisions: &'a Decisions) {
        self.method = decisions.method.as_deref().unwrap_or(self.method);
        self.path = decisions.path.as_deref().unwrap_or(self.path);
        self.host = decisions.host.as_deref().unwrap_or(self.host);
        if let Some(query) = &decisions.query {
            self.query = Some(&**query).filter(|query| !query.is_empty());
        }
    }
}

/// Writes the request's head for the upstream.
pub(crate) fn write_request(out: &mut Vec<u8>, forward: &Forward<'_>) {
    let (head, bytes) = (forward.head, forward.bytes);
    out.extend_from_slice(forward.method);
    out.push(b' ');
    out.extend_from_slice(forward.path);
    if let Some(query) = forward.query {
        out.push(b'?');
        out.extend_from_slice(query);
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    push_field(out, b"Host", forward.host);
    let edits = forward.edits;
    copy_fields(out, bytes, &head.fields, |field| {
        !field.hop && !is_ours(field) && (edits.is_empty() || !edits.drops(field.name.of(bytes)))
    });
    push_forwarded(out, forward);
    for (name, value) in edits.added() {
        push_field(out, name.as_bytes(), value);
    }
    push_connection(out, head);
    push_request_framing(out, head.framing);
    out.extend_from_slice(b"\r\n");
}

/// Fields that are written anew, and those by which a client could pose as somebody the gateway knows.
fn is_ours(field: &Field) -> bool {
    field.known.is_some_and(|known| {
        tells_of_the_way(known)
            || matches!(
                known,
                Known::Host
                    | Known::ContentLength
                    | Known::Expect
                    | Known::Forwarded
                    | Known::Identity
                    | Known::UnderscoreTwin
            )
    })
}

/// Whether a field tells where a request came from and how: the gateway writes one line of each itself, and
/// nobody else's word is passed on.
pub(crate) fn tells_of_the_way(known: Known) -> bool {
    matches!(
        known,
        Known::Via
            | Known::XForwardedFor
            | Known::XForwardedHost
            | Known::XForwardedPath
            | Known::XForwardedPort
            | Known::XForwardedPrefix
            | Known::XForwardedProto
            | Known::XRealIp
            | Known::XRequestId
    )
}

/// Whether the upstream gets a field of this name from the gateway, whatever the client sent.
pub(crate) fn is_written_by_us(name: &str) -> bool {
    Known::of(name.as_bytes()).is_some_and(tells_of_the_way)
}

fn push_forwarded(out: &mut Vec<u8>, forward: &Forward<'_>) {
    let (head, bytes, edits) = (forward.head, forward.bytes, forward.edits);
    if edits.is_empty() && forward.proxy.is_none() {
        out.extend_from_slice(&forward.way.fields);
    } else {
        push_connection_way(out, forward);
    }
    let host = without_port(head.host.of(bytes));
    push_way(out, forward, Known::XForwardedHost, b"X-Forwarded-Host", host);
    let path = head.path.of(bytes);
    push_way(out, forward, Known::XForwardedPath, b"X-Forwarded-Path", path);
    let prefix = forward.stripped_prefix.unwrap_or_default();
    push_way(
        out,
        forward,
        Known::XForwardedPrefix,
        b"X-Forwarded-Prefix",
        prefix,
    );
    if let Some(certificate) = forward.certificate {
        for (name, value) in certificate.fields() {
            push_own(out, edits, name, value);
        }
    }
    push_own(out, edits, b"X-Request-Id", forward.request_id.as_bytes());
    push_via(out, edits, bytes, &head.fields, forward.received);
}

/// The fields of [`Way`], each of which may be edited or told by a trusted proxy.
fn push_connection_way(out: &mut Vec<u8>, forward: &Forward<'_>) {
    // Writing to a Vec cannot fail.
    if !forward.edits.drops(b"X-Real-IP") {
        let _ = write!(out, "X-Real-IP: {}\r\n", forward.peer);
    }
    if !forward.edits.drops(b"X-Forwarded-For") {
        push_forwarded_for(out, forward);
    }
    let scheme: &[u8] = if forward.https { b"https" } else { b"http" };
    push_way(out, forward, Known::XForwardedProto, b"X-Forwarded-Proto", scheme);
    // The port in `Host` is what the client says; this is where it came in.
    let mut port = itoa::Buffer::new();
    let port = port.format(forward.local.port()).as_bytes();
    push_way(out, forward, Known::XForwardedPort, b"X-Forwarded-Port", port);
}

/// The client; or, behind a trusted proxy, the list that it sent and the proxy itself.
fn push_forwarded_for(out: &mut Vec<u8>, forward: &Forward<'_>) {
    out.extend_from_slice(b"X-Forwarded-For: ");
    let fields = forward.head.fields.iter().filter(|_| forward.proxy.is_some());
    for field in fields.filter(|field| field.known == Some(Known::XForwardedFor) && !field.value.is_empty()) {
        out.extend_from_slice(field.value.of(forward.bytes));
        out.extend_from_slice(b", ");
    }
    let _ = write!(out, "{}\r\n", forward.proxy.unwrap_or(forward.peer));
}

/// What a trusted proxy says of the way, otherwise what we see of it, if anything.
fn push_way(out: &mut Vec<u8>, forward: &Forward<'_>, known: Known, name: &[u8], seen: &[u8]) {
    let told = forward
        .proxy
        .and_then(|_| known_value(forward.head, forward.bytes, known));
    let value = told.unwrap_or(seen);
    if !value.is_empty() {
        push_own(out, forward.edits, name, value);
    }
}

/// A field of our own, unless an edit replaces or removes it.
fn push_own(out: &mut Vec<u8>, edits: &Edits, name: &[u8], value: &[u8]) {
    if !edits.drops(name) {
        push_field(out, name, value);
    }
}

/// `Via` is appended to, whatever field it stood in (RFC 9110 7.6.3). `received`: the version that the
/// message came in.
fn push_via(out: &mut Vec<u8>, edits: &Edits, bytes: &[u8], fields: &[Field], received: &str) {
    if edits.drops(b"Via") {
        return;
    }
    out.extend_from_slice(b"Via: ");
    for field in fields.iter().filter(|field| field.known == Some(Known::Via)) {
        out.extend_from_slice(field.value.of(bytes));
        out.extend_from_slice(b", ");
    }
    out.extend_from_slice(received.as_bytes());
    out.extend_from_slice(b" hythe\r\n");
}

/// Asks again for what the client asked of its own connection: WebSocket, which is the only protocol of a
/// list that is asked for, and trailers.
fn push_connection(out: &mut Vec<u8>, head: &RequestHead) {
    if head.websocket {
        out.extend_from_slice(b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n");
    }
    if head.te_trailers {
        out.extend_from_slice(b"Connection: TE\r\nTE: trailers\r\n");
    }
}

fn push_request_framing(out: &mut Vec<u8>, framing: Framing) {
    match framing {
        Framing::Length(length) => push_length(out, length),
        Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Framing::None | Framing::UntilClose => {}
    }
}

/// How the answer's body is framed towards the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AnswerFraming {
    /// No body, and the length fields as the upstream sent them (HEAD, 304) or none (204, 1xx).
    Bodiless { keep_length: bool },
    /// Exactly this much.
    Length(u64),
    /// Chunks.
    Chunked,
    /// Until the connection closes: an old client, and a length nobody knows.
    UntilClose,
}

/// What the answer's head gets beside what the upstream sent.
pub(crate) struct Answer<'a> {
    pub(crate) head: &'a ResponseHead,
    pub(crate) bytes: &'a [u8],
    pub(crate) framing: AnswerFraming,
    /// The version that the answer came in.
    pub(crate) received: &'static str,
    pub(crate) request_id: &'a str,
    pub(crate) date: &'a [u8],
    pub(crate) edits: &'a Edits,
    pub(crate) close: bool,
    /// An old client that asked to keep the connection must be told that it is kept.
    pub(crate) announce_keep_alive: bool,
}

/// Writes the answer's head for the client.
pub(crate) fn write_answer(out: &mut Vec<u8>, answer: &Answer<'_>) {
    let (head, bytes, edits) = (answer.head, answer.bytes, answer.edits);
    push_status_line(out, head.status, head.reason.of(bytes));
    let keep_length = matches!(answer.framing, AnswerFraming::Bodiless { keep_length: true });
    copy_fields(out, bytes, &head.fields, |field| {
        !field.hop
            && match field.known {
                Some(Known::ContentLength) => keep_length,
                Some(Known::Via | Known::XRequestId) => false,
                _ => true,
            }
            && (edits.is_empty() || !edits.drops(field.name.of(bytes)))
    });
    if !head.fields.iter().any(|field| field.known == Some(Known::Date)) {
        push_own(out, edits, b"Date", answer.date);
    }
    push_via(out, edits, bytes, &head.fields, answer.received);
    push_own(out, edits, b"X-Request-Id", answer.request_id.as_bytes());
    for (name, value) in edits.added() {
        push_field(out, name.as_bytes(), value);
    }
    match answer.framing {
        AnswerFraming::Length(length) => push_length(out, length),
        AnswerFraming::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        AnswerFraming::Bodiless { .. } | AnswerFraming::UntilClose => {}
    }
    if answer.close {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if answer.announce_keep_alive {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes an interim (1xx) head. For a 101 the upgrade fields are passed on, which are hop-by-hop
/// everywhere else.
pub(crate) fn write_interim(out: &mut Vec<u8>, head: &ResponseHead, bytes: &[u8]) {
    push_status_line(out, head.status, head.reason.of(bytes));
    copy_fields(out, bytes, &head.fields, |field| {
        !field.hop && field.known != Some(Known::ContentLength)
    });
    if head.status == 101 {
        out.extend_from_slice(b"Connection: Upgrade\r\n");
        if let Some(upgrade) = head.upgrade {
            push_field(out, b"Upgrade", upgrade.of(bytes));
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn push_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"Content-Length: ");
    push_decimal(out, length);
    out.extend_from_slice(b"\r\n");
}

/// Copies the fields that `keep` accepts; neighbours in exactly the form `name: value CRLF` as one run.
fn copy_fields(out: &mut Vec<u8>, bytes: &[u8], fields: &[Field], keep: impl Fn(&Field) -> bool) {
    let mut run: Option<(u32, u32)> = None;
    for field in fields {
        if !keep(field) {
            flush(out, bytes, &mut run);
            continue;
        }
        let plain =
            field.value.start == field.name.end + 2 && bytes.get(field.name.end as usize + 1) == Some(&b' ');
        match run {
            Some((start, end)) if plain && field.name.start == end + 2 => {
                run = Some((start, field.value.end));
            }
            _ if plain => {
                flush(out, bytes, &mut run);
                run = Some((field.name.start, field.value.end));
            }
            _ => {
                flush(out, bytes, &mut run);
                push_field(out, field.name.of(bytes), field.value.of(bytes));
            }
        }
    }
    flush(out, bytes, &mut run);
}

fn flush(out: &mut Vec<u8>, bytes: &[u8], run: &mut Option<(u32, u32)>) {
    if let Some((start, end)) = run.take() {
        out.extend_from_slice(bytes.get(start as usize..end as usize).unwrap_or_default());
        out.extend_from_slice(b"\r\n");
    }
}

/// The host of an authority; the brackets of an IPv6 address stay.
pub(crate) fn without_port(authority: &[u8]) -> &[u8] {
    match memchr::memrchr(b':', authority) {
        Some(colon) if authority.iter().skip(colon + 1).all(u8::is_ascii_digit) => {
            authority.get(..colon).unwrap_or_default()
        }
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use hythe_http1::{Limits, Progress, RequestKind};

    use super::*;

    fn forwarded(request: &str, edits: &Edits) -> String {
        forwarded_from(None, request, edits)
    }

    fn forwarded_from(proxy: Option<IpAddr>, request: &str, edits: &Edits) -> String {
        let mut head = RequestHead::default();
        assert_eq!(
            head.parse(request.as_bytes(), &Limits::default()).unwrap(),
            Progress::Complete
        );
        let (peer, local) = (
            IpAddr::from([10, 0, 0, 9]),
            SocketAddr::from(([127, 0, 0, 1], 8000)),
        );
        let mut way = Way::default();
        way.see(peer, local.port(), false);
        let mut out = Vec::new();
        write_request(
            &mut out,
            &Forward {
                head: &head,
                bytes: request.as_bytes(),
                method: head.method.of(request.as_bytes()),
                path: b"/up",
                query: head.query.map(|query| query.of(request.as_bytes())),
                host: b"users",
                peer,
                proxy,
                local,
                way: &way,
                received: "1.1",
                https: false,
                certificate: None,
                stripped_prefix: Some(b"/cut"),
                request_id: "00ff",
                edits,
            },
        );
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_request_is_cleaned_and_marked() {
        let request = "POST /cut/up?q=1 HTTP/1.1\r\nHost: shop.test:81\r\nAccept:  text/html \r\nX-A: 1\r\nX-B: 2\r\n\
             Connection: close, X-Secret\r\nX-Secret: s\r\nKeep-Alive: 5\r\nProxy: evil\r\nX-Forwarded-For: 6.6.6.6\r\n\
             X_Forwarded_For: 6.6.6.6\r\nX-Consumer-Username: admin\r\nX_Consumer_Id: 1\r\nVia: 1.0 old\r\n\
             Expect: 100-continue\r\nContent-Length: 3\r\nX-Last: z\r\n\r\n";
        let mut edits = Edits::default();
        edits.set("x-b", "3");
        assert_eq!(
            forwarded(request, &edits),
            "POST /up?q=1 HTTP/1.1\r\nHost: users\r\nAccept: text/html\r\nX-A: 1\r\nX-Last: z\r\n\
             X-Real-IP: 10.0.0.9\r\nX-Forwarded-For: 10.0.0.9\r\nX-Forwarded-Proto: http\r\n\
             X-Forwarded-Port: 8000\r\nX-Forwarded-Host: shop.test\r\nX-Forwarded-Path: /cut/up\r\n\
             X-Forwarded-Prefix: /cut\r\nX-Request-Id: 00ff\r\nVia: 1.0 old, 1.1 hythe\r\nx-b: 3\r\n\
             Content-Length: 3\r\n\r\n"
        );
    }

    #[test]
    fn the_word_of_a_trusted_proxy_is_kept() {
        let request = "GET /cut/up HTTP/1.1\r\nHost: inner.test\r\nX-Forwarded-For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n\
             X-Forwarded-For: 7.7.7.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.test\r\n\
             X-Forwarded-Port: 443\r\nX-Forwarded-Prefix: /shop\r\nX-Consumer-Username: admin\r\n\r\n";
        let proxy = Some(IpAddr::from([10, 0, 0, 1]));
        assert_eq!(
            forwarded_from(proxy, request, &Edits::default()),
            "GET /up HTTP/1.1\r\nHost: users\r\nX-Real-IP: 10.0.0.9\r\n\
             X-Forwarded-For: 6.6.6.6, 7.7.7.7, 10.0.0.1\r\nX-Forwarded-Proto: https\r\n\
             X-Forwarded-Port: 443\r\nX-Forwarded-Host: shop.test\r\nX-Forwarded-Path: /cut/up\r\n\
             X-Forwarded-Prefix: /shop\r\nX-Request-Id: 00ff\r\nVia: 1.1 hythe\r\n\r\n"
        );
    }

    #[test]
    fn an_edit_of_our_own_fields_replaces_them() {
        let names = [
            "X-Real-IP",
            "X-Forwarded-For",
            "X-Forwarded-Proto",
            "X-Forwarded-Host",
            "X-Forwarded-Port",
            "X-Forwarded-Path",
            "X-Forwarded-Prefix",
            "X-Request-Id",
            "Via",
        ];
        let request = "GET / HTTP/1.1\r\nHost: shop.test\r\nVia: 1.0 old\r\n\r\n";
        for name in names {
            let mut edits = Edits::default();
            edits.append(name, "edited");
            let sent = forwarded(request, &edits);
            let lines: Vec<_> = sent.lines().filter(|line| line.starts_with(name)).collect();
            assert_eq!(lines, [format!("{name}: edited")], "{sent}");
        }
    }

    #[test]
    fn an_upgrade_is_asked_for_again() {
        let request = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n";
        let sent = forwarded(request, &Edits::default());
        assert!(
            sent.contains("\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"),
            "{sent}"
        );
        assert!(sent.contains("\r\nSec-WebSocket-Key: k\r\n"), "{sent}");
    }

    #[test]
    fn an_answer_is_cleaned_and_marked() {
        let reply = "HTTP/1.1 200 Fine\r\nServer: node\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\n\
             Content-Length: 2\r\nVia: 1.1 inner\r\nX-Own: 1\r\n\r\n";
        let mut head = ResponseHead::default();
        head.parse(reply.as_bytes(), &Limits::default(), RequestKind::Other)
            .unwrap();
        let mut out = Vec::new();
        write_answer(
            &mut out,
            &Answer {
                head: &head,
                bytes: reply.as_bytes(),
                framing: AnswerFraming::Length(2),
                received: "1.1",
                request_id: "00ff",
                date: b"Sun, 06 Nov 1994 08:49:37 GMT",
                edits: &Edits::default(),
                close: true,
                announce_keep_alive: false,
            },
        );
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 200 Fine\r\nServer: node\r\nX-Own: 1\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
             Via: 1.1 inner, 1.1 hythe\r\nX-Request-Id: 00ff\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"
        );
    }

    #[test]
    fn ports_are_cut_off() {
        let rows = [
            ("a.com", "a.com"),
            ("a.com:81", "a.com"),
            ("[::1]:81", "[::1]"),
            ("[::1]", "[::1]"),
            ("a:", "a"),
        ];
        for (authority, host) in rows {
            assert_eq!(without_port(authority.as_bytes()), host.as_bytes(), "{authority}");
        }
    }
}
