//! Where lines become visible: files, memory and followers of every service change together, under one lock.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;

use hythe_model::FullName;
use hythe_ports::LogQuery;
use memchr::memmem;

use crate::batch::Batch;
use crate::entry::{Entry, Source};
use crate::follower::Follower;
use crate::recent::{Recent, RecentLimits};
use crate::rotated_files::{FileLimits, RotatedFiles, visit_backwards};
use crate::selection::{Older, Selection};

/// All services that have a log.
#[derive(Debug)]
pub(crate) struct Hub {
    folder: PathBuf,
    file_limits: FileLimits,
    recent_limits: RecentLimits,
    services: BTreeMap<FullName, ServiceLog>,
    followers: Vec<Arc<Follower>>,
}

#[derive(Debug)]
struct ServiceLog {
    label: Arc<str>,
    files: RotatedFiles,
    recent: Recent,
}

impl Hub {
    /// Finds the logs that are there.
    pub(crate) fn open(
        folder: PathBuf,
        file_limits: FileLimits,
        recent_limits: RecentLimits,
    ) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let mut hub = Self {
            folder,
            file_limits,
            recent_limits,
            services: BTreeMap::new(),
            followers: Vec::new(),
        };
        for entry in fs::read_dir(&hub.folder)? {
            if let Some(service) = entry?.file_name().to_str().and_then(service_of) {
                hub.log_of(&service)?;
            }
        }
        Ok(hub)
    }

    /// Writes lines of a service and shows them to everybody: all of them or, after an error, none.
    pub(crate) fn append(&mut self, service: &FullName, batch: &Batch) -> io::Result<()> {
        let log = self.log_of(service)?;
        log.files.append(&batch.bytes)?;
        let start = log.files.end() - batch.bytes.len() as u64;
        for (index, line) in &batch.lines {
            log.recent.push(start + index, Arc::clone(line));
        }
        self.publish(service, batch);
        Ok(())
    }

    /// Shows lines that cannot be written.
    pub(crate) fn show(&mut self, service: &FullName, batch: &Batch) {
        if let Some(log) = self.services.get_mut(service) {
            let end = log.files.end();
            for (_, line) in &batch.lines {
                log.recent.push(end, Arc::clone(line));
            }
        }
        self.publish(service, batch);
    }

    /// What a query selects at this moment.
    pub(crate) fn select(&self, query: &LogQuery) -> io::Result<Vec<Selection>> {
        let wanted = |service: &FullName| query.services.is_empty() || query.services.contains(service);
        let logs = self.services.iter().filter(|(service, _)| wanted(service));
        logs.map(|(_, log)| log.select(query)).collect()
    }

    /// A new reader of what comes after this moment.
    pub(crate) fn follow(&mut self, query: &LogQuery) -> Arc<Follower> {
        let follower = Arc::new(Follower::new(&query.services));
        self.followers.push(Arc::clone(&follower));
        follower
    }

    /// How far the files have taken over a raw stream.
    pub(crate) fn taken_over(
        &mut self,
        service: &FullName,
        run: &str,
        source: Source,
    ) -> io::Result<Option<u64>> {
        let log = self.log_of(service)?;
        let stream = if source == Source::Out { "out" } else { "err" };
        let needle = format!(r#""r":"{run}","s":"{stream}""#);
        let finder = memmem::Finder::new(&needle);
        let mut found = None;
        visit_backwards(&log.files.parts()?, log.files.end(), |line| {
            let entry = finder.find(line).and_then(|_| Entry::parse(line));
            let of_stream = entry.filter(|entry| entry.run.as_deref() == Some(run) && entry.source == source);
            found = of_stream.and_then(|entry| entry.end);
            if found.is_some() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        Ok(found)
    }

    /// Lets go of the open file of a service that nothing writes to for now.
    pub(crate) fn close(&mut self, service: &FullName) {
        if let Some(log) = self.services.get_mut(service) {
            log.files.close();
        }
    }

    fn publish(&mut self, service: &FullName, batch: &Batch) {
        // The hub holds one reference, the reader's task the other.
        self.followers.retain(|follower| Arc::strong_count(follower) > 1);
        for follower in self.followers.iter().filter(|follower| follower.wants(service)) {
            batch.lines.iter().for_each(|(_, line)| follower.push(line));
        }
    }

    fn log_of(&mut self, service: &FullName) -> io::Result<&mut ServiceLog> {
        if !self.services.contains_key(service) {
            let path = self.folder.join(file_name(service));
            let log = ServiceLog {
                label: service.to_string().into(),
                files: RotatedFiles::open(path, self.file_limits)?,
                recent: Recent::new(self.recent_limits),
            };
            self.services.insert(service.clone(), log);
        }
        self.services
            .get_mut(service)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl ServiceLog {
    fn select(&self, query: &LogQuery) -> io::Result<Selection> {
        let since = query.since.unwrap_or(0);
        let wanted = query.last.unwrap_or(usize::MAX);
        let recent = self.recent.last(wanted, since);
        let before = self.recent.position().unwrap_or(self.files.end());
        let enough =
            recent.len() >= wanted || self.recent.reaches_back_to(since) || before <= self.files.start();
        let older = if enough {
            None
        } else {
            Some(Older {
                parts: self.files.parts()?,
                before,
                most: wanted - recent.len(),
            })
        };
        Ok(Selection {
            service: Arc::clone(&self.label),
            since,
            recent,
            older,
        })
    }
}

/// `<project>.<service>.log`: a project has no dot in its name.
fn file_name(service: &FullName) -> String {
    format!("{}.{}.log", service.project, service.name)
}

fn service_of(file_name: &str) -> Option<FullName> {
    let (project, name) = file_name.strip_suffix(".log")?.split_once('.')?;
    Some(FullName::new(project.parse().ok()?, name.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names() {
        for (name, service) in [
            ("default.users.log", Some("users")),
            ("shop.a.b.log", Some("shop.a.b")),
            ("shop.a.log.log", Some("shop.a.log")),
            ("default.users.log.1", None),
            ("users.log", None),
            (".x.log", None),
        ] {
            let parsed = service_of(name);
            assert_eq!(
                parsed.as_ref().map(ToString::to_string).as_deref(),
                service,
                "{name}"
            );
            if let Some(parsed) = parsed {
                assert_eq!(file_name(&parsed), name);
            }
        }
    }
}
