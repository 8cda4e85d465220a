//! Our verdicts beside those of `http_desync_guardian`, which grades requests by how likely two servers disagree about
//! them. What it calls ambiguous or severe must be refused here too, but for [`ELSEWHERE`].
//!
//! The other way round is not asked: we refuse much that it lets pass.

use http_desync_guardian::request_analyzer::HttpRequestData;
use http_desync_guardian::{ClassificationReason, RequestSafetyTier};
use proptest::prelude::*;

use super::cases;
use super::properties::{good_requests, requests};
use crate::{Framing, Known, Limits, Progress, RequestHead};

/// What it objects to and we accept. Each with what must be so for the objection to be met, and why.
const ELSEWHERE: [Exception; 4] = [
    Exception {
        to: ClassificationReason::UndefinedContentLengthSemantics,
        is_met: has_body,
        because: "a GET with a body is what some searches are; it goes upstream with exactly one length",
    },
    Exception {
        to: ClassificationReason::UndefinedTransferEncodingSemantics,
        is_met: has_body,
        because: "the same in chunks, which go upstream framed anew",
    },
    Exception {
        to: ClassificationReason::SuspiciousHeader,
        is_met: |head| head.fields.iter().any(|field| frames_nothing(field.known)),
        because: "names like `Content_Length` frame nothing here and are left out upstream; one with the same letters \
                  in another form (`ContentLength`) is another name to whoever compares names",
    },
    Exception {
        to: ClassificationReason::AmbiguousUri,
        is_met: |_| true,
        because: "visible ASCII that URIs do not know (`{`, `|`, `\"`) divides no message, and browsers send it",
    },
];

struct Exception {
    to: ClassificationReason,
    is_met: fn(&RequestHead) -> bool,
    because: &'static str,
}

fn has_body(head: &RequestHead) -> bool {
    head.framing != Framing::None
}

fn frames_nothing(known: Option<Known>) -> bool {
    matches!(known, None | Some(Known::UnderscoreTwin))
}

#[test]
fn cases_of_the_tables() {
    let cases = cases::read("requests");
    let disagree = cases.iter().filter_map(|case| {
        let why = agree(&case.bytes, &case.limits).err()?;
        Some(format!("{}: {why}", case.name))
    });
    let disagree: Vec<String> = disagree.collect();
    assert!(disagree.is_empty(), "{}", disagree.join("\n"));
}

proptest! {
    #[test]
    fn arbitrary_requests(bytes in prop_oneof![requests(), good_requests()]) {
        agree(&bytes, &Limits::default()).map_err(TestCaseError::fail)?;
    }
}

fn agree(bytes: &[u8], limits: &Limits) -> Result<(), String> {
    let mut head = RequestHead::default();
    if head.parse(bytes, limits) != Ok(Progress::Complete) {
        return Ok(());
    }
    // It knows no empty line before a request.
    let request = &bytes[head.method.start as usize..head.len];
    let theirs = HttpRequestData::analyze_raw_request(request);
    let met = |exception: &Exception| exception.to == theirs.reason && (exception.is_met)(&head);
    if theirs.tier < RequestSafetyTier::Ambiguous || ELSEWHERE.iter().any(met) {
        return Ok(());
    }
    let known: Vec<_> = ELSEWHERE
        .iter()
        .filter(|one| one.to == theirs.reason)
        .map(|one| one.because)
        .collect();
    let (tier, reason) = (theirs.tier, theirs.reason);
    Err(format!(
        "accepted, but {tier:?}, {reason:?} {known:?}: {}",
        bytes.escape_ascii()
    ))
}
