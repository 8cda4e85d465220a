//! The one writer: takes raw output turn by turn and makes lines of it.
//!
//! ```text
//! attach ──► reading ──(wake, poll)──► reading ── detach ──► draining ──► raw files deleted, released
//! ```
//!
//! A stream gets a turn when the minder reports output, once after it was attached, and by a poll that looks
//! at [`POLL_SHARE`] streams every second in case a report went missing. A turn is one write to the service's
//! file. When that fails (the disk is full), the stream goes back to its last written line and is tried again
//! with the next poll: raw output waits in the minder's segments meanwhile, and beyond their bound in the pipe.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hythe_minder::protocol::Stream;
use hythe_minder::segments;
use hythe_model::FullName;
use hythe_stdx::unix_ms;

use crate::batch::{Batch, Origin};
use crate::hub::Hub;
use crate::inbox::{Inbox, Order};
use crate::raw_stream::{RawStream, Reached};
use crate::{Progress, RunOutput};

const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// How many streams one poll looks at.
const POLL_SHARE: usize = 64;

/// The most turns a stream gets before a note that must come after its lines.
const TURNS_BEFORE_NOTE: usize = 64;

type Key = (Arc<str>, Stream);

/// Owner of everything that is being read.
pub(crate) struct Collector {
    hub: Arc<Mutex<Hub>>,
    raw_folder: PathBuf,
    progress: Box<dyn Fn(Progress) + Send>,
    runs: BTreeMap<Arc<str>, Run>,
    streams: BTreeMap<Key, RawStream>,
    ready: VecDeque<Key>,
    failed: BTreeSet<Key>,
    polled: Option<Key>,
}

struct Run {
    origin: Origin,
    service: FullName,
    draining: bool,
}

impl Collector {
    pub(crate) fn new(
        hub: Arc<Mutex<Hub>>,
        raw_folder: PathBuf,
        progress: Box<dyn Fn(Progress) + Send>,
    ) -> Self {
        Self {
            hub,
            raw_folder,
            progress,
            runs: BTreeMap::new(),
            streams: BTreeMap::new(),
            ready: VecDeque::new(),
            failed: BTreeSet::new(),
            polled: None,
        }
    }

    /// Works until it is stopped.
    pub(crate) fn run(mut self, inbox: &Inbox) {
        let mut next_poll = Instant::now() + POLL_INTERVAL;
        loop {
            let now = Instant::now();
            if now >= next_poll {
                self.poll();
                next_poll = now + POLL_INTERVAL;
            }
            let patience = if self.ready.is_empty() {
                next_poll - now
            } else {
                Duration::ZERO
            };
            let work = inbox.take(patience);
            if work.stopped {
                return;
            }
            work.orders.into_iter().for_each(|order| self.carry_out(order));
            work.wakes
                .into_iter()
                .for_each(|((run, stream), closed_at)| self.wake(&run, stream, closed_at));
            self.turn();
        }
    }

    /// Gives the next stream its turn. False when none waits.
    pub(crate) fn turn(&mut self) -> bool {
        let Some(key) = self.ready.pop_front() else {
            return false;
        };
        self.pull(&key);
        true
    }

    pub(crate) fn carry_out(&mut self, order: Order) {
        match order {
            Order::Attach(output) => self.attach(output),
            Order::Detach(run) => self.detach(&run),
            Order::Note {
                service,
                instance,
                message,
            } => self.note(&service, &instance, &message),
        }
    }

    pub(crate) fn wake(&mut self, run: &str, stream: Stream, closed_at: Option<u64>) {
        let key = (Arc::from(run), stream);
        let Some(raw) = self.streams.get_mut(&key) else {
            return;
        };
        if let Some(end) = closed_at {
            raw.close_at(end);
        }
        raw.awaited = true;
        self.enqueue(key);
    }

    /// Looks at the next few streams, and at all that failed.
    pub(crate) fn poll(&mut self) {
        let after = self.polled.take().map_or(Bound::Unbounded, Bound::Excluded);
        let share: Vec<Key> = self
            .streams
            .range((after, Bound::Unbounded))
            .map(|(key, _)| key.clone())
            .take(POLL_SHARE)
            .collect();
        if share.len() == POLL_SHARE {
            self.polled = share.last().cloned();
        }
        let failed: Vec<Key> = self.failed.iter().cloned().collect();
        failed.into_iter().chain(share).for_each(|key| self.enqueue(key));
    }

    fn attach(&mut self, output: RunOutput) {
        let id: Arc<str> = output.run.as_str().into();
        if !self.runs.contains_key(&id) {
            for (stream, from) in [(Stream::Out, output.from.out), (Stream::Err, output.from.err)] {
                let taken = if output.resumed {
                    self.resume(&output, stream, from)
                } else {
                    from
                };
                self.streams
                    .insert((Arc::clone(&id), stream), RawStream::new(stream, taken));
            }
            let origin = Origin {
                service: output.service.to_string().into(),
                instance: output.instance.0,
                run: Arc::clone(&id),
                slot: output.slot,
            };
            self.runs.insert(
                Arc::clone(&id),
                Run {
                    origin,
                    service: output.service,
                    draining: false,
                },
            );
        }
        for stream in Stream::ALL {
            self.wake(&id, stream, None);
        }
    }

