//! The names of rotated files: `<name>` is written, `<name>.1` and so on are older; `.gz` behind it if compressed.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What a file is called while it is compressed into.
const UNFINISHED: &str = ".gz.new";

/// A file of a log that is not written any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Older {
    pub(crate) number: usize,
    pub(crate) compressed: bool,
}

/// The file with a number; 0: the one that is written.
pub(crate) fn path_of(base: &Path, number: usize, compressed: bool) -> PathBuf {
    let mut path = base.as_os_str().to_owned();
    if number > 0 {
        path.push(format!(".{number}"));
    }
    if compressed {
        path.push(".gz");
    }
    path.into()
}

/// Where a file is compressed into, before it takes the place of what it is made of.
pub(crate) fn unfinished(base: &Path) -> PathBuf {
    let mut path = base.as_os_str().to_owned();
    path.push(UNFINISHED);
    path.into()
}

/// The name of the file that is written, of a name that any of a log's files may have.
pub(crate) fn base_name(name: &str) -> &str {
    let plain = name.strip_suffix(".gz").unwrap_or(name);
    match plain.rsplit_once('.') {
        Some((base, number)) if is_number(number) => base,
        _ => name,
    }
}

/// The older files of a log, numbered from 1 without a gap: what is missing is made up for, newest first, and what was
/// left of an interrupted compression is deleted.
pub(crate) fn settle(base: &Path) -> io::Result<Vec<Older>> {
    absent_is_fine(fs::remove_file(unfinished(base)))?;
    let mut found = list(base)?;
    found.sort_unstable();
    let mut settled: Vec<Older> = Vec::new();
    for older in found {
        let doubled = older.compressed
            && settled
                .last()
                .is_some_and(|last| !last.compressed && last.number == older.number);
        let path = path_of(base, older.number, older.compressed);
        if doubled {
            // The plain one is deleted last, so it is whole.
            absent_is_fine(fs::remove_file(path))?;
            continue;
        }
        settled.push(older);
    }
    for (index, older) in settled.iter_mut().enumerate() {
        let number = index + 1;
        if older.number != number {
            let from = path_of(base, older.number, older.compressed);
            fs::rename(from, path_of(base, number, older.compressed))?;
            older.number = number;
        }
    }
    Ok(settled)
}

/// Renames what is written to number 1, and every older file to the next number.
pub(crate) fn shift(base: &Path, older: &[Older]) -> io::Result<()> {
    for older in older.iter().rev() {
        let from = path_of(base, older.number, older.compressed);
        absent_is_fine(fs::rename(
            from,
            path_of(base, older.number + 1, older.compressed),
        ))?;
    }
    absent_is_fine(fs::rename(base, path_of(base, 1, false)))
}

pub(crate) fn absent_is_fine(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn list(base: &Path) -> io::Result<Vec<Older>> {
    let folder = base.parent().unwrap_or(Path::new("/"));
    let prefix = base.file_name().unwrap_or_default();
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let names: Vec<OsString> = entries
        .map(|entry| Ok(entry?.file_name()))
        .collect::<io::Result<_>>()?;
    Ok(names.iter().filter_map(|name| parse(prefix, name)).collect())
}

fn parse(prefix: &OsStr, name: &OsStr) -> Option<Older> {
    let rest = name
        .as_bytes()
        .strip_prefix(prefix.as_bytes())?
        .strip_prefix(b".")?;
    let rest = std::str::from_utf8(rest).ok()?;
    let plain = rest.strip_suffix(".gz");
    let number = plain.unwrap_or(rest);
    is_number(number).then_some(Older {
        number: number.parse().ok()?,
        compressed: plain.is_some(),
    })
}

/// 1 and more, as they are written here.
fn is_number(text: &str) -> bool {
    (1..=6).contains(&text.len()) && !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_closed_and_halves_go() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("web.log");
        for name in [
            "web.log",
            "web.log.2",
            "web.log.2.gz",
            "web.log.5.gz",
            "web.log.6",
            "web.log.gz.new",
            "web.log.old",
            "web.log.01",
            "other.log.1",
        ] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        let numbers: Vec<_> = settle(&base).unwrap();
        let older = |number, compressed| Older { number, compressed };
        assert_eq!(numbers, [older(1, false), older(2, true), older(3, false)]);
        let content = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(
            ["web.log.1", "web.log.2.gz", "web.log.3"].map(content),
            ["web.log.2", "web.log.5.gz", "web.log.6"]
        );
        shift(&base, &numbers).unwrap();
        let content = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(
            ["web.log.1", "web.log.2", "web.log.3.gz", "web.log.4"].map(content),
            ["web.log", "web.log.2", "web.log.5.gz", "web.log.6"]
        );
        let mut left: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !["1", "2", "4", "gz"].contains(&name.rsplit('.').next().unwrap()))
            .collect();
        left.sort();
        assert_eq!(left, ["web.log.01", "web.log.old"]);
    }

    #[test]
    fn names_have_a_base() {
        for (name, base) in [
            ("a.log", "a.log"),
            ("a.log.1", "a.log"),
            ("a.log.12.gz", "a.log"),
            ("a.log.0", "a.log.0"),
            ("a.log.gz", "a.log.gz"),
            ("a.1.log", "a.1.log"),
        ] {
            assert_eq!(base_name(name), base);
        }
    }
}
