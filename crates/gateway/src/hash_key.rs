//! The key of a request, for pools that hash: Kong's `hash_on` and `hash_fallback`.
//!
//! Decided when the configuration is compiled; pools that do not hash pay a branch. A request that has neither what
//! `hash_on` nor what `hash_fallback` asks for takes its turn. A consumer is there once a plugin has found out who calls.

use std::net::IpAddr;

use hythe_http1::{Known, RequestHead};
use hythe_model::balancing::HashOn;
use hythe_model::{FullName, Upstream};
use hythe_stdx::StableHash;

use crate::exchange::{known_value, named_value};

/// Where the key comes from, the first that there is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct HashKey {
    sources: Vec<Source>,
}

#[derive(Debug, PartialEq, Eq)]
enum Source {
    Client,
    Header(String),
    /// Name, path.
    Cookie(String, String),
    Path,
    Argument(String),
    Caller,
    Capture(String),
}

/// What a request's key is made of.
pub(crate) struct Keyed<'a> {
    pub(crate) head: &'a RequestHead,
    pub(crate) bytes: &'a [u8],
    pub(crate) client: IpAddr,
    pub(crate) caller: Option<&'a FullName>,
    /// A named group of the route's regular expression.
    pub(crate) capture: &'a dyn Fn(&str) -> Option<Vec<u8>>,
}

/// The key, and the cookie that must be set so that the next request has the same.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) key: Option<u64>,
    pub(crate) new_cookie: Option<String>,
}

impl HashKey {
    /// `None`: the pool hashes by nothing.
    pub(crate) fn of(upstream: &Upstream) -> Option<Self> {
        let source = |on, [header, argument, capture]: [&Option<String>; 3]| match on {
            HashOn::None => None,
            HashOn::Consumer => Some(Source::Caller),
            HashOn::UriCapture => capture.clone().map(Source::Capture),
            HashOn::Ip => Some(Source::Client),
            HashOn::Path => Some(Source::Path),
            HashOn::Header => header.clone().map(Source::Header),
            HashOn::QueryArg => argument.clone().map(Source::Argument),
            HashOn::Cookie => {
                let name = upstream.hash_on_cookie.clone()?;
                let path = upstream.hash_on_cookie_path.clone();
                Some(Source::Cookie(name, path.unwrap_or_else(|| "/".to_owned())))
            }
        };
        let first = source(
            upstream.hash_on,
            [
                &upstream.hash_on_header,
                &upstream.hash_on_query_arg,
                &upstream.hash_on_uri_capture,
            ],
        );
        let second = source(
            upstream.hash_fallback,
            [
                &upstream.hash_fallback_header,
                &upstream.hash_fallback_query_arg,
                &upstream.hash_fallback_uri_capture,
            ],
        );
        let sources: Vec<Source> = first.into_iter().chain(second).collect();
        (!sources.is_empty()).then_some(Self { sources })
    }

    /// `fresh` makes the value of a cookie that is missing.
    pub(crate) fn find(&self, request: &Keyed<'_>, fresh: impl FnOnce() -> String) -> Found {
        for source in &self.sources {
            if let Some(key) = source.key(request) {
                return Found {
                    key: Some(key),
                    new_cookie: None,
                };
            }
            if let Source::Cookie(name, path) = source {
                let value = fresh();
                return Found {
                    key: Some(hash(value.as_bytes())),
                    new_cookie: Some(format!("{name}={value}; Path={path}; HttpOnly")),
                };
            }
        }
        Found::default()
    }
}

impl Source {
    fn key(&self, request: &Keyed<'_>) -> Option<u64> {
        let Keyed {
            head,
            bytes,
            client,
            caller,
            capture,
        } = request;
        match self {
            Self::Client => Some(match client {
                IpAddr::V4(address) => hash(&address.octets()),
                IpAddr::V6(address) => hash(&address.octets()),
            }),
            Self::Path => Some(hash(head.path.of(bytes))),
            Self::Header(name) => named_value(head, bytes, name.as_bytes()).map(hash),
            Self::Cookie(name, _) => {
                cookie(known_value(head, bytes, Known::Cookie)?, name.as_bytes()).map(hash)
            }
            Self::Caller => caller.map(|caller| hash(caller.to_string().as_bytes())),
            Self::Capture(name) => capture(name).map(|value| hash(&value)),
            Self::Argument(name) => argument(head.query?.of(bytes), name.as_bytes()).map(hash),
        }
    }
}

