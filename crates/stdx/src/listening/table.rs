//! The kernel's lists of all sockets as text, `/proc/net/tcp` and `/proc/net/tcp6`.
//!
//! They hold every connection, the ended ones that are waited for included, so with many of those reading takes long.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Listener;

/// `TCP_LISTEN`.
const LISTENS: &str = "0A";

/// Who listens at this port.
pub(super) fn listeners(port: u16) -> io::Result<Vec<Listener>> {
    let mut found = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        match std::fs::read_to_string(table) {
            Ok(table) => found.extend(table.lines().skip(1).filter_map(listener)),
            // A kernel without IPv6 has no such table.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Err(_) => {}
        }
    }
    found.retain(|listener: &Listener| listener.address.port() == port);
    Ok(found)
}

/// The local address of a line whose socket listens, and the second of its queues.
fn listener(line: &str) -> Option<Listener> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let local = words.next()?;
    if words.nth(1)? != LISTENS {
        return None;
    }
    let (ip, port) = local.split_once(':')?;
    let (_, waiting) = words.next()?.split_once(':')?;
    Some(Listener {
        address: SocketAddr::new(self::ip(ip)?, u16::from_str_radix(port, 16).ok()?),
        waiting: u32::from_str_radix(waiting, 16).ok()?,
    })
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
