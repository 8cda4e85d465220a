//! What the kernel answers through `sock_diag(7)`: only the sockets that listen at the port, however many others there are.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

use super::Listener;

/// Before every message: its length, kind, flags, number and sender.
const HEADER: usize = 16;
/// The kinds: `SOCK_DIAG_BY_FAMILY`, of questions and answers, and two of the kernel's own.
const BY_FAMILY: u16 = 20;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `NLM_F_REQUEST` and `NLM_F_DUMP`.
const REQUEST_ALL: u16 = 0x1 | 0x300;

/// The states that are asked for, as bits: `TCP_LISTEN`.
const LISTENS: u32 = 1 << 10;
const TCP: u8 = 6;

/// Where the port and the address begin in an answer: behind family, state and two about timers, and behind both ports.
const PORT_AT: usize = HEADER + 4;
const IP_AT: usize = HEADER + 8;
/// Where it has the connections that nobody has accepted: behind both addresses, interface, cookie and a timer.
const WAITING_AT: usize = HEADER + 56;

/// The kernel fills no answer beyond this.
const BUFFER: usize = 32 * 1024;

/// Who listens at this port.
pub(super) fn listeners(port: u16) -> io::Result<Vec<Listener>> {
    let kernel = socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    )?;
    let mut found = Vec::new();
    for family in [AddressFamily::INET, AddressFamily::INET6] {
        send(&kernel, &question(family, port), SendFlags::empty())?;
        receive(&kernel, &mut found)?;
    }
    found.retain(|listener| listener.address.port() == port);
    Ok(found)
}

/// `inet_diag_req_v2` behind its header; the part of it that follows the port stays zero: any other side, any address.
fn question(family: AddressFamily, port: u16) -> Vec<u8> {
    const LENGTH: u32 = 72;
    let [family, _] = family.as_raw().to_le_bytes();
    let mut question = Vec::with_capacity(LENGTH as usize);
    question.extend(LENGTH.to_ne_bytes());
    question.extend(BY_FAMILY.to_ne_bytes());
    question.extend(REQUEST_ALL.to_ne_bytes());
    question.extend([0; 8]);
    question.extend([family, TCP, 0, 0]);
    question.extend(LISTENS.to_ne_bytes());
    question.extend(port.to_be_bytes());
    question.resize(LENGTH as usize, 0);
    question
}

/// All answers to one question.
fn receive(kernel: &OwnedFd, found: &mut Vec<Listener>) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let (_, length) = recv(kernel, buffer.as_mut_slice(), RecvFlags::TRUNC)?;
        let mut rest = buffer.get(..length).ok_or(ErrorKind::InvalidData)?;
        while !rest.is_empty() {
            let (message, behind) = split(rest).ok_or(ErrorKind::InvalidData)?;
            match number(message, 4).ok_or(ErrorKind::InvalidData)? {
                DONE => return Ok(()),
                ERROR => return Err(ErrorKind::Unsupported.into()),
                _ => found.extend(listener(message)),
            }
            rest = behind;
        }
    }
}

/// The first message and what is behind it; each begins at a multiple of four.
fn split(messages: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = u32::from_ne_bytes(*messages.first_chunk()?) as usize;
    let message = messages.get(..length).filter(|message| message.len() >= HEADER)?;
    let behind = messages.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((message, behind))
}

fn number(message: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*message.get(at..)?.first_chunk()?))
}

fn listener(message: &[u8]) -> Option<Listener> {
    let family = AddressFamily::from_raw(u16::from(*message.get(HEADER)?));
    let port = u16::from_be_bytes(*message.get(PORT_AT..)?.first_chunk()?);
    let ip = message.get(IP_AT..)?;
    let ip: IpAddr = match family {
        AddressFamily::INET => Ipv4Addr::from(*ip.first_chunk::<4>()?).into(),
        AddressFamily::INET6 => Ipv6Addr::from(*ip.first_chunk::<16>()?).into(),
        _ => return None,
    };
    Some(Listener {
        address: SocketAddr::new(ip, port),
        waiting: u32::from_ne_bytes(*message.get(WAITING_AT..)?.first_chunk()?),
    })
}
