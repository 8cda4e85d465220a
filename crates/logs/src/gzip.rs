//! Compressed log files that can be read from their end.
//!
//! A file is a sequence of gzip members of [`MEMBER`] bytes at most, so `zcat` reads it like any other. An extra field in
//! the head of each member says how long it is, compressed and not (as `bgzip` does it), so a reader finds the last
//! member by going over the heads, and never holds more than one.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::FileExt;

use flate2::bufread::GzDecoder;
use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};

/// The most bytes that are compressed into one member.
const MEMBER: usize = 256 * 1024;
/// Magic number, deflate, an extra field; no time, no name, system unknown; 12 bytes of extra: `HY` with 8.
const START: [u8; 16] = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255, 12, 0, b'H', b'Y', 8, 0];
const HEAD: usize = START.len() + 8;
const TRAILER: usize = 8;

/// A compressed file, read at positions of what it was before.
#[derive(Debug)]
pub(crate) struct GzipFile {
    file: File,
    /// In order.
    members: Vec<Member>,
    /// The one that was read last.
    current: RefCell<Option<(usize, Vec<u8>)>>,
}

#[derive(Debug, Clone, Copy)]
struct Member {
    /// Where it begins in the file, and how long it is there.
    at: u64,
    size: u32,
    /// The same of its content.
    start: u64,
    len: u32,
}

/// Compresses the first `len` bytes of a file.
pub(crate) fn compress(from: &File, len: u64, to: &mut impl Write) -> io::Result<()> {
    let mut at = 0;
    while at < len {
        let mut content = vec![0; (len - at).min(MEMBER as u64) as usize];
        from.read_exact_at(&mut content, at)?;
        at += content.len() as u64;
        to.write_all(&member(&content)?)?;
    }
    Ok(())
}

fn member(content: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::new(6));
    encoder.write_all(content)?;
    let deflated = encoder.finish()?;
    let mut crc = Crc::new();
    crc.update(content);
    let size = (HEAD + deflated.len() + TRAILER) as u32;
    let len = content.len() as u32;
    let numbers = |first: u32, second: u32| [first.to_le_bytes(), second.to_le_bytes()].concat();
    Ok([
        &START,
        &numbers(size, len)[..],
        &deflated,
        &numbers(crc.sum(), crc.amount()),
    ]
    .concat())
}

impl GzipFile {
    /// Goes over the members.
    ///
    /// # Errors
    /// `InvalidData` when the file is not made by [`compress`].
    pub(crate) fn open(file: File) -> io::Result<Self> {
        let end = file.metadata()?.len();
        let mut members: Vec<Member> = Vec::new();
        let mut at = 0;
        let mut start = 0;
        while at < end {
            let member = read_head(&file, at, start)?;
            at += u64::from(member.size);
            start += u64::from(member.len);
            members.push(member);
        }
        if at > end {
            return Err(unreadable());
        }
        Ok(Self {
            file,
            members,
            current: RefCell::new(None),
        })
    }

    /// The length of what was compressed.
    pub(crate) fn len(&self) -> u64 {
        self.members
            .last()
            .map_or(0, |last| last.start + u64::from(last.len))
    }

    /// Fills `buffer` with what was at a position.
    pub(crate) fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        // The end first: whoever reads backwards has it at hand still.
        let mut end = buffer.len();
        while end > 0 {
            let position = at + end as u64;
            let index = self.members.partition_point(|member| member.start < position);
            let index = index.checked_sub(1).ok_or(ErrorKind::UnexpectedEof)?;
            let member = self.members.get(index).ok_or(ErrorKind::UnexpectedEof)?;
            let from = member.start.max(at);
            let begin = (from - at) as usize;
            let skip = (from - member.start) as usize;
            self.with_content(index, *member, |content| {
                let source = content.get(skip..skip + (end - begin));
                buffer[begin..end].copy_from_slice(source.ok_or(ErrorKind::UnexpectedEof)?);
                Ok(())
            })?;
            end = begin;
        }
        Ok(())
    }

    fn with_content(
        &self,
        index: usize,
        member: Member,
        read: impl FnOnce(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut current = self.current.borrow_mut();
        if let Some((held, content)) = &*current
            && *held == index
        {
            return read(content);
        }
        let mut compressed = vec![0; member.size as usize];
        self.file.read_exact_at(&mut compressed, member.at)?;
        let mut content = Vec::with_capacity(member.len as usize);
        GzDecoder::new(&compressed[..])
            .take(u64::from(member.len))
            .read_to_end(&mut content)?;
        let (_, content) = current.insert((index, content));
        read(content)
    }
}

fn read_head(file: &File, at: u64, start: u64) -> io::Result<Member> {
    let mut head = [0; HEAD];
    file.read_exact_at(&mut head, at)?;
    let [.., a, b, c, d, e, f, g, h] = head;
    let member = Member {
        at,
        size: u32::from_le_bytes([a, b, c, d]),
        start,
        len: u32::from_le_bytes([e, f, g, h]),
    };
    let is_ours = head.starts_with(&START)
        && member.size as usize >= HEAD + TRAILER
        && (1..=MEMBER).contains(&(member.len as usize))
        && (member.size as usize) < 2 * MEMBER;
    is_ours.then_some(member).ok_or_else(unreadable)
}

fn unreadable() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "not a log file that was compressed here")
}

#[cfg(test)]
mod tests {
    use std::io::Seek;

    use flate2::read::MultiGzDecoder;

    use super::*;

    fn compressed(content: &[u8]) -> File {
        let mut plain = tempfile::tempfile().unwrap();
        plain.write_all(content).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        compress(&plain, content.len() as u64, &mut file).unwrap();
        file
    }

    fn sample(length: usize) -> Vec<u8> {
        (0..length).map(|index| (index * index / 7 % 251) as u8).collect()
    }

    #[test]
    fn whatever_was_compressed_is_read_at_every_position() {
        for length in [1, MEMBER - 1, MEMBER, MEMBER + 1, 2 * MEMBER + 100] {
            let content = sample(length);
            let mut file = compressed(&content);
            let reader = GzipFile::open(file.try_clone().unwrap()).unwrap();
            assert_eq!(reader.len(), length as u64);
            for (from, to) in [(0, length), (length / 2, length), (length / 3, length / 2)] {
                let mut read = vec![0; to - from];
                reader.read_exact_at(&mut read, from as u64).unwrap();
                assert_eq!(read, content[from..to], "{from}..{to} of {length}");
            }
            assert!(reader.read_exact_at(&mut [0; 2], length as u64).is_err());
            file.rewind().unwrap();
            let mut all = Vec::new();
            MultiGzDecoder::new(file).read_to_end(&mut all).unwrap();
            assert_eq!(all, content, "every reader of gzip reads it");
        }
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        let mut cut = compressed(&sample(5000));
        cut.set_len(100).unwrap();
        cut.rewind().unwrap();
        let mut other = tempfile::tempfile().unwrap();
        other.write_all(&[0x1f; 100]).unwrap();
        for file in [cut, other] {
            assert_eq!(GzipFile::open(file).unwrap_err().kind(), ErrorKind::InvalidData);
        }
    }
}
