//! The segment files of one stream, seen from the one who writes and deletes them.

use std::{collections::VecDeque, fs::File, io, os::unix::fs::OpenOptionsExt, path::Path, rc::Rc};

use crate::{
    protocol::{Stream, StreamStatus},
    segments::{self, Segment},
};

/// Opens a segment when the first byte for it is there, closes it at its limit, deletes what is consumed or too much.
pub(super) struct SegmentWriter {
    folder: Rc<Path>,
    id: Rc<str>,
    stream: Stream,
    limits: SegmentLimits,
    /// Oldest first; the last is being written while `file` is open.
    segments: VecDeque<Segment>,
    file: Option<File>,
    end: u64,
    consumed: u64,
    dropped: u64,
}

/// How much goes into a file, and into all of them, in bytes.
#[derive(Clone, Copy)]
pub(super) struct SegmentLimits {
    pub(super) segment: u64,
    pub(super) unread: u64,
}

impl SegmentWriter {
    /// Without anything there.
    pub(super) fn new(folder: Rc<Path>, id: Rc<str>, stream: Stream, limits: SegmentLimits) -> Self {
        Self {
            folder,
            id,
            stream,
            limits,
            segments: VecDeque::new(),
            file: None,
            end: 0,
            consumed: 0,
            dropped: 0,
        }
    }

    /// Goes on after the segments of this name that are there already, so that no offset is used twice.
    pub(super) fn adopt(
        folder: Rc<Path>,
        id: Rc<str>,
        stream: Stream,
        limits: SegmentLimits,
    ) -> io::Result<Self> {
        let (empty, segments): (Vec<_>, Vec<_>) = segments::list(&folder, &id, stream)?
            .into_iter()
            .partition(|segment| segment.len == 0);
        for segment in empty {
            segments::remove(&segments::path(&folder, &id, stream, segment.start))?;
        }
        let end = segments.last().map_or(0, |last| last.start + last.len);
        let consumed = segments.first().map_or(end, |first| first.start);
        Ok(Self {
            segments: segments.into(),
            end,
            consumed,
            ..Self::new(folder, id, stream, limits)
        })
    }

    /// As an earlier binary has left it: what it wrote last may be consumed and deleted by now.
    pub(super) fn left(&mut self, end: u64, consumed: u64, dropped: u64) {
        self.end = self.end.max(end);
        self.consume(consumed);
        self.dropped = dropped;
    }

    pub(super) fn limits(&self) -> SegmentLimits {
        self.limits
    }

    /// Whether a segment is open: else the next byte needs a new one.
    pub(super) fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// The file to write to and how many bytes may go into it, at least one.
    pub(super) fn room(&mut self) -> io::Result<(&File, u64)> {
        let file = match self.file.take() {
            Some(file) => file,
            None => self.begin_segment()?,
        };
        let written = self.segments.back().map_or(0, |last| last.len);
        Ok((self.file.insert(file), self.limits.segment - written))
    }

    /// Notes that bytes have been written to the file.
    pub(super) fn wrote(&mut self, bytes: u64) {
        let Some(last) = self.segments.back_mut() else {
            return;
        };
        last.len += bytes;
        self.end += bytes;
        if last.len >= self.limits.segment {
            self.file = None;
        }
        self.drop_beyond_limit();
    }

    /// Deletes the segments that lie wholly before the offset.
    pub(super) fn consume(&mut self, up_to: u64) {
        self.consumed = self.consumed.max(up_to.min(self.end));
        while self
            .oldest_finished()
            .is_some_and(|oldest| oldest.start + oldest.len <= self.consumed)
        {
            self.delete_oldest();
        }
    }

    /// Nothing more will be written.
    pub(super) fn close(&mut self) {
        self.file = None;
        self.consume(self.consumed);
    }

    /// Deletes everything.
    pub(super) fn discard(&mut self) {
        self.file = None;
        self.consume(self.end);
    }

    /// Where the stream is, as far as the files tell.
    pub(super) fn status(&self) -> StreamStatus {
        StreamStatus {
            start: self.segments.front().map_or(self.end, |first| first.start),
            end: self.end,
            consumed: self.consumed,
            dropped: self.dropped,
            closed: false,
            stalled_errno: None,
        }
    }

    /// The offset at which the newest segment begins.
    pub(super) fn newest_start(&self) -> u64 {
        self.segments.back().map_or(self.end, |last| last.start)
    }

    fn begin_segment(&mut self) -> io::Result<File> {
        let path = segments::path(&self.folder, &self.id, self.stream, self.end);
        // Not in append mode, which splice refuses.
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        self.segments.push_back(Segment {
            start: self.end,
            len: 0,
        });
        Ok(file)
    }

    fn drop_beyond_limit(&mut self) {
        while let Some(oldest) = self.oldest_finished()
            && self.end - oldest.start > self.limits.unread
        {
            let segment_end = oldest.start + oldest.len;
            self.dropped += segment_end.saturating_sub(self.consumed.max(oldest.start));
            self.consumed = self.consumed.max(segment_end);
            self.delete_oldest();
        }
    }

    fn oldest_finished(&self) -> Option<Segment> {
        let being_written = usize::from(self.file.is_some());
        (self.segments.len() > being_written)
            .then(|| self.segments.front().copied())
            .flatten()
    }

    fn delete_oldest(&mut self) {
        if let Some(oldest) = self.segments.pop_front() {
            // A file that cannot be deleted is a leftover that the next child of this name adopts and deletes.
            let _ = segments::remove(&segments::path(&self.folder, &self.id, self.stream, oldest.start));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const LIMITS: SegmentLimits = SegmentLimits {
        segment: 4,
        unread: 10,
    };

    fn writer(folder: &Path) -> SegmentWriter {
        SegmentWriter::adopt(folder.into(), "web".into(), Stream::Out, LIMITS).unwrap()
    }

    fn put(writer: &mut SegmentWriter, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (mut file, room) = writer.room().unwrap();
            let now = bytes.len().min(usize::try_from(room).unwrap());
            file.write_all(&bytes[..now]).unwrap();
            writer.wrote(now as u64);
            bytes = &bytes[now..];
        }
    }

    fn files(folder: &Path) -> Vec<(u64, u64)> {
        let segments = segments::list(folder, "web", Stream::Out).unwrap();
        segments
            .into_iter()
            .map(|segment| (segment.start, segment.len))
            .collect()
    }

    #[test]
    fn cuts_consumes_and_drops() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let mut writer = writer(folder);
        assert!(files(folder).is_empty());
        put(&mut writer, b"abcdef");
        assert_eq!(files(folder), [(0, 4), (4, 2)]);
        writer.consume(3);
        assert_eq!(files(folder), [(0, 4), (4, 2)]);
        writer.consume(6);
        assert_eq!(files(folder), [(4, 2)], "the file being written stays");
        put(&mut writer, b"ghijklmnopq");
        assert_eq!(files(folder), [(8, 4), (12, 4), (16, 1)]);
        let status = writer.status();
        assert_eq!(
            (status.start, status.end, status.consumed, status.dropped),
            (8, 17, 8, 2)
        );
        writer.consume(u64::MAX);
        writer.close();
        assert!(files(folder).is_empty());
        assert_eq!(writer.newest_start(), 17);
    }

    #[test]
    fn goes_on_after_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        put(&mut writer(folder), b"abcdef");
        let mut second = writer(folder);
        assert_eq!((second.status().start, second.status().end), (0, 6));
        put(&mut second, b"gh");
        assert_eq!(files(folder), [(0, 4), (4, 2), (6, 2)]);
        second.discard();
        assert!(files(folder).is_empty());
    }
}
