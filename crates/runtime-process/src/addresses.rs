//! Free addresses on the loopback interface, none given out twice.
//!
//! An instance that listens on the port of its service gets a loopback address of its own with that port, out of
//! 127.64.0.0/10, and one whose port nobody knows yet such an address for all its ports; any other gets a port of its own
//! on 127.0.0.1.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use hythe_model::own_address;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};

/// How long an address stays reserved for an instance that was not started.
const RESERVATION: Duration = Duration::from_secs(30);

/// How many of them are tried: only a port that nobody may bind is refused at all of them.
const TRIES: u32 = 16;

/// The ports to choose from, and the addresses given out and not yet seen in a started instance.
#[derive(Debug)]
pub(crate) struct Addresses {
    range: RangeInclusive<u16>,
    reserved: BTreeMap<SocketAddr, Instant>,
}

impl Addresses {
    /// Leaves out the ports that the kernel gives to outgoing connections, unless nothing else is left.
    pub(crate) fn new(range: RangeInclusive<u16>) -> Self {
        let ephemeral = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
        Self {
            range: outside(range, parse_range(&ephemeral)),
            reserved: BTreeMap::new(),
        }
    }

    pub(crate) fn range(&self) -> &RangeInclusive<u16> {
        &self.range
    }

    /// An address that is neither in use by an instance (`taken`), nor reserved, nor refused by `is_free`; with the
    /// port `own` if that can be. The search begins at a `random` place.
    pub(crate) fn allocate(
        &mut self,
        own: Option<u16>,
        taken: &BTreeSet<SocketAddr>,
        random: u32,
        now: Instant,
        mut is_free: impl FnMut(SocketAddr) -> bool,
    ) -> Option<SocketAddr> {
        self.reserved.retain(|_, until| *until > now);
        let own = own.into_iter().flat_map(|port| own_addresses(port, random));
        let is_reserved = |address: &SocketAddr| is_taken(address, self.reserved.keys());
        let address = own
            .chain(ports(&self.range, random))
            .find(|address| !is_taken(address, taken) && !is_reserved(address) && is_free(*address))?;
        self.reserved.insert(address, now + RESERVATION);
        Some(address)
    }

    /// A started instance has the address: from now on that keeps it.
    pub(crate) fn used(&mut self, address: SocketAddr) {
        self.reserved.remove(&address);
    }
}

/// Port 0 stands for every port.
fn is_taken<'a>(address: &SocketAddr, taken: impl IntoIterator<Item = &'a SocketAddr>) -> bool {
    taken.into_iter().any(|other| {
        let same_port = other.port() == address.port() || other.port() == 0 || address.port() == 0;
        other.ip() == address.ip() && same_port
    })
}

fn own_addresses(port: u16, random: u32) -> impl Iterator<Item = SocketAddr> {
    (0..TRIES).map(move |index| (own_address(random.wrapping_add(index)), port).into())
}

fn ports(range: &RangeInclusive<u16>, random: u32) -> impl Iterator<Item = SocketAddr> + use<> {
    let (first, last) = (u32::from(*range.start()), u32::from(*range.end()));
    let count = (last + 1).saturating_sub(first);
    let offset = random.checked_rem(count).unwrap_or(0);
    let ports = (0..count).map(move |index| first + (index + offset) % count);
    ports.filter_map(|port| Some((Ipv4Addr::LOCALHOST, u16::try_from(port).ok()?).into()))
}

/// Whether nobody listens there. An instance that was given a port may listen on every interface; one that was given an
/// address is bound to just that.
pub(crate) fn can_be_bound(address: SocketAddr) -> bool {
    let ip = match address.ip() {
        IpAddr::V4(Ipv4Addr::LOCALHOST) => Ipv4Addr::UNSPECIFIED.into(),
        own => own,
    };
    TcpListener::bind((ip, address.port())).is_ok()
}

/// Whether nobody else listens there, the gateway aside: it has the port at every address and shares it.
pub(crate) fn can_be_shared(address: SocketAddr) -> bool {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let shared = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None).and_then(|socket| {
        sockopt::set_socket_reuseport(&socket, true)?;
        bind(&socket, &address)
    });
    shared.is_ok()
}

fn parse_range(text: &str) -> Option<RangeInclusive<u16>> {
    let mut numbers = text.split_ascii_whitespace().map(str::parse);
    let (Some(Ok(first)), Some(Ok(last))) = (numbers.next(), numbers.next()) else {
        return None;
    };
    Some(first..=last)
}

/// The larger part of `range` that lies below or above `other`.
fn outside(range: RangeInclusive<u16>, other: Option<RangeInclusive<u16>>) -> RangeInclusive<u16> {
    let Some(other) = other else { return range };
    if other.end() < range.start() || other.start() > range.end() {
        return range;
    }
    let below = *range.start()..=other.start().saturating_sub(1);
    let above = other.end().saturating_add(1)..=*range.end();
    let part = if below.len() >= above.len() { below } else { above };
    if part.is_empty() { range } else { part }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ephemeral_ports_are_left_out() {
        for (range, other, expected) in [
            (20000..=32767, Some(32768..=60999), 20000..=32767),
            (20000..=32767, Some(30000..=60999), 20000..=29999),
            (20000..=32767, Some(1024..=25000), 25001..=32767),
            (20000..=32767, Some(1024..=65535), 20000..=32767),
            (20000..=32767, Some(20000..=32767), 20000..=32767),
            (20000..=32767, None, 20000..=32767),
        ] {
            assert_eq!(outside(range, other), expected);
        }
        assert_eq!(parse_range("32768\t60999\n"), Some(32768..=60999));
        assert_eq!(parse_range("32768"), None);
    }

    #[test]
    fn nothing_is_given_out_twice() {
        let mut addresses = Addresses {
            range: 10..=13,
            reserved: BTreeMap::new(),
        };
        let now = Instant::now();
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let allocate = |addresses: &mut Addresses, taken: &[u16], now| {
            let taken = taken.iter().copied().map(at).collect();
            addresses.allocate(None, &taken, 2, now, |address| address.port() != 13)
        };
        assert_eq!(allocate(&mut addresses, &[], now), Some(at(12)));
        assert_eq!(allocate(&mut addresses, &[10], now), Some(at(11)));
        assert_eq!(allocate(&mut addresses, &[10], now), None);
        addresses.used(at(12));
        assert_eq!(allocate(&mut addresses, &[10, 12], now), None);
        assert_eq!(
            allocate(&mut addresses, &[10], now),
            Some(at(12)),
            "its instance was forgotten"
        );
        let later = now + RESERVATION;
        assert_eq!(
            allocate(&mut addresses, &[10, 12], later),
            Some(at(11)),
            "it was never used"
        );
    }

    #[test]
    fn a_port_of_the_services_own_gets_an_address() {
        let mut addresses = Addresses::new(20000..=20001);
        let now = Instant::now();
        let mut allocate = |random, is_free: fn(SocketAddr) -> bool| {
            let address = addresses.allocate(Some(80), &BTreeSet::new(), random, now, is_free);
            address.unwrap().to_string()
        };
        assert_eq!(allocate(7, |_| true), "127.64.0.7:80");
        assert_eq!(allocate(7, |_| true), "127.64.0.8:80");
        assert_eq!(allocate(u32::MAX, |_| true), "127.127.255.255:80");
        // A user may not bind it anywhere.
        assert_eq!(allocate(2, |address| address.port() != 80), "127.0.0.1:20000");
    }
}
