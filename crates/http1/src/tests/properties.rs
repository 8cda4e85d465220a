//! Properties of arbitrary messages.

use proptest::prelude::*;

use super::chunks::decode;
use super::requests::{parse_by_byte, verdict};
use crate::{ChunkedDecoder, Limits, Progress, RequestHead, RequestKind, ResponseHead, Version, push_field};

/// Small enough for short inputs to reach them.
const LIMITS: Limits = Limits {
    line: 40,
    head: 200,
    fields: 6,
    chunk_line: 12,
    trailers: 40,
};

/// Pieces of messages, good and bad, so that arbitrary rows of them get past the first line.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => Just(b"\r\n".to_vec()),
        4 => Just(b"Host: a\r\n".to_vec()),
        2 => Just(b"Content-Length: 3\r\n".to_vec()),
        2 => Just(b"Transfer-Encoding: chunked\r\n".to_vec()),
        2 => Just(b"Connection: close, x\r\n".to_vec()),
        2 => Just(b"3\r\nabc\r\n".to_vec()),
        2 => Just(b"0\r\n".to_vec()),
        4 => "[A-Za-z_-]{1,8}: [a-z ,=\t]{0,12}\r\n".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..6),
        1 => "[ \t\r\n:;0-9a-f/%#?]{0,4}".prop_map(String::into_bytes),
    ];
    prop::collection::vec(piece, 0..9).prop_map(|pieces| pieces.concat())
}

pub(super) fn requests() -> impl Strategy<Value = Vec<u8>> {
    let method = prop_oneof![Just("GET"), Just("POST"), Just("OPTIONS"), Just("")];
    let target = prop_oneof![
        3 => "/[a-z/.%0-9?]{0,10}",
        1 => Just("http://a/b".to_owned()),
        1 => "[ -~]{0,6}",
    ];
    let version = prop_oneof![3 => Just("1.1"), 1 => Just("1.0"), 1 => Just("2.0")];
    (method, target, version, pieces()).prop_map(|(method, target, version, rest)| {
        [format!("{method} {target} HTTP/{version}\r\n").as_bytes(), &rest].concat()
    })
}

fn responses() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        3 => Just("HTTP/1.1 200 OK\r\n".to_owned()),
        1 => "HTTP/1.[01] [0-9]{2,4}[ -~]{0,4}\r\n",
    ];
    (line, pieces()).prop_map(|(line, rest)| [line.as_bytes(), &rest].concat())
}

/// Most of these are accepted.
pub(super) fn good_requests() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        3 => "[A-Z]{1,8} /[!-\"$&-~]{0,20} HTTP/1\\.[01]",
        1 => "GET https?://(a|A:(80|443))(/[a-z%2f]{0,3})?(\\?[a-z]{0,3})? HTTP/1\\.[01]",
        1 => Just("OPTIONS * HTTP/1.1".to_owned()),
    ];
    let field = prop_oneof![
        "[A-Za-z_-]{1,12}:[ \t]{0,2}[\t -~\u{80}-\u{ff}]{0,20}",
        "Connection: [a-z]{1,3}, (close|keep-alive|upgrade)",
        Just("Content-Length: 3".to_owned()),
        Just("Transfer-Encoding: chunked".to_owned()),
        Just("Upgrade: websocket".to_owned()),
    ];
    (line, prop::collection::vec(field, 0..5)).prop_map(|(line, fields)| {
        let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
        format!("{line}\r\nHost: a\r\n{fields}\r\nGET").into_bytes()
    })
}

/// The head written anew from what was parsed, as a proxy would.
fn rewritten(head: &RequestHead, buf: &[u8]) -> Vec<u8> {
    let version: &[u8] = match head.version {
        Version::Http10 => b" HTTP/1.0\r\n",
        Version::Http11 => b" HTTP/1.1\r\n",
    };
    let mut out = [head.method.of(buf), b" ", head.target.of(buf), version].concat();
    for field in &head.fields {
        push_field(&mut out, field.name.of(buf), field.value.of(buf));
    }
    out.extend_from_slice(b"\r\n");
    out
}

