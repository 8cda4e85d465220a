//! Responses of `testdata/responses`.

use super::cases::{self, Case, text};
use super::requests::{HEAD_FAULTS, fields, framing, keep_alive, rest, version};
use crate::{BadResponse, BadResponseKind, Progress, RequestKind, ResponseHead};

#[test]
fn whole() {
    cases::check(&cases::read("responses"), |case| {
        let mut head = ResponseHead::default();
        let result = head.parse(&case.bytes, &case.limits, request(case));
        verdict(&head, &case.bytes, result)
    });
}

#[test]
fn byte_by_byte() {
    cases::check(&cases::read("responses"), |case| {
        let mut head = ResponseHead::default();
        let result = (0..=case.bytes.len())
            .map(|end| head.parse(&case.bytes[..end], &case.limits, request(case)))
            .find(|result| *result != Ok(Progress::Partial))
            .unwrap_or(Ok(Progress::Partial));
        verdict(&head, &case.bytes, result)
    });
}

#[test]
fn every_rule_has_a_case() {
    let own = [
        BadResponseKind::StatusLineTooLong,
        BadResponseKind::BadVersion,
        BadResponseKind::BadStatus,
    ];
    let rules = own
        .into_iter()
        .chain(HEAD_FAULTS.into_iter().map(BadResponseKind::Head));
    cases::check_covered(&cases::read("responses"), rules.map(|kind| format!(" {kind:?}")));
}

fn request(case: &Case) -> RequestKind {
    match case.request.as_str() {
        "HEAD" => RequestKind::Head,
        "CONNECT" => RequestKind::Connect,
        _ => RequestKind::Other,
    }
}

fn verdict(head: &ResponseHead, buf: &[u8], result: Result<Progress, BadResponse>) -> Vec<String> {
    match result {
        Ok(Progress::Complete) => accepted(head, buf),
        Ok(Progress::Partial) => vec!["partial".to_owned()],
        Err(bad) => vec![format!("refused {:?}", bad.kind)],
    }
}

fn accepted(head: &ResponseHead, buf: &[u8]) -> Vec<String> {
    let mut line = format!("accepted {}", head.status);
    line += version(head.version);
    line += &format!(" {:?}", text(head.reason.of(buf)));
    line += &framing(head.framing);
    line += keep_alive(head.keep_alive);
    if let Some(seconds) = head.keep_alive_timeout {
        line += &format!(" for={seconds}");
    }
    if let Some(upgrade) = head.upgrade {
        line += &format!(" upgrade={}", text(upgrade.of(buf)));
    }
    let mut lines = vec![line];
    lines.extend(fields(&head.fields, buf));
    lines.extend(rest(buf.len() - head.len));
    lines
}
