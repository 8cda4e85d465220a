//! The form of a path that routes are matched against; what is forwarded stays as it was sent.
//!
//! Escapes of unreserved characters are decoded and the hex digits of all others put in upper case, `.` and `..`
//! segments are resolved (escaped ones too, and never above the root), and neighbouring slashes become one.
//! An escaped slash stays an escape. A `%` that starts no escape is left alone; requests with one are refused
//! before they come here.

use std::borrow::Cow;

use crate::class::{UNRESERVED, class, escaped};

/// The normal form of `path`, borrowed if it has that already. What does not start with `/` (such as `*`) is
/// returned as it is.
#[inline]
pub fn normalize(path: &[u8]) -> Cow<'_, [u8]> {
    if is_normalized(path) {
        Cow::Borrowed(path)
    } else {
        Cow::Owned(resolve(&decode(path)))
    }
}

/// Whether [`normalize`] would leave `path` as it is.
#[inline]
pub fn is_normalized(path: &[u8]) -> bool {
    if path.first() != Some(&b'/') {
        return true;
    }
    path.iter().enumerate().all(|(at, &byte)| match byte {
        b'/' => is_plain_segment(&path[at + 1..]),
        b'%' => is_plain_escape(&path[at..]),
        _ => true,
    })
}

/// Whether the segment at the start of `rest` is neither empty (unless it is the last), nor `.`, nor `..`.
#[inline]
fn is_plain_segment(rest: &[u8]) -> bool {
    !matches!(
        rest,
        [b'/', ..] | [b'.'] | [b'.', b'/', ..] | [b'.', b'.'] | [b'.', b'.', b'/', ..]
    )
}

fn is_plain_escape(rest: &[u8]) -> bool {
    escaped(rest)
        .is_none_or(|byte| class(byte) & UNRESERVED == 0 && !rest[1..3].iter().any(u8::is_ascii_lowercase))
}

fn decode(mut path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    while let Some((&first, rest)) = path.split_first() {
        path = match escaped(path) {
            Some(byte) if class(byte) & UNRESERVED != 0 => {
                out.push(byte);
                &path[3..]
            }
            Some(_) => {
                out.extend(path[..3].iter().map(u8::to_ascii_uppercase));
                &path[3..]
            }
            None => {
                out.push(first);
                rest
            }
        };
    }
    out
}

fn resolve(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut segments = path[1..].split(|&byte| byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        match segment {
            b"" | b"." => {}
            b".." => {
                let parent = out.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
                out.truncate(parent);
            }
            _ => {
                out.push(b'/');
                out.extend_from_slice(segment);
                continue;
            }
        }
        if segments.peek().is_none() {
            out.push(b'/');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths() {
        let cases = [
            ("/", "/"),
            ("*", "*"),
            ("", ""),
            ("/a/b.c/...", "/a/b.c/..."),
            ("/a/", "/a/"),
            ("//", "/"),
            ("//a///b//", "/a/b/"),
            ("/.", "/"),
            ("/..", "/"),
            ("/../../a", "/a"),
            ("/a/.", "/a/"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/a/./b/../c", "/a/c"),
            ("/a//../b", "/b"),
            ("/a/..//b", "/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/%2e", "/"),
            ("/.%2e/a", "/a"),
            ("/%41%7e%5F%2d", "/A~_-"),
            ("/a%2fb", "/a%2Fb"),
            ("/a%2Fb", "/a%2Fb"),
            ("/..%2f..", "/..%2F.."),
            ("/%252e%252e/", "/%252e%252e/"),
            ("/%e4%C4", "/%E4%C4"),
            ("/%zz%4", "/%zz%4"),
            ("/a/%", "/a/%"),
            ("/~user/.well-known", "/~user/.well-known"),
        ];
        for (given, normal) in cases {
            let result = normalize(given.as_bytes());
            assert_eq!(String::from_utf8_lossy(&result), normal, "{given}");
            assert_eq!(matches!(result, Cow::Borrowed(_)), given == normal, "{given}");
        }
    }

    proptest! {
        #[test]
        fn normal_paths_stay(path in "/([a-z./]|%2[eEfF]|%[4-6][0-9a-f]|%25){0,20}") {
            let once = normalize(path.as_bytes()).into_owned();
            prop_assert!(is_normalized(&once), "{:?}", once);
            prop_assert!(once.starts_with(b"/"));
            prop_assert!(!once.windows(2).any(|pair| pair == b"//"));
        }

        #[test]
        fn normal_or_changed(path in "/([a-zA-Z./]|%2[eEfF]|%[0-9a-fA-F]{2}|%){0,12}") {
            let is_same = normalize(path.as_bytes()).as_ref() == path.as_bytes();
            prop_assert_eq!(is_normalized(path.as_bytes()), is_same);
        }
    }
}
