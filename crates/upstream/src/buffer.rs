//! A reusable read buffer.

/// Bytes that were read and not yet used. Space is kept between uses; using up everything costs nothing.
#[derive(Debug, Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    used: usize,
}

impl Buffer {
    /// An empty buffer with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(capacity),
            used: 0,
        }
    }

    /// What is there.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(self.used..).unwrap_or_default()
    }

    /// How much is there.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.used
    }

    /// Whether nothing is there.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Marks the first `count` bytes as used (all, if there are fewer).
    pub fn consume(&mut self, count: usize) {
        self.used = (self.used + count).min(self.bytes.len());
        if self.used == self.bytes.len() {
            self.clear();
        }
    }

    /// Marks everything as used.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.used = 0;
    }

    /// The underlying vector with room for at least `room` more bytes, to read into. What was used is
    /// moved away only when the room is not there otherwise.
    pub fn room(&mut self, room: usize) -> &mut Vec<u8> {
        if self.used > 0 && self.bytes.capacity() - self.bytes.len() < room {
            self.bytes.drain(..self.used);
            self.used = 0;
        }
        self.bytes.reserve(room);
        &mut self.bytes
    }

    /// Takes `other`'s content behind what is there.
    pub fn extend(&mut self, other: &[u8]) {
        self.bytes.extend_from_slice(other);
    }

    /// Gives the memory back when it grew above `capacity`.
    pub fn shrink_to(&mut self, capacity: usize) {
        if self.bytes.capacity() > capacity * 2 {
            self.bytes.shrink_to(capacity);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_makes_room() {
        let mut buffer = Buffer::with_capacity(8);
        buffer.room(8).extend_from_slice(b"abcdefgh");
        buffer.consume(6);
        assert_eq!(buffer.bytes(), b"gh");
        buffer.room(6).extend_from_slice(b"ijklmn");
        assert_eq!(buffer.bytes(), b"ghijklmn");
        buffer.consume(100);
        assert!(buffer.is_empty());
    }
}
