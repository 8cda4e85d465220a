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
    let wait = |context: &mut Context<'_>| stream.poll_read_ready(context);
    poll(context, || try_read(stream, room), wait)
}

/// Writes some of `bytes`.
pub(crate) fn poll_write(
    stream: &TcpStream,
    context: &mut Context<'_>,
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    let wait = |context: &mut Context<'_>| stream.poll_write_ready(context);
    let written = poll(context, || try_write(stream, bytes), wait);
    if let Poll::Ready(Ok(count)) = written {
        spend(count, context);
    }
    written
}

/// Does one step as soon as it can be done.
#[inline]
fn poll(
    context: &mut Context<'_>,
    mut step: impl FnMut() -> io::Result<usize>,
    wait: impl Fn(&mut Context<'_>) -> Poll<io::Result<()>>,
) -> Poll<io::Result<usize>> {
    let turn = ready!(coop::poll_proceed(context));
    loop {
        match step() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(wait(context))?,
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Read;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::Relaxed;
    use std::task::Waker;

    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    const MUCH: usize = 64 << 20;

    /// A connection and its other end, which has room for little.
    async fn pair() -> (TcpStream, TcpStream) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener: TcpListener = socket.listen(1).unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap());
        (near.await.unwrap(), listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn little_waits_for_a_side_that_does_not_read() {
        let (near, _far) = pair().await;
        SockRef::from(&near).set_send_buffer_size(4 << 20).unwrap();
        prepare(&near);
        near.writable().await.unwrap();
        let mut context = Context::from_waker(Waker::noop());
        let mut waiting = 0;
        while let Poll::Ready(count) = poll_write(&near, &mut context, &[b'x'; 16 * 1024]) {
            waiting += count.unwrap();
        }
        assert!(waiting < 2 * WAITING as usize, "{waiting}");
    }

    #[tokio::test]
    async fn who_writes_much_lets_others_have_their_turn() {
        let (near, far) = pair().await;
        let mut far = far.into_std().unwrap();
        far.set_nonblocking(false).unwrap();
        std::thread::spawn(move || while far.read(&mut [0; 256 * 1024]).is_ok_and(|count| count > 0) {});
        let written = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&written);
        let writer = tokio::spawn(async move {
            while counted.load(Relaxed) < MUCH {
                let count = poll_fn(|context| poll_write(&near, context, &[b'x'; 16 * 1024])).await;
                counted.fetch_add(count.unwrap(), Relaxed);
            }
        });
        let (mut before, mut most) = (0, 0);
        while !writer.is_finished() {
            tokio::task::yield_now().await;
            let now = written.load(Relaxed);
            most = most.max(now - before);
            before = now;
        }
        assert!(before >= MUCH);
        assert!(most <= 128 * STEP, "{most} bytes in one turn");
    }
}
