//! Requests of `testdata/requests`.

use super::cases::{self, Case, text};
use crate::{Field, Framing, HeadFault, Limits, Progress, Refusal, RefusalKind, RequestHead, Version};

#[test]
fn whole() {
    cases::check(&cases::read("requests"), |case| {
        let mut head = RequestHead::default();
        let result = head.parse(&case.bytes, &case.limits);
        verdict(&head, &case.bytes, result)
    });
}

#[test]
fn byte_by_byte() {
    cases::check(&cases::read("requests"), |case| {
        let mut head = RequestHead::default();
        let result = parse_by_byte(&mut head, &case.bytes, &case.limits);
        verdict(&head, &case.bytes, result)
    });
}

#[test]
fn with_scratch_used_before() {
    let cases = cases::read("requests");
    for before in &cases {
        cases::check(&cases, |case: &Case| {
            let mut head = RequestHead::default();
            let _ = head.parse(&before.bytes, &before.limits);
            head.reset();
            let result = head.parse(&case.bytes, &case.limits);
            verdict(&head, &case.bytes, result)
        });
    }
}

#[test]
fn every_rule_has_a_case() {
    let cases = cases::read("requests");
    let own = [
        RefusalKind::RequestLineTooLong,
        RefusalKind::EmptyLines,
        RefusalKind::BadRequestLine,
        RefusalKind::BadMethod,
        RefusalKind::MethodTooLong,
        RefusalKind::MethodNotAllowed,
        RefusalKind::BadVersion,
        RefusalKind::UnsupportedVersion,
        RefusalKind::BadTarget,
        RefusalKind::AsteriskTarget,
        RefusalKind::SpaceInTarget,
        RefusalKind::BadTargetByte,
        RefusalKind::FragmentInTarget,
        RefusalKind::BadEscape,
        RefusalKind::EncodedNul,
        RefusalKind::BadAuthority,
        RefusalKind::MissingHost,
        RefusalKind::SeveralHosts,
        RefusalKind::BadHost,
        RefusalKind::HostMismatch,
    ];
    let rules = own
        .into_iter()
        .chain(HEAD_FAULTS.into_iter().map(RefusalKind::Head));
    cases::check_covered(&cases, rules.map(|kind| format!(" {kind:?}")));
}

pub(super) const HEAD_FAULTS: [HeadFault; 18] = [
    HeadFault::ControlByte,
    HeadFault::BareCr,
    HeadFault::BareLf,
    HeadFault::FieldTooLong,
    HeadFault::HeadTooLarge,
    HeadFault::TooManyFields,
    HeadFault::FoldedLine,
    HeadFault::BlankBeforeColon,
    HeadFault::NoColon,
    HeadFault::BadName,
    HeadFault::LengthAndEncoding,
    HeadFault::SeveralLengths,
    HeadFault::BadLength,
    HeadFault::LengthOverflow,
    HeadFault::SeveralEncodings,
    HeadFault::BadEncoding,
    HeadFault::EncodingInHttp10,
    HeadFault::TooManyOptions,
];

/// Gives the bytes one more at a time until there is a verdict.
pub(super) fn parse_by_byte(
    head: &mut RequestHead,
    bytes: &[u8],
    limits: &Limits,
) -> Result<Progress, Refusal> {
    for end in 0..bytes.len() {
        let result = head.parse(&bytes[..end], limits);
        if result != Ok(Progress::Partial) {
            return result;
        }
    }
    head.parse(bytes, limits)
}

pub(super) fn verdict(head: &RequestHead, buf: &[u8], result: Result<Progress, Refusal>) -> Vec<String> {
    match result {
        Ok(Progress::Complete) => accepted(head, buf),
        Ok(Progress::Partial) => vec!["partial".to_owned()],
        Err(refusal) => vec![format!("refused {} {:?}", refusal.status(), refusal.kind)],
    }
}

fn accepted(head: &RequestHead, buf: &[u8]) -> Vec<String> {
    let mut line = format!(
        "accepted {} {}",
        text(head.method.of(buf)),
        text(head.path.of(buf))
    );
    if let Some(query) = head.query {
        line += &format!("?{}", text(query.of(buf)));
    }
    line += version(head.version);
    line += &format!(" host={}", text(head.host.of(buf)));
    line += &framing(head.framing);
    line += keep_alive(head.keep_alive);
    let flags = [
        (head.expect_continue, " continue"),
        (head.te_trailers, " te-trailers"),
        (head.websocket, " websocket"),
    ];
    line.extend(flags.iter().filter(|(is_set, _)| *is_set).map(|(_, name)| *name));
    if let Some(upgrade) = head.upgrade {
        line += &format!(" upgrade={}", text(upgrade.of(buf)));
    }
    let mut lines = vec![line];
    lines.extend(fields(&head.fields, buf));
    lines.extend(rest(buf.len() - head.len));
    lines
}

pub(super) fn version(version: Version) -> &'static str {
    match version {
        Version::Http10 => " 1.0",
        Version::Http11 => " 1.1",
    }
}

pub(super) fn framing(framing: Framing) -> String {
    match framing {
        Framing::None => String::new(),
        Framing::Length(length) => format!(" length={length}"),
        Framing::Chunked => " chunked".to_owned(),
        Framing::UntilClose => " until-close".to_owned(),
    }
}

pub(super) fn keep_alive(keep_alive: bool) -> &'static str {
    if keep_alive { " keep-alive" } else { " close" }
}

/// The fields but `Host`, which is in the first line; a `-` stands before those that are not forwarded.
pub(super) fn fields(fields: &[Field], buf: &[u8]) -> impl Iterator<Item = String> {
    fields
        .iter()
        .filter(|field| field.known != Some(crate::Known::Host))
        .map(|field| {
            let (name, value) = (text(field.name.of(buf)), text(field.value.of(buf)));
            let sign = if field.hop { "-" } else { "" };
            let twin = field.known == Some(crate::Known::UnderscoreTwin);
            let note = if twin { " (twin)" } else { "" };
            format!("{sign}{name}: {value}{note}")
        })
}

pub(super) fn rest(length: usize) -> Option<String> {
    (length > 0).then(|| format!("rest {length}"))
}
