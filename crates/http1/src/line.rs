//! The lines of a head, each looked at once its end is in sight.

use crate::class::find_control;
use crate::{Limits, Span};

/// Where the reading of a head stands. Both offsets are relative to the start of the head.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lines {
    /// Start of the next line.
    at: usize,
    /// Bytes already known to hold no end of that line.
    scanned: usize,
}

/// Why there is no line.
pub(crate) enum LineFault {
    TooLong,
    HeadTooLarge,
    BareCr,
    BareLf,
    Control,
}

impl Lines {
    /// Bytes of the lines handed out so far.
    pub(crate) fn consumed(&self) -> usize {
        self.at
    }

    /// The next line without its CRLF, free of control bytes but tabs; `None` if its end is not there yet.
    #[inline]
    pub(crate) fn next(&mut self, buf: &[u8], limits: &Limits) -> Result<Option<Span>, LineFault> {
        let line_stop = self.at.saturating_add(limits.line);
        let head_stop = limits.head.min(u32::MAX as usize).saturating_sub(2);
        let stop = line_stop.min(head_stop);
        let seen = buf.len().min(stop.saturating_add(1));
        let from = self.at.max(self.scanned);
        let Some(end) = (from < seen).then(|| find_control(&buf[..seen], from)).flatten() else {
            if buf.len() > stop {
                return Err(if line_stop < head_stop {
                    LineFault::TooLong
                } else {
                    LineFault::HeadTooLarge
                });
            }
            self.scanned = seen;
            return Ok(None);
        };
        match (buf[end], buf.get(end + 1)) {
            (b'\r', Some(b'\n')) => {
                let line = Span::new(self.at, end);
                self.at = end + 2;
                Ok(Some(line))
            }
            // The CR is looked at again when its LF has come.
            (b'\r', None) => {
                self.scanned = end;
                Ok(None)
            }
            (b'\r', Some(_)) => Err(LineFault::BareCr),
            (b'\n', _) => Err(LineFault::BareLf),
            _ => Err(LineFault::Control),
        }
    }
}
