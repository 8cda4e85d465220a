//! Who starts services on this machine.

use std::fmt;
use std::path::Path;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manager {
    Systemd,
    OpenRc,
    Runit,
    S6,
    /// Process 1 is none of those.
    Other,
}

impl Manager {
    /// By the folders that each keeps while it runs, as `sd_booted(3)` does.
    pub(super) fn of(root: &Path) -> Self {
        let marks = [
            ("run/systemd/system", Self::Systemd),
            ("run/openrc", Self::OpenRc),
            ("run/runit", Self::Runit),
            ("run/s6-rc", Self::S6),
            ("run/s6", Self::S6),
        ];
        let found = marks.into_iter().find(|(folder, _)| root.join(folder).is_dir());
        found.map_or(Self::Other, |(_, manager)| manager)
    }
}

impl fmt::Display for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Systemd => "systemd",
            Self::OpenRc => "OpenRC",
            Self::Runit => "runit",
            Self::S6 => "s6",
            Self::Other => "another init, or none",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_runs() {
        for (folder, manager) in [
            ("run/systemd/system", Manager::Systemd),
            ("run/openrc", Manager::OpenRc),
            ("run/s6", Manager::S6),
            ("run/systemd", Manager::Other),
        ] {
            let root = tempfile::tempdir().unwrap();
            std::fs::create_dir_all(root.path().join(folder)).unwrap();
            assert_eq!(Manager::of(root.path()), manager, "{folder}");
        }
    }
}