proptest! {
    #[test]
    fn a_request_gets_one_verdict_however_split(
        bytes in prop_oneof![requests(), pieces(), prop::collection::vec(any::<u8>(), 0..60)],
        cuts in prop::collection::vec(0_usize..200, 0..4),
    ) {
        let mut whole = RequestHead::default();
        let result = whole.parse(&bytes, &LIMITS);
        let expected = verdict(&whole, &bytes, result);

        let mut split = RequestHead::default();
        let result = parse_by_byte(&mut split, &bytes, &LIMITS);
        prop_assert_eq!(verdict(&split, &bytes, result), expected.clone());

        let mut cuts: Vec<usize> = cuts.iter().map(|cut| bytes.len().min(*cut)).collect();
        cuts.push(bytes.len());
        cuts.sort_unstable();
        let mut cut = RequestHead::default();
        let result = cuts
            .iter()
            .map(|&end| cut.parse(&bytes[..end], &LIMITS))
            .find(|result| *result != Ok(Progress::Partial))
            .unwrap_or(Ok(Progress::Partial));
        prop_assert_eq!(verdict(&cut, &bytes, result), expected);
    }

    #[test]
    fn an_accepted_request_survives_rewriting(bytes in good_requests()) {
        let limits = Limits::default();
        let mut head = RequestHead::default();
        if head.parse(&bytes, &limits) != Ok(Progress::Complete) {
            return Ok(());
        }
        let once = rewritten(&head, &bytes);
        let mut again = RequestHead::default();
        let result = again.parse(&once, &limits);
        let expected = verdict(&head, &bytes[..head.len], Ok(Progress::Complete));
        prop_assert_eq!(verdict(&again, &once, result), expected);
        prop_assert_eq!(rewritten(&again, &once), once);
    }

    #[test]
    fn a_response_gets_one_verdict_however_split(
        bytes in prop_oneof![responses(), prop::collection::vec(any::<u8>(), 0..60)],
    ) {
        let mut whole = ResponseHead::default();
        let expected = whole.parse(&bytes, &LIMITS, RequestKind::Other);
        let mut split = ResponseHead::default();
        let result = (0..=bytes.len())
            .map(|end| split.parse(&bytes[..end], &LIMITS, RequestKind::Other))
            .find(|result| *result != Ok(Progress::Partial))
            .unwrap_or(Ok(Progress::Partial));
        prop_assert_eq!(result, expected);
        if expected == Ok(Progress::Complete) {
            prop_assert_eq!((split.len, split.framing), (whole.len, whole.framing));
            prop_assert_eq!((split.keep_alive, split.status), (whole.keep_alive, whole.status));
            prop_assert_eq!(split.fields, whole.fields);
        }
    }

    #[test]
    fn chunks_mean_the_same_however_split(
        bytes in prop_oneof![pieces(), prop::collection::vec(any::<u8>(), 0..40)],
        piece in 1_usize..7,
    ) {
        let whole = decode(&mut ChunkedDecoder::default(), &bytes, bytes.len().max(1), &LIMITS);
        let split = decode(&mut ChunkedDecoder::default(), &bytes, piece, &LIMITS);
        prop_assert_eq!(split, whole);
    }

    #[test]
    fn written_chunks_are_read(chunks in prop::collection::vec("[a-z\r\n]{1,40}", 0..5), piece in 1_usize..9) {
        let mut bytes = Vec::new();
        for chunk in &chunks {
            crate::push_chunk_head(&mut bytes, chunk.len() as u64);
            bytes.extend_from_slice(chunk.as_bytes());
            bytes.extend_from_slice(crate::CRLF);
        }
        bytes.extend_from_slice(crate::LAST_CHUNK);
        let expected = format!("data {}", chunks.concat().escape_default());
        let lines = decode(&mut ChunkedDecoder::default(), &bytes, piece, &Limits::default());
        prop_assert_eq!(lines, [expected, "end".to_owned()]);
    }
}
