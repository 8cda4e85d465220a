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
    /// `X-Anonymous-Consumer`; by which certificate: `Client-Cert`, `Client-Cert-Chain` (RFC 9440),
    /// `X-Forwarded-Client-Cert`. Only the gateway may say so.
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
    /// A name with underscores, dots or other odd characters that reads like one of the others with hyphens
    /// (`X_Forwarded_For`, `X.Forwarded.For`), but for `User-Agent`. Some backends cannot tell the two apart, so it
    /// must not be forwarded.
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
    /// What `name`, a token, means, whatever its case.
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

/// [`Known::of`] for a name whose odd characters, if any, were seen before.
#[inline]
pub(crate) fn known(name: &[u8], is_odd: bool) -> Option<Known> {
    if is_odd {
        underscore_twin(name)
    } else {
        plain(name)
    }
}

#[inline]
fn plain(name: &[u8]) -> Option<Known> {
    let key = key(name);
    BY_LENGTH
        .get(name.len())
        .and_then(|candidates| candidates.iter().find(|candidate| candidate.is(key, name)))
        .map(|candidate| candidate.known)
        .or_else(|| is_identity(name).then_some(Known::Identity))
}

/// A name of the table, in lower case.
struct Candidate {
    name: &'static [u8],
    key: [u64; 2],
    known: Known,
}

impl Candidate {
    #[inline]
    fn is(&self, key: [u64; 2], name: &[u8]) -> bool {
        // The key holds all of a name of up to 16 bytes.
        self.key == key && (name.len() <= 16 || self.name.eq_ignore_ascii_case(name))
    }
}

/// The first and the last 8 bytes of a name, so that names compare as two numbers; of a shorter one, all bytes.
/// Case is folded by setting one bit, which makes no token but a name's own variants equal to a name of the table.
#[inline]
const fn key(name: &[u8]) -> [u64; 2] {
    const LOWER: u64 = 0x2020_2020_2020_2020;
    if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
        return [
            u64::from_le_bytes(*first) | LOWER,
            u64::from_le_bytes(*last) | LOWER,
        ];
    }
    let mut word = 0;
    let mut at = 0;
    while at < name.len() {
        word = word << 8 | name[at] as u64;
        at += 1;
    }
    [word | LOWER, 0]
}

const fn candidate(name: &'static [u8], known: Known) -> Candidate {
    let key = key(name);
    Candidate { name, key, known }
}

/// The names but for families of [`Known::Identity`], by their length.
static BY_LENGTH: [&[Candidate]; 24] = [
    &[],
    &[],
    &[candidate(b"te", Known::Te)],
    &[candidate(b"via", Known::Via)],
    &[candidate(b"host", Known::Host), candidate(b"date", Known::Date)],
    &[candidate(b"proxy", Known::Proxy)],
    &[
        candidate(b"accept", Known::Accept),
        candidate(b"cookie", Known::Cookie),
        candidate(b"server", Known::Server),
        candidate(b"expect", Known::Expect),
    ],
    &[
        candidate(b"upgrade", Known::Upgrade),
        candidate(b"trailer", Known::Trailer),
    ],
    &[],
    &[
        candidate(b"x-real-ip", Known::XRealIp),
        candidate(b"forwarded", Known::Forwarded),
    ],
    &[
        candidate(b"connection", Known::Connection),
        candidate(b"user-agent", Known::UserAgent),
        candidate(b"keep-alive", Known::KeepAlive),
    ],
    &[
        candidate(b"traceparent", Known::Traceparent),
        candidate(b"client-cert", Known::Identity),
    ],
    &[candidate(b"x-request-id", Known::XRequestId)],
    &[candidate(b"authorization", Known::Authorization)],
    &[candidate(b"content-length", Known::ContentLength)],
    &[candidate(b"x-forwarded-for", Known::XForwardedFor)],
    &[
        candidate(b"x-forwarded-host", Known::XForwardedHost),
        candidate(b"x-forwarded-port", Known::XForwardedPort),
        candidate(b"x-forwarded-path", Known::XForwardedPath),
        candidate(b"proxy-connection", Known::ProxyConnection),
    ],
    &[
        candidate(b"transfer-encoding", Known::TransferEncoding),
        candidate(b"x-forwarded-proto", Known::XForwardedProto),
        candidate(b"client-cert-chain", Known::Identity),
    ],
    &[
        candidate(b"x-forwarded-prefix", Known::XForwardedPrefix),
        candidate(b"proxy-authenticate", Known::ProxyAuthenticate),
    ],
    &[candidate(b"proxy-authorization", Known::ProxyAuthorization)],
    &[],
    &[],
    &[],
    &[candidate(b"x-forwarded-client-cert", Known::Identity)],
];

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
        *to = if from.is_ascii_alphanumeric() { from } else { b'-' };
    }
    let is_other = !name.starts_with(&hyphened[..length]);
    match plain(&hyphened[..length]) {
        // A longer name only has to start like an identity; any other is known by its exact length.
        Some(known) if is_other && (known == Known::Identity || name.len() == length) => {
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
        for (length, candidates) in BY_LENGTH.iter().enumerate() {
            for &Candidate { name, known, .. } in *candidates {
                assert_eq!(name.len(), length);
                assert_eq!(Known::of(name), Some(known));
                assert_eq!(Known::of(&name.to_ascii_uppercase()), Some(known));
            }
        }
    }

    #[test]
    fn names_with_any_other_byte_are_not_known() {
        let is_token = |byte: u8| crate::class::class(byte) & crate::class::TOKEN != 0;
        for &Candidate { name, known, .. } in BY_LENGTH.iter().copied().flatten() {
            for (at, byte) in (0..name.len()).flat_map(|at| (0..=255).map(move |byte| (at, byte))) {
                let mut other = name.to_vec();
                other[at] = byte;
                let is_variant = other.eq_ignore_ascii_case(name);
                if is_token(byte) && !is_variant {
                    assert_ne!(Known::of(&other), Some(known), "{}", other.escape_ascii());
                }
            }
        }
    }

    #[test]
    fn families_and_twins() {
        let long = format!("X_Consumer-{}", "a".repeat(100));
        let cases: [(&str, Option<Known>); 20] = [
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
            ("X_Forwarded_Client-Cert", Some(Known::UnderscoreTwin)),
            ("Client-Certificate", None),
            ("Content.Length", Some(Known::UnderscoreTwin)),
            ("X.Real~IP", Some(Known::UnderscoreTwin)),
            ("x.y", None),
            ("user_agent", None),
            ("my_field", None),
            ("", None),
        ];
        for (name, known) in cases {
            assert_eq!(Known::of(name.as_bytes()), known, "{name}");
        }
    }
}
