//! The syntax of `Host`: a name, an IPv4 address or a bracketed IPv6 address, with an optional port.
//!
//! Narrower than the grammar of URIs, since no host that DNS knows needs more: a name is letters, digits, `-`, `.`,
//! `_` and `~`, at most 255 bytes, without empty labels but for one dot at the end. No escapes, no zone ids,
//! no future address forms, no empty port.

use std::net::Ipv6Addr;

use crate::class::{HOST, class};

const LONGEST_NAME: usize = 255;

/// Whether `value` is a host with an optional port of 0 to 65535.
#[inline]
pub(crate) fn is_host(value: &[u8]) -> bool {
    let (host, port) = split_port(value);
    port.is_none_or(is_port)
        && match host {
            [b'[', address @ .., b']'] => is_ipv6(address),
            name => is_name(name),
        }
}

/// Whether two valid hosts are the same, where `default_port` may be left out of either.
pub(crate) fn is_same_host(one: &[u8], other: &[u8], default_port: &[u8]) -> bool {
    let (one_host, one_port) = split_port(one);
    let (other_host, other_port) = split_port(other);
    one_host.eq_ignore_ascii_case(other_host)
        && one_port.unwrap_or(default_port) == other_port.unwrap_or(default_port)
}

#[inline]
fn split_port(value: &[u8]) -> (&[u8], Option<&[u8]>) {
    let after_address = match value {
        [b'[', ..] => value.iter().position(|&byte| byte == b']').unwrap_or(0),
        _ => 0,
    };
    match value[after_address..].iter().position(|&byte| byte == b':') {
        Some(colon) => {
            let colon = after_address + colon;
            (&value[..colon], Some(&value[colon + 1..]))
        }
        None => (value, None),
    }
}

fn is_port(port: &[u8]) -> bool {
    let is_short = (1..=5).contains(&port.len()) && port.iter().all(u8::is_ascii_digit);
    let value = |digits: &[u8]| {
        digits
            .iter()
            .fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'))
    };
    is_short && value(port) <= 65_535
}

#[inline]
fn is_name(name: &[u8]) -> bool {
    let mut previous = b'.';
    for &byte in name {
        if class(byte) & HOST == 0 || (byte == b'.' && previous == b'.') {
            return false;
        }
        previous = byte;
    }
    (1..=LONGEST_NAME).contains(&name.len())
}

fn is_ipv6(address: &[u8]) -> bool {
    std::str::from_utf8(address).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        let long = "a".repeat(256);
        let good = [
            "a",
            "example.com",
            "example.com.",
            "a_b.local",
            "A-1",
            "10.0.0.1:8080",
            "a:0",
            "a:65535",
            "[::1]",
            "[::1]:80",
            "[2001:db8::ff00:42:8329]:1",
            "[::ffff:10.0.0.1]",
            &long[1..],
        ];
        let bad = [
            "",
            ":80",
            "a:",
            "a:b",
            "a:65536",
            "a:000080",
            "a:80:80",
            "a:+1",
            ".",
            ".a",
            "a..b",
            "a b",
            "a/b",
            "a,b",
            "u@a",
            "a%41",
            "::1",
            "[::1",
            "[]",
            "[::1]x",
            "[::1%eth0]",
            "[v1.a]",
            "[1.2.3.4]",
            "]",
            "[",
            "\u{e9}",
            "a:99999999999",
            &long,
        ];
        for host in good {
            assert!(is_host(host.as_bytes()), "{host:?}");
        }
        for host in bad {
            assert!(!is_host(host.as_bytes()), "{host:?}");
        }
    }

    #[test]
    fn same_hosts() {
        assert!(is_same_host(b"a.B", b"A.b:80", b"80"));
        assert!(is_same_host(b"[::1]:443", b"[::1]", b"443"));
        assert!(!is_same_host(b"a", b"a:81", b"80"));
        assert!(!is_same_host(b"a", b"b", b"80"));
    }
}
