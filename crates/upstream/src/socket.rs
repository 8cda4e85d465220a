//! Reads and writes a socket: at once where the reactor believes that it can be, waiting where it cannot.
//!
//! As tokio does it, but for what a proxy would pay for with every message: the reactor is asked for a wake-up only
//! when there is something to wait for, and the kernel is called without the C library's cancellation points.

use std::io;
use std::task::{Context, Poll, ready};

use rustix::buffer::spare_capacity;
use rustix::net::{RecvFlags, SendFlags};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::task::coop;

/// Reads behind what is in `room`, as much as it has capacity for. 0: the other side has finished.
pub(crate) fn poll_read(
    stream: &TcpStream,
    context: &mut Context<'_>,
    room: &mut Vec<u8>,
) -> Poll<io::Result<usize>> {
    let turn = ready!(coop::poll_proceed(context));
    loop {
        match try_read(stream, room) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                ready!(stream.poll_read_ready(context))?;
            }
            done => {
                turn.made_progress();
                return Poll::Ready(done);
            }
        }
    }
}

/// Writes some of `bytes`.
pub(crate) fn poll_write(
    stream: &TcpStream,
    context: &mut Context<'_>,
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    let turn = ready!(coop::poll_proceed(context));
    loop {
        match try_write(stream, bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                ready!(stream.poll_write_ready(context))?;
            }
            done => {
                turn.made_progress();
                return Poll::Ready(done);
            }
        }
    }
}

fn try_read(stream: &TcpStream, room: &mut Vec<u8>) -> io::Result<usize> {
    let asked = room.capacity() - room.len();
    try_some(stream, Interest::READABLE, asked, || {
        rustix::net::recv(stream, spare_capacity(room), RecvFlags::empty()).map(|(count, _)| count)
    })
}

fn try_write(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    try_some(stream, Interest::WRITABLE, bytes.len(), || {
        rustix::net::send(stream, bytes, SendFlags::NOSIGNAL)
    })
}

/// Moves up to `asked` bytes. Fewer mean that there is no more for now: the reactor is told so, which saves the next
/// call its attempt. It remembers by itself that the other side has finished.
fn try_some(
    stream: &TcpStream,
    interest: Interest,
    asked: usize,
    call: impl FnOnce() -> rustix::io::Result<usize>,
) -> io::Result<usize> {
    let mut moved = None;
    let tried = stream.try_io(interest, || {
        let count = call()?;
        moved = Some(count);
        match count {
            0 => Ok(0),
            count if count < asked => Err(io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    });
    moved.map_or(tried, Ok)
}
