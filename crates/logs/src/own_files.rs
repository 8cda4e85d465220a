//! Files at paths that the user chose: lines are appended there too, as text or as JSON.
//!
//! They are for people and tools, and nothing is read from them. So they never hold output back: what cannot be written
//! there is missing there, which is told once. A crash of the server may lose the lines of one write there, never in
//! the service's own log. They are bounded like the log, each on its own; the budget of all logs leaves them alone.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io;
use std::path::{Path, PathBuf};

use hythe_model::LogRules;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde_json::json;

use crate::batch::Batch;
use crate::entry::{Line, Source};
use crate::rotated_files::{FileLimits, RotatedFiles};
use crate::timestamp;

/// What the umask leaves of it.
const MODE: u32 = 0o640;

/// The chosen files of one service that were written to.
#[derive(Debug, Default)]
pub(crate) struct OwnFiles {
    files: BTreeMap<PathBuf, RotatedFiles>,
    failed: bool,
}

impl OwnFiles {
    /// Appends what the rules say. The error is told once, until writing succeeds again.
    pub(crate) fn append(&mut self, batch: &Batch, rules: &LogRules) -> Option<String> {
        let mut outcome = Ok(());
        for (path, text) in texts(batch, rules) {
            let written = self.write(&path, &text, batch.at, limits(rules));
            outcome = outcome.and(written.map_err(|error| {
                format!(
                    "{} cannot be written, so lines are missing there: {error}",
                    path.display()
                )
            }));
        }
        let was_failed = std::mem::replace(&mut self.failed, outcome.is_err());
        outcome.err().filter(|_| !was_failed)
    }

    /// All of them.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut RotatedFiles> {
        self.files.values_mut()
    }

    /// Lets go of them until the next line.
    pub(crate) fn close(&mut self) {
        self.files.values_mut().for_each(RotatedFiles::close);
    }

    /// Empties those that the rules name, and those of single instances that were written to.
    pub(crate) fn truncate(&mut self, rules: &LogRules) -> io::Result<()> {
        for path in named(rules).filter(|path| path.exists()) {
            self.of(path)?;
        }
        self.files.values_mut().try_for_each(RotatedFiles::truncate)
    }

    fn write(&mut self, path: &Path, text: &[u8], at: u64, limits: FileLimits) -> io::Result<()> {
        let written = self.of(path)?.append(text, at, limits);
        if written.is_err() {
            // Whatever it was, it is looked at anew.
            self.files.remove(path);
        }
        written.map(|_| ())
    }

    fn of(&mut self, path: &Path) -> io::Result<&mut RotatedFiles> {
        if !self.files.contains_key(path) {
            if let Some(folder) = path.parent() {
                DirBuilder::new().recursive(true).create(folder)?;
            }
            let files = RotatedFiles::open(path.to_owned(), MODE)?;
            self.files.insert(path.to_owned(), files);
        }
        self.files
            .get_mut(path)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn limits(rules: &LogRules) -> FileLimits {
    FileLimits {
        bytes: rules.max_size,
        files: rules.max_files as usize,
    }
}

fn named(rules: &LogRules) -> impl Iterator<Item = &Path> {
    let paths = [&rules.out_file, &rules.error_file, &rules.merged_file];
    paths.into_iter().flatten().map(PathBuf::as_path)
}

/// What goes where.
fn texts(batch: &Batch, rules: &LogRules) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut texts = BTreeMap::new();
    if named(rules).next().is_none() {
        return texts;
    }
    let zone = TimeZone::system();
    for (_, line) in &batch.lines {
        let text = rendered(line, batch.slot, rules, &zone);
        for path in destinations(line.source, rules) {
            let path = if rules.per_instance {
                with_slot(path, batch.slot)
            } else {
                path.clone()
            };
            let into: &mut Vec<u8> = texts.entry(path).or_default();
            into.extend_from_slice(text.as_bytes());
        }
    }
    texts
}

/// Notes are not output of the program, and stay in the log.
fn destinations(source: Source, rules: &LogRules) -> impl Iterator<Item = &PathBuf> {
    let paths = match source {
        Source::Out => [rules.out_file.as_ref(), rules.merged_file.as_ref()],
        Source::Err => [rules.error_file.as_ref(), rules.merged_file.as_ref()],
        Source::Hythe => [None, None],
    };
    paths.into_iter().flatten()
}

