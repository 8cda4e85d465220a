//! The one thread that talks to the minder: calls block, and they are answered in order anyway.
//!
//! Everything that changes what runs is one job on this thread, connecting included. So two requests never
//! interleave, a request made while the connection is being made waits behind that, and a caller who stops
//! waiting leaves nothing half done.

use std::io;

use hythe_minder::client::{Client, ClientError};
use tokio::sync::{mpsc, oneshot};

/// How many jobs may wait.
const QUEUE: usize = 256;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// The way to the thread, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Commands {
    jobs: mpsc::Sender<Job>,
}

/// The thread's connection to the minder, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    active: Option<(Client, InUse)>,
}

/// Dropped when a connection is given up, which [`Broken`] sees.
type InUse = oneshot::Sender<()>;

/// Resolves when a connection is not used any more.
pub(crate) type Broken = oneshot::Receiver<()>;

impl Commands {
    /// Starts the thread.
    pub(crate) fn start() -> io::Result<Self> {
        let (jobs, mut queue) = mpsc::channel::<Job>(QUEUE);
        std::thread::Builder::new()
            .name("minder".to_owned())
            .spawn(move || {
                let mut connection = Connection::default();
                while let Some(job) = queue.blocking_recv() {
                    job(&mut connection);
                }
            })?;
        Ok(Self { jobs })
    }

    /// Leaves a job to be done after those before it. What comes back resolves with an error if it never is.
    pub(crate) async fn submit<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> T + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (answer, answered) = oneshot::channel();
        let job = Box::new(move |connection: &mut Connection| {
            // Whoever asked may have stopped waiting.
            let _ = answer.send(job(connection));
        });
        // When it cannot be sent, the answer's sender is dropped with it.
        let _ = self.jobs.send(job).await;
        answered
    }

    /// Leaves a job that may be dropped when too many wait.
    pub(crate) fn submit_unimportant(&self, job: impl FnOnce(&mut Connection) + Send + 'static) {
        let _ = self.jobs.try_send(Box::new(job));
    }
}

impl Connection {
    /// Takes a new connection into use.
    pub(crate) fn replace(&mut self, client: Client) -> Broken {
        let (in_use, broken) = oneshot::channel();
        self.active = Some((client, in_use));
        broken
    }

    /// Gives the connection up.
    pub(crate) fn take(&mut self) -> Option<Client> {
        self.active.take().map(|(client, _)| client)
    }

    /// Asks the minder. A connection that failed is not used again.
    pub(crate) fn ask<T>(
        &mut self,
        request: impl FnOnce(&mut Client) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let Some((client, _)) = &mut self.active else {
            return Err(ClientError::Connection(io::ErrorKind::NotConnected.into()));
        };
        let answer = request(client);
        if let Err(error) = &answer
            && !matches!(error, ClientError::Refused(_))
        {
            self.active = None;
        }
        answer
    }
}
