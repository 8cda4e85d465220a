//! The files of one service: `<name>.log` is written, `<name>.log.1` and so on are older.
//!
//! Every byte ever appended has a position that rotation does not change, so that a reader can say "all before
//! this line" while writing goes on. Positions count from the oldest byte that was there at the start and live
//! as long as the process.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

use memchr::memrchr;

const CHUNK: u64 = 64 * 1024;

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FileLimits {
    /// A file is rotated before it grows beyond this, bytes.
    pub(crate) bytes: u64,
    /// How many there are, the written one included; at least one.
    pub(crate) files: usize,
}

/// The files of one service, seen from their only writer.
#[derive(Debug)]
pub(crate) struct RotatedFiles {
    path: PathBuf,
    limits: FileLimits,
    /// Newest first, as the names count.
    spans: VecDeque<Span>,
    file: Option<File>,
}

/// A file opened for reading: stays readable whatever rotation does to its name.
#[derive(Debug)]
pub(crate) struct Part {
    file: File,
    span: Span,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    start: u64,
    len: u64,
}

impl RotatedFiles {
    /// Finds what is there and cuts off a last line that a crash left unfinished.
    pub(crate) fn open(path: PathBuf, limits: FileLimits) -> io::Result<Self> {
        cut_unfinished_line(&path)?;
        let mut files = Self {
            path,
            limits,
            spans: VecDeque::new(),
            file: None,
        };
        let total = files.lengths()?.iter().sum();
        files.measure(total)?;
        Ok(files)
    }

    /// Position after the last byte.
    pub(crate) fn end(&self) -> u64 {
        self.spans.front().map_or(0, |span| span.start + span.len)
    }

    /// Position of the oldest byte.
    pub(crate) fn start(&self) -> u64 {
        self.spans.back().map_or(0, |span| span.start)
    }

