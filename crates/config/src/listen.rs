//! Listening addresses as people write them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Where the gateway listens, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyListen {
    /// What routes call it; several addresses may share a name. `http` or `https` unless said otherwise.
    pub name: String,
    /// The address; port 0: any free one.
    pub address: SocketAddr,
    /// Whether TLS is spoken.
    pub ssl: bool,
    /// Whether HTTP/2 is spoken beside HTTP/1.1.
    pub http2: bool,
    /// Whether every connection begins with a header of the PROXY protocol.
    pub proxy_protocol: bool,
}

impl ProxyListen {
    /// A listener at `address` with the defaults.
    pub fn at(address: SocketAddr, ssl: bool) -> Self {
        Self {
            name: if ssl { "https" } else { "http" }.to_owned(),
            address,
            ssl,
            http2: true,
            proxy_protocol: false,
        }
    }
}

/// Reads `[NAME=]ADDRESS [OPTION...]`, with Kong's options `ssl`, `http2` and `proxy_protocol`; an address that
/// names only a port is `otherwise`.
pub(crate) fn parse_proxy(text: &str, otherwise: IpAddr, ssl: bool) -> Result<ProxyListen, String> {
    let mut words = text.split_whitespace();
    let first = words.next().unwrap_or_default();
    let (name, address) = match first.split_once('=') {
        Some((name, address)) => (Some(name), address),
        None => (None, first),
    };
    let mut listen = ProxyListen::at(parse(address, otherwise)?, ssl);
    for word in words {
        match word {
            "ssl" => listen.ssl = true,
            "http2" => listen.http2 = true,
            "http2=off" => listen.http2 = false,
            "proxy_protocol" => listen.proxy_protocol = true,
            _ => {
                return Err(format!(
                    "`{word}` is none of the options ssl, http2, http2=off, proxy_protocol"
                ));
            }
        }
    }
    listen.name = match name {
        Some(name) => checked_name(name)?,
        None => ProxyListen::at(listen.address, listen.ssl).name,
    };
    Ok(listen)
}

/// The rule of all names that manifests use, since routes name listeners.
fn checked_name(name: &str) -> Result<String, String> {
    let starts = name.starts_with(|letter: char| letter.is_ascii_lowercase());
    let inside = name
        .chars()
        .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-_".contains(letter));
    if starts && inside && name.len() <= 63 {
        Ok(name.to_owned())
    } else {
        Err(format!(
            "`{name}` cannot be the name of a listener; use a lower-case letter, then letters, digits, `-` and `_`"
        ))
    }
}

/// Reads `8000`, `:8000`, `localhost:8000`, `10.0.0.1:8000` or `[::1]:8000`; an address that is left out is
/// `otherwise`.
pub(crate) fn parse(text: &str, otherwise: IpAddr) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let address = match host {
        "" => otherwise,
        "*" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        _ => return Err(refusal(text)),
    };
    let port = port.parse().map_err(|_| refusal(text))?;
    Ok(SocketAddr::new(address, port))
}

fn refusal(text: &str) -> String {
    format!("`{text}` is not an address to listen on; write it like `8000`, `127.0.0.1:8000` or `[::]:8000`")
}
