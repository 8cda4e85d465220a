//! What happens after an answer's head has come and before it is sent on: the plugins of the route that
//! look at answers, first to last.

use std::io;

use hythe_model::FullName;

use crate::plugin::answer::{AnswerView, BodyFilter};
use crate::plugin::chain::Chain;

/// Runs them for this caller.
pub(crate) fn run(chain: &Chain, caller: Option<&FullName>, answer: &mut AnswerView<'_>) {
    for slot in chain.slots() {
        if let Some(link) = slot.for_caller(caller) {
            link.plugin.after(answer);
        }
    }
}

/// A body's way through a filter.
pub(crate) struct Filtering {
    filter: Box<dyn BodyFilter>,
    /// What came out and is not framed yet.
    ready: Vec<u8>,
    /// Whether something went in that was not asked for yet.
    waiting: bool,
    /// Bytes that came out.
    pub(crate) written: u64,
}

impl Filtering {
    pub(crate) fn new(filter: Box<dyn BodyFilter>) -> Self {
        Self {
            filter,
            ready: Vec::new(),
            waiting: false,
            written: 0,
        }
    }

    pub(crate) fn push(&mut self, data: &[u8]) -> io::Result<()> {
        self.waiting |= !data.is_empty();
        self.filter.push(data, &mut self.ready)
    }

    /// What must not wait for more.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.waiting) {
            self.filter.flush(&mut self.ready)?;
        }
        Ok(())
    }

    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.waiting = false;
        self.filter.finish(&mut self.ready)
    }

    /// Hands over what is ready.
    pub(crate) fn drain(&mut self, take: impl FnOnce(&[u8])) {
        self.written += self.ready.len() as u64;
        take(&self.ready);
        self.ready.clear();
    }
}