    /// Where an earlier server stopped. The files are only searched when there is output it may have written
    /// without having said so.
    fn resume(&self, output: &RunOutput, stream: Stream, from: u64) -> u64 {
        let written = || {
            let segments = segments::list(&self.raw_folder, &output.run, stream)?;
            let end = segments.last().map_or(0, |last| last.start + last.len);
            if end <= from {
                Ok(None)
            } else {
                self.hub().taken_over(&output.service, &output.run, stream.into())
            }
        };
        match written() {
            Ok(end) => end.map_or(from, |end| end.max(from)),
            Err(error) => {
                tracing::warn!(run = output.run, %error, "earlier log files cannot be read; lines may be doubled");
                from
            }
        }
    }

    fn detach(&mut self, run: &str) {
        let Some((id, known)) = self
            .runs
            .get_key_value(run)
            .map(|(id, run)| (Arc::clone(id), !run.draining))
        else {
            return;
        };
        if let Some(run) = self.runs.get_mut(&id) {
            run.draining = true;
        }
        if known {
            Stream::ALL
                .into_iter()
                .for_each(|stream| self.enqueue((Arc::clone(&id), stream)));
        }
    }

    fn note(&mut self, service: &FullName, instance: &str, message: &str) {
        let of_instance = |(_, run): &(&Arc<str>, &Run)| run.origin.instance.as_ref() == instance;
        let runs: Vec<Arc<str>> = self
            .runs
            .iter()
            .filter(of_instance)
            .map(|(id, _)| Arc::clone(id))
            .collect();
        for key in runs
            .iter()
            .flat_map(|run| Stream::ALL.map(|stream| (Arc::clone(run), stream)))
        {
            let _ = (0..TURNS_BEFORE_NOTE).find(|_| self.pull(&key) != Some(Reached::Limit));
        }
        self.write_note(service, instance, message);
    }

    fn write_note(&self, service: &FullName, instance: &str, message: &str) {
        let mut batch = Batch::new(unix_ms());
        batch.push_note(&service.to_string().into(), instance, message);
        let mut hub = self.hub();
        if hub.append(service, &batch).is_err() {
            hub.show(service, &batch);
        }
    }

    fn enqueue(&mut self, key: Key) {
        let Some(raw) = self.streams.get_mut(&key) else {
            return;
        };
        let draining = self.runs.get(&key.0).is_some_and(|run| run.draining);
        let nothing_to_do = raw.is_done() && !raw.awaited && !draining;
        if raw.queued || nothing_to_do {
            return;
        }
        raw.queued = true;
        self.ready.push_back(key);
    }

    /// Reads and writes once. Nothing when there is no such stream or it failed.
    fn pull(&mut self, key: &Key) -> Option<Reached> {
        let run = self.runs.get(&key.0)?;
        let raw = self.streams.get_mut(key)?;
        raw.queued = false;
        let mut batch = Batch::new(unix_ms());
        let outcome = raw
            .read(&self.raw_folder, &run.origin, run.draining, &mut batch)
            .and_then(|reached| {
                if !batch.lines.is_empty() {
                    self.hub
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .append(&run.service, &batch)?;
                }
                Ok(reached)
            });
        match outcome {
            Ok(reached) => {
                let moved = raw.commit(run.draining, reached);
                self.written(key, moved, reached);
                Some(reached)
            }
            Err(error) => {
                raw.rewind();
                self.put_off(key, &error);
                None
            }
        }
    }

    fn written(&mut self, key: &Key, moved: bool, reached: Reached) {
        let Some(raw) = self.streams.get_mut(key) else {
            return;
        };
        if std::mem::take(&mut raw.awaited) || moved {
            (self.progress)(Progress::Consumed {
                run: key.0.to_string(),
                stream: key.1,
                up_to: raw.taken(),
            });
        }
        if self.failed.remove(key) && self.failed.is_empty() {
            tracing::info!("logs can be written again");
        }
        if reached == Reached::Limit {
            self.enqueue(key.clone());
        }
        self.release_if_drained(&key.0);
    }

    fn put_off(&mut self, key: &Key, error: &io::Error) {
        let first = self.failed.is_empty();
        self.failed.insert(key.clone());
        let Some(run) = self.runs.get(&key.0) else { return };
        if first {
            let message = format!("output is held back until it can be written: {error}");
            tracing::warn!(service = %run.service, %error, "output is held back until it can be written");
            self.write_note(&run.service, &run.origin.instance, &message);
        }
    }

    fn release_if_drained(&mut self, run: &Arc<str>) {
        let keys = Stream::ALL.map(|stream| (Arc::clone(run), stream));
        let draining = self.runs.get(run).is_some_and(|run| run.draining);
        if !draining
            || !keys
                .iter()
                .all(|key| self.streams.get(key).is_some_and(RawStream::is_done))
        {
            return;
        }
        keys.iter().for_each(|key| drop(self.streams.remove(key)));
        let Some(Run { service, .. }) = self.runs.remove(run) else {
            return;
        };
        if let Err(error) = segments::discard(&self.raw_folder, run) {
            tracing::warn!(run = run.as_ref(), %error, "raw output that was taken over cannot be deleted");
        }
        if !self.runs.values().any(|other| other.service == service) {
            self.hub().close(&service);
        }
        (self.progress)(Progress::Released { run: run.to_string() });
    }

    fn hub(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
