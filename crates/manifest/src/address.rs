//! Addresses as people write them: hosts, `host:port`, and the URLs of services elsewhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hythe_model::traffic::Protocol;

/// Kong's port for a target that names none.
const TARGET_PORT: u16 = 8000;

/// A service's URL, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) protocol: Protocol,
    /// Without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// `None` if the URL ends with the host or port.
    pub(crate) path: Option<String>,
}

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressError {
    #[error("`{0}` is not a host name or address")]
    Host(String),
    #[error("`{0}` is not a port from 1 to 65535")]
    Port(String),
    #[error("`{0}` is not a URL such as `http://host:8080/base`")]
    Url(String),
    #[error("`{0}` is not one of the protocols `http`, `https`, `grpc`, `grpcs`")]
    Protocol(String),
    #[error("`{0}` is not an address to listen on; write it like `8010`, `127.0.0.1:8010` or `[::]:8010`")]
    Listen(String),
    #[error("a service's URL has no user, query or fragment")]
    UrlPart,
}

/// `protocol://host[:port][/path]`.
pub(crate) fn parse_url(text: &str) -> Result<Url, AddressError> {
    let (scheme, rest) = text
        .split_once("://")
        .ok_or_else(|| AddressError::Url(text.to_owned()))?;
    let (protocol, default_port) = match scheme {
        "http" => (Protocol::Http, 80),
        "https" => (Protocol::Https, 443),
        "grpc" => (Protocol::Grpc, 80),
        "grpcs" => (Protocol::Grpcs, 443),
        _ => return Err(AddressError::Protocol(scheme.to_owned())),
    };
    if rest.contains(['@', '?', '#']) {
        return Err(AddressError::UrlPart);
    }
    let path_at = rest.find('/').unwrap_or(rest.len());
    let (host, port) = host_and_port(&rest[..path_at])?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let path = Some(rest[path_at..].to_owned()).filter(|path| !path.is_empty());
    Ok(Url {
        protocol,
        host,
        port: port.unwrap_or(default_port),
        path,
    })
}

/// `host[:port]` as `host:port`; IPv6 addresses stand in brackets.
pub(crate) fn parse_target(text: &str) -> Result<String, AddressError> {
    let (host, port) = host_and_port(text)?;
    Ok(format!("{host}:{}", port.unwrap_or(TARGET_PORT)))
}

/// `address:port` to listen on; a port alone is at `everywhere`.
pub(crate) fn parse_listen(text: &str, everywhere: IpAddr) -> Result<SocketAddr, AddressError> {
    let refuse = || AddressError::Listen(text.to_owned());
    if let Ok(address) = text.parse::<SocketAddr>() {
        return if address.port() == 0 {
            Err(refuse())
        } else {
            Ok(address)
        };
    }
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let address = match host {
        "" | "*" => everywhere,
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        _ => return Err(refuse()),
    };
    parse_port(port)
        .map(|port| SocketAddr::new(address, port))
        .map_err(|_| refuse())
}

/// Whether it is a host name or an IPv4 address; labels may hold underscores, as Kong's may.
pub(crate) fn is_host(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let looks_like_v4 = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if looks_like_v4 {
        text.parse::<Ipv4Addr>().is_ok()
    } else {
        text.len() <= 253 && text.split('.').all(is_label)
    }
}

pub(crate) fn parse_port(text: &str) -> Result<u16, AddressError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.parse().ok().filter(|port| digits && *port > 0);
    port.ok_or_else(|| AddressError::Port(text.to_owned()))
}

fn host_and_port(text: &str) -> Result<(&str, Option<u16>), AddressError> {
    let refuse = || AddressError::Host(text.to_owned());
    if text.starts_with('[') {
        let end = text.find(']').ok_or_else(refuse)?;
        let address: Result<Ipv6Addr, _> = text[1..end].parse();
        address.map_err(|_| refuse())?;
        return match text[end + 1..].strip_prefix(':') {
            Some(port) => Ok((&text[..=end], Some(parse_port(port)?))),
            None if text.len() == end + 1 => Ok((text, None)),
            None => Err(refuse()),
        };
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(parse_port(port)?)),
        None => (text, None),
    };
    if is_host(host) {
        Ok((host, port))
    } else {
        Err(AddressError::Host(host.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        let rows = [
            ("10.0.0.1:80", Some("10.0.0.1:80")),
            ("users.internal", Some("users.internal:8000")),
            ("my_host:1", Some("my_host:1")),
            ("[::1]:80", Some("[::1]:80")),
            ("[::1]", Some("[::1]:8000")),
            ("::1", None),
            ("[::1", None),
            ("[::1]80", None),
            ("host:0", None),
            ("host:65536", None),
            ("host:+1", None),
            ("10.0.0.256:80", None),
            ("-a:80", None),
            ("a..b", None),
            ("", None),
            ("http://host:80", None),
        ];
        for (text, expected) in rows {
            assert_eq!(parse_target(text).ok().as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn listening_addresses() {
        let rows = [
            ("8010", Some("0.0.0.0:8010")),
            (":8010", Some("0.0.0.0:8010")),
            ("*:8010", Some("0.0.0.0:8010")),
            ("localhost:8010", Some("127.0.0.1:8010")),
            ("10.0.0.1:1", Some("10.0.0.1:1")),
            ("[::]:53", Some("[::]:53")),
            ("0", None),
            ("10.0.0.1:0", None),
            ("10.0.0.1", None),
            ("example.com:80", None),
            ("", None),
        ];
        for (text, expected) in rows {
            let parsed = parse_listen(text, IpAddr::V4(Ipv4Addr::UNSPECIFIED)).ok();
            assert_eq!(
                parsed.map(|address| address.to_string()).as_deref(),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn urls() {
        let url = |protocol, host: &str, port, path: Option<&str>| Url {
            protocol,
            host: host.to_owned(),
            port,
            path: path.map(str::to_owned),
        };
        let rows = [
            ("http://h", Ok(url(Protocol::Http, "h", 80, None))),
            ("https://h/", Ok(url(Protocol::Https, "h", 443, Some("/")))),
            ("http://h:81/a/b", Ok(url(Protocol::Http, "h", 81, Some("/a/b")))),
            ("http://[::1]:81", Ok(url(Protocol::Http, "::1", 81, None))),
            ("grpcs://h", Ok(url(Protocol::Grpcs, "h", 443, None))),
            ("h:80", Err(AddressError::Url("h:80".to_owned()))),
            ("tcp://h", Err(AddressError::Protocol("tcp".to_owned()))),
            ("http://u:p@h", Err(AddressError::UrlPart)),
            ("http://h?q", Err(AddressError::UrlPart)),
            ("http://", Err(AddressError::Host(String::new()))),
            ("http://h:x", Err(AddressError::Port("x".to_owned()))),
        ];
        for (text, expected) in rows {
            assert_eq!(parse_url(text), expected, "{text}");
        }
    }
}
