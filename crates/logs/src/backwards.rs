//! Reading log files from their end.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;

use memchr::memrchr;

use crate::gzip::GzipFile;

const CHUNK: u64 = 64 * 1024;

/// A file opened for reading: stays readable whatever rotation does to its name.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) file: File,
    pub(crate) compressed: bool,
    pub(crate) span: Span,
}

/// Where the bytes of a file lie among all that were ever appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u64,
    pub(crate) len: u64,
}

/// Visits the lines that end before a position, newest first, without their line ends.
pub(crate) fn visit_backwards(
    parts: Vec<Part>,
    before: u64,
    mut visit: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> io::Result<()> {
    for part in parts {
        let len = before.saturating_sub(part.span.start).min(part.span.len);
        let visited = if part.compressed {
            let file = GzipFile::open(part.file)?;
            visit_lines(|chunk, at| file.read_exact_at(chunk, at), len, &mut visit)
        } else {
            visit_lines(|chunk, at| part.file.read_exact_at(chunk, at), len, &mut visit)
        };
        if visited?.is_break() {
            break;
        }
    }
    Ok(())
}

fn visit_lines(
    read: impl Fn(&mut [u8], u64) -> io::Result<()>,
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
        read(&mut chunk, at)?;
        chunk.append(&mut held);
        held = chunk;
    }
}

/// How long a file is without a last line that has no end.
pub(crate) fn whole_lines(file: &File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut chunk = vec![0; CHUNK as usize];
    while end > 0 {
        let size = CHUNK.min(end);
        let piece = &mut chunk[..size as usize];
        file.read_exact_at(piece, end - size)?;
        end -= size;
        if let Some(index) = memrchr(b'\n', piece) {
            return Ok(end + index as u64 + 1);
        }
    }
    Ok(0)
}
