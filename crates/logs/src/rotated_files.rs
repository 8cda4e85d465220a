//! The files of one log: `<name>` is written, `<name>.1` and so on are older.
//!
//! Every byte ever appended has a position that rotation does not change, so that a reader can say "all before
//! this line" while writing goes on. Positions count from the oldest byte that was there at the start and live
//! as long as the process. Before every write, the name is compared with the file that is open: who renames, deletes or
//! empties it is noticed.

use std::collections::VecDeque;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::backwards::{Part, Span, whole_lines};
use crate::gzip::GzipFile;
use crate::numbered::{self, Older, absent_is_fine, path_of};

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FileLimits {
    /// A file is rotated before it grows beyond this, bytes.
    pub(crate) bytes: u64,
    /// How many there are, the written one included; at least one.
    pub(crate) files: usize,
}

/// The files of one log, seen from their only writer.
#[derive(Debug)]
pub(crate) struct RotatedFiles {
    path: PathBuf,
    mode: u32,
    /// Newest first, as the names count; the first is the written one, also before it is there.
    files: VecDeque<Kept>,
    open: Option<File>,
}

/// A file that is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kept {
    /// What it holds, not compressed.
    span: Span,
    /// What it takes on the disk, bytes.
    pub(crate) disk: u64,
    /// When it got its first line and its last one, Unix milliseconds.
    begun_at: u64,
    pub(crate) written_at: u64,
    compressed: bool,
}

impl RotatedFiles {
    /// Finds what is there. Files are made with `mode`.
    pub(crate) fn open(path: PathBuf, mode: u32) -> io::Result<Self> {
        let mut files = Self {
            path,
            mode,
            files: VecDeque::new(),
            open: None,
        };
        files.measure(0)?;
        // Positions begin with the oldest byte.
        let total = files.files.iter().map(|kept| kept.span.len).sum();
        files.place(total);
        Ok(files)
    }

    /// The same, without a last line that a crash left unfinished.
    pub(crate) fn open_whole(path: PathBuf, mode: u32) -> io::Result<Self> {
        match File::options().read(true).write(true).open(&path) {
            Ok(file) => {
                let end = whole_lines(&file)?;
                if end < file.metadata()?.len() {
                    file.set_len(end)?;
                }
            }
            Err(error) => absent_is_fine(Err(error))?,
        }
        Self::open(path, mode)
    }

    /// The file that is written.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Newest first.
    pub(crate) fn kept(&self) -> impl DoubleEndedIterator<Item = &Kept> {
        self.files.iter()
    }

    /// What all of them take on the disk, bytes.
    pub(crate) fn disk(&self) -> u64 {
        self.files.iter().map(|kept| kept.disk).sum()
    }

    /// Whether somebody writes.
    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Position after the last byte.
    pub(crate) fn end(&self) -> u64 {
        self.files
            .front()
            .map_or(0, |kept| kept.span.start + kept.span.len)
    }

    /// Position of the oldest byte.
    pub(crate) fn start(&self) -> u64 {
        self.files.back().map_or(0, |kept| kept.span.start)
    }

    /// Appends whole lines at a time: all of them or, after an error, none. Says whether it began a new file for them.
    pub(crate) fn append(&mut self, bytes: &[u8], at: u64, limits: FileLimits) -> io::Result<bool> {
        let too_large = self.written() > 0 && self.written() + bytes.len() as u64 > limits.bytes;
        if too_large {
            self.rotate(limits.files)?;
        }
        self.prepare()?;
        let end = self.written();
        let Some(file) = &self.open else {
            return Ok(too_large);
        };
        if let Err(error) = file.write_all_at(bytes, end) {
            // Should this fail as well, the next append overwrites what is there.
            let _ = file.set_len(end);
            return Err(error);
        }
        if let Some(newest) = self.files.front_mut() {
            if newest.span.len == 0 {
                newest.begun_at = at;
            }
            newest.span.len += bytes.len() as u64;
            newest.disk += bytes.len() as u64;
            newest.written_at = at;
        }
        Ok(too_large)
    }

    /// Begins a new file and keeps `most`, the new one included.
    pub(crate) fn rotate(&mut self, most: usize) -> io::Result<()> {
        self.open = None;
        let end = self.end();
        let shifted = numbered::shift(&self.path, &self.older());
        self.measure(end)?;
        shifted?;
        while self.files.len() > most.max(1) {
            self.remove_oldest()?;
        }
        Ok(())
    }

