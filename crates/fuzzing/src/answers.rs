//! Heads of answers: one verdict however they are split, and what is passed on is read again as what it was.

use hythe_http1::{BadResponse, Field, Framing, Known, Limits, Progress, RequestKind, ResponseHead};

use crate::TIGHT;
use crate::forwarding::{WIDE, is_held_back_from_clients, texts};

/// Everything that is public of [`ResponseHead`] but its fields' texts.
#[derive(Debug, PartialEq)]
struct Meaning {
    status: u16,
    reason: hythe_http1::Span,
    framing: Framing,
    fields: Vec<Field>,
    len: usize,
    keep_alive: bool,
    keep_alive_timeout: Option<u32>,
    upgrade: Option<hythe_http1::Span>,
}

pub(crate) fn check(bytes: &[u8]) {
    for request in [RequestKind::Other, RequestKind::Head] {
        for limits in [Limits::default(), TIGHT] {
            let whole = read(bytes, bytes.len().max(1), &limits, request);
            for step in [1, 2, 3, 7] {
                let split = read(bytes, step, &limits, request).map(|head| head.map(|head| meaning(&head)));
                let expected = whole.clone().map(|head| head.map(|head| meaning(&head)));
                assert_eq!(split, expected, "in steps of {step}");
            }
            if let Ok(Some(head)) = whole {
                is_passed_on(&head, bytes);
            }
        }
    }
}

fn read(
    bytes: &[u8],
    step: usize,
    limits: &Limits,
    request: RequestKind,
) -> Result<Option<ResponseHead>, BadResponse> {
    let mut head = ResponseHead::default();
    let mut end = 0;
    while end < bytes.len() {
        end = bytes.len().min(end + step);
        let progress = head.parse(bytes.get(..end).unwrap_or_default(), limits, request)?;
        if progress == Progress::Complete {
            return Ok(Some(head));
        }
    }
    Ok(None)
}

fn meaning(head: &ResponseHead) -> Meaning {
    Meaning {
        status: head.status,
        reason: head.reason,
        framing: head.framing,
        fields: head.fields.clone(),
        len: head.len,
        keep_alive: head.keep_alive,
        keep_alive_timeout: head.keep_alive_timeout,
        upgrade: head.upgrade,
    }
}

/// What goes to the client is an answer by our own rules, with the fields that are for the client and no others.
fn is_passed_on(head: &ResponseHead, bytes: &[u8]) {
    let sent = hythe_gateway::fuzzing::head_for_client(head, bytes);
    let again = match read(&sent, sent.len(), &WIDE, RequestKind::Other) {
        Ok(Some(again)) => again,
        other => panic!("{other:?} of {}", sent.escape_ascii()),
    };
    assert_eq!((again.status, again.len), (head.status, sent.len()));
    assert_eq!(again.reason.of(&sent), head.reason.of(bytes));
    let keep = |field: &Field| !field.hop && !field.known.is_some_and(is_held_back_from_clients);
    let ours = |field: &Field| field.known.is_some_and(is_held_back_from_clients) || field.hop;
    let has_date = head.fields.iter().any(|field| field.known == Some(Known::Date));
    let our_date = |field: &Field| !has_date && field.known == Some(Known::Date);
    assert_eq!(
        texts(&again.fields, &sent, |field| !ours(field) && !our_date(field)),
        texts(&head.fields, bytes, keep),
        "{}",
        sent.escape_ascii()
    );
}
