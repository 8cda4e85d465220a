//! The numbers of processes (`pm_id`), and from where their restarts are counted.
//!
//! PM2's daemon counts them in memory. Here nobody runs all the time who could, and the server knows no such numbers, so
//! they are kept in a file of the data directory, which they belong to: a process is a place among the instances of a
//! service, and keeps its number as long as the place is there, whatever process fills it. Numbers are given as PM2 gives
//! them: the next one that was never used, from 0 again once nothing is left.
//!
//! Every command that looks holds the file's lock from before it asks the server until it has written, so that two at
//! once do not give a number twice.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::failure::{Exit, Failure, Outcome};

/// The file, locked.
pub(crate) struct Ids {
    pub(crate) book: Book,
    written: Book,
    path: PathBuf,
    _lock: File,
}

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Book {
    next: u32,
    services: BTreeMap<String, Record>,
}

/// Of one service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Record {
    /// By place.
    places: BTreeMap<u32, Place>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Place {
    id: u32,
    /// Restarts that do not count any more.
    forgiven: Restarts,
}

/// How often something was started again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Restarts {
    /// Because somebody asked.
    pub(crate) asked: u64,
    /// The instance that runs.
    pub(crate) instance: String,
    /// After exits of that instance.
    pub(crate) exits: u32,
}

impl Ids {
    /// Opens the file of a data directory; waits while another command has it.
    pub(crate) fn open(home: &Path) -> Outcome<Self> {
        let folder = folder(home)?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(folder.join("ids.lock"))?;
        flock(&lock, FlockOperation::LockExclusive).map_err(std::io::Error::from)?;
        let path = folder.join("ids.json");
        let written = read(&path)?;
        Ok(Self {
            book: written.clone(),
            written,
            path,
            _lock: lock,
        })
    }

    /// Writes what has changed.
    pub(crate) fn save(&mut self) -> Outcome {
        if self.book != self.written {
            let text = serde_json::to_vec(&self.book).map_err(std::io::Error::from)?;
            hythe_stdx::write_atomically(&self.path, &text)?;
            self.written = self.book.clone();
        }
        Ok(())
    }
}

/// The folder of what PM2's command line remembers beside Hythe's data.
pub(crate) fn folder(home: &Path) -> Outcome<PathBuf> {
    let folder = home.join("pm2");
    DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    Ok(folder)
}

fn read(path: &Path) -> Outcome<Book> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Book::default()),
        Err(error) => {
            return Err(Failure::new(
                Exit::Failed,
                format!("read {}: {error}", path.display()),
            ));
        }
    };
    serde_json::from_slice(&text).map_err(|error| {
        let message = format!("{} cannot be read: {error}", path.display());
        Failure::new(Exit::Failed, message).hint("remove it: processes then get new numbers")
    })
}

impl Book {
    /// Gives a number to each of the first `count` places of a service; the first one's number. A new place has not seen
    /// the restarts that were `asked` for before.
    pub(crate) fn reserve(&mut self, service: &str, count: u32, asked: u64) -> u32 {
        let mut first = self.next;
        for place in 0..count.max(1) {
            let id = match self.id(service, place) {
                Some(id) => id,
                None => self.give(service, place, first, asked),
            };
            if place == 0 {
                first = id;
            }
        }
        first
    }

    /// The number after the one of the place before if it is free, as `pm_id` of the environment has it; otherwise the
    /// next one.
    fn give(&mut self, service: &str, place: u32, first: u32, asked: u64) -> u32 {
        let wanted = first.saturating_add(place);
        let id = if self.is_used(wanted) { self.next } else { wanted };
        self.next = self.next.max(id.saturating_add(1));
        let new = Place {
            id,
            forgiven: Restarts {
                asked,
                ..Restarts::default()
            },
        };
        let record = self.services.entry(service.to_owned()).or_default();
        record.places.insert(place, new);
        id
    }

    fn is_used(&self, id: u32) -> bool {
        let mut places = self.services.values().flat_map(|record| record.places.values());
        places.any(|place| place.id == id)
    }

    /// Keeps the numbers of these services, each with so many places and asked to restart so often, and gives those that
    /// are missing.
    pub(crate) fn keep(&mut self, services: &BTreeMap<String, (u32, u64)>) {
        self.services.retain(|service, record| {
            let count = services.get(service).map_or(0, |(count, _)| *count);
            record.places.retain(|place, _| *place < count);
            count > 0
        });
        if self.services.is_empty() {
            self.next = 0;
        }
        for (service, (count, asked)) in services {
            if *count > 0 {
                self.reserve(service, *count, *asked);
            }
        }
    }