fn hash(bytes: &[u8]) -> u64 {
    StableHash::default().with(bytes).finish()
}

/// The value of a cookie in a `Cookie` field.
pub(crate) fn cookie<'a>(field: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    value_of(field.split(|byte| *byte == b';'), name)
}

/// The value of an argument in a query, as it was sent.
fn argument<'a>(query: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    value_of(query.split(|byte| *byte == b'&'), name)
}

fn value_of<'a>(mut pairs: impl Iterator<Item = &'a [u8]>, name: &[u8]) -> Option<&'a [u8]> {
    pairs.find_map(|pair| pair.trim_ascii().strip_prefix(name)?.strip_prefix(b"="))
}

#[cfg(test)]
mod tests {
    use hythe_http1::Limits;

    use super::*;

    fn upstream(json: serde_json::Value) -> Upstream {
        serde_json::from_value(json).unwrap()
    }

    /// What the request's key is made of, by trying the texts it could be.
    fn found(upstream: &Upstream, request: &str) -> (Option<u64>, Option<String>) {
        let mut head = RequestHead::default();
        head.parse(request.as_bytes(), &Limits::default()).unwrap();
        // Who has cookies calls as Dora.
        let caller = request.contains("Cookie").then(|| "dora".parse().unwrap());
        let keyed = Keyed {
            head: &head,
            bytes: request.as_bytes(),
            client: IpAddr::from([10, 0, 0, 1]),
            caller: caller.as_ref(),
            capture: &|name| (name == "id").then(|| b"42".to_vec()),
        };
        let found = HashKey::of(upstream).map(|key| key.find(&keyed, || "fresh".to_owned()));
        let found = found.unwrap_or_default();
        (found.key, found.new_cookie)
    }

    #[test]
    fn keys() {
        use serde_json::json;
        let request =
            "GET /a/b?x=1&user=ann HTTP/1.1\r\nHost: a\r\nX-User: bob\r\nCookie: a=1; id=carl\r\n\r\n";
        let rows = [
            (json!({}), None),
            (
                json!({"hash_on": "header", "hash_on_header": "x-user"}),
                Some("bob"),
            ),
            (json!({"hash_on": "header", "hash_on_header": "x-none"}), None),
            (
                json!({"hash_on": "header", "hash_on_header": "x-none", "hash_fallback": "path"}),
                Some("/a/b"),
            ),
            (json!({"hash_on": "cookie", "hash_on_cookie": "id"}), Some("carl")),
            (
                json!({"hash_on": "query_arg", "hash_on_query_arg": "user"}),
                Some("ann"),
            ),
            (json!({"hash_on": "query_arg", "hash_on_query_arg": "use"}), None),
            (
                json!({"hash_on": "consumer", "hash_fallback": "path"}),
                Some("dora"),
            ),
            (
                json!({"hash_on": "uri_capture", "hash_on_uri_capture": "id"}),
                Some("42"),
            ),
            (
                json!({"hash_on": "uri_capture", "hash_on_uri_capture": "no", "hash_fallback": "consumer"}),
                Some("dora"),
            ),
        ];
        for (settings, expected) in rows {
            let key = expected.map(|text| hash(text.as_bytes()));
            assert_eq!(
                found(&upstream(settings.clone()), request),
                (key, None),
                "{settings}"
            );
        }
        let by_ip = found(&upstream(json!({"hash_on": "ip"})), request);
        assert_eq!(by_ip.0, Some(hash(&[10, 0, 0, 1])));
        let nobody = found(
            &upstream(json!({"hash_on": "consumer", "hash_fallback": "path"})),
            "GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
        );
        assert_eq!(nobody.0, Some(hash(b"/a")));
        let missing = json!({"hash_on": "cookie", "hash_on_cookie": "c", "hash_on_cookie_path": "/p"});
        let set = "c=fresh; Path=/p; HttpOnly".to_owned();
        assert_eq!(
            found(&upstream(missing), request),
            (Some(hash(b"fresh")), Some(set))
        );
    }
}
