//! Paths: the normal form is one, and no request climbs out of the path of its service.

use hythe_http1::path::{is_normalized, normalize};
use hythe_model::traffic::PathHandling;
use hythe_routing::{MatchedPath, upstream_path};

/// The first byte chooses the route, the others are the path.
pub(crate) fn check(bytes: &[u8]) {
    let Some((&shape, path)) = bytes.split_first() else {
        return;
    };
    if !is_accepted(path) {
        return;
    }
    let normal = normalize(path).into_owned();
    assert!(is_normalized(&normal), "{}", normal.escape_ascii());
    assert_eq!(normalize(&normal), normal);
    assert!(normal.starts_with(b"/"));
    assert!(
        !normal.windows(2).any(|pair| pair == b"//"),
        "{}",
        normal.escape_ascii()
    );
    let is_dot = |segment: &[u8]| matches!(segment, b"." | b"..");
    assert!(
        !normal.split(|&byte| byte == b'/').any(is_dot),
        "{}",
        normal.escape_ascii()
    );
    for handling in [PathHandling::V0, PathHandling::V1] {
        stays_below(shape, path, &normal, handling);
    }
}

fn stays_below(shape: u8, path: &[u8], normal: &[u8], handling: PathHandling) {
    let matched = MatchedPath::Prefix(usize::from(shape).min(normal.len()));
    let mut sent = Vec::new();
    upstream_path(Some("/api"), matched, path, normal, true, handling, &mut sent);
    assert!(sent.starts_with(b"/api"), "{}", sent.escape_ascii());
    let reached = normalize(&sent);
    assert!(
        reached.starts_with(b"/api"),
        "{} is {}",
        sent.escape_ascii(),
        reached.escape_ascii()
    );
}

/// Whether the parser of requests would let it pass.
fn is_accepted(path: &[u8]) -> bool {
    let is_visible = |byte: &u8| (33..127).contains(byte) && !b"?#".contains(byte);
    let escapes = path.split(|&byte| byte == b'%').skip(1);
    let mut escapes = escapes.map(|rest| rest.get(..2));
    path.starts_with(b"/")
        && path.iter().all(is_visible)
        && escapes.all(|digits| {
            digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit) && digits != b"00")
        })
}
