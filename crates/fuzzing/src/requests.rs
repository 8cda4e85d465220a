//! Heads of requests: one verdict however they are split, and what is accepted is as plain as it should be.

use hythe_http1::{Field, Framing, Known, Limits, Progress, Refusal, RequestHead, Version};

use crate::TIGHT;

/// What a proxy takes from a head; everything that is public of [`RequestHead`].
#[derive(Debug, PartialEq)]
struct Meaning {
    spans: [hythe_http1::Span; 4],
    query: Option<hythe_http1::Span>,
    upgrade: Option<hythe_http1::Span>,
    version: Version,
    framing: Framing,
    fields: Vec<Field>,
    len: usize,
    flags: [bool; 4],
}

pub(crate) fn check(bytes: &[u8]) {
    for limits in [Limits::default(), TIGHT] {
        let whole = read(bytes, bytes.len().max(1), &limits);
        for step in [1, 2, 3, 7] {
            assert_eq!(read(bytes, step, &limits), whole, "in steps of {step}");
        }
        if let Ok(Some(meaning)) = whole {
            is_plain(&meaning, bytes);
            let alone = bytes.get(..meaning.len).unwrap_or_default();
            assert_eq!(
                read(alone, alone.len(), &limits),
                Ok(Some(meaning)),
                "what follows matters"
            );
        }
    }
}

/// Parses as a connection would that gets `step` bytes at a time; `None`: more is needed.
fn read(bytes: &[u8], step: usize, limits: &Limits) -> Result<Option<Meaning>, Refusal> {
    let mut head = RequestHead::default();
    let mut end = 0;
    while end < bytes.len() {
        end = bytes.len().min(end + step);
        if head.parse(bytes.get(..end).unwrap_or_default(), limits)? == Progress::Complete {
            return Ok(Some(meaning(&head)));
        }
    }
    Ok(None)
}

fn meaning(head: &RequestHead) -> Meaning {
    Meaning {
        spans: [head.method, head.target, head.path, head.host],
        query: head.query,
        upgrade: head.upgrade,
        version: head.version,
        framing: head.framing,
        fields: head.fields.clone(),
        len: head.len,
        flags: [
            head.keep_alive,
            head.expect_continue,
            head.te_trailers,
            head.websocket,
        ],
    }
}

/// Rules that need no parser to be checked.
fn is_plain(meaning: &Meaning, bytes: &[u8]) {
    let head = bytes.get(..meaning.len).unwrap_or_default();
    assert!(head.ends_with(b"\r\n\r\n"));
    let text = head.iter().filter(|byte| !b"\r\n".contains(byte));
    assert!(
        text.clone()
            .all(|&byte| byte == b'\t' || (byte >= 32 && byte != 127)),
        "control byte"
    );
    let count = |wanted: u8| head.iter().filter(|&&byte| byte == wanted).count();
    let ends = head.windows(2).filter(|pair| pair == b"\r\n").count();
    assert_eq!((count(b'\r'), count(b'\n')), (ends, ends), "line ends");

    let [method, _, path, host] = meaning.spans.map(|span| span.of(bytes));
    assert!(!matches!(method, b"" | b"CONNECT" | b"TRACE"));
    assert!(path.starts_with(b"/") || (path == b"*" && method == b"OPTIONS"));
    assert!(meaning.version == Version::Http10 || !host.is_empty());
    let known = |wanted: Known| {
        meaning
            .fields
            .iter()
            .filter(move |field| field.known == Some(wanted))
    };
    let (lengths, codings) = (
        known(Known::ContentLength).count(),
        known(Known::TransferEncoding).count(),
    );
    let expected = match meaning.framing {
        Framing::None => (0, 0),
        Framing::Length(_) => (1, 0),
        Framing::Chunked => (0, 1),
        Framing::UntilClose => panic!("a request that ends with its connection"),
    };
    assert_eq!((lengths, codings), expected);
    assert!(known(Known::Host).count() <= 1);
}
