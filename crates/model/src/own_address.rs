//! The loopback addresses that instances have for themselves, 127.64.0.0/10.

use std::net::{IpAddr, Ipv4Addr};

/// As many as this has numbers.
const OWN_ADDRESSES: u32 = 1 << 22;

const FIRST: u32 = 0x7f40_0000;

/// One of them; numbers beyond the last begin anew.
pub fn own_address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(FIRST | (number % OWN_ADDRESSES))
}

/// Whether it is one of them. Where nobody listens at it, whoever listens at the same port of every address takes its
/// connections: a listener of the gateway, most often.
pub fn is_own_address(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.to_bits() & !(OWN_ADDRESSES - 1) == FIRST,
        IpAddr::V6(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_of_instances() {
        for (ip, expected) in [
            ("127.64.0.0", true),
            ("127.127.255.255", true),
            ("::ffff:127.64.0.7", true),
            ("127.63.255.255", false),
            ("127.128.0.0", false),
            ("127.0.0.1", false),
            ("::1", false),
        ] {
            assert_eq!(is_own_address(ip.parse().unwrap()), expected, "{ip}");
        }
        assert_eq!(own_address(u32::MAX).to_string(), "127.127.255.255");
        assert_eq!(own_address(7).to_string(), "127.64.0.7");
    }
}
