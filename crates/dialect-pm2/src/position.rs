//! Lines and columns of bytes of a text.

use std::ops::Range;

use crate::problem::Place;

/// The lines of one text. A line ends with `\n`, `\r\n` or `\r`.
#[derive(Debug)]
pub(crate) struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub(crate) fn of(text: &'t str) -> Self {
        let bytes = text.as_bytes();
        let ends =
            |&at: &usize| bytes[at] == b'\n' || (bytes[at] == b'\r' && bytes.get(at + 1) != Some(&b'\n'));
        let starts = std::iter::once(0)
            .chain((0..bytes.len()).filter(ends).map(|at| at + 1))
            .collect();
        Self { text, starts }
    }

    pub(crate) fn place(&self, span: Range<usize>) -> Place {
        let line = self.starts.partition_point(|start| *start <= span.start).max(1);
        let before = self
            .text
            .get(self.starts[line - 1]..span.start)
            .unwrap_or_default();
        Place {
            line: count(line),
            column: count(before.chars().count() + 1),
            span,
        }
    }

    /// The byte at a line and a column (in characters), both from 0; the nearest that exists if they are
    /// outside.
    pub(crate) fn byte(&self, line: usize, column: usize) -> usize {
        let Some(&start) = self.starts.get(line) else {
            return self.text.len();
        };
        let end = self.starts.get(line + 1).copied().unwrap_or(self.text.len());
        let inside = self.text.get(start..end).unwrap_or_default();
        inside
            .char_indices()
            .nth(column)
            .map_or(end, |(offset, _)| start + offset)
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_places_agree() {
        let text = "a: 1\r\nbä: 2\rc: 3\n";
        let lines = Lines::of(text);
        for (byte, line, column) in [(0, 1, 1), (6, 2, 1), (9, 2, 3), (13, 3, 1), (18, 4, 1)] {
            let place = lines.place(byte..byte);
            assert_eq!((place.line, place.column), (line, column), "{byte}");
            assert_eq!(lines.byte(line as usize - 1, column as usize - 1), byte);
        }
    }
}
