//! The ways a server ends.

use std::path::PathBuf;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Mutex, mpsc};

/// How far a stop goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// A signal: the server ends, services and minder go on, connections wait for the next server.
    Server,
    /// `hythe upgrade`: the next server is another binary.
    Upgrade {
        /// Its path.
        binary: PathBuf,
    },
    /// `hythe server stop`.
    ServerAndMinder {
        /// End the services first.
        with_services: bool,
    },
}

/// SIGTERM and SIGINT.
pub(crate) struct Signals {
    both: Mutex<(Signal, Signal)>,
}

impl Signals {
    /// From here on the signals no longer end the process by themselves.
    pub(crate) fn install() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("listen for signals");
        Ok(Self {
            both: Mutex::new((listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?)),
        })
    }

    /// Waits for the first reason to stop.
    pub(crate) async fn wait(&self, mut asked: mpsc::Receiver<Ending>) -> Ending {
        tokio::select! {
            // Whoever asks for more than a signal means, and sends one right after it, gets what was asked.
            biased;
            Some(ending) = asked.recv() => ending,
            () = self.again() => Ending::Server,
        }
    }

    /// Waits for a signal.
    pub(crate) async fn again(&self) {
        let mut both = self.both.lock().await;
        let (terminate, interrupt) = &mut *both;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}
