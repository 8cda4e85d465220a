//! One path of a route: a plain prefix, or a regex after `~`.

use regex::bytes::Regex;

use crate::pattern;

/// How a path is matched.
#[derive(Debug)]
pub(crate) enum PathMatcher {
    /// The route lists no paths.
    Any,
    /// The path must begin with this; it need not end at a slash.
    Prefix(Box<[u8]>),
    /// The path must begin with a match of this, and so with what every match begins with.
    Regex { regex: Regex, literal: Box<[u8]> },
}

/// What of the request's path a route matched; lengths in bytes of the normalised path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatchedPath {
    /// The route lists no paths.
    None,
    /// A plain prefix of this length.
    Prefix(usize),
    /// A regex, whose match is this long.
    Regex(usize),
}

/// Longest path of a route, bytes; a request line could not be longer.
pub(crate) const LONGEST: usize = 16 << 10;

impl PathMatcher {
    /// Reads a path as a route lists it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("path of {} bytes is longer than {LONGEST}", text.len()));
        }
        match text.strip_prefix('~') {
            Some(regex) if regex.starts_with('/') => pattern::compile_anchored(regex)
                .map(|compiled| Self::Regex {
                    regex: compiled,
                    literal: pattern::literal_prefix(regex).into(),
                })
                .map_err(|error| format!("path `{text}` is not a regex that runs in linear time: {error}")),
            None if text.starts_with('/') => Ok(Self::Prefix(text.as_bytes().into())),
            _ => Err(format!(
                "path `{text}` should start with `/` (a prefix) or `~/` (a regex)"
            )),
        }
    }

    /// The text that every path it matches begins with.
    pub(crate) fn literal_prefix(&self) -> &[u8] {
        match self {
            Self::Any => b"",
            Self::Prefix(literal) | Self::Regex { literal, .. } => literal,
        }
    }

    /// What of `path` it matches.
    pub(crate) fn find(&self, path: &[u8]) -> Option<MatchedPath> {
        match self {
            Self::Any => Some(MatchedPath::None),
            Self::Prefix(prefix) => path
                .starts_with(prefix)
                .then_some(MatchedPath::Prefix(prefix.len())),
            Self::Regex { regex, .. } => regex.find(path).map(|found| MatchedPath::Regex(found.end())),
        }
    }

    pub(crate) fn regex(&self) -> Option<&Regex> {
        match self {
            Self::Regex { regex, .. } => Some(regex),
            Self::Any | Self::Prefix(_) => None,
        }
    }
}

impl MatchedPath {
    /// How many bytes of the normalised path matched.
    pub fn length(self) -> usize {
        match self {
            Self::None => 0,
            Self::Prefix(length) | Self::Regex(length) => length,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MatchedPath, PathMatcher};

    #[test]
    fn paths_match_from_the_start() {
        for (matcher, path, expected) in [
            ("/route", "/routereq", Some(MatchedPath::Prefix(6))),
            ("/route", "/a/route", None),
            ("/route", "/rout", None),
            ("~/users/\\d+", "/users/12/x", Some(MatchedPath::Regex(9))),
            ("~/users/\\d+$", "/users/12/x", None),
            ("~/a|/bc", "/bc", Some(MatchedPath::Regex(3))),
            ("~/a|/b", "/x/b", None),
        ] {
            let found = PathMatcher::parse(matcher).unwrap().find(path.as_bytes());
            assert_eq!(found, expected, "{matcher} {path}");
        }
    }

    #[test]
    fn bad_paths_are_refused() {
        for text in ["", "a", "~", "~a", "~/(", "~/(?=a)", "~/a)|(b"] {
            assert!(PathMatcher::parse(text).is_err(), "{text}");
        }
    }
}
