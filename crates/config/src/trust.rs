//! Which proxies in front of the gateway are believed.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::resolve::Sources;

/// Proxies in front of the gateway, and what is read of their requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    /// Their addresses.
    pub networks: Vec<IpNet>,
    /// The field that names the client.
    pub header: RealIpHeader,
    /// Whether trusted addresses in `X-Forwarded-For` are passed over.
    pub recursive: bool,
}

/// The field that names the client of a proxy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RealIpHeader {
    /// `X-Real-IP`.
    #[default]
    XRealIp,
    /// `X-Forwarded-For`.
    XForwardedFor,
}

/// Reads all of it; mistakes are left with `sources`.
pub(crate) fn resolve(sources: &mut Sources) -> TrustedProxies {
    TrustedProxies {
        networks: sources.several("trusted_proxies", network).unwrap_or_default(),
        header: sources.one("real_ip_header", header).unwrap_or_default(),
        recursive: sources.one("real_ip_recursive", switch).unwrap_or_default(),
    }
}

fn network(text: &str) -> Result<IpNet, String> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    address
        .or_else(|_| text.parse())
        .map_err(|_| format!("`{text}` is no address or network; write it like `10.0.0.1` or `10.0.0.0/8`"))
}

fn header(text: &str) -> Result<RealIpHeader, String> {
    match text.to_ascii_lowercase().as_str() {
        "x-real-ip" => Ok(RealIpHeader::XRealIp),
        "x-forwarded-for" => Ok(RealIpHeader::XForwardedFor),
        _ => Err(format!("`{text}` is none of X-Real-IP, X-Forwarded-For")),
    }
}

fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("`{text}` is none of on, off")),
    }
}
