//! Proxies in front of the gateway that are believed: whose request it is, and how it was made.
//!
//! What a client says of itself in `X-Forwarded-*` is replaced by what the gateway sees. A connection from an address
//! of `trusted_proxies` (Kong: `trusted_ips`) is another matter: what its fields say is kept and passed on, and the
//! client is the one that `real_ip_header` names (nginx: the module `realip`). That address counts from there on: for
//! plugins, balancing, logs and upstreams.

use std::net::{IpAddr, SocketAddr};

use hythe_http1::{Known, RequestHead};
use ipnet::IpNet;

/// Which proxies are believed, and what is read of their requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    /// Addresses of proxies; none by default.
    pub proxies: Vec<IpNet>,
    /// The field that names the client.
    pub header: RealIpHeader,
    /// Whether trusted addresses in `X-Forwarded-For` are passed over, from the last to the first (nginx:
    /// `real_ip_recursive`).
    pub recursive: bool,
}

/// The field that names the client of a trusted proxy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RealIpHeader {
    /// `X-Real-IP`: one address. Kong's default.
    #[default]
    XRealIp,
    /// `X-Forwarded-For`: a list, to which every proxy adds.
    XForwardedFor,
}

impl Trust {
    fn trusts(&self, address: IpAddr) -> bool {
        self.proxies.iter().any(|network| network.contains(&address))
    }

    /// The peer, if it is a proxy that is believed.
    pub(crate) fn proxy(&self, peer: IpAddr) -> Option<IpAddr> {
        self.trusts(peer).then_some(peer)
    }

    /// The client of a request from `proxy`; the proxy itself if no usable address is named.
    pub(crate) fn client(&self, proxy: IpAddr, head: &RequestHead, bytes: &[u8]) -> IpAddr {
        match self.header {
            RealIpHeader::XRealIp => values(head, bytes, Known::XRealIp)
                .last()
                .and_then(address)
                .unwrap_or(proxy),
            RealIpHeader::XForwardedFor => self.last_of_list(proxy, head, bytes),
        }
    }

    /// nginx's rule: the last address, or the last one that is not trusted; what comes before an address that
    /// cannot be read is not looked at.
    fn last_of_list(&self, proxy: IpAddr, head: &RequestHead, bytes: &[u8]) -> IpAddr {
        let mut client = proxy;
        let named = values(head, bytes, Known::XForwardedFor).rev();
        for item in named.flat_map(|value| value.rsplit(|byte| *byte == b',')) {
            match address(item) {
                Some(named) => client = named,
                None => return client,
            }
            if !(self.recursive && self.trusts(client)) {
                return client;
            }
        }
        client
    }
}

/// Whether a trusted proxy says that the request came to it over TLS.
pub(crate) fn says_https(head: &RequestHead, bytes: &[u8]) -> Option<bool> {
    let scheme = values(head, bytes, Known::XForwardedProto).last()?;
    Some(scheme.trim_ascii().eq_ignore_ascii_case(b"https"))
}

fn values<'a>(
    head: &'a RequestHead,
    bytes: &'a [u8],
    known: Known,
) -> impl DoubleEndedIterator<Item = &'a [u8]> {
    head.fields
        .iter()
        .filter(move |field| field.known == Some(known))
        .map(move |field| field.value.of(bytes))
}

/// An address, with a port or in brackets as some proxies write them.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text.trim_ascii()).ok()?;
    let plain = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let address = plain.unwrap_or(text).parse::<IpAddr>();
    let address = address.or_else(|_| text.parse().map(|address: SocketAddr| address.ip()));
    Some(address.ok()?.to_canonical())
}

#[cfg(test)]
mod tests {
    use hythe_http1::{Limits, Progress};

    use super::*;

    const PROXY: &str = "10.0.0.1";

    fn client(trust: &Trust, fields: &str) -> String {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let mut head = RequestHead::default();
        let progress = head.parse(request.as_bytes(), &Limits::default()).unwrap();
        assert_eq!(progress, Progress::Complete);
        let found = trust.client(PROXY.parse().unwrap(), &head, request.as_bytes());
        found.to_string()
    }

    fn trust(header: RealIpHeader, recursive: bool) -> Trust {
        Trust {
            proxies: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
            header,
            recursive,
        }
    }

    #[test]
    fn the_client_is_whom_the_proxy_names() {
        use RealIpHeader::{XForwardedFor, XRealIp};
        let rows = [
            (XRealIp, false, "X-Real-IP: 192.0.2.7\r\n", "192.0.2.7"),
            (
                XRealIp,
                false,
                "X-Real-IP: 6.6.6.6\r\nX-Real-IP: 192.0.2.7\r\n",
                "192.0.2.7",
            ),
            (XRealIp, false, "X-Real-IP: [2001:db8::1]:80\r\n", "2001:db8::1"),
            (XRealIp, false, "X-Real-IP: nobody\r\n", PROXY),
            (XRealIp, false, "X-Forwarded-For: 192.0.2.7\r\n", PROXY),
            (XForwardedFor, false, "X-Real-IP: 192.0.2.7\r\n", PROXY),
            (
                XForwardedFor,
                false,
                "X-Forwarded-For: 6.6.6.6, 192.0.2.7\r\n",
                "192.0.2.7",
            ),
            (
                XForwardedFor,
                false,
                "X-Forwarded-For: 192.0.2.7, 10.0.0.2\r\n",
                "10.0.0.2",
            ),
            (
                XForwardedFor,
                true,
                "X-Forwarded-For: 6.6.6.6, 192.0.2.7, 10.0.0.2\r\n",
                "192.0.2.7",
            ),
            (
                XForwardedFor,
                true,
                "X-Forwarded-For: 6.6.6.6,192.0.2.7\r\nX-Forwarded-For: 10.0.0.3 ,10.0.0.2:99\r\n",
                "192.0.2.7",
            ),
            (
                XForwardedFor,
                true,
                "X-Forwarded-For: 10.0.0.3, fd00::1\r\n",
                "10.0.0.3",
            ),
            (
                XForwardedFor,
                true,
                "X-Forwarded-For: 6.6.6.6, ?, 10.0.0.2\r\n",
                "10.0.0.2",
            ),
            (
                XForwardedFor,
                true,
                "X-Forwarded-For: ::ffff:192.0.2.7\r\n",
                "192.0.2.7",
            ),
            (XForwardedFor, true, "", PROXY),
        ];
        for (header, recursive, fields, expected) in rows {
            assert_eq!(client(&trust(header, recursive), fields), expected, "{fields}");
        }
    }

    #[test]
    fn nobody_is_trusted_unless_told() {
        assert!(!Trust::default().trusts("127.0.0.1".parse().unwrap()));
        let trust = trust(RealIpHeader::XRealIp, false);
        assert!(trust.trusts("10.9.9.9".parse().unwrap()) && !trust.trusts("11.0.0.1".parse().unwrap()));
    }
}
