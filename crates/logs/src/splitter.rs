//! Bytes in, lines out: where a line ends depends on the bytes alone, never on how they were cut into reads,
//! so that reading again from any line's end gives the same lines.

use memchr::memchr;

/// The most bytes of a line; a longer one comes in several pieces.
pub(crate) const MAX_LINE: usize = 64 * 1024;

/// Cuts one stream into lines.
#[derive(Debug)]
pub(crate) struct Splitter {
    pending: Vec<u8>,
    taken: usize,
    /// Address in the stream of the first byte that was not taken.
    offset: u64,
}

/// A line, or a part of a long one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Text without its line end.
    pub(crate) text: String,
    /// Address in the stream of the byte after it.
    pub(crate) end: u64,
    /// The line goes on in the next piece.
    pub(crate) partial: bool,
}

impl Splitter {
    /// Begins at an address, which must be where a line or a piece of one begins.
    pub(crate) fn at(offset: u64) -> Self {
        Self {
            pending: Vec::new(),
            taken: 0,
            offset,
        }
    }

    /// Takes the next bytes of the stream.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.pending.drain(..self.taken);
        self.taken = 0;
        self.pending.extend_from_slice(bytes);
    }

    /// Address of the byte that must be fed next.
    pub(crate) fn position(&self) -> u64 {
        self.offset + self.rest().len() as u64
    }

    /// Address where the line begins that is being collected.
    pub(crate) fn line_start(&self) -> u64 {
        self.offset
    }

    /// The next complete line or piece.
    pub(crate) fn next(&mut self) -> Option<Piece> {
        let rest = self.rest();
        let reach = rest.len().min(MAX_LINE + 1);
        if let Some(length) = memchr(b'\n', &rest[..reach]) {
            let line = rest[..length].strip_suffix(b"\r").unwrap_or(&rest[..length]);
            let text = String::from_utf8_lossy(line).into_owned();
            return Some(self.take(text, length + 1, false));
        }
        if reach <= MAX_LINE {
            return None;
        }
        let length = character_boundary(rest);
        let text = String::from_utf8_lossy(&rest[..length]).into_owned();
        Some(self.take(text, length, true))
    }

    /// What is left when nothing more will come: a line without its end.
    pub(crate) fn finish(&mut self, partial: bool) -> Option<Piece> {
        let rest = self.rest();
        let length = rest.len();
        let text = String::from_utf8_lossy(rest).into_owned();
        (length > 0).then(|| self.take(text, length, partial))
    }

    /// Gives memory back while nothing is pending.
    pub(crate) fn release_memory(&mut self) {
        if self.rest().is_empty() {
            *self = Self::at(self.offset);
        }
    }

    fn rest(&self) -> &[u8] {
        &self.pending[self.taken..]
    }

    fn take(&mut self, text: String, length: usize, partial: bool) -> Piece {
        self.taken += length;
        self.offset += length as u64;
        Piece {
            text,
            end: self.offset,
            partial,
        }
    }
}

/// Where to cut a line that is too long: not inside a UTF-8 character, if the bytes are UTF-8 at all.
fn character_boundary(bytes: &[u8]) -> usize {
    let continues = |index: &usize| {
        bytes
            .get(*index)
            .is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000)
    };
    (MAX_LINE - 3..=MAX_LINE)
        .rev()
        .find(|index| !continues(index))
        .unwrap_or(MAX_LINE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(chunks: &[&[u8]]) -> Vec<Piece> {
        let mut splitter = Splitter::at(0);
        let mut pieces = Vec::new();
        for chunk in chunks {
            splitter.feed(chunk);
            pieces.extend(std::iter::from_fn(|| splitter.next()));
        }
        pieces.extend(splitter.finish(false));
        pieces
    }

    fn texts(bytes: &[u8]) -> Vec<(String, u64)> {
        split(&[bytes])
            .into_iter()
            .map(|piece| (piece.text, piece.end))
            .collect()
    }

    #[test]
    fn ends_of_lines() {
        for (bytes, lines) in [
            (&b""[..], &[][..]),
            (b"a\n", &[("a", 2)]),
            (b"a\r\nb", &[("a", 3), ("b", 4)]),
            (b"\n\n", &[("", 1), ("", 2)]),
            (b"a\rb\r\r\n", &[("a\rb\r", 6)]),
            (b"\xff!\n", &[("\u{fffd}!", 3)]),
        ] {
            let expected: Vec<_> = lines
                .iter()
                .map(|(text, end)| ((*text).to_owned(), *end))
                .collect();
            assert_eq!(texts(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn long_lines_come_in_pieces_and_characters_stay_whole() {
        let fits = [vec![b'x'; MAX_LINE], b"\n".to_vec()].concat();
        assert_eq!(split(&[&fits]).len(), 1);
        let too_long = [vec![b'x'; MAX_LINE - 1], "é-\n".into()].concat();
        let pieces = split(&[&too_long[..100], &too_long[100..]]);
        let shape: Vec<_> = pieces
            .iter()
            .map(|piece| (piece.text.len(), piece.partial))
            .collect();
        assert_eq!(shape, [(MAX_LINE - 1, true), (3, false)]);
        assert_eq!(pieces[1].text, "é-");
    }
}
