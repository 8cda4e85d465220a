//! The files that hold a child's output, and how to read them as one stream.
//!
//! A stream is cut into files named `<id>.<out|err>.<offset>`, where the offset (20 decimal digits) counts the
//! bytes that came before the file's first. So a file that is followed by another ends exactly where the next
//! one begins, and every byte has an address that never changes. Only the minder writes and, told what has been
//! consumed, deletes; anybody else reads at any time, without asking it. There is no notification here: a read
//! of nothing means nothing *yet*.

use std::{
    ffi::OsStr,
    fs::File,
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
};

use crate::protocol::{Stream, is_name};

#[cfg(test)]
mod tests;

/// One segment file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Segment {
    /// The offset of its first byte in the stream.
    pub start: u64,
    /// Its length in bytes when it was looked at.
    pub len: u64,
}

/// Reads one stream across its segments.
#[derive(Debug)]
pub struct SegmentReader {
    folder: PathBuf,
    id: String,
    stream: Stream,
    offset: u64,
    lost: u64,
    current: Option<OpenSegment>,
}

#[derive(Debug)]
struct OpenSegment {
    start: u64,
    file: File,
}

/// The file of the segment that begins at an offset.
#[must_use]
pub fn path(folder: &Path, id: &str, stream: Stream, start: u64) -> PathBuf {
    folder.join(format!("{id}.{}.{start:020}", stream.as_str()))
}

/// The segments of one stream, oldest first.
///
/// # Errors
/// When the folder cannot be read. A segment that is deleted meanwhile is left out.
pub fn list(folder: &Path, id: &str, stream: Stream) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let Some((entry_id, entry_stream, start)) = parse(&entry.file_name()) else {
            continue;
        };
        if entry_id != id || entry_stream != stream {
            continue;
        }
        match entry.metadata() {
            Ok(metadata) => segments.push(Segment {
                start,
                len: metadata.len(),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    segments.sort_unstable();
    Ok(segments)
}

/// Deletes all segments of a child that no minder holds any more.
///
/// # Errors
/// When the folder cannot be read or a file cannot be deleted.
pub fn discard(folder: &Path, id: &str) -> io::Result<()> {
    for stream in Stream::ALL {
        for segment in list(folder, id, stream)? {
            remove(&path(folder, id, stream, segment.start))?;
        }
    }
    Ok(())
}

/// Deletes one file; that it is gone already is no error.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn parse(name: &OsStr) -> Option<(String, Stream, u64)> {
    let mut parts = name.to_str()?.rsplitn(3, '.');
    let start = parts.next()?;
    let stream = parts.next()?;
    let id = parts.next()?;
    let stream = Stream::ALL.into_iter().find(|each| each.as_str() == stream)?;
    let digits = start.len() == 20 && start.bytes().all(|byte| byte.is_ascii_digit());
    (digits && is_name(id)).then_some((id.to_owned(), stream, start.parse().ok()?))
}

impl SegmentReader {
    /// Reads from an offset on. What is no longer there is skipped and counted in [`Self::lost`].
    ///
    /// # Errors
    /// When a segment or the folder cannot be read. That there is no output yet is no error.
    pub fn open(folder: &Path, id: &str, stream: Stream, from_offset: u64) -> io::Result<Self> {
        let mut reader = Self {
            folder: folder.to_owned(),
            id: id.to_owned(),
            stream,
            offset: from_offset,
            lost: 0,
            current: None,
        };
        reader.find()?;
        Ok(reader)
    }

    /// The offset of the byte that the next read begins with.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// How many bytes were deleted before they could be read.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Reads on. Zero means that nothing more is there yet.
    ///
    /// # Errors
    /// When a segment or the folder cannot be read.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.read_current(buffer)?;
            if read > 0 || buffer.is_empty() || !self.advance()? {
                return Ok(read);
            }
        }
    }

    fn read_current(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(current) = &self.current else {
            return Ok(0);
        };
        let read = current.file.read_at(buffer, self.offset - current.start)?;
        self.offset += read as u64;
        Ok(read)
    }

    /// Moves to where the next byte is. False when there is none yet.
    fn advance(&mut self) -> io::Result<bool> {
        let can_follow = self
            .current
            .as_ref()
            .is_none_or(|current| self.offset > current.start);
        if can_follow && self.enter(self.offset)? {
            return Ok(true);
        }
        let Some(current) = &self.current else {
            return self.find();
        };
        let metadata = current.file.metadata()?;
        // Files are deleted oldest first: while this one has a name, a missing follower has never existed.
        if metadata.nlink() > 0 {
            return Ok(false);
        }
        let came_since_the_last_read = current.start + metadata.len() > self.offset;
        if came_since_the_last_read {
            Ok(true)
        } else {
            self.find()
        }
    }

    fn find(&mut self) -> io::Result<bool> {
        let segments = list(&self.folder, &self.id, self.stream)?;
        let Some(next) = choose(&segments, self.offset) else {
            return Ok(false);
        };
        if self.enter(next.start)? && next.start > self.offset {
            self.lost += next.start - self.offset;
            self.offset = next.start;
        }
        // When the file has vanished meanwhile, the next round finds a later one.
        Ok(true)
    }

    fn enter(&mut self, start: u64) -> io::Result<bool> {
        match File::open(path(&self.folder, &self.id, self.stream, start)) {
            Ok(file) => self.current = Some(OpenSegment { start, file }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        }
        Ok(true)
    }
}

/// The segment that holds the offset, or the first after it, or the newest.
fn choose(segments: &[Segment], offset: u64) -> Option<Segment> {
    let after = segments.partition_point(|segment| segment.start <= offset);
    let before = after.checked_sub(1).and_then(|index| segments.get(index));
    let holder = before.filter(|segment| segment.start + segment.len > offset);
    holder.or(segments.get(after)).or(before).copied()
}
