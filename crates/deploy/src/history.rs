//! Which releases a host has had, and where in that row it is.
//!
//! The row is like the steps that an editor can undo: going back moves the place and drops nothing, so going back
//! again goes further; the next deployment takes the place of all that was gone back from.

use std::collections::BTreeSet;
use std::fmt;

/// How many releases are remembered.
const REMEMBERED: usize = 100;

/// The name of a release, `<commit>-<time>` or `upload-<time>`. PM2 remembers commits without a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release(String);

/// What a host says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// The folder of the target, absolute.
    pub root: String,
    /// What `current` points to, as it was written.
    pub link: Option<String>,
    /// The releases that went live, in their order.
    pub log: Vec<Release>,
    /// Those that are still there, deployed or not.
    pub folders: BTreeSet<Release>,
}

impl Release {
    /// Of a commit, made at `time`.
    pub fn of(commit: &str, time: &str) -> Option<Self> {
        Self::parse(&format!("{commit}-{time}"))
    }

    /// Of the local folder, made at `time`.
    pub fn uploaded(time: &str) -> Option<Self> {
        Self::parse(&format!("upload-{time}"))
    }

    /// `None` if no release has such a name.
    pub fn parse(name: &str) -> Option<Self> {
        let (origin, time) = name.split_once('-').unwrap_or((name, "0"));
        let known = origin == "upload" || is_commit(origin);
        let timed = !time.is_empty()
            && time
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
        (known && timed).then(|| Self(name.to_owned()))
    }

    /// The commit, unless it was uploaded.
    pub fn commit(&self) -> Option<&str> {
        let origin = self.0.split('-').next().unwrap_or_default();
        is_commit(origin).then_some(origin)
    }

    /// Where it is, from the folder of the target.
    pub fn link(&self) -> String {
        format!("releases/{}", self.0)
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A link into the target's folder, as seen from there.
fn below(root: &str, link: &str) -> String {
    let inner = link.strip_prefix(root).and_then(|rest| rest.strip_prefix('/'));
    inner.unwrap_or(link).to_owned()
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl History {
    /// From the host's answers; what is no name of a release is left out.
    pub fn of(answers: &[String]) -> Self {
        let mut history = Self::default();
        for answer in answers {
            match answer.split_once(' ') {
                Some(("root", root)) => history.root = root.to_owned(),
                Some(("link", link)) => history.link = Some(link.to_owned()),
                Some(("log", name)) => history.log.extend(Release::parse(name.trim())),
                Some(("folder", name)) => history.folders.extend(Release::parse(name)),
                _ => {}
            }
        }
        history.link = history.link.map(|link| below(&history.root, &link));
        history
    }

    /// The release that `current` points to. PM2's points to its clone, which has what was logged last.
    pub fn current(&self) -> Option<&Release> {
        let name = self.link.as_deref()?.trim_end_matches('/').rsplit('/').next()?;
        if name == "source" {
            return self.log.last();
        }
        self.log
            .iter()
            .chain(&self.folders)
            .find(|release| release.0 == name)
    }

    /// Whether `current` is a release that went live.
    pub fn is_live(&self) -> bool {
        self.place().is_some()
    }

    /// The one that went live `steps` before the current one.
    pub fn back(&self, steps: usize) -> Option<&Release> {
        let from = self.place().unwrap_or(self.log.len());
        self.log.get(from.checked_sub(steps)?)
    }

    /// The row once `release` has gone live.
    pub fn with(&self, release: &Release) -> Vec<Release> {
        let kept = self.place().map_or(self.log.len(), |place| place + 1);
        let mut log: Vec<Release> = self.log.iter().take(kept).cloned().collect();
        log.push(release.clone());
        log.drain(..log.len().saturating_sub(REMEMBERED));
        log
    }

    /// The folders that are not needed once `log` is the row, of which the last `keep` stay.
    pub fn superfluous(&self, log: &[Release], keep: usize) -> Vec<Release> {
        let kept = &log[log.len().saturating_sub(keep)..];
        let is_free = |release: &&Release| !kept.contains(release);
        self.folders.iter().filter(is_free).cloned().collect()
    }

    fn place(&self) -> Option<usize> {
        let current = self.current()?;
        self.log.iter().rposition(|release| release == current)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a` stands for the release of commit `aaa...` at time 1.
    fn release(letter: char) -> Release {
        let commit = letter.to_string().repeat(40);
        Release::of(&commit, "1").expect("a release")
    }

    fn history(log: &str, current: Option<char>) -> History {
        History {
            root: "/app".to_owned(),
            link: current.map(|letter| release(letter).link()),
            log: log.chars().map(release).collect(),
            folders: log.chars().chain(current).map(release).collect(),
        }
    }

    fn letters<'r>(releases: impl IntoIterator<Item = &'r Release>) -> String {
        releases
            .into_iter()
            .filter_map(|release| release.0.chars().next())
            .collect()
    }

    #[test]
    fn going_back_goes_further_each_time() {
        let rows = [
            ("abc", Some('c'), 1, "b"),
            ("abc", Some('b'), 1, "a"),
            ("abc", Some('a'), 1, ""),
            ("abc", Some('c'), 2, "a"),
            ("abc", Some('c'), 0, "c"),
            ("abc", Some('f'), 1, "c"),
            ("abc", None, 1, "c"),
            ("", None, 1, ""),
        ];
        for (log, current, steps, expected) in rows {
            let found = history(log, current);
            assert_eq!(letters(found.back(steps)), expected, "{log} {current:?} {steps}");
        }
    }

    #[test]
    fn a_new_release_takes_the_place_of_what_was_gone_back_from() {
        let rows = [
            ("abc", Some('c'), 2, "abcd", "ab"),
            ("abc", Some('a'), 2, "ad", "bc"),
            ("abc", Some('f'), 9, "abcd", "f"),
            ("", None, 1, "d", ""),
        ];
        for (log, current, keep, after, free) in rows {
            let history = history(log, current);
            let log = history.with(&release('d'));
            assert_eq!(letters(&log), after);
            assert_eq!(letters(&history.superfluous(&log, keep)), free, "{after}");
        }
        let long = history(&"a".repeat(REMEMBERED), None);
        assert_eq!(long.with(&release('d')).len(), REMEMBERED);
    }

    #[test]
    fn answers_are_read_and_strange_ones_left_out() {
        let (new, old) = ("a".repeat(40), "b".repeat(40));
        let answers = [
            "root /srv/my app".to_owned(),
            "link /srv/my app/source".to_owned(),
            format!("log {old}"),
            format!("log {new}"),
            "log ../../etc".to_owned(),
            format!("folder {new}-20260102T030405.678Z"),
            "folder upload-1".to_owned(),
            "folder mine".to_owned(),
            "noise".to_owned(),
        ];
        let history = History::of(&answers);
        assert_eq!(history.root, "/srv/my app");
        assert_eq!(history.link.as_deref(), Some("source"));
        assert_eq!(history.folders.len(), 2);
        assert_eq!(
            history.current().and_then(Release::commit),
            Some(new.as_str()),
            "of PM2"
        );
        assert_eq!(history.back(1).and_then(Release::commit), Some(old.as_str()));
    }
}
