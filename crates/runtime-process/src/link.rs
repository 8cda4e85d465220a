//! The connection to the minder: made, listened to, lost, made again.
//!
//! ```text
//! connect ──► adopt what runs ──► listen ──(lost)──► tell subscribers ──► connect, with back-off
//!    └─ no minder answers: start one, end what the last one left behind
//! ```

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hythe_minder::client::{self, Client, ClientError, Events};
use hythe_minder::protocol::{self, ChildStatus, Decoder, Event, Guarded, Request, Stream};
use hythe_spine::Shutdown;
use hythe_supervisor::runtime::{Record, RuntimeEvent};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::commands::{Broken, Connection};
use crate::output::NewRun;
use crate::requests::{forget_run, record_of};
use crate::runs::bound_of;
use crate::shared::Shared;

/// After news of a stream were read, the next are asked for this much later: a service that writes line by
/// line costs fifty wakes a second, not one for each line.
const NEWS_INTERVAL: Duration = Duration::from_millis(20);

/// How long the minder may take to accept a few acknowledgements.
const WRITE_PATIENCE: Duration = Duration::from_secs(10);

const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);
const READ_BUFFER: usize = 16 * 1024;

/// Why there is no connection to a minder.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A folder or a thread of the runtime's own could not be made.
    #[error("prepare {}", home.display())]
    Prepare {
        /// The home folder.
        home: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No minder answered and none could be started.
    #[error("start the minder with {}", exe.display())]
    Start {
        /// The program.
        exe: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is a minder and it does not do what it should.
    #[error("take over what the minder has")]
    Talk(#[source] ClientError),
    /// The thread that talks to it has ended.
    #[error("the minder's thread has ended")]
    Ended,
}

/// A connection that carries events, and the other that is used beside it.
#[derive(Debug)]
pub(crate) struct Session {
    stream: std::os::unix::net::UnixStream,
    decoder: Decoder,
    broken: Broken,
}

/// Connects and takes over what runs; starts a minder if there is none.
pub(crate) async fn connect(shared: &Arc<Shared>) -> Result<Session, ConnectError> {
    let for_job = Arc::clone(shared);
    let session = shared
        .commands
        .submit(move |connection| establish(&for_job, connection))
        .await;
    session.await.map_err(|_| ConnectError::Ended)?
}

/// Keeps the connection until the server stops.
pub(crate) async fn keep(
    shared: Arc<Shared>,
    first: Session,
    mut read: mpsc::Receiver<(String, Stream)>,
    shutdown: Shutdown,
) {
    let mut session = first;
    loop {
        let Some(outcome) = shutdown
            .unless_requested(listen(&shared, session, &mut read))
            .await
        else {
            return;
        };
        shared.minder.store(0, Ordering::Relaxed);
        if shared.closed.load(Ordering::Acquire) {
            shared.runs.clear();
            shared.tell_lost();
            return;
        }
        tracing::warn!(
            error = &outcome as &dyn std::error::Error,
            "the connection to the minder was lost"
        );
        let Some(next) = shutdown.unless_requested(reconnect(&shared)).await else {
            return;
        };
        session = next;
    }
}

async fn reconnect(shared: &Arc<Shared>) -> Session {
    let mut retry_in = FIRST_RETRY;
    loop {
        let for_job = Arc::clone(shared);
        let session = shared
            .commands
            .submit(move |connection| establish(&for_job, connection))
            .await;
        // Told only now: whoever asks what runs waits behind the new connection.
        shared.tell_lost();
        match session.await.unwrap_or(Err(ConnectError::Ended)) {
            Ok(session) => return session,
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the minder cannot be reached"
            ),
        }
        sleep(retry_in).await;
        retry_in = (retry_in * 2).min(LAST_RETRY);
    }
}

/// Runs on the minder's thread.
fn establish(shared: &Shared, connection: &mut Connection) -> Result<Session, ConnectError> {
    connection.take();
    let mut client = connect_or_start(shared)?;
    let events = Events::subscribe(&shared.home).map_err(ConnectError::Talk)?;
    let children = client.list().map_err(ConnectError::Talk)?;
    let children: Vec<_> = children
        .into_iter()
        .filter_map(|child| record_of(&child).map(|r| (child, r)))
        .collect();
    let hello = client.hello();
    shared.find_cgroups(hello.pid);
    shared.confines.store(hello.confines, Ordering::Relaxed);
    end_leftovers(shared, &children);
    if let Some(guarded) = shared.guarded().clone() {
        guard(&mut client, Some(guarded)).map_err(ConnectError::Talk)?;
    }
    shared.minder.store(hello.pid, Ordering::Relaxed);
    shared.rebinds.store(hello.rebinds, Ordering::Relaxed);
    shared.learns.store(hello.learns, Ordering::Relaxed);
    shared.channels.store(hello.channels, Ordering::Relaxed);
    shared.gives_sockets.store(hello.gives_sockets, Ordering::Relaxed);
    let broken = connection.replace(client);
    adopt(shared, connection, &children);
    let (stream, decoder) = events.into_parts();
    Ok(Session {
        stream,
        decoder,
        broken,
    })
}

/// Has the minder guard this process, if it knows how to.
pub(crate) fn guard(client: &mut Client, server: Option<Guarded>) -> Result<(), ClientError> {
    if client.hello().guards {
        return client.guard(server);
    }
    tracing::warn!("the minder is an older one: it will not start this server again if it dies");
    Ok(())
}

fn connect_or_start(shared: &Shared) -> Result<Client, ConnectError> {
    match Client::connect(&shared.home) {
        // Nobody listens, or whoever did is just dying.
        Err(ClientError::Connect { .. } | ClientError::Connection(_)) => {}
        answer => return answer.map_err(ConnectError::Talk),
    }
    client::spawn_detached(&shared.exe, &shared.home).map_err(|source| ConnectError::Start {
        exe: shared.exe.clone(),
        source,
    })?;
    Client::connect(&shared.home).map_err(ConnectError::Talk)
}

/// Ends what no minder has any more, before anything else is started, and passes its output on.
fn end_leftovers(shared: &Shared, children: &[(ChildStatus, Record)]) {
    let there: BTreeSet<&str> = children.iter().map(|(child, _)| child.id.as_str()).collect();
    let mut files = shared.output.files.all().unwrap_or_else(|error| {
        tracing::warn!(%error, "what a dead minder may have left cannot be found");
        Vec::new()
    });
    files.retain(|file| !there.contains(file.run.as_str()));
    shared.output.files.end_leftovers(&files);
    end_groups(shared, &there);
    for file in &files {
        shared.output.began(&NewRun {
            run: &file.run,
            instance: &file.instance,
            service: &file.service,
            slot: None,
            from: shared.output.starts(&file.run),
            adopted: true,
        });
    }
    shared
        .output
        .gone(&there)
        .iter()
        .for_each(|run| shared.output.ended(run));
}

/// Ends the control groups of runs that no minder has: of a daemon whose minder was killed, of a start that came to
/// nothing.
fn end_groups(shared: &Shared, there: &BTreeSet<&str>) {
    for run in shared.cgroups().instances() {
        if !there.contains(run.as_str()) && !shared.group_of(&run).end() {
            tracing::warn!(run, "the control group of a run that is gone cannot be removed");
        }
    }
}

fn adopt(shared: &Shared, connection: &mut Connection, children: &[(ChildStatus, Record)]) {
    for (child, record) in children {
        shared.output.began(&NewRun {
            run: &child.id,
            instance: &record.id,
            service: &record.service,
            slot: Some(record.slot),
            from: [child.out.consumed, child.err.consumed],
            adopted: true,
        });
    }
    for earlier in shared.runs.adopt(children) {
        if let Err(error) = forget_run(shared, connection, &earlier) {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(
                run = earlier.as_ref(),
                error,
                "an earlier start of an instance cannot be forgotten"
            );
        }
    }
}

/// Listens until the connection is lost; says how that came.
async fn listen(shared: &Shared, session: Session, read: &mut mpsc::Receiver<(String, Stream)>) -> io::Error {
    let Session {
        stream,
        mut decoder,
        broken,
    } = session;
    let (mut broken, mut due) = (pin!(broken), BTreeSet::new());
    let mut stream = match stream
        .set_nonblocking(true)
        .and_then(|()| UnixStream::from_std(stream))
    {
        Ok(stream) => stream,
        Err(error) => return error,
    };
    let mut ask_at = Instant::now();
    loop {
        if let Err(error) = take_events(shared, &mut decoder) {
            return error;
        }
        let outcome = tokio::select! {
            _ = &mut broken => Err(io::Error::other("a request failed")),
            readable = stream.readable() => readable.and_then(|()| receive(&stream, &mut decoder)),
            Some(stream_of_run) = read.recv() => {
                if due.is_empty() {
                    ask_at = Instant::now() + NEWS_INTERVAL;
                }
                due.insert(stream_of_run);
                Ok(())
            }
            () = sleep_until(ask_at), if !due.is_empty() => {
                acknowledge(&mut stream, std::mem::take(&mut due)).await
            }
        };
        if let Err(error) = outcome {
            return error;
        }
    }
}

fn take_events(shared: &Shared, decoder: &mut Decoder) -> io::Result<()> {
    while let Some(event) = decoder.take().map_err(io::Error::other)? {
        match event {
            Event::Exited { id, pid, exit } => {
                if let Some(instance) = shared.runs.exited(&id) {
                    let (pid, exit) = (pid.unsigned_abs(), shared.exit_of(&id, exit));
                    shared.tell(&RuntimeEvent::Exited {
                        id: instance,
                        pid,
                        exit,
                    });
                }
            }
            Event::Ready { id, pid } => {
                if let Some(run) = shared.runs.get(&id) {
                    let pid = pid.unsigned_abs();
                    shared.tell(&RuntimeEvent::SaidReady {
                        id: run.instance,
                        pid,
                    });
                }
            }
            Event::Bound { id, pid, bound } => {
                if let Some(run) = shared.runs.get(&id) {
                    shared.tell(&RuntimeEvent::Bound {
                        id: run.instance,
                        pid: pid.unsigned_abs(),
                        bound: bound_of(bound),
                    });
                }
            }
            Event::Output {
                id,
                stream,
                end,
                closed,
                ..
            } => {
                shared.output.wrote(id, stream, closed.then_some(end));
            }
        }
    }
    Ok(())
}

fn receive(stream: &UnixStream, decoder: &mut Decoder) -> io::Result<()> {
    let mut buffer = [0; READ_BUFFER];
    match stream.try_read(&mut buffer) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(read) => {
            decoder.feed(&buffer[..read]);
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error),
    }
}

async fn acknowledge(stream: &mut UnixStream, streams: BTreeSet<(String, Stream)>) -> io::Result<()> {
    let mut frames = Vec::new();
    for (id, stream) in streams {
        let frame = protocol::encode(&Request::Acknowledge { id, stream }).map_err(io::Error::other)?;
        frames.extend(frame);
    }
    timeout(WRITE_PATIENCE, stream.write_all(&frames)).await?
}
