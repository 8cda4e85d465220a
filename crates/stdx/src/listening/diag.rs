//! What the kernel answers through `sock_diag(7)`: only the sockets that listen at the port, however many others there are,
//! or the one among them that a connection would come to.

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
/// `NLM_F_REQUEST`, and with it `NLM_F_DUMP`.
const REQUEST_ONE: u16 = 0x1;
const REQUEST_ALL: u16 = REQUEST_ONE | 0x300;
/// The error that says that there is no such socket, `-ENOENT`.
const NO_SUCH: i32 = -2;

/// The states that are asked for, as bits: `TCP_LISTEN`.
const LISTENS: u32 = 1 << 10;
const TCP: u8 = 6;

/// Where the port and the address begin in an answer: behind family, state and two about timers, and behind both ports.
const PORT_AT: usize = HEADER + 4;
const IP_AT: usize = HEADER + 8;
/// Where it has the connections that nobody has accepted: behind both addresses, interface, cookie and a timer.
const WAITING_AT: usize = HEADER + 56;

/// What ends a question for one socket, which may name it.
const COOKIE: usize = 8;

/// The kernel fills no answer beyond this.
const BUFFER: usize = 32 * 1024;

/// Who listens at this port.
pub(super) fn listeners(port: u16) -> io::Result<Vec<Listener>> {
    let kernel = kernel()?;
    let mut found = Vec::new();
    for family in [AddressFamily::INET, AddressFamily::INET6] {
        send(
            &kernel,
            &question(REQUEST_ALL, family, port, &[]),
            SendFlags::empty(),
        )?;
        receive(&kernel, &mut found)?;
    }
    found.retain(|listener| listener.address.port() == port);
    Ok(found)
}

/// Who gets connections to this address.
pub(super) fn listener_for(address: SocketAddr) -> io::Result<Option<Listener>> {
    let kernel = kernel()?;
    let question = match address.ip() {
        IpAddr::V4(ip) => question(REQUEST_ONE, AddressFamily::INET, address.port(), &ip.octets()),
        IpAddr::V6(ip) => question(REQUEST_ONE, AddressFamily::INET6, address.port(), &ip.octets()),
    };
    send(&kernel, &question, SendFlags::empty())?;
    let mut buffer = [0; 512];
    // The kernel has answered before `send` returns.
    let (_, length) = recv(&kernel, buffer.as_mut_slice(), RecvFlags::DONTWAIT)?;
    let (answer, _) = buffer
        .get(..length)
        .and_then(split)
        .ok_or(ErrorKind::InvalidData)?;
    match number(answer, 4) {
        Some(BY_FAMILY) => listener(answer).map(Some).ok_or(ErrorKind::InvalidData.into()),
        Some(ERROR) if error(answer) == Some(NO_SUCH) => Ok(None),
        _ => Err(ErrorKind::Unsupported.into()),
    }
}

fn kernel() -> rustix::io::Result<OwnedFd> {
    socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    )
}

/// `inet_diag_req_v2` behind its header. What is not said stays zero, any: of the other side all, and the address of this one
/// where `ip` is empty.
fn question(kind: u16, family: AddressFamily, port: u16, ip: &[u8]) -> Vec<u8> {
    const LENGTH: u32 = 72;
    let [family, _] = family.as_raw().to_le_bytes();
    let mut question = Vec::with_capacity(LENGTH as usize);
    question.extend(LENGTH.to_ne_bytes());
    question.extend(BY_FAMILY.to_ne_bytes());
    question.extend(kind.to_ne_bytes());
    question.extend([0; 8]);
    question.extend([family, TCP, 0, 0]);
    question.extend(LISTENS.to_ne_bytes());
    question.extend(port.to_be_bytes());
    question.extend([0; 2]);
    question.extend(ip);
    question.resize(LENGTH as usize - COOKIE, 0);
    // Whatever cookie it has.
    question.extend([0xff; COOKIE]);
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

/// What an error is about, below zero.
fn error(message: &[u8]) -> Option<i32> {
    Some(i32::from_ne_bytes(*message.get(HEADER..)?.first_chunk()?))
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
