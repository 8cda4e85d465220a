//! Reads and writes a socket: at once where the reactor believes that it can be, waiting where it cannot.
//!
//! As tokio does it, but for what a proxy would pay for with every message: the reactor is asked for a wake-up only
//! when there is something to wait for, and the kernel is called without the C library's cancellation points. And large
//! writes count for more than small ones, so that a connection that moves much does not keep the others waiting.

use std::io;
use std::task::{Context, Poll, ready};

use rustix::buffer::spare_capacity;
use rustix::net::{RecvFlags, SendFlags};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::task::coop;

/// Bytes that may wait in the kernel for the other side to take them, bytes. Without a bound they would be as many as it
/// gives a socket, some megabytes, of each client that does not read.
const WAITING: u32 = 128 * 1024;
/// Bytes that count as one step of a task, of which it has 128 in a turn (tokio): others have theirs after 256 KB.
const STEP: usize = 2 * 1024;

/// Sets a connection up for passing messages on: nothing waits to be sent together with more.
pub(crate) fn prepare(stream: &TcpStream) {
    // These fail only on a socket that is already dead, which the first read or write will say better.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(stream).set_tcp_notsent_lowat(WAITING);
}

/// Takes what it took to move `count` bytes out of the task's turn: a step, as such, costs the same whether it moves a
/// byte or a megabyte.
pub(crate) fn spend(count: usize, context: &mut Context<'_>) {
    for _ in 0..count / STEP {
        match coop::poll_proceed(context) {
            Poll::Ready(step) => step.made_progress(),
            Poll::Pending => return,
        }
    }
}

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
                spend(done.as_ref().map_or(0, |count| *count), context);
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
