//! The newest lines of one service in memory.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::entry::Line;

/// How much is kept in memory for each service.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecentLimits {
    pub(crate) lines: usize,
    pub(crate) bytes: usize,
}

/// A bounded queue of lines, each with the position in the files at which it begins.
#[derive(Debug)]
pub(crate) struct Recent {
    limits: RecentLimits,
    lines: VecDeque<(u64, Arc<Line>)>,
    weight: usize,
}

impl Recent {
    pub(crate) fn new(limits: RecentLimits) -> Self {
        Self {
            limits,
            lines: VecDeque::new(),
            weight: 0,
        }
    }

    pub(crate) fn push(&mut self, position: u64, line: Arc<Line>) {
        self.weight += line.weight();
        self.lines.push_back((position, line));
        while self.lines.len() > self.limits.lines || self.weight > self.limits.bytes {
            let Some((_, oldest)) = self.lines.pop_front() else {
                break;
            };
            self.weight -= oldest.weight();
        }
    }

    /// Position of the oldest line: what lies before it is in files only.
    pub(crate) fn position(&self) -> Option<u64> {
        self.lines.front().map(|(position, _)| *position)
    }

    /// Whether every line read at or after `since` that the files hold up to here is in memory.
    pub(crate) fn reaches_back_to(&self, since: u64) -> bool {
        self.lines.front().is_some_and(|(_, line)| line.at < since)
    }

    /// The last `most` lines read at or after `since`, oldest first.
    pub(crate) fn last(&self, most: usize, since: u64) -> Vec<Arc<Line>> {
        let selected = self
            .lines
            .iter()
            .rev()
            .map(|(_, line)| line)
            .filter(|line| line.at >= since);
        let mut lines: Vec<_> = selected.take(most).cloned().collect();
        lines.reverse();
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Source;

    fn line(at: u64, message: &str) -> Arc<Line> {
        let name: Arc<str> = "web".into();
        Arc::new(Line {
            at,
            service: name.clone(),
            instance: name,
            source: Source::Out,
            message: message.into(),
        })
    }

    #[test]
    fn bounded_by_lines_and_bytes() {
        let mut recent = Recent::new(RecentLimits {
            lines: 3,
            bytes: 1000,
        });
        for at in 0..5 {
            recent.push(at * 10, line(at, "x"));
        }
        assert_eq!(recent.position(), Some(20));
        assert_eq!(recent.last(2, 0).len(), 2);
        assert_eq!(recent.last(9, 4)[0].at, 4);
        assert!(recent.reaches_back_to(3) && !recent.reaches_back_to(2));
        recent.push(50, line(5, &"x".repeat(700)));
        assert_eq!(recent.last(9, 0).len(), 3);
        recent.push(60, line(6, &"x".repeat(2000)));
        assert_eq!(
            (recent.position(), recent.weight),
            (None, 0),
            "not even a line that is too large stays"
        );
    }
}
