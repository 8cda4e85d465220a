//! Addresses for programs that have to be told one beforehand.
//!
//! The kernel's own choice (port 0) may give the same port to the next one who asks for any, as soon as the listener
//! that found it is closed. These are out of a range that neither the kernel gives to clients nor Hythe to instances,
//! and each is given out once.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

const FIRST: u32 = 10_000;
const COUNT: u32 = 10_000;
/// Shares no divisor with the count, so that every port comes.
const STEP: u32 = 7;

static GIVEN: AtomicU32 = AtomicU32::new(0);

/// An address of this machine that nobody listens at; `localhost` there.
pub fn free_address() -> SocketAddr {
    let start = std::process::id().wrapping_mul(7_919);
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).is_ok();
    let port = (0..COUNT)
        .map(|_| GIVEN.fetch_add(STEP, Ordering::Relaxed))
        .filter_map(|given| u16::try_from(FIRST + start.wrapping_add(given) % COUNT).ok())
        .find(is_free)
        .expect("a port that nobody has");
    (Ipv4Addr::LOCALHOST, port).into()
}