    /// Whether what is written began before a time.
    pub(crate) fn began_before(&self, time: u64) -> bool {
        self.files
            .front()
            .is_some_and(|kept| kept.span.len > 0 && kept.begun_at < time)
    }

    /// Deletes older files whose last line came before a time.
    pub(crate) fn remove_before(&mut self, time: u64) -> io::Result<()> {
        while self.files.len() > 1 && self.files.back().is_some_and(|oldest| oldest.written_at < time) {
            self.remove_oldest()?;
        }
        Ok(())
    }

    /// Deletes the oldest file, be it the written one.
    pub(crate) fn remove_oldest(&mut self) -> io::Result<()> {
        let number = self.files.len().saturating_sub(1);
        let Some(oldest) = self.files.back() else {
            return Ok(());
        };
        absent_is_fine(fs::remove_file(path_of(&self.path, number, oldest.compressed)))?;
        if number == 0 {
            self.open = None;
            return self.measure(self.end());
        }
        self.files.pop_back();
        Ok(())
    }

    /// Empties the written file and leaves the others.
    pub(crate) fn truncate(&mut self) -> io::Result<()> {
        match File::options().write(true).open(&self.path) {
            Ok(file) => file.set_len(0)?,
            Err(error) => absent_is_fine(Err(error))?,
        }
        self.measure(self.end())
    }

    /// The oldest file that could be compressed: position, and the file.
    pub(crate) fn to_compress(&self) -> io::Result<Option<(Span, File)>> {
        let mut older = self.files.iter().enumerate().skip(1).rev();
        let Some((number, kept)) = older.find(|(_, kept)| !kept.compressed && kept.span.len > 0) else {
            return Ok(None);
        };
        let file = File::open(path_of(&self.path, number, false))?;
        Ok(Some((kept.span, file)))
    }

    /// Puts what a file at a position was compressed into in its place; false if that file is gone.
    pub(crate) fn take_compressed(&mut self, span: Span, compressed: &Path) -> io::Result<bool> {
        let at = |(_, kept): &(usize, &Kept)| kept.span == span && !kept.compressed;
        let Some((number, _)) = self.files.iter().enumerate().skip(1).find(at) else {
            return Ok(false);
        };
        fs::rename(compressed, path_of(&self.path, number, true))?;
        absent_is_fine(fs::remove_file(path_of(&self.path, number, false)))?;
        self.measure(self.end())?;
        Ok(true)
    }

