//! Where things are in a text.

use std::ops::Range;

pub(crate) use hythe_stdx::Lines;

/// Bytes from `start` up to `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Span {
    pub(crate) fn new(start: usize, end: usize) -> Self {
        Self {
            start,
            end: end.max(start),
        }
    }

    pub(crate) fn range(self) -> Range<usize> {
        self.start..self.end
    }

    /// Without what lies on later lines of `text`, so that an excerpt stays one line long.
    pub(crate) fn first_line(self, text: &str) -> Self {
        let inside = text.get(self.range()).unwrap_or_default();
        let end = inside.find(['\n', '\r']).unwrap_or(inside.len());
        Self::new(self.start, self.start + inside[..end].trim_end().len())
    }
}
