//! Paths of routes and services: Kong's rules for what may be written.

use regex::Regex;

/// Why a path cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathError {
    #[error("`{0}` should start with: / (a prefix) or ~/ (a regular expression)")]
    RouteStart(String),
    #[error("`{0}` should start with: /")]
    Start(String),
    #[error("`{0}` does not belong into a path")]
    Character(char),
    #[error("`{0}` is not a percent-encoded byte")]
    Percent(String),
    #[error("non-normalized path, consider use '{0}' instead")]
    NotNormal(String),
    #[error("`{0}` is not a regular expression: {1}")]
    Regex(String, String),
}

impl PathError {
    pub(crate) fn help(&self) -> Option<&'static str> {
        match self {
            Self::Character('^' | '*' | '(' | ')' | '[' | ']' | '{' | '}' | '|' | '\\' | '?') => {
                Some("a regular expression starts with `~`: `~/users/[0-9]+$`")
            }
            Self::Character(character) if !character.is_ascii() || *character == ' ' => {
                Some("percent-encode it")
            }
            _ => None,
        }
    }
}

/// A route's path: a prefix or, after `~`, a regular expression.
pub(crate) fn check_route(path: &str) -> Result<(), PathError> {
    if path.starts_with("~/") {
        check_regex(&path[1..])
    } else if path.starts_with('/') {
        check_plain(path)
    } else {
        Err(PathError::RouteStart(path.to_owned()))
    }
}

/// A path that means only itself.
pub(crate) fn check_plain(path: &str) -> Result<(), PathError> {
    if !path.starts_with('/') {
        return Err(PathError::Start(path.to_owned()));
    }
    let allowed =
        |character: char| character.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/%".contains(character);
    if let Some(character) = path.chars().find(|character| !allowed(*character)) {
        return Err(PathError::Character(character));
    }
    let normal = normalized(path)?;
    if normal == path {
        Ok(())
    } else {
        Err(PathError::NotNormal(normal))
    }
}

pub(crate) fn check_regex(pattern: &str) -> Result<(), PathError> {
    match Regex::new(pattern) {
        Ok(_) => Ok(()),
        Err(error) => {
            // The report of a syntax error draws the pattern first; what is wrong is in the last line.
            let report = error.to_string();
            let reason = report
                .lines()
                .last()
                .unwrap_or_default()
                .trim()
                .trim_start_matches("error: ");
            Err(PathError::Regex(pattern.to_owned(), reason.to_owned()))
        }
    }
}

/// Percent-encoded bytes that need no encoding are decoded, dot segments removed, slashes merged.
fn normalized(path: &str) -> Result<String, PathError> {
    let decoded = decoded(path)?;
    let mut segments: Vec<&str> = Vec::new();
    for segment in decoded.split('/').filter(|segment| !segment.is_empty()) {
        match segment {
            "." => {}
            ".." => drop(segments.pop()),
            _ => segments.push(segment),
        }
    }
    let ends_in_slash = ["/", "/.", "/.."].iter().any(|end| decoded.ends_with(end));
    let slash = if ends_in_slash && !segments.is_empty() {
        "/"
    } else {
        ""
    };
    Ok(format!("/{}{slash}", segments.join("/")))
}

fn decoded(path: &str) -> Result<String, PathError> {
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(percent) = rest.find('%') {
        decoded.push_str(&rest[..percent]);
        let encoded = rest.get(percent..percent + 3).unwrap_or(&rest[percent..]);
        let digits = encoded
            .get(1..)
            .filter(|digits| digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte.ok_or_else(|| PathError::Percent(encoded.to_owned()))? {
            byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => decoded.push(char::from(byte)),
            _ => decoded.push_str(&encoded.to_ascii_uppercase()),
        }
        rest = &rest[percent + 3..];
    }
    decoded.push_str(rest);
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_forms() {
        let rows = [
            ("/", "/"),
            ("/a", "/a"),
            ("/a/", "/a/"),
            ("//a", "/a"),
            ("/a//b", "/a/b"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/..", "/"),
            ("/../..", "/"),
            ("/a/b/..", "/a/"),
            ("/%61", "/a"),
            ("/%2e%2e/a", "/a"),
            ("/a%2fb", "/a%2Fb"),
            ("/a%2Fb", "/a%2Fb"),
        ];
        for (path, expected) in rows {
            assert_eq!(normalized(path).as_deref(), Ok(expected), "{path}");
        }
    }

    #[test]
    fn what_routes_may_say() {
        let ok = ["/", "/users", "/a%20b", "~/users/\\d+$", "~/(?<id>[a-z]+)"];
        for path in ok {
            assert_eq!(check_route(path), Ok(()), "{path}");
        }
        let refused = [
            (
                "users",
                "`users` should start with: / (a prefix) or ~/ (a regular expression)",
            ),
            (
                "~users",
                "`~users` should start with: / (a prefix) or ~/ (a regular expression)",
            ),
            ("//a", "non-normalized path, consider use '/a' instead"),
            ("/a b", "` ` does not belong into a path"),
            ("/[0-9]", "`[` does not belong into a path"),
            ("/a%2", "`%2` is not a percent-encoded byte"),
            ("/a%zz", "`%zz` is not a percent-encoded byte"),
            ("~/(", "`/(` is not a regular expression: unclosed group"),
        ];
        for (path, message) in refused {
            assert_eq!(
                check_route(path).map_err(|error| error.to_string()),
                Err(message.to_owned()),
                "{path}"
            );
        }
    }
}
