//! One reader of live lines: a bounded queue that never makes the writer wait.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hythe_model::FullName;
use hythe_model::view::LogLine;
use tokio::sync::{Notify, mpsc};

use crate::entry::Line;

/// The most lines that wait for a reader.
const MAX_LINES: usize = 4096;

/// The most bytes that wait for a reader.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// The shared middle between the writer and one reader.
#[derive(Debug)]
pub(crate) struct Follower {
    /// Empty: all.
    services: BTreeSet<FullName>,
    waiting: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    items: VecDeque<Item>,
    bytes: usize,
}

#[derive(Debug)]
enum Item {
    Line(Arc<Line>),
    /// So many lines found no room.
    Missed(u64),
}

impl Follower {
    pub(crate) fn new(services: &[FullName]) -> Self {
        Self {
            services: services.iter().cloned().collect(),
            waiting: Mutex::new(Waiting::default()),
            changed: Notify::new(),
        }
    }

    pub(crate) fn wants(&self, service: &FullName) -> bool {
        self.services.is_empty() || self.services.contains(service)
    }

    /// Adds a line, or counts it as missed.
    pub(crate) fn push(&self, line: &Arc<Line>) {
        let mut waiting = self.waiting();
        if waiting.items.len() < MAX_LINES && waiting.bytes < MAX_BYTES {
            waiting.bytes += line.weight();
            waiting.items.push_back(Item::Line(Arc::clone(line)));
        } else if let Some(Item::Missed(count)) = waiting.items.back_mut() {
            *count += 1;
        } else {
            waiting.items.push_back(Item::Missed(1));
        }
        drop(waiting);
        self.changed.notify_one();
    }

    /// Gives `first` and then what comes to `reader`, until it is dropped.
    pub(crate) async fn feed(&self, first: Vec<Arc<Line>>, reader: mpsc::Sender<LogLine>) {
        for line in first {
            if reader.send(line.view()).await.is_err() {
                return;
            }
        }
        loop {
            let line = tokio::select! {
                line = self.next() => line,
                () = reader.closed() => return,
            };
            if reader.send(line).await.is_err() {
                return;
            }
        }
    }

    async fn next(&self) -> LogLine {
        loop {
            if let Some(item) = self.take() {
                return item.view();
            }
            self.changed.notified().await;
        }
    }

    fn take(&self) -> Option<Item> {
        let mut waiting = self.waiting();
        let item = waiting.items.pop_front();
        if let Some(Item::Line(line)) = &item {
            waiting.bytes -= line.weight();
        }
        item
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Item {
    fn view(&self) -> LogLine {
        match self {
            Self::Line(line) => line.view(),
            Self::Missed(count) => LogLine {
                at: hythe_stdx::unix_ms(),
                service: String::new(),
                instance: String::new(),
                stream: "hythe".to_owned(),
                message: format!("{count} lines were missed: the reader did not keep up"),
            },
        }
    }
}
