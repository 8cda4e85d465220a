//! The log of one service: its files, its newest lines in memory, and the files that its user chose.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use hythe_model::{FullName, LogRules};
use hythe_ports::LogQuery;

use crate::batch::Batch;
use crate::budget;
use crate::own_files::OwnFiles;
use crate::recent::{Recent, RecentLimits};
use crate::rotated_files::{FileLimits, RotatedFiles};
use crate::selection::{Older, Selection};

/// For the owner only: what services print may be secret.
const MODE: u32 = 0o600;

#[derive(Debug)]
pub(crate) struct ServiceLog {
    label: Arc<str>,
    pub(crate) files: RotatedFiles,
    pub(crate) own: OwnFiles,
    recent: Recent,
}

impl ServiceLog {
    pub(crate) fn open(service: &FullName, path: PathBuf, recent_limits: RecentLimits) -> io::Result<Self> {
        Ok(Self {
            label: service.to_string().into(),
            files: RotatedFiles::open_whole(path, MODE)?,
            own: OwnFiles::default(),
            recent: Recent::new(recent_limits),
        })
    }

    /// Appends to the log. A file that began before `oldest` is not written any more. Says whether there is a new file.
    pub(crate) fn write(&mut self, batch: &Batch, limits: FileLimits, oldest: u64) -> io::Result<bool> {
        let too_old = self.files.began_before(oldest);
        if too_old {
            self.files.rotate(limits.files)?;
        }
        Ok(self.files.append(&batch.bytes, batch.at, limits)? || too_old)
    }

    /// Keeps in memory what was written last.
    pub(crate) fn remember(&mut self, batch: &Batch) {
        let start = self.files.end() - batch.bytes.len() as u64;
        for (index, line) in &batch.lines {
            self.recent.push(start + index, Arc::clone(line));
        }
    }

    /// Keeps in memory what is in no file.
    pub(crate) fn remember_unwritten(&mut self, batch: &Batch) {
        for (_, line) in &batch.lines {
            self.recent.push(self.files.end(), Arc::clone(line));
        }
    }

    /// Deletes everything that is kept.
    pub(crate) fn clear(&mut self, rules: &LogRules, recent_limits: RecentLimits) -> io::Result<()> {
        self.recent = Recent::new(recent_limits);
        while self.files.disk() > 0 {
            self.files.remove_oldest()?;
        }
        self.own.truncate(rules)
    }

    /// Rotates and deletes what is too old at a time.
    pub(crate) fn forget_old(&mut self, rules: &LogRules, now: u64) -> io::Result<()> {
        let Some(age) = rules.max_age_ms else {
            return Ok(());
        };
        let oldest = now.saturating_sub(age);
        if self.files.began_before(oldest) {
            self.files.rotate(rules.max_files as usize)?;
        }
        self.files.remove_before(oldest)
    }

    /// Every file that may be compressed once it is not written.
    pub(crate) fn all_files(&mut self) -> impl Iterator<Item = &mut RotatedFiles> {
        std::iter::once(&mut self.files).chain(self.own.iter_mut())
    }

    /// As the budget sees it.
    pub(crate) fn sizes(&self) -> budget::Log {
        let size = |kept: &crate::rotated_files::Kept| budget::Size {
            bytes: kept.disk,
            written_at: kept.written_at,
        };
        budget::Log {
            files: self.files.kept().map(size).collect(),
            running: self.files.is_open(),
        }
    }

    /// What a query selects.
    pub(crate) fn select(&self, query: &LogQuery) -> io::Result<Selection> {
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
