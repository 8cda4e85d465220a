//! Free ports on the loopback interface, none given out twice.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// How long a port stays reserved for an instance that was not started.
const RESERVATION: Duration = Duration::from_secs(30);

/// The ports to choose from, and those given out and not yet seen in a started instance.
#[derive(Debug)]
pub(crate) struct Addresses {
    range: RangeInclusive<u16>,
    reserved: BTreeMap<u16, Instant>,
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

    /// A port that is neither in use by an instance (`taken`), nor reserved, nor refused by `is_free`. The
    /// search begins `offset` ports into the range.
    pub(crate) fn allocate(
        &mut self,
        taken: &BTreeSet<u16>,
        offset: u16,
        now: Instant,
        mut is_free: impl FnMut(u16) -> bool,
    ) -> Option<u16> {
        self.reserved.retain(|_, until| *until > now);
        let (first, last) = (u32::from(*self.range.start()), u32::from(*self.range.end()));
        let count = (last + 1).saturating_sub(first);
        let candidates = (0..count).map(|index| first + (index + u32::from(offset)) % count);
        let port = candidates
            .filter_map(|port| u16::try_from(port).ok())
            .find(|port| !taken.contains(port) && !self.reserved.contains_key(port) && is_free(*port))?;
        self.reserved.insert(port, now + RESERVATION);
        Some(port)
    }

    /// A started instance has the port: from now on that keeps it.
    pub(crate) fn used(&mut self, port: u16) {
        self.reserved.remove(&port);
    }
}

/// Whether nobody listens there: an instance may listen on loopback or on every interface.
pub(crate) fn can_be_bound(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
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
        let allocate = |addresses: &mut Addresses, taken: &[u16], now| {
            addresses.allocate(&taken.iter().copied().collect(), 2, now, |port| port != 13)
        };
        assert_eq!(allocate(&mut addresses, &[], now), Some(12));
        assert_eq!(allocate(&mut addresses, &[10], now), Some(11));
        assert_eq!(allocate(&mut addresses, &[10], now), None);
        addresses.used(12);
        assert_eq!(allocate(&mut addresses, &[10, 12], now), None);
        assert_eq!(
            allocate(&mut addresses, &[10], now),
            Some(12),
            "its instance was forgotten"
        );
        let later = now + RESERVATION;
        assert_eq!(
            allocate(&mut addresses, &[10, 12], later),
            Some(11),
            "it was never used"
        );
    }
}
