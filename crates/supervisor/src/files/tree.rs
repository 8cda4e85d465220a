//! Watched files and folders: an inotify descriptor, and which folder each of its watches stands for.
//!
//! A file is watched by way of its folder, since editors replace files rather than write them. A folder that appears is
//! watched from then on, and what it already holds has changed.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use hythe_model::watch::Filter;
use hythe_model::workload::Watch;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

/// What is watched, and what happened to it.
pub(super) struct Tree {
    inotify: OwnedFd,
    folder: PathBuf,
    filter: Filter,
    watches: BTreeMap<i32, Place>,
    changes: VecDeque<PathBuf>,
    broken: Option<String>,
}

/// A folder that is watched.
#[derive(Debug, Clone)]
struct Place {
    path: PathBuf,
    /// Only these files of it; `None`: all that is below it.
    only: Option<Vec<PathBuf>>,
    /// It was asked for, so nothing is watched any more if it goes away.
    root: bool,
}

/// Something that was told of a watch.
struct Note {
    watch: i32,
    what: ReadFlags,
    name: Option<PathBuf>,
}

/// A change is over when the file is closed; what is never open for writing (links, removals, renames) has no such end.
const TOLD: WatchFlags = WatchFlags::CLOSE_WRITE
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);
/// More folders than this are a mistake: an unpacked archive, a home.
const MOST_FOLDERS: usize = 20_000;
/// More changes than this at once are not kept: one is enough.
const MOST_CHANGES: usize = 1_000;

impl Tree {
    /// Watches what `watch` says of `folder`.
    pub(super) fn plant(folder: &Path, watch: &Watch) -> Result<Self, String> {
        let flags = CreateFlags::CLOEXEC | CreateFlags::NONBLOCK;
        let inotify = inotify::init(flags).map_err(|error| match error {
            Errno::MFILE => "there are as many watchers as `fs.inotify.max_user_instances` allows".to_owned(),
            error => io::Error::from(error).to_string(),
        })?;
        let mut tree = Self {
            inotify,
            folder: folder.to_owned(),
            filter: watch.filter(folder).map_err(|error| error.to_string())?,
            watches: BTreeMap::new(),
            changes: VecDeque::new(),
            broken: None,
        };
        if watch.paths.is_empty() {
            tree.root(folder)?;
        }
        for path in &watch.paths {
            tree.root(&normal(&folder.join(path)))?;
        }
        Ok(tree)
    }

    /// Reads what happened since the last time. `WouldBlock` says that this was all.
    pub(super) fn read(&mut self) -> io::Result<()> {
        let mut notes = Vec::new();
        let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
        let mut reader = Reader::new(self.inotify.as_fd(), &mut buffer);
        let outcome = loop {
            match reader.next() {
                Ok(event) => notes.push(Note {
                    watch: event.wd(),
                    what: event.events(),
                    name: event
                        .file_name()
                        .map(|name| OsStr::from_bytes(name.to_bytes()).into()),
                }),
                Err(error) => break error,
            }
            if reader.is_buffer_empty() && notes.len() >= MOST_CHANGES {
                break Errno::INTR;
            }
        };
        for note in notes {
            self.take_in(note);
        }
        if outcome == Errno::INTR {
            return Ok(());
        }
        Err(outcome.into())
    }

    /// A change that counts, oldest first.
    ///
    /// # Errors
    /// Why there will be no more.
    pub(super) fn take_change(&mut self) -> Result<Option<PathBuf>, String> {
        match (self.changes.pop_front(), self.broken.take()) {
            (Some(path), broken) => {
                self.broken = broken;
                Ok(Some(path))
            }
            (None, Some(why)) => Err(why),
            (None, None) => Ok(None),
        }
    }

    fn root(&mut self, path: &Path) -> Result<(), String> {
        let tell = |error: io::Error| format!("{}: {error}", path.display());
        if fs::metadata(path).map_err(tell)?.is_dir() {
            return self.add(path.to_owned(), true, false);
        }
        let parent = path.parent().unwrap_or(&self.folder).to_owned();
        let watch = self.watch(&parent)?;
        let place = self.watches.entry(watch).or_insert(Place {
            path: parent,
            only: Some(Vec::new()),
            root: true,
        });
        if let Some(only) = &mut place.only {
            only.push(path.to_owned());
        }
        Ok(())
    }

