//! Takes connections in: each worker from its own sockets of every open listener.
//!
//! What is open is a state that the control task publishes. A worker opens what is new in it; what is closed
//! ends by itself, after the connections that the kernel had accepted already were taken in.

use std::fs::File;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use hythe_spine::Latest;
use socket2::Socket;
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

use crate::listener::{Listening, LocalListening, OpenListeners};
use crate::relay;
use crate::sockets::Transport;
use crate::worker::Worker;

/// Time to the next try when there is no descriptor or no memory.
const PAUSE: Duration = Duration::from_millis(20);

/// Accepts on every open listener until the server stops.
///
/// # Panics
/// When accepting does; the worker starts again.
pub(crate) async fn run(worker: Rc<Worker>, mut listeners: Latest<OpenListeners>) {
    let mut accepting = JoinSet::new();
    let mut known: Vec<Arc<Listening>> = Vec::new();
    while !worker.shutdown.is_requested() {
        let open = listeners.get_and_mark();
        for listening in &open.list {
            if !known.iter().any(|known| Arc::ptr_eq(known, listening)) {
                open_share(&worker, listening, &mut accepting);
            }
        }
        known.clone_from(&open.list);
        drop(open);
        tokio::select! {
            () = worker.shutdown.requested() => {}
            () = listeners.changed() => {}
            Some(ended) = accepting.join_next() => resume(ended),
        }
    }
    while let Some(ended) = accepting.join_next().await {
        resume(ended);
    }
}

fn open_share(worker: &Rc<Worker>, listening: &Arc<Listening>, accepting: &mut JoinSet<()>) {
    let local = Rc::new(Arc::clone(listening));
    for (number, _) in listening.share(worker.index, worker.shared.workers) {
        let (worker, listening) = (Rc::clone(worker), Rc::clone(&local));
        match listening.plan.transport() {
            Transport::Tcp => accepting.spawn_local(accept(worker, listening, number)),
            Transport::Udp => accepting.spawn_local(hear(worker, listening, number)),
        };
    }
}

/// A panic of a task is one of the worker.
fn resume(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && let Ok(panic) = error.try_into_panic()
    {
        std::panic::resume_unwind(panic);
    }
}

/// Accepts on one socket until its listener is closed.
async fn accept(worker: Rc<Worker>, listening: LocalListening, number: usize) {
    let shutdown = listening.shutdown.clone();
    let listener = registered(&listening, number, |socket| TcpListener::from_std(socket.into()));
    let Some(Some(listener)) = shutdown.unless_requested(listener).await else {
        return;
    };
    let mut reserve = Reserve::default();
    while let Some(accepted) = shutdown.unless_requested(listener.accept()).await {
        match accepted {
            Ok((stream, peer)) => worker.admit(stream, peer, &listening),
            Err(error) if is_out_of_descriptors(&error) && reserve.give_up() => {
                if let Some(Ok((stream, _))) = listener.accept().now_or_never() {
                    worker.metrics().accepted.fetch_add(1, Ordering::Relaxed);
                    worker.turn_away(&stream, &listening);
                }
                reserve.take_again();
            }
            // No descriptor is left, or no memory: those that are open go on, and the kernel keeps the new
            // ones waiting until there is room.
            Err(_) => {
                tokio::time::sleep(PAUSE).await;
                reserve.take_again();
            }
        }
    }
    // When the server stops, the next one takes in what waits; of a closed listener nobody else will.
    while !worker.shutdown.is_requested()
        && let Some(Ok((stream, peer))) = listener.accept().now_or_never()
    {
        worker.admit(stream, peer, &listening);
    }
}

/// Passes on what comes to one socket for datagrams until its listener is closed.
async fn hear(worker: Rc<Worker>, listening: LocalListening, number: usize) {
    let shutdown = listening.shutdown.clone();
    let socket = registered(&listening, number, |socket| UdpSocket::from_std(socket.into()));
    if let Some(Some(socket)) = shutdown.unless_requested(socket).await {
        relay::udp::serve(worker, listening, socket).await;
    }
}

/// The socket, known to this thread's reactor as soon as there is a descriptor for it.
async fn registered<T>(
    listening: &Listening,
    number: usize,
    register: impl Fn(Socket) -> io::Result<T>,
) -> Option<T> {
    let (_, socket) = listening.sockets().nth(number)?;
    loop {
        match socket.try_clone().and_then(&register) {
            Ok(registered) => return Some(registered),
            Err(error) => {
                tracing::error!(%error, listener = listening.plan.name, "cannot accept yet");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// A descriptor held for nothing else than to tell a client that there is none left for it.
struct Reserve(Option<File>);

impl Default for Reserve {
    fn default() -> Self {
        Self(File::open("/dev/null").ok())
    }
}

impl Reserve {
    /// Frees the descriptor; whether there was one.
    fn give_up(&mut self) -> bool {
        self.0.take().is_some()
    }

    fn take_again(&mut self) {
        if self.0.is_none() {
            *self = Self::default();
        }
    }
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(
        rustix::io::Errno::from_io_error(error),
        Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE)
    )
}
