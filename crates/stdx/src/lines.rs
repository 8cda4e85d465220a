//! Lines and columns of a text's bytes.

use std::cell::Cell;

/// The lines of one text. A line ends with `\n`, `\r\n` or `\r`, as YAML has it.
#[derive(Debug)]
pub struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
    /// The last place that was looked up, as line, column and byte: a tree is built from front to back, so
    /// the next lookup in a long line need not start at its beginning.
    last: Cell<(usize, usize, usize)>,
}

impl<'t> Lines<'t> {
    /// Finds them.
    pub fn of(text: &'t str) -> Self {
        let bytes = text.as_bytes();
        let ends_line =
            |&at: &usize| bytes[at] == b'\n' || (bytes[at] == b'\r' && bytes.get(at + 1) != Some(&b'\n'));
        let starts = std::iter::once(0)
            .chain((0..bytes.len()).filter(ends_line).map(|at| at + 1))
            .collect();
        Self {
            text,
            starts,
            last: Cell::new((0, 0, 0)),
        }
    }

    /// The text.
    pub fn text(&self) -> &'t str {
        self.text
    }

    /// Line and column (in characters) of a byte, both from 1.
    pub fn position(&self, byte: usize) -> (u32, u32) {
        let line = self.starts.partition_point(|start| *start <= byte).max(1);
        let before = self.text.get(self.starts[line - 1]..byte).unwrap_or_default();
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        (count(line), count(before.chars().count() + 1))
    }

    /// The byte at a line and a column (in characters), both from 0; the nearest that exists if they are
    /// outside.
    pub fn byte(&self, line: usize, column: usize) -> usize {
        let Some(&start) = self.starts.get(line) else {
            return self.text.len();
        };
        let end = self.starts.get(line + 1).copied().unwrap_or(self.text.len());
        let (last_line, last_column, last_byte) = self.last.get();
        let (skipped, from) = if last_line == line && last_column <= column {
            (last_column, last_byte)
        } else {
            (0, start)
        };
        let rest = self.text.get(from..end).unwrap_or_default();
        let byte = rest
            .char_indices()
            .nth(column - skipped)
            .map_or(end, |(offset, _)| from + offset);
        self.last.set((line, column, byte));
        byte
    }

    /// The length in bytes of the longest of the line at `byte` and the two around it.
    pub fn longest_near(&self, byte: usize) -> usize {
        let line = self
            .starts
            .partition_point(|start| *start <= byte)
            .saturating_sub(1);
        let start = |line: usize| self.starts.get(line).copied().unwrap_or(self.text.len());
        (line.saturating_sub(1)..=line + 1)
            .map(|line| start(line + 1) - start(line))
            .max()
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_positions_agree() {
        let text = "a: 1\r\nbä: 2\rc: 3\n";
        let lines = Lines::of(text);
        for (byte, line, column) in [(0, 1, 1), (6, 2, 1), (9, 2, 3), (13, 3, 1), (18, 4, 1)] {
            assert_eq!(lines.position(byte), (line, column), "{byte}");
            assert_eq!(lines.byte(line as usize - 1, column as usize - 1), byte);
        }
        assert_eq!(lines.byte(99, 0), text.len());
        assert_eq!(lines.byte(0, 99), 6);
    }
}
