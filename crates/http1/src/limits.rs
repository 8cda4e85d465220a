//! How much of a head, a chunk line or a trailer section is read before it is refused.

/// Bounds on what a peer may send; all in bytes but `fields`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The request or status line, or one field line, without its CRLF. Default 16 KiB.
    pub line: usize,
    /// The whole head with its final empty line; at most 4 GiB whatever is set. Default 64 KiB.
    pub head: usize,
    /// Field lines of one head, or of one trailer section. Default 100.
    pub fields: usize,
    /// A chunk's size line with its extensions, without its CRLF. Default 256.
    pub chunk_line: usize,
    /// A trailer section with its final empty line. Default 8 KiB.
    pub trailers: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            line: 16 * 1024,
            head: 64 * 1024,
            fields: 100,
            chunk_line: 256,
            trailers: 8 * 1024,
        }
    }
}
