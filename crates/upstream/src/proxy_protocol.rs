//! The PROXY protocol, versions 1 and 2: what a proxy in front says of a connection's client, before the first
//! byte of the client's own.
//!
//! (HAProxy's specification of 2020: "The PROXY protocol".) A connection that must begin with a header and does
//! not is refused: nothing is guessed, since whoever is believed here chooses the address that everybody sees.
//! Read as strictly as it can be written: version 1 with one space between words and without leading
//! zeros; of version 2 only the commands and families that mean something for TCP. TLVs are skipped, and
//! bounded with the rest. Local sockets (`AF_UNIX`) and datagrams are said to be unknown.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest header that is read, bytes: addresses, and room for the TLVs that proxies send.
pub const LONGEST: usize = 16 + 4096;

/// The longest line of version 1, with its CRLF.
const LONGEST_LINE: usize = 107;
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// That of a client, as it reached the proxy.
    Proxied {
        /// The client.
        client: SocketAddr,
        /// Where it connected to.
        destination: SocketAddr,
    },
    /// The proxy's own (a check), or one whose ends cannot be told: the connection's own addresses count.
    Local,
}

/// How far a header is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// More bytes are needed.
    Partial,
    /// It is complete.
    Complete {
        /// What it says.
        source: Source,
        /// Its length, bytes; what follows is the client's.
        length: usize,
    },
}

/// What is wrong with a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoHeader {
    /// It begins like neither version.
    #[error("the connection does not begin with a header of the PROXY protocol")]
    Missing,
    /// It is longer than any that is read.
    #[error("the header of the PROXY protocol is too long")]
    TooLong,
    /// It says something that cannot be.
    #[error("the header of the PROXY protocol is malformed")]
    Malformed,
}

/// How a header is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    One,
    /// Binary.
    Two,
}

/// Reads the header that `bytes` begin with.
///
/// # Errors
/// When they do not begin with one.
pub fn parse(bytes: &[u8]) -> Result<Header, NoHeader> {
    if begins_like(bytes, SIGNATURE) {
        return parse_binary(bytes);
    }
    if begins_like(bytes, b"PROXY ") {
        return parse_line(bytes);
    }
    Err(NoHeader::Missing)
}

/// Writes the header for a connection from `client` to `destination`. Ends of two different families are told
/// as IPv6.
pub fn write(version: Version, client: SocketAddr, destination: SocketAddr, out: &mut Vec<u8>) {
    match version {
        Version::One => write_line(client, destination, out),
        Version::Two => write_binary(client, destination, out),
    }
}

/// Whether as much as is there of both is the same.
fn begins_like(bytes: &[u8], start: &[u8]) -> bool {
    bytes.iter().zip(start).all(|(byte, expected)| byte == expected)
}

fn parse_line(bytes: &[u8]) -> Result<Header, NoHeader> {
    let window = bytes.get(..LONGEST_LINE.min(bytes.len())).unwrap_or_default();
    let Some(end) = window.iter().position(|byte| *byte == b'\n') else {
        return if bytes.len() < LONGEST_LINE {
            Ok(Header::Partial)
        } else {
            Err(NoHeader::TooLong)
        };
    };
    let line = window.get(..end).and_then(|line| line.strip_suffix(b"\r"));
    let line = line.and_then(|line| std::str::from_utf8(line).ok());
    let source = line.and_then(read_line).ok_or(NoHeader::Malformed)?;
    Ok(Header::Complete {
        source,
        length: end + 1,
    })
}

fn read_line(line: &str) -> Option<Source> {
    let rest = line.strip_prefix("PROXY ")?;
    // Whatever follows is to be ignored.
    if rest == "UNKNOWN" || rest.starts_with("UNKNOWN ") {
        return Some(Source::Local);
    }
    let words: Vec<&str> = rest.split(' ').collect();
    let [family, client, destination, client_port, destination_port] = words[..] else {
        return None;
    };
    let address = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    Some(Source::Proxied {
        client: SocketAddr::new(address(client)?, port(client_port)?),
        destination: SocketAddr::new(address(destination)?, port(destination_port)?),
    })
}

fn port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

