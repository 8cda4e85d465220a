//! Hosts: as routes list them and as requests carry them.

/// A host of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostPattern {
    pub(crate) name: HostShape,
    /// Only requests to this port.
    pub(crate) port: Option<u16>,
}

/// Which names match; all texts in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HostShape {
    /// This name.
    Exact(Box<str>),
    /// One or more labels before this, which begins with a dot.
    AnyBefore(Box<str>),
    /// One or more labels after this, which ends with a dot.
    AnyAfter(Box<str>),
}

/// A request's host: lower case, without port and without the dot that may end a full name.
pub(crate) struct RequestHost<'a> {
    name: LowerCase<'a>,
    /// The port it names, or that of the scheme.
    pub(crate) port: u16,
}

/// Hosts come in lower case nearly always, and are then read where they are: a copy that is compared
/// at once would stall the processor for longer than all the rest of a search takes.
#[expect(
    clippy::large_enum_variant,
    reason = "stays on the stack of one search; a box would be an allocation"
)]
enum LowerCase<'a> {
    AsSent(&'a [u8]),
    Lowered { bytes: [u8; LONGEST], length: usize },
}

/// Longest name, bytes; DNS allows 253.
const LONGEST: usize = 255;

impl HostPattern {
    /// Reads a host as a route lists it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let refuse = |reason: &str| Err(format!("host `{text}` {reason}"));
        let (name, port) = split_port(text.as_bytes());
        if port == Some(0) {
            return refuse("has port 0");
        }
        let name = text[..name.len()].to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        if name.is_empty() || name.len() > LONGEST {
            return refuse("must have 1 to 255 bytes");
        }
        let shape = if let Some(rest) = name.strip_prefix('*') {
            HostShape::AnyBefore(rest.into())
        } else if let Some(rest) = name.strip_suffix('*') {
            HostShape::AnyAfter(rest.into())
        } else {
            HostShape::Exact(name.into())
        };
        let whole_label = match &shape {
            HostShape::Exact(_) => true,
            HostShape::AnyBefore(rest) => rest.len() > 1 && rest.starts_with('.'),
            HostShape::AnyAfter(rest) => rest.len() > 1 && rest.ends_with('.'),
        };
        if !whole_label || shape.fixed().contains('*') {
            return refuse("may have one `*`, as its first or its last label");
        }
        let bracketed = name.starts_with('[') && name.ends_with(']');
        let odd = |byte: u8| byte <= b' ' || byte == 127 || b"/?#@\\".contains(&byte);
        if name.bytes().any(odd) || (name.contains(':') && !bracketed) {
            return refuse("is not a host name");
        }
        Ok(Self { name: shape, port })
    }

    pub(crate) fn is_wildcard(&self) -> bool {
        !matches!(self.name, HostShape::Exact(_))
    }

    /// Whether a request to `host` matches.
    pub(crate) fn accepts(&self, host: &RequestHost<'_>) -> bool {
        let name = host.name();
        let named = match &self.name {
            HostShape::Exact(exact) => name == exact.as_bytes(),
            HostShape::AnyBefore(rest) => name.len() > rest.len() && name.ends_with(rest.as_bytes()),
            HostShape::AnyAfter(rest) => name.len() > rest.len() && name.starts_with(rest.as_bytes()),
        };
        named && self.port.is_none_or(|port| port == host.port)
    }
}

impl HostShape {
    /// The part that is not the wildcard.
    pub(crate) fn fixed(&self) -> &str {
        match self {
            Self::Exact(text) | Self::AnyBefore(text) | Self::AnyAfter(text) => text,
        }
    }
}

impl<'a> RequestHost<'a> {
    /// Reads a Host value. A name that is too long for DNS is read as the empty name, which no route lists.
    pub(crate) fn new(raw: &'a [u8], https: bool) -> Self {
        let (name, port) = split_port(raw);
        let name = name.strip_suffix(b".").unwrap_or(name);
        let name = if name.len() > LONGEST { &[] } else { name };
        Self {
            name: LowerCase::new(name),
            port: port.unwrap_or(if https { 443 } else { 80 }),
        }
    }

    /// The name read from its end, and nothing that matters behind it.
    pub(crate) fn backwards(&self) -> [u8; LONGEST] {
        let mut bytes = [0; LONGEST];
        for (to, from) in bytes.iter_mut().zip(self.name().iter().rev()) {
            *to = *from;
        }
        bytes
    }

    pub(crate) fn name(&self) -> &[u8] {
        match &self.name {
            LowerCase::AsSent(name) => name,
            LowerCase::Lowered { bytes, length } => &bytes[..*length],
        }
    }
}

impl<'a> LowerCase<'a> {
    /// `name` is no longer than [`LONGEST`].
    fn new(name: &'a [u8]) -> Self {
        if !name.iter().any(u8::is_ascii_uppercase) {
            return Self::AsSent(name);
        }
        let mut bytes = [0; LONGEST];
        bytes[..name.len()].copy_from_slice(name);
        bytes.make_ascii_lowercase();
        Self::Lowered {
            bytes,
            length: name.len(),
        }
    }
}

/// Splits `:port` off. What only looks like one stays part of the name, so that it matches no route.
fn split_port(host: &[u8]) -> (&[u8], Option<u16>) {
    let Some(colon) = memchr::memrchr(b':', host) else {
        return (host, None);
    };
    let digits = &host[colon + 1..];
    let inside_brackets = memchr::memchr(b']', digits).is_some();
    if inside_brackets || digits.is_empty() || digits.len() > 5 || !digits.iter().all(u8::is_ascii_digit) {
        return (host, None);
    }
    let port = digits
        .iter()
        .fold(0, |port: u32, digit| port * 10 + u32::from(digit - b'0'));
    match u16::try_from(port) {
        Ok(port) => (&host[..colon], Some(port)),
        Err(_) => (host, None),
    }
}

#[cfg(test)]
mod tests {
    use super::{HostPattern, RequestHost};

    #[test]
    fn hosts_match() {
        for (pattern, host, expected) in [
            ("a.com", "A.com", true),
            ("A.com", "a.COM.:8000", true),
            ("a.com", "b.a.com", false),
            ("a.com:8000", "a.com:8000", true),
            ("a.com:8000", "a.com", false),
            ("a.com:80", "a.com", true),
            ("*.a.com", "x.a.com", true),
            ("*.a.com", "x.y.a.com:1", true),
            ("*.a.com", "a.com", false),
            ("*.a.com", ".a.com", false),
            ("*.a.com:81", "x.a.com:81", true),
            ("a.*", "a.com", true),
            ("a.*", "a.co.uk", true),
            ("a.*", "a.", false),
            ("[::1]", "[::1]", true),
            ("[::1]:80", "[::1]", true),
            ("[::1]", "[::1]:99", true),
            ("a.com", "a.com:99999", false),
            ("a.com", "a.com:x", false),
        ] {
            let host = RequestHost::new(host.as_bytes(), false);
            let pattern_read = HostPattern::parse(pattern).unwrap();
            assert_eq!(
                pattern_read.accepts(&host),
                expected,
                "{pattern} {:?}",
                host.name()
            );
        }
    }

    #[test]
    fn bad_hosts_are_refused() {
        let long = "a".repeat(256);
        for text in [
            "", ".", "*", "*.", "*a.com", "a*", "a.*.com", "*.a.*", "a b", "a/b", "a:b", "a:0", &long,
        ] {
            assert!(HostPattern::parse(text).is_err(), "{text}");
        }
    }
}
