//! Heads that go upstream: what is sent for a request that was accepted is accepted by our own strict parser, means
//! the same, and says nothing in the gateway's name that the client said.

use hythe_http1::{Field, Framing, Known, Limits, Progress, RequestHead, path};
use hythe_model::traffic::PathHandling;
use hythe_routing::{MatchedPath, upstream_path};

/// What the gateway adds must not make a head too large for this test.
pub(crate) const WIDE: Limits = Limits {
    line: 1 << 20,
    head: 1 << 20,
    fields: 1_000,
    chunk_line: 256,
    trailers: 8 * 1024,
};

/// What the gateway writes, each line at most once, whatever the client sent.
const OURS: [Known; 10] = [
    Known::Host,
    Known::Via,
    Known::XForwardedFor,
    Known::XForwardedHost,
    Known::XForwardedPath,
    Known::XForwardedPort,
    Known::XForwardedProto,
    Known::XForwardedPrefix,
    Known::XRealIp,
    Known::XRequestId,
];

/// The first byte chooses the route, the others are the request.
pub(crate) fn check(bytes: &[u8]) {
    let Some((&shape, request)) = bytes.split_first() else {
        return;
    };
    let mut head = RequestHead::default();
    if head.parse(request, &Limits::default()) != Ok(Progress::Complete) {
        return;
    }
    let target = route(shape, head.path.of(request));
    let sent = hythe_gateway::fuzzing::head_for_upstream(&head, request, &target);
    let mut again = RequestHead::default();
    let progress = again.parse(&sent, &WIDE);
    assert_eq!(progress, Ok(Progress::Complete), "{}", sent.escape_ascii());
    means_the_same(&head, request, &again, &sent);
    claims_nothing(&head, request, &again, &sent);
    assert_eq!(again.path.of(&sent), target);
}

/// The path that a route of this shape sends.
fn route(shape: u8, asked: &[u8]) -> Vec<u8> {
    let normal = path::normalize(asked);
    let length = usize::from(shape >> 4).min(normal.len());
    let services = [None, Some("/"), Some("/api"), Some("/api/")];
    let handling = if shape & 4 == 0 {
        PathHandling::V0
    } else {
        PathHandling::V1
    };
    let service = services.get(usize::from(shape & 3)).copied().flatten();
    let mut out = Vec::new();
    upstream_path(
        service,
        MatchedPath::Prefix(length),
        asked,
        &normal,
        shape & 8 != 0,
        handling,
        &mut out,
    );
    out
}

fn means_the_same(head: &RequestHead, bytes: &[u8], again: &RequestHead, sent: &[u8]) {
    assert_eq!(
        again.len,
        sent.len(),
        "something follows: {}",
        sent.escape_ascii()
    );
    assert_eq!(again.method.of(sent), head.method.of(bytes));
    assert_eq!(
        again.query.map(|query| query.of(sent)),
        head.query.map(|query| query.of(bytes))
    );
    assert_eq!(again.te_trailers, head.te_trailers);
    assert_eq!(again.websocket, head.websocket);
    assert!(!again.expect_continue && again.keep_alive);
    assert_eq!(again.host.of(sent), hythe_gateway::fuzzing::HOST.as_bytes());
    let same = match (head.framing, again.framing) {
        (Framing::None, Framing::Length(0)) | (Framing::Length(0), Framing::None) => true,
        (was, is) => was == is,
    };
    assert!(same, "{:?} became {:?}", head.framing, again.framing);
}

fn claims_nothing(head: &RequestHead, bytes: &[u8], again: &RequestHead, sent: &[u8]) {
    for known in OURS {
        let values: Vec<_> = again
            .fields
            .iter()
            .filter(|field| field.known == Some(known))
            .collect();
        assert!(values.len() <= 1, "{known:?} twice: {}", sent.escape_ascii());
    }
    let peer = hythe_gateway::fuzzing::PEER.to_string();
    for known in [Known::XForwardedFor, Known::XRealIp] {
        let value = again.fields.iter().find(|field| field.known == Some(known));
        assert_eq!(value.map(|field| field.value.of(sent)), Some(peer.as_bytes()));
    }
    let is_ours = |field: &Field| field.hop || field.known.is_some_and(is_held_back);
    assert_eq!(
        texts(&again.fields, sent, |field| !is_ours(field)),
        texts(&head.fields, bytes, |field| !is_ours(field)),
        "{}",
        sent.escape_ascii()
    );
    for field in &again.fields {
        let refused = [
            Known::Identity,
            Known::UnderscoreTwin,
            Known::Forwarded,
            Known::Expect,
            Known::Proxy,
        ];
        assert!(
            !field.known.is_some_and(|known| refused.contains(&known)),
            "{}",
            sent.escape_ascii()
        );
    }
}

/// Whether a client's field of this meaning is not passed on as it is.
fn is_held_back(known: Known) -> bool {
    let others = [
        Known::ContentLength,
        Known::Expect,
        Known::Forwarded,
        Known::Identity,
        Known::UnderscoreTwin,
    ];
    OURS.contains(&known) || others.contains(&known)
}

/// Whether an upstream's field of this meaning is not passed on as it is.
pub(crate) fn is_held_back_from_clients(known: Known) -> bool {
    matches!(known, Known::ContentLength | Known::Via | Known::XRequestId)
}

/// Names and values of the fields that `keep` takes, in order.
pub(crate) fn texts<'a>(
    fields: &[Field],
    bytes: &'a [u8],
    keep: impl Fn(&Field) -> bool,
) -> Vec<(&'a [u8], &'a [u8])> {
    let kept = fields.iter().filter(|field| keep(field));
    kept.map(|field| (field.name.of(bytes), field.value.of(bytes)))
        .collect()
}
