//! Who listens on this machine, as the kernel lists it in `/proc/net/tcp` and `/proc/net/tcp6`.
//!
//! For an address that is bound with `SO_REUSEPORT`: the kernel would let us share it with a stranger of the same user.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// `TCP_LISTEN`.
const LISTENS: &str = "0A";

/// Whether anybody listens at just this address, or on every one as `address` does.
pub(super) fn is_taken(address: SocketAddr) -> io::Result<bool> {
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        match std::fs::read_to_string(table) {
            Ok(table) if any_at(&table, address) => return Ok(true),
            // A kernel without IPv6 has no such table.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(false)
}

fn any_at(table: &str, address: SocketAddr) -> bool {
    let is_same = |other: SocketAddr| {
        let same_ip = other.ip().to_canonical() == address.ip().to_canonical();
        let everywhere = other.ip().is_unspecified() && address.ip().is_unspecified();
        other.port() == address.port() && (same_ip || everywhere)
    };
    table.lines().skip(1).filter_map(listener).any(is_same)
}

/// The local address of a line whose socket listens.
fn listener(line: &str) -> Option<SocketAddr> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let local = words.next()?;
    if words.nth(1)? != LISTENS {
        return None;
    }
    let (ip, port) = local.split_once(':')?;
    Some(SocketAddr::new(
        self::ip(ip)?,
        u16::from_str_radix(port, 16).ok()?,
    ))
}

/// Words of 32 bits in the order of this machine.
fn ip(hex: &str) -> Option<IpAddr> {
    let word = |place: usize| {
        let digits = hex.get(place * 8..place * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for (place, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(place)?);
            }
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn only_listeners_at_the_very_address_count() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connection = TcpStream::connect(address).unwrap();
        let at = |ip: &str| SocketAddr::new(ip.parse().unwrap(), address.port());
        for (asked, expected) in [
            (address, true),
            (at("::ffff:127.0.0.1"), true),
            (at("127.64.0.1"), false),
            (at("0.0.0.0"), false),
            (at("::"), false),
            (connection.local_addr().unwrap(), false),
        ] {
            assert_eq!(is_taken(asked).unwrap(), expected, "{asked}");
        }
    }

    #[test]
    fn every_address_is_taken_by_who_listens_on_every_address() {
        for everywhere in ["0.0.0.0:0", "[::]:0"] {
            let listener = TcpListener::bind(everywhere).unwrap();
            let port = listener.local_addr().unwrap().port();
            for ip in ["0.0.0.0", "::"] {
                let asked = SocketAddr::new(ip.parse().unwrap(), port);
                assert!(is_taken(asked).unwrap(), "{everywhere} and {asked}");
            }
        }
    }
}
