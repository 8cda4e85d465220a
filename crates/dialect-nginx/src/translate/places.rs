//! Places of a server: its locations, how each matches the path here, and which of them takes a path.
//!
//! nginx asks exact paths first, then remembers the longest prefix, and asks the regexes in their order unless that
//! prefix said `^~`. In our order regexes come before prefixes and among themselves by priority, so:
//!
//! ```text
//! rewrite     ~/?.*(regex)  priority falling from 3,000,000   (of a whole server, to another location)
//! = /a        ~/a$          priority 2,000,000
//! ^~ /a       ~/a           priority 1,000,000 + its length     (a plain prefix where the server has no regex)
//! ~ regex     ~/?.*(regex)  priority falling from 900,000
//! /a          /a            by length
//! ```
//!
//! The one case that this does not say is a prefix inside of a longer `^~` (`^~ /a` and `/a/b` with regexes): told.

use super::proxy::cuts_off;
use super::scope::Scope;
use crate::check::{Shape, shape, split_authority, split_scheme};
use crate::tree::Directive;

/// Priorities of what stands before plain prefixes.
pub(super) const MOVED: i64 = 3_000_000;
const EXACT: i64 = 2_000_000;
const FIRM: i64 = 1_000_000;
pub(super) const FIRST_REGEX: i64 = 900_000;

/// A location with all that is around it.
pub(super) struct Place<'a> {
    pub(super) shape: Shape<'a>,
    pub(super) scope: Scope<'a>,
    pub(super) directive: &'a Directive,
    /// The prefix of the location around it, for a regex.
    pub(super) outer: Option<&'a str>,
}

/// How a route matches the path.
pub(super) struct Path {
    pub(super) text: String,
    pub(super) priority: Option<i64>,
}

/// The locations of a block and of those inside, each with what is around it.
pub(super) fn collect<'a>(
    block: &'a Directive,
    scope: &Scope<'a>,
    outer: Option<&'a str>,
    places: &mut Vec<Place<'a>>,
) {
    for directive in block
        .inside()
        .into_iter()
        .filter(|inner| inner.name == "location")
    {
        let Ok(shape) = shape(directive) else {
            continue;
        };
        let own = scope.inside(directive);
        let prefix = match shape {
            Shape::Prefix(prefix) | Shape::Firm(prefix) => Some(prefix),
            _ => outer,
        };
        // Regexes of an inner block are asked before those outside.
        collect(directive, &own, prefix, places);
        places.push(Place {
            shape,
            scope: own,
            directive,
            outer,
        });
    }
}

