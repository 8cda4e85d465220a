//! One field line of a head, and the names that mean something to a proxy.

use crate::Span;

/// One field line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The name as sent, a token.
    pub name: Span,
    /// The value without the blanks around it; free of control bytes but tabs, may hold bytes above 127.
    pub value: Span,
    /// What the name means to a proxy, if anything.
    pub known: Option<Known>,
    /// Whether the field is for this connection only and must not be forwarded: the hop-by-hop names
    /// ([`Known::is_hop_by_hop`]) and whatever other field `Connection` names.
    ///
    /// A name in `Connection` that is [`Known`] and not hop-by-hop (`Host`, `Content-Length`, `Authorization`,
    /// `X-Forwarded-For`, `X-Consumer-ID`...) is ignored rather than refused: ignoring takes the attack its effect,
    /// refusing would also turn away careless clients.
    pub hop: bool,
}

/// A field that a proxy acts on, sets or withholds, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Known {
    /// `Accept`
    Accept,
    /// `Authorization`
    Authorization,
    /// `Connection`
    Connection,
    /// `Content-Length`
    ContentLength,
    /// `Cookie`
    Cookie,
    /// `Date`
    Date,
    /// `Expect`
    Expect,
    /// `Forwarded`
    Forwarded,
    /// `Host`
    Host,
    /// Who the gateway found the caller to be: `X-Consumer-*`, `X-Credential-*`, `X-Authenticated-*`,
    /// `X-Anonymous-Consumer`. Only the gateway may say so.
    Identity,
    /// `Keep-Alive`
    KeepAlive,
    /// `Proxy`, which CGI programs would take for the variable `HTTP_PROXY`.
    Proxy,
    /// `Proxy-Authenticate`
    ProxyAuthenticate,
    /// `Proxy-Authorization`
    ProxyAuthorization,
    /// `Proxy-Connection`
    ProxyConnection,
    /// `Server`
    Server,
    /// `TE`
    Te,
    /// `Traceparent`
    Traceparent,
    /// `Trailer`
    Trailer,
    /// `Transfer-Encoding`
    TransferEncoding,
    /// A name with underscores that reads like one of the others with hyphens (`X_Forwarded_For`), but for
    /// `User-Agent`. Some backends cannot tell the two apart, so it must not be forwarded.
    UnderscoreTwin,
    /// `Upgrade`
    Upgrade,
    /// `User-Agent`
    UserAgent,
    /// `Via`
    Via,
    /// `X-Forwarded-For`
    XForwardedFor,
    /// `X-Forwarded-Host`
    XForwardedHost,
    /// `X-Forwarded-Path`
    XForwardedPath,
    /// `X-Forwarded-Port`
    XForwardedPort,
    /// `X-Forwarded-Prefix`
    XForwardedPrefix,
    /// `X-Forwarded-Proto`
    XForwardedProto,
    /// `X-Real-IP`
    XRealIp,
    /// `X-Request-ID`
    XRequestId,
}

impl Known {
    /// What `name` means, whatever its case.
    #[inline]
    pub fn of(name: &[u8]) -> Option<Known> {
        plain(name).or_else(|| underscore_twin(name))
    }

    /// Whether the field speaks to the next hop only, and is not forwarded.
    #[inline]
    pub fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            Known::Connection
                | Known::KeepAlive
                | Known::Proxy
                | Known::ProxyAuthenticate
                | Known::ProxyAuthorization
                | Known::ProxyConnection
                | Known::Te
                | Known::Trailer
                | Known::TransferEncoding
                | Known::Upgrade
        )
    }
}

/// [`Known::of`] for a name whose underscores, if any, were seen before.
#[inline]
pub(crate) fn known(name: &[u8], has_underscore: bool) -> Option<Known> {
    if has_underscore {
        underscore_twin(name)
    } else {
        plain(name)
    }
}

#[inline]
fn plain(name: &[u8]) -> Option<Known> {
    by_length(name.len())
        .iter()
        .find(|(candidate, _)| same_name(candidate, name))
        .map(|&(_, known)| known)
        .or_else(|| is_identity(name).then_some(Known::Identity))
}

/// Compares the last byte first: names of one length differ there sooner than at the start.
#[inline]
fn same_name(candidate: &[u8], name: &[u8]) -> bool {
    let last = |bytes: &[u8]| bytes.last().map(u8::to_ascii_lowercase);
    last(candidate) == last(name) && candidate.eq_ignore_ascii_case(name)
}