    /// Opens everything for reading, newest first.
    pub(crate) fn parts(&self) -> io::Result<Vec<Part>> {
        let mut parts = Vec::new();
        for (number, kept) in self
            .files
            .iter()
            .enumerate()
            .filter(|(_, kept)| kept.span.len > 0)
        {
            match File::open(path_of(&self.path, number, kept.compressed)) {
                Ok(file) => parts.push(Part {
                    file,
                    compressed: kept.compressed,
                    span: kept.span,
                }),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(parts)
    }

    /// Lets go of the open file until the next append.
    pub(crate) fn close(&mut self) {
        self.open = None;
    }

    fn written(&self) -> u64 {
        self.files.front().map_or(0, |kept| kept.span.len)
    }

    /// Has the file open that has the name, and as long as it was left.
    fn prepare(&mut self) -> io::Result<()> {
        if let Some(file) = &self.open
            && let Ok(named) = fs::metadata(&self.path)
        {
            let open = file.metadata()?;
            let is_same = (open.dev(), open.ino()) == (named.dev(), named.ino());
            if is_same && open.len() >= self.written() {
                return Ok(());
            }
        }
        if fs::metadata(&self.path).is_ok_and(|found| !found.is_file()) {
            return Err(io::Error::other("it is not a regular file"));
        }
        let mut options = File::options();
        let options = options.write(true).create(true).truncate(false).mode(self.mode);
        self.open = Some(options.open(&self.path)?);
        self.measure(self.end())
    }

    fn older(&self) -> Vec<Older> {
        let older = self.files.iter().enumerate().skip(1);
        older
            .map(|(number, kept)| Older {
                number,
                compressed: kept.compressed,
            })
            .collect()
    }

    /// Looks at what is there, of which the last byte is before `end`.
    fn measure(&mut self, end: u64) -> io::Result<()> {
        let older = numbered::settle(&self.path)?;
        let mut files = VecDeque::with_capacity(older.len() + 1);
        files.push_back(match fs::metadata(&self.path) {
            Ok(metadata) => Kept::plain(&metadata),
            Err(error) => {
                absent_is_fine(Err(error))?;
                Kept::none()
            }
        });
        for Older { number, compressed } in older {
            let path = path_of(&self.path, number, compressed);
            let metadata = fs::metadata(&path)?;
            let mut kept = Kept::plain(&metadata);
            if compressed {
                kept.compressed = true;
                // One that somebody else has put here is counted and not read.
                kept.span.len = GzipFile::open(File::open(&path)?).map_or(0, |file| file.len());
            }
            files.push_back(kept);
        }
        self.files = files;
        self.place(end);
        Ok(())
    }

    /// Gives every file its position.
    fn place(&mut self, end: u64) {
        let mut end = end;
        for kept in &mut self.files {
            kept.span.start = end.saturating_sub(kept.span.len);
            end = kept.span.start;
        }
    }
}

impl Kept {
    fn none() -> Self {
        Self {
            span: Span { start: 0, len: 0 },
            disk: 0,
            begun_at: 0,
            written_at: 0,
            compressed: false,
        }
    }

    fn plain(metadata: &Metadata) -> Self {
        let written_at = unix_ms(metadata.modified());
        Self {
            span: Span {
                start: 0,
                len: metadata.len(),
            },
            disk: metadata.len(),
            // Not every file system knows when a file was made.
            begun_at: metadata.created().map_or(written_at, |time| unix_ms(Ok(time))),
            written_at,
            compressed: false,
        }
    }
}

fn unix_ms(time: io::Result<SystemTime>) -> u64 {
    let since = time
        .ok()
        .and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;
    use std::path::Path;

    use super::*;
    use crate::backwards::visit_backwards;

    const LIMITS: FileLimits = FileLimits { bytes: 8, files: 3 };

    fn open(folder: &Path) -> RotatedFiles {
        RotatedFiles::open_whole(folder.join("web.log"), 0o600).unwrap()
    }

    fn all(files: &RotatedFiles, before: u64) -> Vec<String> {
        let mut lines = Vec::new();
        visit_backwards(files.parts().unwrap(), before, |line| {
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
            files.append(line.as_bytes(), 1, LIMITS).unwrap();
        }
        assert_eq!(all(&files, files.end()), ["3", "four", "five", "six"]);
        assert_eq!((files.start(), files.end()), (8, 24));
        let before = files.end();
        let parts = files.parts().unwrap();
        files.append(b"seven\n", 1, LIMITS).unwrap();
        assert_eq!(all(&files, before), ["five", "six"], "the oldest went");
        let mut seen = 0;
        visit_backwards(parts, before, |_| {
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
        files.append(b"one\n", 1, LIMITS).unwrap();
        fs::remove_file(&path).unwrap();
        files.append(b"two\n", 1, LIMITS).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
        File::create(&path).unwrap();
        files.append(b"3\n", 1, LIMITS).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "3\n");
        assert_eq!(all(&files, files.end()), ["3"]);
    }
    #[test]
    fn a_file_renamed_by_others_is_left_to_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.log");
        let mut files = open(folder.path());
        files.append(b"one\n", 1, LIMITS).unwrap();
        fs::rename(&path, folder.path().join("moved")).unwrap();
        files.append(b"two\n", 1, LIMITS).unwrap();
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!([read("moved"), read("web.log")], ["one\n", "two\n"]);
        assert_eq!(all(&files, files.end()), ["two"]);
    }

    #[test]
    fn compressed_files_keep_their_positions() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = open(folder.path());
        for line in ["one\n", "two\n", "3\n", "four\n", "five\n"] {
            files.append(line.as_bytes(), 1, LIMITS).unwrap();
        }
        let before = (files.start(), files.end(), all(&files, files.end()));
        let (span, file) = files.to_compress().unwrap().unwrap();
        let unfinished = numbered::unfinished(files.path());
        crate::gzip::compress(&file, span.len, &mut File::create(&unfinished).unwrap()).unwrap();
        assert!(files.take_compressed(span, &unfinished).unwrap());
        assert!(!files.take_compressed(span, &unfinished).unwrap(), "only once");
        assert_eq!((files.start(), files.end(), all(&files, files.end())), before);
        let again = open(folder.path());
        assert_eq!(all(&again, again.end()), before.2);
        files.append(b"six\n", 1, LIMITS).unwrap();
        assert!(folder.path().join("web.log.1").exists());
        assert_eq!(files.files.len(), 3);
    }
}