/// The location that takes a path; if the path ends with values of the request, the one that takes it whatever they
/// are. `None` if there is none or that cannot be said.
pub(super) fn target<'p, 'a>(places: &'p [Place<'a>], path: &str) -> Option<&'p Place<'a>> {
    let path = path.split('?').next().unwrap_or_default();
    let (literal, open) = match path.split_once('$') {
        Some((literal, _)) => (literal, true),
        None => (path, false),
    };
    let mut longest: Option<(&str, &Place<'a>)> = None;
    for place in places {
        match place.shape {
            Shape::Exact(text) if text == literal && !open => return Some(place),
            Shape::Prefix(text) | Shape::Firm(text)
                if literal.starts_with(text)
                    && longest.is_none_or(|(known, _)| known.len() <= text.len()) =>
            {
                longest = Some((text, place));
            }
            Shape::Prefix(text) | Shape::Firm(text) | Shape::Exact(text)
                if open && text.starts_with(literal) =>
            {
                return None;
            }
            _ => {}
        }
    }
    if longest.is_some_and(|(_, place)| matches!(place.shape, Shape::Firm(_))) {
        return longest.map(|(_, place)| place);
    }
    for place in places {
        if let Shape::Regex { pattern, any_case } = place.shape {
            let flags = if any_case { "(?i)" } else { "" };
            if open && !may_take(pattern, literal) {
                continue;
            }
            let regex = regex::Regex::new(&format!("{flags}{pattern}"))
                .ok()
                .filter(|_| !open)?;
            if regex.is_match(literal) {
                return Some(place);
            }
        }
    }
    longest.map(|(_, place)| place)
}

/// Whether a regex may match a path that begins with `literal`.
fn may_take(pattern: &str, literal: &str) -> bool {
    let Some(anchored) = pattern.strip_prefix('^').filter(|_| !pattern.contains('|')) else {
        return true;
    };
    let mut start: &str = anchored
        .split(|character| r"\.[](){}*+?$^".contains(character))
        .next()
        .unwrap_or_default();
    if anchored
        .get(start.len()..)
        .is_some_and(|rest| rest.starts_with(['*', '?', '{']))
    {
        // What is repeated may be missing.
        start = start
            .char_indices()
            .next_back()
            .map_or("", |(last, _)| start.get(..last).unwrap_or_default());
    }
    let common = start.len().min(literal.len());
    let same = |text: &str| text.as_bytes().get(..common).map(<[u8]>::to_ascii_lowercase);
    same(start) == same(literal)
}

/// Whether a location puts something in place of its prefix, so that it minds what the path was when it was found.
pub(super) fn replaces(place: &Place<'_>) -> bool {
    let pass = place.directive.last("proxy_pass");
    let uri = pass.and_then(|pass| split_authority(split_scheme(pass.arg(0))?.1).1);
    uri.is_some_and(|uri| cuts_off(uri, place.shape))
}

/// How a location's path is written here; `None`: it takes no requests by itself.
pub(super) fn path(place: &Place<'_>, has_regexes: bool, next_regex: &mut i64) -> Option<Path> {
    let regex = |text: String, priority| {
        Some(Path {
            text,
            priority: Some(priority),
        })
    };
    match place.shape {
        Shape::Exact(path) => regex(format!("~{}$", escaped(path)), EXACT),
        Shape::Firm(prefix) if has_regexes => {
            let length = i64::try_from(prefix.len()).unwrap_or(0);
            regex(format!("~{}", escaped(prefix)), FIRM + length)
        }
        Shape::Prefix(prefix) | Shape::Firm(prefix) => Some(Path {
            text: prefix.to_owned(),
            priority: None,
        }),
        Shape::Regex { pattern, any_case } => {
            *next_regex -= 1;
            regex(anchored(&widened(pattern), any_case, place.outer), *next_regex)
        }
        Shape::Named(_) => None,
    }
}

pub(super) fn everything() -> Path {
    Path {
        text: "/".to_owned(),
        priority: None,
    }
}

/// A regex that may match anywhere, as one that matches from the start.
pub(super) fn anchored(pattern: &str, any_case: bool, outer: Option<&str>) -> String {
    let flags = if any_case { "(?i)" } else { "" };
    let whole = pattern.contains('|');
    match pattern.strip_prefix("^/") {
        Some(rest) if !whole && !any_case => format!("~/{rest}"),
        Some(_) => format!("~/?.*(?:{flags}{pattern})"),
        None => {
            let before = outer.map_or_else(|| "/?".to_owned(), escaped);
            format!("~{before}.*(?:{flags}{pattern})")
        }
    }
}

/// Whether a regex can be asked in linear time: without look-around and back-references.
pub(super) fn is_linear(pattern: &str) -> bool {
    regex::Regex::new(pattern).is_ok()
}

/// A regex as it is, or without what only narrows it and cannot be asked: it then matches no less than before. What
/// cannot be asked even so matches everything.
pub(super) fn widened(pattern: &str) -> String {
    if is_linear(pattern) {
        return pattern.to_owned();
    }
    let mut wide = pattern.to_owned();
    while let Some(start) = ["(?!", "(?=", "(?<!", "(?<="]
        .iter()
        .filter_map(|look| wide.find(look))
        .min()
    {
        let Some(end) = end_of_group(&wide, start) else {
            break;
        };
        wide.replace_range(start..end, "");
    }
    if is_linear(&wide) { wide } else { String::new() }
}

/// Where the group ends that begins at `start`.
fn end_of_group(pattern: &str, start: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let (mut escaped, mut class) = (false, false);
    for (at, character) in pattern.char_indices().skip_while(|(at, _)| *at < start) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ']' => class = false,
            _ if class => {}
            '[' => class = true,
            '(' => depth += 1,
            ')' if depth == 1 => return Some(at + 1),
            ')' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// A text as a regex that matches it.
fn escaped(text: &str) -> String {
    regex_syntax::escape(text)
}

#[cfg(test)]
mod tests {
    use super::{anchored, collect, target, widened};
    use crate::check::shape;
    use crate::translate::scope::Scope;

    #[test]
    fn regexes_match_from_the_start() {
        for (pattern, any_case, expected) in [
            ("^/api/(.*)$", false, "~/api/(.*)$"),
            ("^/a|/b", false, "~/?.*(?:^/a|/b)"),
            ("^/a", true, "~/?.*(?:(?i)^/a)"),
            (r"\.php$", false, r"~/?.*(?:\.php$)"),
            (r"\.(gif|png)$", true, r"~/?.*(?:(?i)\.(gif|png)$)"),
        ] {
            assert_eq!(anchored(pattern, any_case, None), expected, "{pattern}");
        }
        assert_eq!(anchored("x$", false, Some("/a.b/")), r"~/a\.b/.*(?:x$)");
    }

    #[test]
    fn what_cannot_be_asked_is_left_out_of_a_regex() {
        for (pattern, expected) in [
            (r"/\.php$", r"/\.php$"),
            (r"/\.(?!well-known)", r"/\."),
            (r"^/(?!(a|b\))c).*(?<=x)y", "^/.*y"),
            (r"^/(.)\1$", ""),
            (r"(?=[)]x", ""),
        ] {
            assert_eq!(widened(pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn the_location_of_a_path_that_is_not_known_whole() {
        let main = crate::parse(
            b"server { location / {} location /a/ {} location = /a/x {} location ^~ /b/ {} location ~ x$ {} }
              server { location / {} location /a/ {} location /a/b/ {} }
              server { location / {} location ~ ^/a/(.*)$ {} location ~* ^/ax?y {} }",
        );
        let servers = main.flat();
        for (server, path, expected) in [
            (0, "/c", Some("/")),
            (0, "/cx", Some("x$")),
            (0, "/a/x", Some("/a/x")),
            (0, "/a/y?x", Some("/a/")),
            (0, "/a/$1", None),
            (0, "/b/$1x", Some("/b/")),
            (0, "x", Some("x$")),
            (1, "/$1", None),
            (1, "/a/$1", None),
            (1, "/a/c$1", Some("/a/")),
            (1, "/a/b/$1", Some("/a/b/")),
            (1, "$1", None),
            (2, "/a/$1", None),
            (2, "/b/$1", Some("/")),
            (2, "/A$1", None),
        ] {
            let mut places = Vec::new();
            collect(servers[server], &Scope::of(servers[server]), None, &mut places);
            let found = target(&places, path).map(|place| place.directive.args.last().unwrap().as_str());
            assert!(places.iter().all(|place| shape(place.directive).is_ok()));
            assert_eq!(found, expected, "{path}");
        }
    }
}