#[inline]
fn by_length(length: usize) -> &'static [(&'static [u8], Known)] {
    match length {
        2 => &[(b"te", Known::Te)],
        3 => &[(b"via", Known::Via)],
        4 => &[(b"host", Known::Host), (b"date", Known::Date)],
        5 => &[(b"proxy", Known::Proxy)],
        6 => &[
            (b"accept", Known::Accept),
            (b"cookie", Known::Cookie),
            (b"server", Known::Server),
            (b"expect", Known::Expect),
        ],
        7 => &[(b"upgrade", Known::Upgrade), (b"trailer", Known::Trailer)],
        9 => &[(b"x-real-ip", Known::XRealIp), (b"forwarded", Known::Forwarded)],
        10 => &[
            (b"connection", Known::Connection),
            (b"user-agent", Known::UserAgent),
            (b"keep-alive", Known::KeepAlive),
        ],
        11 => &[(b"traceparent", Known::Traceparent)],
        12 => &[(b"x-request-id", Known::XRequestId)],
        13 => &[(b"authorization", Known::Authorization)],
        14 => &[(b"content-length", Known::ContentLength)],
        15 => &[(b"x-forwarded-for", Known::XForwardedFor)],
        16 => &[
            (b"x-forwarded-host", Known::XForwardedHost),
            (b"x-forwarded-port", Known::XForwardedPort),
            (b"x-forwarded-path", Known::XForwardedPath),
            (b"proxy-connection", Known::ProxyConnection),
        ],
        17 => &[
            (b"transfer-encoding", Known::TransferEncoding),
            (b"x-forwarded-proto", Known::XForwardedProto),
        ],
        18 => &[
            (b"x-forwarded-prefix", Known::XForwardedPrefix),
            (b"proxy-authenticate", Known::ProxyAuthenticate),
        ],
        19 => &[(b"proxy-authorization", Known::ProxyAuthorization)],
        _ => &[],
    }
}

const IDENTITY_PREFIXES: [&[u8]; 3] = [b"x-consumer-", b"x-credential-", b"x-authenticated-"];

#[inline]
fn is_identity(name: &[u8]) -> bool {
    matches!(name, [b'x' | b'X', b'-', b'c' | b'C' | b'a' | b'A', ..])
        && (name.eq_ignore_ascii_case(b"x-anonymous-consumer")
            || IDENTITY_PREFIXES.iter().any(|prefix| {
                name.get(..prefix.len())
                    .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
            }))
}

/// Rare, so it may copy; on the stack, as long as the longest name that it could be.
#[cold]
fn underscore_twin(name: &[u8]) -> Option<Known> {
    let mut hyphened = [0; 64];
    let length = name.len().min(hyphened.len());
    for (to, &from) in hyphened.iter_mut().zip(name) {
        *to = if from == b'_' { b'-' } else { from };
    }
    let has_underscore = name.contains(&b'_');
    match plain(&hyphened[..length]) {
        // A longer name only has to start like an identity; any other is known by its exact length.
        Some(known) if has_underscore && (known == Known::Identity || name.len() == length) => {
            (known != Known::UserAgent).then_some(Known::UnderscoreTwin)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_in_any_case() {
        for length in 0..=64 {
            for &(name, known) in by_length(length) {
                assert_eq!(name.len(), length);
                assert_eq!(Known::of(name), Some(known));
                assert_eq!(Known::of(&name.to_ascii_uppercase()), Some(known));
                let other = [&name[1..], b"q"].concat();
                assert_eq!(Known::of(&other), None);
            }
        }
    }

    #[test]
    fn families_and_twins() {
        let long = format!("X_Consumer-{}", "a".repeat(100));
        let cases: [(&str, Option<Known>); 15] = [
            ("X-Consumer-ID", Some(Known::Identity)),
            ("x-consumer-custom-id", Some(Known::Identity)),
            ("X-Credential-Identifier", Some(Known::Identity)),
            ("X-Authenticated-Groups", Some(Known::Identity)),
            ("X-Anonymous-Consumer", Some(Known::Identity)),
            ("X-Consumer", None),
            ("X-Custom", None),
            ("X_Consumer_ID", Some(Known::UnderscoreTwin)),
            (&long, Some(Known::UnderscoreTwin)),
            ("x_forwarded_for", Some(Known::UnderscoreTwin)),
            ("X-Forwarded_For", Some(Known::UnderscoreTwin)),
            ("Content_Length", Some(Known::UnderscoreTwin)),
            ("user_agent", None),
            ("my_field", None),
            ("", None),
        ];
        for (name, known) in cases {
            assert_eq!(Known::of(name.as_bytes()), known, "{name}");
        }
    }
}
