//! Where lines become visible: files, memory and followers of every service change together, under one lock.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::ops::ControlFlow;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hythe_model::{Desired, FullName, LogRules};
use hythe_ports::LogQuery;
use hythe_spine::Latest;
use memchr::memmem;
use tokio::sync::Notify;

use crate::backwards::visit_backwards;
use crate::batch::Batch;
use crate::budget::{self, Step};
use crate::entry::{Entry, Source};
use crate::follower::Follower;
use crate::keeper::Compression;
use crate::numbered::{self, base_name};
use crate::recent::RecentLimits;
use crate::rotated_files::FileLimits;
use crate::selection::Selection;
use crate::service_log::ServiceLog;

/// All services that have a log.
pub(crate) struct Hub {
    folder: PathBuf,
    /// The most bytes that all logs may take on the disk.
    budget: u64,
    desired: Latest<Desired>,
    recent_limits: RecentLimits,
    services: BTreeMap<FullName, ServiceLog>,
    /// What the logs take on the disk.
    disk: u64,
    rotated: Arc<Notify>,
    followers: Vec<Arc<Follower>>,
}

impl Hub {
    /// Finds the logs that are there.
    pub(crate) fn open(
        folder: PathBuf,
        budget: u64,
        recent_limits: RecentLimits,
        desired: Latest<Desired>,
    ) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let mut hub = Self {
            folder,
            budget,
            desired,
            recent_limits,
            services: BTreeMap::new(),
            disk: 0,
            rotated: Arc::default(),
            followers: Vec::new(),
        };
        for entry in fs::read_dir(&hub.folder)? {
            if let Some(service) = entry?.file_name().to_str().and_then(service_of) {
                hub.log_of(&service)?;
            }
        }
        hub.keep_budget(hub.budget);
        Ok(hub)
    }

    /// Told after each rotation.
    pub(crate) fn rotated(&self) -> Arc<Notify> {
        Arc::clone(&self.rotated)
    }

    /// Writes lines of a service and shows them to everybody: all of them or, after an error, none.
    pub(crate) fn append(&mut self, service: &FullName, batch: &Batch) -> io::Result<()> {
        let rules = self.rules_of(service);
        if rules.disabled {
            self.show(service, batch);
            return Ok(());
        }
        self.write(service, batch, &rules)?;
        let log = self.log_of(service)?;
        let missing = log.own.append(batch, &rules);
        log.remember(batch);
        self.publish(service, batch);
        if let Some(message) = missing {
            self.tell(service, batch, &message);
        }
        Ok(())
    }

    /// Shows lines that cannot be written.
    pub(crate) fn show(&mut self, service: &FullName, batch: &Batch) {
        if let Ok(log) = self.log_of(service) {
            log.remember_unwritten(batch);
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
        visit_backwards(log.files.parts()?, log.files.end(), |line| {
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

    /// Lets go of the open files of a service that nothing writes to for now.
    pub(crate) fn close(&mut self, service: &FullName) {
        if let Some(log) = self.services.get_mut(service) {
            log.files.close();
            log.own.close();
        }
    }

    /// Lets go of every open file until the next line.
    pub(crate) fn reopen(&mut self) {
        for log in self.services.values_mut() {
            log.files.close();
            log.own.close();
        }
    }

    /// Deletes what is kept of services; of all if none is named.
    pub(crate) fn flush(&mut self, services: &[FullName]) -> io::Result<()> {
        let desired = self.desired.get();
        let wanted = |service: &FullName| services.is_empty() || services.contains(service);
        for (service, log) in self.services.iter_mut().filter(|(service, _)| wanted(service)) {
            log.clear(&rules_in(&desired, service), self.recent_limits)?;
        }
        self.measure();
        Ok(())
    }

    /// Rotates and deletes what is too old at a time.
    pub(crate) fn forget_old(&mut self, now: u64) {
        let desired = self.desired.get();
        for (service, log) in &mut self.services {
            if let Err(error) = log.forget_old(&rules_in(&desired, service), now) {
                tracing::warn!(%service, %error, "old logs cannot be deleted");
            }
        }
        self.measure();
    }

    /// The next file that may be compressed, of what is not written any more.
    pub(crate) fn next_compression(&mut self) -> Option<Compression> {
        let desired = self.desired.get();
        let logs = self
            .services
            .iter_mut()
            .filter(|(service, _)| rules_in(&desired, service).compress);
        let mut files = logs.flat_map(|(_, log)| log.all_files());
        files.find_map(|files| {
            let (span, file) = files.to_compress().ok().flatten()?;
            let base = files.path().to_owned();
            Some(Compression { base, span, file })
        })
    }

    /// Puts a compressed file in the place of what it is made of, if that is still there.
    pub(crate) fn take_compressed(&mut self, compression: &Compression, unfinished: &Path) -> io::Result<()> {
        for files in self.services.values_mut().flat_map(ServiceLog::all_files) {
            if files.path() == compression.base && files.take_compressed(compression.span, unfinished)? {
                break;
            }
        }
        self.measure();
        numbered::absent_is_fine(fs::remove_file(unfinished))
    }

    /// Writes to the service's log. A full disk costs the oldest files of all services first.
    fn write(&mut self, service: &FullName, batch: &Batch, rules: &LogRules) -> io::Result<()> {
        self.log_of(service)?;
        let limits = FileLimits {
            bytes: rules
                .max_size
                .min(budget::share(self.budget, self.services.len())),
            files: rules.max_files as usize,
        };
        loop {
            let log = self.log_of(service)?;
            let before = log.files.disk();
            let oldest = rules.max_age_ms.map_or(0, |age| batch.at.saturating_sub(age));
            let written = log.write(batch, limits, oldest);
            let after = log.files.disk();
            self.disk = (self.disk + after).saturating_sub(before);
            self.keep_budget(self.budget);
            match written {
                Err(error) if error.kind() == ErrorKind::StorageFull && self.make_room(batch) => {}
                Err(error) => return Err(error),
                Ok(rotated) => {
                    if rotated {
                        self.rotated.notify_one();
                    }
                    return Ok(());
                }
            }
        }
    }

    /// Deletes old files for as much as a batch needs; false when there is nothing that may go.
    fn make_room(&mut self, batch: &Batch) -> bool {
        let before = self.disk;
        self.keep_budget(before.saturating_sub(batch.bytes.len() as u64));
        let freed = before - self.disk;
        if freed > 0 {
            tracing::warn!(freed, "the disk is full: the oldest logs were deleted");
        }
        freed > 0
    }

    /// Deletes the oldest files until all fit.
    fn keep_budget(&mut self, budget: u64) {
        if self.disk <= budget {
            return;
        }
        let names: Vec<FullName> = self.services.keys().cloned().collect();
        let logs = self.services.values().map(ServiceLog::sizes).collect();
        for step in budget::plan(logs, budget) {
            let (Step::RemoveOldest(index) | Step::Rotate(index)) = step;
            let Some(log) = names.get(index).and_then(|name| self.services.get_mut(name)) else {
                continue;
            };
            let done = match step {
                Step::RemoveOldest(_) => log.files.remove_oldest(),
                Step::Rotate(_) => log.files.rotate(usize::MAX),
            };
            if let Err(error) = done {
                tracing::warn!(file = %log.files.path().display(), %error, "old logs cannot be deleted");
                break;
            }
        }
        self.measure();
    }

    fn measure(&mut self) {
        self.disk = self.services.values().map(|log| log.files.disk()).sum();
    }

    fn publish(&mut self, service: &FullName, batch: &Batch) {
        // The hub holds one reference, the reader's task the other.
        self.followers.retain(|follower| Arc::strong_count(follower) > 1);
        for follower in self.followers.iter().filter(|follower| follower.wants(service)) {
            batch.lines.iter().for_each(|(_, line)| follower.push(line));
        }
    }

    /// A note about the log itself, for whoever looks.
    fn tell(&mut self, service: &FullName, about: &Batch, message: &str) {
        tracing::warn!(%service, "{message}");
        let instance = about.lines.first().map(|(_, line)| Arc::clone(&line.instance));
        let mut note = Batch::new(about.at);
        note.push_note(
            &service.to_string().into(),
            instance.as_deref().unwrap_or_default(),
            message,
        );
        self.show(service, &note);
    }

    fn rules_of(&self, service: &FullName) -> LogRules {
        rules_in(&self.desired.get(), service)
    }

    fn log_of(&mut self, service: &FullName) -> io::Result<&mut ServiceLog> {
        if !self.services.contains_key(service) {
            let path = self.folder.join(file_name(service));
            let log = ServiceLog::open(service, path, self.recent_limits)?;
            self.disk += log.files.disk();
            self.services.insert(service.clone(), log);
        }
        self.services
            .get_mut(service)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// A service that nobody describes any more has the usual rules.
fn rules_in(desired: &Desired, service: &FullName) -> LogRules {
    desired
        .workloads
        .get(service)
        .map(|workload| workload.spec.logs.clone())
        .unwrap_or_default()
}

/// `<project>.<service>.log`: a project has no dot in its name.
fn file_name(service: &FullName) -> String {
    format!("{}.{}.log", service.project, service.name)
}

/// Whose file it is, the written one or an older one.
fn service_of(file_name: &str) -> Option<FullName> {
    let (project, name) = base_name(file_name).strip_suffix(".log")?.split_once('.')?;
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
            ("default.users.log.old", None),
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
                let base = file_name(&parsed);
                assert_eq!(base, name);
                for older in [format!("{base}.1"), format!("{base}.12.gz")] {
                    assert_eq!(service_of(&older), Some(parsed.clone()), "{older}");
                }
            }
        }
    }
}
