//! Listening addresses as people write them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

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
