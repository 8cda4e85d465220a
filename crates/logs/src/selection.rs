//! What a query selects: lines in memory, and those before them that must be read from files.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::backwards::{Part, visit_backwards};
use crate::entry::{Entry, Line};

/// The lines of one service that a query selects, as of one moment.
#[derive(Debug)]
pub(crate) struct Selection {
    pub(crate) service: Arc<str>,
    /// Only lines read at or after this.
    pub(crate) since: u64,
    /// In memory, oldest first.
    pub(crate) recent: Vec<Arc<Line>>,
    pub(crate) older: Option<Older>,
}

/// What lies before the lines in memory.
#[derive(Debug)]
pub(crate) struct Older {
    pub(crate) parts: Vec<Part>,
    /// Position of the first line in memory.
    pub(crate) before: u64,
    /// At most this many.
    pub(crate) most: usize,
}

/// The last `most` lines of several services: by time, each service's own in their order.
pub(crate) fn read_merged(selections: Vec<Selection>, most: usize) -> io::Result<Vec<Arc<Line>>> {
    let mut all = Vec::new();
    for selection in selections {
        // A clock that was set back must not change the order inside a service.
        let mut latest = 0;
        all.extend(selection.read()?.into_iter().map(|line| {
            latest = line.at.max(latest);
            (latest, line)
        }));
    }
    all.sort_by_key(|(at, _)| *at);
    let surplus = all.len().saturating_sub(most);
    Ok(all.into_iter().skip(surplus).map(|(_, line)| line).collect())
}

impl Selection {
    fn read(self) -> io::Result<Vec<Arc<Line>>> {
        let Some(older) = self.older else {
            return Ok(self.recent);
        };
        let mut lines = older.read(&self.service, self.since)?;
        lines.extend(self.recent);
        Ok(lines)
    }
}

impl Older {
    fn read(self, service: &Arc<str>, since: u64) -> io::Result<Vec<Arc<Line>>> {
        let mut lines = Vec::new();
        visit_backwards(self.parts, self.before, |bytes| {
            let Some(entry) = Entry::parse(bytes) else {
                return ControlFlow::Continue(());
            };
            if entry.at < since || lines.len() >= self.most {
                return ControlFlow::Break(());
            }
            lines.push(Arc::new(entry.into_line(service)));
            ControlFlow::Continue(())
        })?;
        lines.reverse();
        Ok(lines)
    }
}
