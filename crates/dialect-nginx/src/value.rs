//! Times, sizes and addresses as nginx writes them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Milliseconds of a time: `10s`, `1h 30m`, `500ms`; a bare number is seconds. `None` if it is none.
///
/// nginx: units in descending order, each once, and seconds where none stands.
pub(crate) fn milliseconds(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 8] = [
        ("y", 365 * 86_400_000),
        ("M", 30 * 86_400_000),
        ("w", 7 * 86_400_000),
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
        ("ms", 1),
    ];
    let mut rest = text;
    let mut total: u64 = 0;
    let mut next_unit = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?;
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = match rest.get(..letters)? {
            "" => "s",
            unit => unit,
        };
        let position = UNITS.iter().position(|(name, _)| *name == unit)?;
        if position < next_unit {
            return None;
        }
        next_unit = position + 1;
        total = total.checked_add(number.checked_mul(UNITS.get(position)?.1)?)?;
        rest = rest.get(letters..)?.trim_start_matches(' ');
    }
    (!text.is_empty() && total <= u64::from(u32::MAX) * 1_000).then_some(total)
}

/// Bytes of a size: `8k`, `1m`, `1g`; `None` if it is none.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    let (digits, scale) = match text.as_bytes().last()? {
        b'k' | b'K' => (text.get(..text.len() - 1)?, 1 << 10),
        b'm' | b'M' => (text.get(..text.len() - 1)?, 1 << 20),
        b'g' | b'G' => (text.get(..text.len() - 1)?, 1 << 30),
        _ => (text, 1),
    };
    number(digits)?.checked_mul(scale)
}

/// A number without sign.
pub(crate) fn number(text: &str) -> Option<u64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

/// A place that is named in a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address<'a> {
    /// A host (name, IPv4, `[IPv6]` or `*`) and its port, if it has one.
    Host(&'a str, Option<u16>),
    /// A Unix socket.
    Unix(&'a str),
}

/// Reads `host`, `host:port`, `[ipv6]:port`, `unix:path`.
///
/// # Errors
/// nginx's words for what is wrong.
pub(crate) fn address(text: &str) -> Result<Address<'_>, &'static str> {
    if let Some(path) = text.strip_prefix("unix:") {
        return if path.is_empty() {
            Err("no path in the unix domain socket")
        } else {
            Ok(Address::Unix(path))
        };
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let end = rest.find(']').ok_or("invalid host")?;
            let behind = rest.get(end + 1..).unwrap_or_default();
            let port = match behind.strip_prefix(':') {
                Some(port) => Some(port),
                None if behind.is_empty() => None,
                None => return Err("invalid host"),
            };
            if rest
                .get(..end)
                .unwrap_or_default()
                .parse::<std::net::Ipv6Addr>()
                .is_err()
            {
                return Err("invalid IPv6 address");
            }
            (text.get(..end + 2).unwrap_or_default(), port)
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if host.is_empty() {
        return Err("no host");
    }
    Ok(Address::Host(host, port.map(port_number).transpose()?))
}

fn port_number(text: &str) -> Result<u16, &'static str> {
    number(text)
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port > 0)
        .ok_or("invalid port")
}

/// The socket address that `listen` names: a port, an address or both. `Ok(None)`: a Unix socket.
///
/// # Errors
/// nginx's words for what is wrong.
pub(crate) fn listen(text: &str) -> Result<Option<SocketAddr>, &'static str> {
    if let Some(port) = number(text) {
        let port = u16::try_from(port).ok().filter(|port| *port > 0);
        let everywhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        return port
            .map(|port| Some(SocketAddr::new(everywhere, port)))
            .ok_or("invalid port");
    }
    match address(text)? {
        Address::Unix(_) => Ok(None),
        Address::Host(host, port) => {
            let ip = ip(host).ok_or("host not found")?;
            Ok(Some(SocketAddr::new(ip, port.unwrap_or(80))))
        }
    }
}

/// The address that `host` is, without asking anybody.
pub(crate) fn ip(host: &str) -> Option<IpAddr> {
    match host {
        "*" => Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        "localhost" => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        _ => host.trim_matches(['[', ']']).parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::{bytes, listen, milliseconds};

    #[test]
    fn times() {
        for (text, expected) in [
            ("10", Some(10_000)),
            ("10s", Some(10_000)),
            ("1m30s", Some(90_000)),
            ("1h 30m", Some(5_400_000)),
            ("500ms", Some(500)),
            ("1s500ms", Some(1_500)),
            ("0", Some(0)),
            ("30s1m", None),
            ("", None),
            ("ten", None),
            ("10x", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(milliseconds(text), expected, "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("8k", Some(8192)),
            ("1M", Some(1 << 20)),
            ("0", Some(0)),
            ("k8", None),
            ("", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }

    #[test]
    fn addresses_to_listen_on() {
        for (text, expected) in [
            ("80", Ok("0.0.0.0:80")),
            ("*:81", Ok("0.0.0.0:81")),
            ("127.0.0.1", Ok("127.0.0.1:80")),
            ("localhost:82", Ok("127.0.0.1:82")),
            ("[::1]:83", Ok("[::1]:83")),
            ("0", Err("invalid port")),
            ("70000", Err("invalid port")),
            ("127.0.0.1:x", Err("invalid port")),
            ("[::1", Err("invalid host")),
            ("[x]:80", Err("invalid IPv6 address")),
            (":80", Err("no host")),
        ] {
            let read =
                listen(text).map(|address| address.map(|address| address.to_string()).unwrap_or_default());
            assert_eq!(read.as_deref(), expected.as_ref().map(|text| *text), "{text}");
        }
    }
}
