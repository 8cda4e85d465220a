//! Frames as they go by: kinds and sizes, without their contents.

/// A frame's head (RFC 9113 4.1), as far as it matters for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    /// Bytes of payload.
    pub(crate) length: usize,
}

/// Kinds of frames (RFC 9113 6).
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
}

/// Of DATA and HEADERS: the stream's last frame. Of SETTINGS: an acknowledgement.
pub(crate) const FIRST_FLAG: u8 = 1;

/// Follows the frames in a stream of bytes that comes in pieces.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    /// Bytes before the next head: of a preface, or of a payload.
    skip: usize,
    head: [u8; 9],
    have: usize,
}

impl Frames {
    /// Frames that begin after `skip` bytes.
    pub(crate) fn after(skip: usize) -> Self {
        Self {
            skip,
            ..Self::default()
        }
    }

    /// Takes in the next bytes and tells the frames whose heads end in them.
    pub(crate) fn see(&mut self, mut bytes: &[u8], mut tell: impl FnMut(Frame)) {
        loop {
            let skipped = self.skip.min(bytes.len());
            bytes = bytes.get(skipped..).unwrap_or_default();
            self.skip -= skipped;
            if bytes.is_empty() {
                return;
            }
            for (place, byte) in self.head.iter_mut().skip(self.have).zip(bytes) {
                *place = *byte;
            }
            let taken = (self.head.len() - self.have).min(bytes.len());
            bytes = bytes.get(taken..).unwrap_or_default();
            self.have += taken;
            if self.have == self.head.len() {
                let [a, b, c, kind, flags, ..] = self.head;
                let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                (self.have, self.skip) = (0, length);
                tell(Frame { kind, flags, length });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_told_however_they_are_cut() {
        let mut bytes = b"preface".to_vec();
        bytes.extend_from_slice(b"\x00\x00\x02\x00\x01\x00\x00\x00\x05ab");
        bytes.extend_from_slice(b"\x00\x00\x00\x04\x01\x00\x00\x00\x00");
        bytes.extend_from_slice(b"\x00\x01\x00\x03\x00\x00\x00\x00\x05");
        bytes.extend_from_slice(&[0; 256]);
        bytes.extend_from_slice(b"\x00\x00\x00\x06\x00\x00\x00\x00\x00");
        let told = |pieces: &mut dyn Iterator<Item = &[u8]>| {
            let (mut frames, mut told) = (Frames::after(7), Vec::new());
            for piece in pieces {
                frames.see(piece, |frame| told.push((frame.kind, frame.flags, frame.length)));
            }
            told
        };
        let expected = [(0, 1, 2), (4, 1, 0), (3, 0, 256), (6, 0, 0)];
        assert_eq!(told(&mut [&bytes[..]].into_iter()), expected);
        for size in [1, 2, 5, 9, 10, 64] {
            assert_eq!(told(&mut bytes.chunks(size)), expected, "{size}");
        }
    }
}