fn parse_binary(bytes: &[u8]) -> Result<Header, NoHeader> {
    let Some((head, rest)) = bytes.split_first_chunk::<16>() else {
        return Ok(Header::Partial);
    };
    let [.., command, family, high, low] = *head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if 16 + length > LONGEST {
        return Err(NoHeader::TooLong);
    }
    let Some(payload) = rest.get(..length) else {
        return Ok(Header::Partial);
    };
    let source = match (command, family) {
        (0x20, _) => Source::Local,
        (0x21, 0x11) => inet(payload).ok_or(NoHeader::Malformed)?,
        (0x21, 0x21) => inet6(payload).ok_or(NoHeader::Malformed)?,
        // Datagrams and local sockets: families that the protocol knows and that say nothing of a TCP client.
        (0x21, 0x00 | 0x12 | 0x22 | 0x31 | 0x32) => Source::Local,
        _ => return Err(NoHeader::Malformed),
    };
    Ok(Header::Complete {
        source,
        length: 16 + length,
    })
}

fn inet(payload: &[u8]) -> Option<Source> {
    let ([client, destination], ports) = two::<4>(payload)?;
    Some(proxied(client.into(), destination.into(), ports))
}

fn inet6(payload: &[u8]) -> Option<Source> {
    let ([client, destination], ports) = two::<16>(payload)?;
    Some(proxied(client.into(), destination.into(), ports))
}

/// Two addresses of `N` bytes and two ports.
fn two<const N: usize>(payload: &[u8]) -> Option<([[u8; N]; 2], [u8; 4])> {
    let (client, rest) = payload.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    Some(([*client, *destination], *rest.first_chunk::<4>()?))
}

fn proxied(client: IpAddr, destination: IpAddr, [a, b, c, d]: [u8; 4]) -> Source {
    Source::Proxied {
        client: SocketAddr::new(client, u16::from_be_bytes([a, b])),
        destination: SocketAddr::new(destination, u16::from_be_bytes([c, d])),
    }
}

fn write_line(client: SocketAddr, destination: SocketAddr, out: &mut Vec<u8>) {
    let (family, from, to) = match (client.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ("TCP4", IpAddr::V4(from), IpAddr::V4(to)),
        (from, to) => ("TCP6", IpAddr::V6(v6(from)), IpAddr::V6(v6(to))),
    };
    let line = format!(
        "PROXY {family} {from} {to} {} {}\r\n",
        client.port(),
        destination.port()
    );
    out.extend_from_slice(line.as_bytes());
}

fn write_binary(client: SocketAddr, destination: SocketAddr, out: &mut Vec<u8>) {
    out.extend_from_slice(SIGNATURE);
    match (client.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            out.extend_from_slice(&[0x21, 0x11, 0, 12]);
            out.extend_from_slice(&from.octets());
            out.extend_from_slice(&to.octets());
        }
        (from, to) => {
            out.extend_from_slice(&[0x21, 0x21, 0, 36]);
            out.extend_from_slice(&v6(from).octets());
            out.extend_from_slice(&v6(to).octets());
        }
    }
    out.extend_from_slice(&client.port().to_be_bytes());
    out.extend_from_slice(&destination.port().to_be_bytes());
}