/// `out.log` of the copy at place 2 is `out-2.log`.
fn with_slot(path: &Path, slot: Option<u32>) -> PathBuf {
    let (Some(slot), Some(stem)) = (slot, path.file_stem()) else {
        return path.to_owned();
    };
    let mut name = stem.to_owned();
    name.push(format!("-{slot}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

fn rendered(line: &Line, slot: Option<u32>, rules: &LogRules, zone: &TimeZone) -> String {
    let time = |format: &str| time_of(line.at, zone).map(|time| timestamp::render(format, &time));
    let time = rules.time_format.as_deref().and_then(time);
    if rules.json {
        let object = json!({
            "message": line.message,
            "timestamp": time.or_else(|| Some(timestamp_of(line.at)?.to_string())),
            "type": if line.source == Source::Err { "err" } else { "out" },
            "process_id": slot,
            "app_name": line.service,
        });
        return format!("{object}\n");
    }
    match time {
        Some(time) => format!("{time}: {}\n", line.message),
        None => format!("{}\n", line.message),
    }
}

fn time_of(at: u64, zone: &TimeZone) -> Option<Zoned> {
    Some(timestamp_of(at)?.to_zoned(zone.clone()))
}

fn timestamp_of(at: u64) -> Option<Timestamp> {
    Timestamp::from_millisecond(i64::try_from(at).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    use super::*;
    use crate::batch::Origin;
    use crate::splitter::Piece;

    fn batch(slot: Option<u32>, lines: &[(Source, &str)]) -> Batch {
        let name: Arc<str> = "web".into();
        let origin = Origin {
            service: name.clone(),
            instance: "web-7".into(),
            run: name,
            slot,
        };
        let mut batch = Batch::new(1_700_000_000_123);
        for (source, text) in lines {
            let piece = Piece {
                text: (*text).to_owned(),
                end: 0,
                partial: false,
            };
            batch.push(&origin, *source, &piece);
        }
        batch
    }

    #[test]
    fn every_stream_goes_where_it_shall() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join("new/folder").join(name);
        let rules = LogRules {
            out_file: Some(path("out.log")),
            error_file: Some(path("err")),
            merged_file: Some(path("all.log")),
            ..LogRules::default()
        };
        let mut files = OwnFiles::default();
        let lines = [
            (Source::Out, "one"),
            (Source::Err, "two"),
            (Source::Hythe, "started"),
            (Source::Out, "three"),
        ];
        assert_eq!(files.append(&batch(Some(0), &lines), &rules), None);
        let read = |name: &str| fs::read_to_string(path(name)).unwrap();
        assert_eq!(
            ["out.log", "err", "all.log"].map(read),
            ["one\nthree\n", "two\n", "one\ntwo\nthree\n"]
        );
        let mode = fs::metadata(path("out.log")).unwrap().permissions().mode();
        assert_eq!(mode & 0o137, 0, "not for others");
        let each = LogRules {
            per_instance: true,
            json: true,
            ..rules.clone()
        };
        assert_eq!(files.append(&batch(Some(2), &lines[..2]), &each), None);
        assert_eq!(
            read("out-2.log"),
            "{\"app_name\":\"web\",\"message\":\"one\",\"process_id\":2,\"timestamp\":\"2023-11-14T22:13:20.123Z\",\
             \"type\":\"out\"}\n"
        );
        assert!(read("err-2").contains("\"type\":\"err\""));
        let timed = LogRules {
            time_format: Some("SSS".to_owned()),
            ..rules.clone()
        };
        assert_eq!(files.append(&batch(None, &lines[..1]), &timed), None);
        assert_eq!(read("out.log"), "one\nthree\n123: one\n");
        files.truncate(&rules).unwrap();
        assert_eq!(read("out.log") + &read("err") + &read("out-2.log"), "");
    }

    #[test]
    fn a_file_that_cannot_be_written_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.log");
        fs::create_dir(&path).unwrap();
        let rules = LogRules {
            out_file: Some(path.clone()),
            ..LogRules::default()
        };
        let mut files = OwnFiles::default();
        let mut append = || files.append(&batch(None, &[(Source::Out, "x")]), &rules);
        let told = append().unwrap();
        assert!(told.contains("out.log cannot be written"), "{told}");
        assert_eq!(append(), None);
        fs::remove_dir(&path).unwrap();
        assert_eq!(append(), None);
        assert_eq!(fs::read_to_string(&path).unwrap(), "x\n");
    }

    #[test]
    fn a_large_one_is_rotated() {
        let folder = tempfile::tempdir().unwrap();
        let rules = LogRules {
            merged_file: Some(folder.path().join("all.log")),
            max_size: 10,
            max_files: 2,
            ..LogRules::default()
        };
        let mut files = OwnFiles::default();
        for text in ["first", "second", "third", "fourth"] {
            assert_eq!(files.append(&batch(None, &[(Source::Out, text)]), &rules), None);
        }
        let mut names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["all.log", "all.log.1"]);
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!([read("all.log.1"), read("all.log")], ["third\n", "fourth\n"]);
    }
}