    /// Appends whole lines: all of them or, after an error, none.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.written() > 0 && self.written() + bytes.len() as u64 > self.limits.bytes {
            self.rotate()?;
        }
        self.prepare()?;
        let at = self.written();
        let Some(file) = &self.file else { return Ok(()) };
        if let Err(error) = file.write_all_at(bytes, at) {
            // Should this fail as well, the next append overwrites what is there.
            let _ = file.set_len(at);
            return Err(error);
        }
        if let Some(newest) = self.spans.front_mut() {
            newest.len += bytes.len() as u64;
        }
        Ok(())
    }

    /// Opens everything for reading, newest first.
    pub(crate) fn parts(&self) -> io::Result<Vec<Part>> {
        let mut parts = Vec::new();
        for (number, span) in self.spans.iter().enumerate().filter(|(_, span)| span.len > 0) {
            match File::open(self.path_of(number)) {
                Ok(file) => parts.push(Part { file, span: *span }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(parts)
    }

    /// Lets go of the open file until the next append.
    pub(crate) fn close(&mut self) {
        self.file = None;
    }

    fn written(&self) -> u64 {
        self.spans.front().map_or(0, |span| span.len)
    }

    /// Has the file open, also when somebody has deleted or truncated it.
    fn prepare(&mut self) -> io::Result<()> {
        if let Some(file) = &self.file {
            let metadata = file.metadata()?;
            if metadata.nlink() > 0 && metadata.len() >= self.written() {
                return Ok(());
            }
        }
        let mut options = File::options();
        self.file = Some(
            options
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&self.path)?,
        );
        self.measure(self.end())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file = None;
        let renamed = self.rename_all();
        self.measure(self.end())?;
        renamed
    }

    fn rename_all(&self) -> io::Result<()> {
        if self.limits.files <= 1 {
            return absent_is_fine(fs::remove_file(&self.path));
        }
        for number in (0..self.limits.files - 1).rev() {
            absent_is_fine(fs::rename(self.path_of(number), self.path_of(number + 1)))?;
        }
        Ok(())
    }

    /// Notes which positions the files hold, the last being before `end`.
    fn measure(&mut self, end: u64) -> io::Result<()> {
        let mut end = end;
        self.spans.clear();
        for len in self.lengths()? {
            let start = end.saturating_sub(len);
            self.spans.push_back(Span { start, len });
            end = start;
        }
        Ok(())
    }

    fn lengths(&self) -> io::Result<Vec<u64>> {
        let length = |number| match fs::metadata(self.path_of(number)) {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        };
        (0..self.limits.files.max(1)).map(length).collect()
    }

    fn path_of(&self, number: usize) -> PathBuf {
        if number == 0 {
            return self.path.clone();
        }
        let mut path = self.path.clone().into_os_string();
        path.push(format!(".{number}"));
        path.into()
    }
}

/// Visits the lines that end before a position, newest first, without their line ends.
pub(crate) fn visit_backwards(
    parts: &[Part],
    before: u64,
    mut visit: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> io::Result<()> {
    for part in parts {
        let len = before.saturating_sub(part.span.start).min(part.span.len);
        if visit_file_backwards(&part.file, len, &mut visit)?.is_break() {
            break;
        }
    }
    Ok(())
}

fn visit_file_backwards(
    file: &File,
    len: u64,
    visit: &mut impl FnMut(&[u8]) -> ControlFlow<()>,
) -> io::Result<ControlFlow<()>> {
    let mut at = len;
    let mut held = Vec::new();
    loop {
        while let Some(end) = memrchr(b'\n', &held) {
            let line = &held[end + 1..];
            if !line.is_empty() && visit(line).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            held.truncate(end);
        }
        if at == 0 {
            return Ok(if held.is_empty() {
                ControlFlow::Continue(())
            } else {
                visit(&held)
            });
        }
        let mut chunk = vec![0; CHUNK.min(at) as usize];
        at -= chunk.len() as u64;
        file.read_exact_at(&mut chunk, at)?;
        chunk.append(&mut held);
        held = chunk;
    }
}

fn cut_unfinished_line(path: &PathBuf) -> io::Result<()> {
    let file = match File::options().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let len = file.metadata()?.len();
    let mut end = len;
    let mut chunk = vec![0; CHUNK as usize];
    while end > 0 {
        let size = CHUNK.min(end);
        let piece = &mut chunk[..size as usize];
        file.read_exact_at(piece, end - size)?;
        end -= size;
        if let Some(index) = memrchr(b'\n', piece) {
            end += index as u64 + 1;
            break;
        }
    }
    if end < len { file.set_len(end) } else { Ok(()) }
}

fn absent_is_fine(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const LIMITS: FileLimits = FileLimits { bytes: 8, files: 3 };

    fn open(folder: &Path) -> RotatedFiles {
        RotatedFiles::open(folder.join("web.log"), LIMITS).unwrap()
    }

    fn all(files: &RotatedFiles, before: u64) -> Vec<String> {
        let mut lines = Vec::new();
        visit_backwards(&files.parts().unwrap(), before, |line| {
            lines.insert(0, String::from_utf8(line.to_vec()).unwrap());
            ControlFlow::Continue(())
        })
        .unwrap();
        lines
    }

    #[test]
    fn rotates_and_keeps_positions() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = open(folder.path());
        for line in ["one\n", "two\n", "3\n", "four\n", "five\n", "six\n"] {
            files.append(line.as_bytes()).unwrap();
        }
        assert_eq!(all(&files, files.end()), ["3", "four", "five", "six"]);
        assert_eq!((files.start(), files.end()), (8, 24));
        let before = files.end();
        let parts = files.parts().unwrap();
        files.append(b"seven\n").unwrap();
        assert_eq!(all(&files, before), ["five", "six"], "the oldest went");
        let mut seen = 0;
        visit_backwards(&parts, before, |_| {
            seen += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(seen, 4, "what was opened before stays readable");
    }

    #[test]
    fn an_unfinished_line_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        for (content, kept) in [("", ""), ("tor", ""), ("one\n", "one\n"), ("one\ntw", "one\n")] {
            fs::write(folder.path().join("web.log"), content).unwrap();
            let files = open(folder.path());
            assert_eq!(fs::read_to_string(folder.path().join("web.log")).unwrap(), kept);
            assert_eq!(files.end(), kept.len() as u64);
        }
    }

    #[test]
    fn a_file_deleted_or_emptied_by_hand_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.log");
        let mut files = open(folder.path());
        files.append(b"one\n").unwrap();
        fs::remove_file(&path).unwrap();
        files.append(b"two\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
        File::create(&path).unwrap();
        files.append(b"3\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "3\n");
        assert_eq!(all(&files, files.end()), ["3"]);
    }
}