fn v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn binary(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family][..], &length, payload].concat()
    }

    fn proxied(client: &str, destination: &str) -> Source {
        Source::Proxied {
            client: client.parse().unwrap(),
            destination: destination.parse().unwrap(),
        }
    }

    /// The verdict on `bytes`, which must be that on every split of them.
    fn verdict(bytes: &[u8]) -> Result<Header, NoHeader> {
        let whole = parse(bytes);
        for end in 0..bytes.len() {
            match (parse(&bytes[..end]), whole) {
                (Ok(Header::Partial), _) => {}
                (early, _) => assert_eq!(early, whole, "after {end} of {bytes:?}"),
            }
        }
        whole
    }

    #[test]
    fn lines() {
        let local = Ok(Source::Local);
        let rows: [(&str, Result<Source, NoHeader>); 20] = [
            (
                "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
                Ok(proxied("192.168.0.1:56324", "192.168.0.11:443")),
            ),
            (
                "PROXY TCP6 2001:db8::1 ::1 1 65535\r\n",
                Ok(proxied("[2001:db8::1]:1", "[::1]:65535")),
            ),
            ("PROXY UNKNOWN\r\n", local),
            ("PROXY UNKNOWN ffff:f...f ffff 65535 65535\r\n", local),
            ("PROXY UNKNOWNS\r\n", Err(NoHeader::Malformed)),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n", Err(NoHeader::Malformed)),
            ("PROXY TCP4 1.2.3.4  5.6.7.8 1 2\r\n", Err(NoHeader::Malformed)),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n", Err(NoHeader::Malformed)),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", Err(NoHeader::Malformed)),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n", Err(NoHeader::Malformed)),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n", Err(NoHeader::Malformed)),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n", Err(NoHeader::Malformed)),
            ("PROXY TCP4 1.2.3.256 5.6.7.8 1 2\r\n", Err(NoHeader::Malformed)),
            ("PROXY TCP4 ::1 ::1 1 2\r\n", Err(NoHeader::Malformed)),
            ("PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n", Err(NoHeader::Malformed)),
            ("PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n", Err(NoHeader::Malformed)),
            ("PROXY tcp4 1.2.3.4 5.6.7.8 1 2\r\n", Err(NoHeader::Malformed)),
            ("PROXY\r\n", Err(NoHeader::Missing)),
            ("GET / HTTP/1.1\r\n", Err(NoHeader::Missing)),
            (" PROXY UNKNOWN\r\n", Err(NoHeader::Missing)),
        ];
        for (line, expected) in rows {
            let expected = expected.map(|source| Header::Complete {
                source,
                length: line.len(),
            });
            assert_eq!(verdict(line.as_bytes()), expected, "{line:?}");
        }
        let endless = format!("PROXY UNKNOWN {}", "f".repeat(LONGEST_LINE));
        assert_eq!(parse(endless.as_bytes()), Err(NoHeader::TooLong));
        assert_eq!(parse(b""), Ok(Header::Partial));
    }

    #[test]
    fn binaries() {
        let v4 = [1, 2, 3, 4, 5, 6, 7, 8, 0, 80, 1, 0];
        let with_tlv = [&v4[..], &[0x04, 0, 1, 9]].concat();
        let known = Ok(proxied("1.2.3.4:80", "5.6.7.8:256"));
        let local = Ok(Source::Local);
        let rows = [
            (binary(0x21, 0x11, &v4), known),
            (binary(0x21, 0x11, &with_tlv), known),
            (binary(0x21, 0x21, &[0; 36]), Ok(proxied("[::]:0", "[::]:0"))),
            (binary(0x20, 0x00, &[]), local),
            (binary(0x20, 0x11, &v4), local),
            (binary(0x21, 0x00, &[]), local),
            (binary(0x21, 0x12, &v4), local),
            (binary(0x21, 0x31, &[0; 216]), local),
            (binary(0x21, 0x11, &v4[..11]), Err(NoHeader::Malformed)),
            (binary(0x21, 0x21, &v4), Err(NoHeader::Malformed)),
            (binary(0x22, 0x11, &v4), Err(NoHeader::Malformed)),
            (binary(0x11, 0x11, &v4), Err(NoHeader::Malformed)),
            (binary(0x21, 0x41, &v4), Err(NoHeader::Malformed)),
            (binary(0x21, 0x11, &[0; LONGEST - 15]), Err(NoHeader::TooLong)),
            (b"\r\n\r\n\0\r\nQUIX\n".to_vec(), Err(NoHeader::Missing)),
        ];
        for (bytes, expected) in rows {
            let expected = expected.map(|source| Header::Complete {
                source,
                length: bytes.len(),
            });
            let found = verdict(&bytes);
            assert_eq!(found, expected, "{bytes:?}");
            if found.is_ok() {
                let followed = [&bytes[..], b"GET / HTTP/1.1"].concat();
                assert_eq!(parse(&followed), expected);
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            client in any::<([u8; 16], u16, bool)>(),
            destination in any::<([u8; 16], u16, bool)>(),
            binary in any::<bool>(),
        ) {
            let address = |(octets, port, v4): ([u8; 16], u16, bool)| {
                let ip = if v4 {
                    IpAddr::from([octets[0], octets[1], octets[2], octets[3]])
                } else {
                    IpAddr::from(octets)
                };
                SocketAddr::new(ip, port)
            };
            let (client, destination) = (address(client), address(destination));
            let version = if binary { Version::Two } else { Version::One };
            let mut out = Vec::new();
            write(version, client, destination, &mut out);
            let Ok(Header::Complete { source: Source::Proxied { client: read, destination: to }, length }) = verdict(&out)
            else {
                panic!("{out:?}")
            };
            prop_assert_eq!(length, out.len());
            let plain = |address: SocketAddr| (address.ip().to_canonical(), address.port());
            prop_assert_eq!(plain(read), plain(client));
            prop_assert_eq!(plain(to), plain(destination));
        }

        #[test]
        fn any_bytes_are_judged_alike_however_they_come(
            start in prop::sample::select(vec![&b""[..], b"PROXY ", b"PROXY TCP4 ", SIGNATURE, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0"]),
            rest in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = verdict(&[start, &rest].concat());
        }
    }
}