    /// The number of a place.
    pub(crate) fn id(&self, service: &str, place: u32) -> Option<u32> {
        let place = self.services.get(service)?.places.get(&place)?;
        Some(place.id)
    }

    /// How many restarts count, now that there were so many.
    pub(crate) fn counted(&self, service: &str, place: u32, now: &Restarts) -> u64 {
        let record = self.services.get(service);
        let Some(place) = record.and_then(|record| record.places.get(&place)) else {
            return now.asked + u64::from(now.exits);
        };
        let forgiven = &place.forgiven;
        let exits = match forgiven.instance == now.instance {
            true => now.exits.saturating_sub(forgiven.exits),
            false => now.exits,
        };
        now.asked.saturating_sub(forgiven.asked) + u64::from(exits)
    }

    /// Counts from here on.
    pub(crate) fn forgive(&mut self, service: &str, place: u32, now: Restarts) {
        let record = self.services.get_mut(service);
        if let Some(place) = record.and_then(|record| record.places.get_mut(&place)) {
            place.forgiven = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of each service after it was kept with so many places.
    fn kept(book: &mut Book, services: &[(&str, u32)]) -> String {
        let services = services
            .iter()
            .map(|(name, count)| ((*name).to_owned(), (*count, 0)))
            .collect();
        book.keep(&services);
        let places = |(name, record): (&String, &Record)| {
            let ids: Vec<String> = record.places.values().map(|place| place.id.to_string()).collect();
            format!("{name}:{}", ids.join(","))
        };
        book.services.iter().map(places).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn numbers_stay_and_are_used_once() {
        let mut book = Book::default();
        let rows: [(&[(&str, u32)], &str); 8] = [
            (&[("api", 2)], "api:0,1"),
            (&[("api", 2), ("web", 1)], "api:0,1 web:2"),
            (&[("api", 3), ("web", 1)], "api:0,1,3 web:2"),
            (&[("api", 1), ("web", 1)], "api:0 web:2"),
            (&[("api", 2), ("web", 1)], "api:0,1 web:2"),
            (&[("job", 1), ("web", 1)], "job:4 web:2"),
            (&[], ""),
            (&[("web", 1)], "web:0"),
        ];
        for (services, expected) in rows {
            assert_eq!(kept(&mut book, services), expected, "{services:?}");
        }
    }

    #[test]
    fn what_is_reserved_stands_in_a_row() {
        let mut book = Book::default();
        assert_eq!(book.reserve("web", 2, 0), 0);
        assert_eq!(book.reserve("api", 3, 0), 2);
        assert_eq!(book.reserve("web", 2, 0), 0);
        assert_eq!(book.id("api", 2), Some(4));
    }

    #[test]
    fn restarts_are_counted_from_the_last_reset() {
        let mut book = Book::default();
        book.reserve("api", 1, 0);
        let now = |asked, instance: &str, exits| Restarts {
            asked,
            instance: instance.to_owned(),
            exits,
        };
        assert_eq!(book.counted("api", 0, &now(1, "api-1", 2)), 3);
        book.forgive("api", 0, now(1, "api-1", 2));
        assert_eq!(book.counted("api", 0, &now(1, "api-1", 2)), 0);
        assert_eq!(book.counted("api", 0, &now(1, "api-1", 5)), 3);
        assert_eq!(book.counted("api", 0, &now(2, "api-2", 1)), 2);
        book.reserve("api", 2, 2);
        assert_eq!(
            book.counted("api", 1, &now(2, "api-3", 1)),
            1,
            "it came after those"
        );
        assert_eq!(book.counted("gone", 0, &now(2, "gone-1", 1)), 3);
    }

    #[test]
    fn the_file_is_read_again_and_is_nobody_elses() {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::tempdir().unwrap();
        let mut ids = Ids::open(home.path()).unwrap();
        ids.book.reserve("api", 2, 0);
        ids.save().unwrap();
        drop(ids);
        let ids = Ids::open(home.path()).unwrap();
        assert_eq!(ids.book.id("api", 1), Some(1));
        let mode = |name: &str| home.path().join(name).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("pm2"), mode("pm2/ids.json")), (0o700, 0o600));
    }
}
