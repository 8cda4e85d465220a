//! The path that is sent to the upstream.

use hythe_model::traffic::PathHandling;

use crate::path_matcher::MatchedPath;

/// Appends the path to send to `out`.
///
/// The bytes the client sent (`original`, without query) go on as they are where nothing is cut off and
/// nothing put in front. Otherwise `rest`, what follows the match in the `normalised` path (with
/// `strip`) or its leading slash (without), is joined to the service's path: with exactly one slash between
/// (v0), or by concatenation that only avoids a double slash (v1).
pub fn upstream_path(
    service_path: Option<&str>,
    matched: MatchedPath,
    original: &[u8],
    normalised: &[u8],
    strip: bool,
    handling: PathHandling,
    out: &mut Vec<u8>,
) {
    let base = service_path
        .filter(|path| !path.is_empty())
        .unwrap_or("/")
        .as_bytes();
    let cut = match matched {
        MatchedPath::Prefix(length) | MatchedPath::Regex(length) if strip => length,
        _ => 1,
    };
    if base == b"/" && cut <= 1 {
        out.extend_from_slice(original);
        return;
    }
    let rest = without_dot_segment(normalised.get(cut..).unwrap_or_default());
    match handling {
        PathHandling::V0 if rest.is_empty() => join_nothing(base, normalised, out),
        PathHandling::V0 => {
            out.extend_from_slice(base.strip_suffix(b"/").unwrap_or(base));
            out.push(b'/');
            out.extend_from_slice(rest.strip_prefix(b"/").unwrap_or(rest));
        }
        PathHandling::V1 => {
            out.extend_from_slice(base);
            let double = base.ends_with(b"/") && rest.starts_with(b"/");
            out.extend_from_slice(&rest[usize::from(double)..]);
        }
    }
}

/// v0 where nothing is left of the request's path: the service's path, with a slash at its end if the request had one.
fn join_nothing(base: &[u8], normalised: &[u8], out: &mut Vec<u8>) {
    let bare = base.strip_suffix(b"/").unwrap_or(base);
    if normalised == b"/" || bare.is_empty() {
        out.extend_from_slice(base);
        return;
    }
    out.extend_from_slice(bare);
    if normalised.ends_with(b"/") {
        out.push(b'/');
    }
}

/// Cutting `/route` from `/route../x` leaves `../x`, which must not climb out of the service's path.
fn without_dot_segment(rest: &[u8]) -> &[u8] {
    match rest {
        b"." | b".." => b"",
        [b'.', b'/', after @ ..] | [b'.', b'.', b'/', after @ ..] => after,
        _ => rest,
    }
}

#[cfg(test)]
mod tests {
    use hythe_model::traffic::PathHandling;

    use super::upstream_path;
    use crate::path_matcher::MatchedPath;

    #[test]
    fn every_row_of_the_table() {
        let rows = include_str!("../testdata/upstream_path.tsv").lines().skip(2);
        let mut checked = 0;
        for row in rows {
            let [service, route, strip, handling, request, expected] =
                row.split('\t').collect::<Vec<_>>().try_into().unwrap();
            let normalised = request.replace("%2E", ".").replace("%2e", ".");
            let handling = if handling == "v0" {
                PathHandling::V0
            } else {
                PathHandling::V1
            };
            let matches = match route.len() {
                0 => vec![MatchedPath::None],
                length => vec![MatchedPath::Prefix(length), MatchedPath::Regex(length)],
            };
            for matched in matches {
                let mut out = Vec::new();
                let (original, path) = (request.as_bytes(), normalised.as_bytes());
                upstream_path(
                    Some(service),
                    matched,
                    original,
                    path,
                    strip == "true",
                    handling,
                    &mut out,
                );
                assert_eq!(String::from_utf8(out).unwrap(), expected, "{row} {matched:?}");
            }
            checked += 1;
        }
        assert_eq!(checked, 212);
    }

    #[test]
    fn untouched_paths_keep_their_bytes() {
        for (service, matched, strip, expected) in [
            (None, MatchedPath::None, true, "/%41//b"),
            (Some("/"), MatchedPath::Prefix(1), true, "/%41//b"),
            (Some("/"), MatchedPath::Prefix(2), false, "/%41//b"),
            (Some("/s"), MatchedPath::Prefix(2), false, "/s/A/b"),
            (None, MatchedPath::Prefix(2), true, "/b"),
            (None, MatchedPath::Regex(4), true, "/"),
        ] {
            let mut out = b"GET ".to_vec();
            upstream_path(
                service,
                matched,
                b"/%41//b",
                b"/A/b",
                strip,
                PathHandling::V0,
                &mut out,
            );
            assert_eq!(String::from_utf8(out).unwrap(), format!("GET {expected}"));
        }
    }
}