    /// Watches the folder at `path` and those in it. `fresh`: what it holds has appeared just now.
    fn add(&mut self, path: PathBuf, root: bool, fresh: bool) -> Result<(), String> {
        let mut folders = vec![(path, root)];
        while let Some((path, root)) = folders.pop() {
            if self.watches.len() >= MOST_FOLDERS {
                return Err(format!(
                    "more than {MOST_FOLDERS} folders, `ignore` leaves some out"
                ));
            }
            let watch = match self.watch(&path) {
                Ok(watch) => watch,
                Err(_) if !root && !path.is_dir() => continue,
                Err(why) => return Err(why),
            };
            let place = Place {
                path: path.clone(),
                only: None,
                root,
            };
            self.watches.insert(watch, place);
            for entry in fs::read_dir(&path).into_iter().flatten().flatten() {
                let inner = entry.path();
                if self.filter.ignores(self.shown(&inner)) {
                    continue;
                }
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => folders.push((inner, false)),
                    Ok(_) if fresh => self.changed(&inner),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn watch(&self, path: &Path) -> Result<i32, String> {
        inotify::add_watch(&self.inotify, path, TOLD).map_err(|error| match error {
            Errno::NOSPC => format!(
                "{}: there are as many watched folders as `fs.inotify.max_user_watches` allows; raise it with `sysctl`, or leave folders out with `ignore`",
                path.display()
            ),
            error => format!("{}: {}", path.display(), io::Error::from(error)),
        })
    }

    fn take_in(&mut self, note: Note) {
        if note.what.contains(ReadFlags::QUEUE_OVERFLOW) {
            self.changes.push_back(PathBuf::from("."));
            self.broken = Some("too many changes at once; looking at everything again".to_owned());
            return;
        }
        let gone = ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT;
        let Some(place) = self.watches.get(&note.watch).cloned() else {
            return;
        };
        if note.what.intersects(gone) && place.root {
            self.broken = Some(format!("{} is gone", place.path.display()));
        }
        if note.what.intersects(ReadFlags::MOVE_SELF) {
            let _ = inotify::remove_watch(&self.inotify, note.watch);
        }
        if note.what.contains(ReadFlags::IGNORED) {
            self.watches.remove(&note.watch);
        }
        if let Some(name) = note.name {
            self.take_in_entry(&place, &place.path.join(name), note.what);
        }
    }

    /// Something happened to `path`, which is in `place`.
    fn take_in_entry(&mut self, place: &Place, path: &Path, what: ReadFlags) {
        if let Some(only) = &place.only {
            if only.iter().any(|file| file == path) {
                self.changed(path);
            }
            return;
        }
        if self.filter.ignores(self.shown(path)) {
            return;
        }
        if !what.contains(ReadFlags::ISDIR) {
            return self.changed(path);
        }
        if what.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO)
            && let Err(why) = self.add(path.to_owned(), false, true)
        {
            self.broken = Some(why);
        }
        if what.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM) && self.filter.counts(path) {
            self.changed(path);
        }
    }

    fn changed(&mut self, path: &Path) {
        let shown = self.shown(path);
        if self.filter.counts(shown) && self.changes.len() < MOST_CHANGES {
            let shown = shown.to_owned();
            self.changes.push_back(shown);
        }
    }

    /// The path as people write it: from the working folder, if it is in there.
    fn shown<'p>(&self, path: &'p Path) -> &'p Path {
        path.strip_prefix(&self.folder).unwrap_or(path)
    }
}

/// Without `.` and with `..` resolved by name, so that what is told can be compared with what was asked for.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => drop(normal.pop()),
            part => normal.push(part),
        }
    }
    normal
}

impl AsRawFd for Tree {
    fn as_raw_fd(&self) -> RawFd {
        self.inotify.as_raw_fd()
    }
}
