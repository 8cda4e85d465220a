//! Lines of one service on their way into its files and memory, together.

use std::sync::Arc;

use crate::entry::{Entry, Line, Source};
use crate::splitter::Piece;

/// Whose lines.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) service: Arc<str>,
    pub(crate) instance: Arc<str>,
    pub(crate) run: Arc<str>,
    /// Its place among the copies, if that is known.
    pub(crate) slot: Option<u32>,
}

/// What is written at once.
#[derive(Debug)]
pub(crate) struct Batch {
    /// When it was read, Unix milliseconds.
    pub(crate) at: u64,
    /// The place of the instance that it is from.
    pub(crate) slot: Option<u32>,
    pub(crate) bytes: Vec<u8>,
    /// With the index in `bytes` at which each begins.
    pub(crate) lines: Vec<(u64, Arc<Line>)>,
}

impl Batch {
    pub(crate) fn new(at: u64) -> Self {
        Self {
            at,
            slot: None,
            bytes: Vec::new(),
            lines: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, origin: &Origin, source: Source, piece: &Piece) {
        self.slot = origin.slot;
        self.add(
            &origin.service,
            &Entry {
                at: self.at,
                instance: origin.instance.as_ref().into(),
                run: Some(origin.run.as_ref().into()),
                source,
                end: Some(piece.end),
                partial: piece.partial,
                message: piece.text.as_str().into(),
            },
        );
    }

    pub(crate) fn push_note(&mut self, service: &Arc<str>, instance: &str, message: &str) {
        self.add(
            service,
            &Entry {
                at: self.at,
                instance: instance.into(),
                run: None,
                source: Source::Hythe,
                end: None,
                partial: false,
                message: message.into(),
            },
        );
    }

    fn add(&mut self, service: &Arc<str>, entry: &Entry<'_>) {
        let index = self.bytes.len() as u64;
        if let Err(error) = entry.write_to(&mut self.bytes) {
            // Writing text and numbers to memory as JSON does not fail.
            tracing::error!(%error, "a line of output could not be encoded");
            return;
        }
        let line = Line {
            at: entry.at,
            service: Arc::clone(service),
            instance: entry.instance.as_ref().into(),
            source: entry.source,
            message: entry.message.as_ref().into(),
        };
        self.lines.push((index, Arc::new(line)));
    }
}
