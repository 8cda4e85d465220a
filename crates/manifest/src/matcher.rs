//! What the matchers of a route may say, apart from its paths.

use crate::address::{is_host, parse_port};

/// Why a matcher cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MatcherError {
    #[error("`{0}` is not a method: upper-case letters, `-` and `_`")]
    Method(String),
    #[error("`{0}` is not a host name")]
    Host(String),
    #[error("`{0}`: only the first or the last label may be `*`")]
    Wildcard(String),
    #[error("`{0}` is not a header name")]
    HeaderName(String),
    #[error("`host` is not matched as a header")]
    HostHeader,
}

impl MatcherError {
    pub(crate) fn help(&self) -> Option<String> {
        match self {
            Self::Method(method) => {
                let upper = method.to_ascii_uppercase();
                check_method(&upper).is_ok().then(|| format!("write `{upper}`"))
            }
            Self::HostHeader => Some("use `hosts`".to_owned()),
            _ => None,
        }
    }
}

pub(crate) fn check_method(method: &str) -> Result<(), MatcherError> {
    let token = |byte: u8| byte.is_ascii_uppercase() || byte == b'-' || byte == b'_';
    if !method.is_empty() && method.bytes().all(token) {
        Ok(())
    } else {
        Err(MatcherError::Method(method.to_owned()))
    }
}

/// A host name or address with an optional port; one leading or trailing `*` label.
pub(crate) fn check_host(host: &str) -> Result<(), MatcherError> {
    let (name, port) = host
        .rsplit_once(':')
        .map_or((host, None), |(name, port)| (name, Some(port)));
    if port.is_some_and(|port| parse_port(port).is_err()) {
        return Err(MatcherError::Host(host.to_owned()));
    }
    check_wildcard(name).map_err(|error| error(host.to_owned()))
}

/// A server name; wildcards as for hosts.
pub(crate) fn check_sni(name: &str) -> Result<(), MatcherError> {
    check_wildcard(name).map_err(|error| error(name.to_owned()))
}

/// `name` is in lower case.
pub(crate) fn check_header_name(name: &str) -> Result<(), MatcherError> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name == "host" {
        Err(MatcherError::HostHeader)
    } else if !name.is_empty() && name.bytes().all(token) {
        Ok(())
    } else {
        Err(MatcherError::HeaderName(name.to_owned()))
    }
}

fn check_wildcard(name: &str) -> Result<(), fn(String) -> MatcherError> {
    let rest = name
        .strip_prefix("*.")
        .or_else(|| name.strip_suffix(".*"))
        .unwrap_or(name);
    if rest.contains('*') {
        Err(MatcherError::Wildcard)
    } else if is_host(rest) {
        Ok(())
    } else {
        Err(MatcherError::Host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for host in [
            "a.com",
            "A.com:8080",
            "*.a.com",
            "a.*",
            "10.0.0.1",
            "localhost",
            "my_host",
        ] {
            assert_eq!(check_host(host), Ok(()), "{host}");
        }
        for host in ["*", "*a.com", "a.*.com", "*.a.*", "*.*.a"] {
            assert_eq!(
                check_host(host),
                Err(MatcherError::Wildcard(host.to_owned())),
                "{host}"
            );
        }
        for host in ["", "a b", "a.com:", "a.com:0", "a..b", "*.", "http://a"] {
            assert_eq!(
                check_host(host),
                Err(MatcherError::Host(host.to_owned())),
                "{host}"
            );
        }
    }

    #[test]
    fn methods_and_header_names() {
        for (method, valid) in [
            ("GET", true),
            ("M-SEARCH", true),
            ("get", false),
            ("", false),
            ("G T", false),
        ] {
            assert_eq!(check_method(method).is_ok(), valid, "{method}");
        }
        for (name, valid) in [("x-version", true), ("host", false), ("", false), ("a b", false)] {
            assert_eq!(check_header_name(name).is_ok(), valid, "{name}");
        }
    }
}
