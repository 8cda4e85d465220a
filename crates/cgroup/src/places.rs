//! Where a process stands in each hierarchy, from what `/proc` says of mounts and of the process.

use std::path::{Path, PathBuf};

use crate::{Controller, OWN_PROCESSES};

/// Of a hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    One,
    Two,
}

/// A process's place in one hierarchy.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) version: Version,
    /// Of a hierarchy of version 1.
    controllers: Vec<String>,
    /// Where it is mounted.
    mount: PathBuf,
    /// The process's group, as seen from the mount.
    own: PathBuf,
}

impl Place {
    /// Below which folder groups can be made; `is_delegated` tells whether a group of version 2 was given to us.
    pub(crate) fn base(&self, is_delegated: impl Fn(&Path) -> bool) -> Option<PathBuf> {
        let own = if self.own.file_name().is_some_and(|name| name == OWN_PROCESSES) {
            self.own.parent()?
        } else {
            &self.own
        };
        let folder = self.mount.join(own);
        let at_top = own.as_os_str().is_empty();
        match self.version {
            Version::Two if !at_top && !is_delegated(&folder) => Some(self.mount.clone()),
            Version::One | Version::Two => Some(folder),
        }
    }

    /// What a hierarchy of version 1 can limit.
    pub(crate) fn limits(&self) -> Vec<Controller> {
        let mut limits = Controller::ALL.to_vec();
        limits.retain(|limit| self.controllers.iter().any(|name| name == limit.as_str()));
        limits
    }

    pub(crate) fn is_freezer(&self) -> bool {
        self.controllers.iter().any(|name| name == "freezer")
    }
}

/// The places of a process, from `/proc/self/mountinfo` and its own `cgroup` file. What is mounted twice counts once;
/// what the process's group cannot be seen through does not.
pub(crate) fn of(mountinfo: &str, cgroup: &str) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    for mount in mountinfo.lines().filter_map(Mount::parse) {
        let Some(place) = mount.place(cgroup) else {
            continue;
        };
        let known =
            |other: &Place| (other.version, &other.controllers) == (place.version, &place.controllers);
        if !places.iter().any(known) {
            places.push(place);
        }
    }
    places
}

/// A line of `mountinfo` about a hierarchy.
struct Mount<'a> {
    /// Which part of the hierarchy is mounted.
    root: String,
    point: String,
    version: Version,
    /// The options of its file system; of version 1, its controllers among them.
    options: &'a str,
}

impl<'a> Mount<'a> {
    /// `31 23 0:28 / /sys/fs/cgroup/pids rw,relatime shared:7 - cgroup cgroup rw,pids`.
    fn parse(line: &'a str) -> Option<Self> {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (unescaped(fields.next()?), unescaped(fields.next()?));
        let mut fields = file_system.split(' ');
        let version = match fields.next()? {
            "cgroup" => Version::One,
            "cgroup2" => Version::Two,
            _ => return None,
        };
        Some(Self {
            root,
            point,
            version,
            options: fields.nth(1)?,
        })
    }

    /// `cgroup` has lines such as `8:pids:/some/group` and `0::/some/group`.
    fn place(&self, cgroup: &str) -> Option<Place> {
        let has = |name: &str| self.options.split(',').any(|option| option == name);
        let (controllers, group) = cgroup.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, group) = (fields.next()?, fields.next()?);
            let fits = match self.version {
                Version::One => !controllers.is_empty() && controllers.split(',').all(has),
                Version::Two => controllers.is_empty(),
            };
            fits.then_some((controllers, group))
        })?;
        let own = Path::new(group).strip_prefix(&self.root).ok()?;
        // Outside of what this process can see.
        if own.starts_with("..") {
            return None;
        }
        Some(Place {
            version: self.version,
            controllers: controllers
                .split(',')
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect(),
            mount: PathBuf::from(&self.point),
            own: own.to_owned(),
        })
    }
}

/// Blanks and the like stand as octal numbers, `\040`.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part
            .get(..3)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok())
        {
            Some(byte) => {
                plain.push(char::from(byte));
                plain.push_str(&part[3..]);
            }
            None => {
                plain.push('\\');
                plain.push_str(part);
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEPARATE: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
37 31 0:34 /docker/1a /sys/fs/cgroup/freezer ro master:3 - cgroup cgroup rw,freezer
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    fn bases(mountinfo: &str, cgroup: &str, delegated: bool) -> Vec<String> {
        let base = |place: &Place| place.base(|_| delegated);
        let text = |base: PathBuf| base.display().to_string().trim_end_matches('/').to_owned();
        of(mountinfo, cgroup).iter().filter_map(base).map(text).collect()
    }

    #[test]
    fn groups_lie_below_that_of_the_process() {
        let separate = "9:name=systemd:/s\n6:freezer:/docker/1a/b\n4:memory:/m\n1:cpu,cpuacct:/\n0::/u\n";
        let unified = "30 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        let service = "0::/system.slice/hythe.service\n";
        let moved = "0::/system.slice/hythe.service/hythe-server\n";
        let own = "/sys/fs/cgroup/system.slice/hythe.service";
        let rows: [(&str, &str, bool, &[&str]); 7] = [
            (
                SEPARATE,
                separate,
                true,
                &[
                    "/sys/fs/cgroup/cpu,cpuacct",
                    "/sys/fs/cgroup/memory/m",
                    "/sys/fs/cgroup/freezer/b",
                    "/sys/fs/cgroup/systemd/s",
                    "/sys/fs/cgroup/unified/u",
                ],
            ),
            (unified, service, true, &[own]),
            (unified, service, false, &["/sys/fs/cgroup"]),
            (unified, moved, true, &[own]),
            (unified, "0::/\n", false, &["/sys/fs/cgroup"]),
            // A process in another namespace's group.
            (unified, "0::/../other\n", true, &[]),
            (unified, "", true, &[]),
        ];
        for (mountinfo, cgroup, delegated, expected) in rows {
            assert_eq!(bases(mountinfo, cgroup, delegated), expected, "{cgroup}");
        }
    }

    #[test]
    fn a_hierarchy_of_version_1_limits_what_its_controllers_do() {
        let places = of(SEPARATE, "9:name=systemd:/\n4:memory:/\n1:cpu,cpuacct:/\n0::/\n");
        let limits: Vec<_> = places.iter().map(Place::limits).collect();
        assert_eq!(
            limits,
            [vec![Controller::Cpu], vec![Controller::Memory], vec![], vec![]]
        );
    }

    #[test]
    fn lines_of_other_kinds_and_escapes() {
        for line in [
            "",
            "1 2 3",
            "31 23 0:28 / /x rw - ext4 /dev/vda rw",
            "31 23 0:28 / /x rw - cgroup",
        ] {
            assert!(Mount::parse(line).is_none(), "{line}");
        }
        let rows = [
            ("/a\\040b", "/a b"),
            ("/a", "/a"),
            ("/a\\", "/a\\"),
            ("/a\\09", "/a\\09"),
        ];
        for (text, plain) in rows {
            assert_eq!(unescaped(text), plain);
        }
    }
}
