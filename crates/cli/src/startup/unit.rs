//! What a unit says.

use std::fmt::Write;
use std::path::PathBuf;

/// How the first line begins of a unit that is ours to change and to remove.
pub(super) const MADE_BY: &str = "# Made by `hythe startup`";

/// What a unit is made of.
pub(super) struct Unit {
    pub(super) program: PathBuf,
    pub(super) home: PathBuf,
    /// Settings of the server, by name, with what was said about them.
    pub(super) settings: Vec<(&'static str, Vec<String>)>,
    /// Where programs are looked for.
    pub(super) path: Option<String>,
    /// Whose processes; root's if nobody is named.
    pub(super) run_as: Option<String>,
    /// A unit of a user's own manager.
    pub(super) of_user: bool,
    /// Whether systemd can put the server into a cgroup below the unit's, which it must be able to where services have
    /// theirs beside it: a restarted server could not be put into the unit's own.
    pub(super) has_subgroups: bool,
}

/// The first version of systemd with `DelegateSubgroup`.
pub(super) const SUBGROUPS_SINCE: u32 = 254;

/// What stands between: each line has its reason.
const SERVICE: &str = "\
Type=notify
NotifyAccess=main
# Services are children of the minder, a second process here. They run on when the server ends or is restarted, and the
# next server adopts them. `hythe server stop --with-services` ends all.
KillMode=process
Restart=on-failure
RestartSec=1
TimeoutStartSec=60
# Longer than the server lets open requests hold it up.
TimeoutStopSec=90
TasksMax=infinity
OOMPolicy=continue
LimitNOFILE=65536:1048576
# Services share what is said here, and what they may need stays allowed: sudo, files that others see in /tmp.
PrivateTmp=no
";

const WITH_SUBGROUPS: &str = "\
# Services have cgroups of their own, with limits.
Delegate=yes
DelegateSubgroup=hythe-server
";

/// For units of the machine: services may write everything but the system's own programs.
const OF_MACHINE: &str = "ProtectSystem=true\n";

/// So that the gateway of an ordinary user may listen on 80 and 443.
const LOW_PORTS: &str = "AmbientCapabilities=CAP_NET_BIND_SERVICE\n";

impl Unit {
    /// The unit's file.
    ///
    /// # Errors
    /// When something has a line end, which a unit cannot say.
    pub(super) fn text(&self) -> Result<String, String> {
        let mut text = format!("{MADE_BY}; `hythe unstartup` removes it.\n\n[Unit]\n");
        text.push_str("Description=Hythe: services and the gateway in front of them\n");
        if !self.of_user {
            text.push_str("Wants=network-online.target\nAfter=network-online.target\n");
        }
        text.push_str("StartLimitIntervalSec=0\n\n[Service]\n");
        let words = self.words().map(|word| quoted(&word)).collect::<Vec<_>>();
        let _ = writeln!(text, "ExecStart={}", words.join(" "));
        if let Some(user) = self.run_as.as_ref().filter(|_| !self.of_user) {
            let _ = writeln!(text, "User={}", user.replace('%', "%%"));
        }
        if let Some(path) = &self.path {
            let _ = writeln!(text, "Environment={}", quoted_plain(&format!("PATH={path}")));
        }
        text.push_str(SERVICE);
        if self.has_subgroups {
            text.push_str(WITH_SUBGROUPS);
        }
        if !self.of_user {
            text.push_str(OF_MACHINE);
            if self.run_as.as_ref().is_some_and(|user| user != "root") {
                text.push_str(LOW_PORTS);
            }
        }
        let wanted_by = if self.of_user { "default" } else { "multi-user" };
        let _ = write!(text, "\n[Install]\nWantedBy={wanted_by}.target\n");
        let values = self.words().chain(self.path.clone()).chain(self.run_as.clone());
        match values
            .into_iter()
            .find(|value| value.contains(['\n', '\r', '\0']))
        {
            Some(value) => Err(format!("{value:?} cannot be said in a unit: it has a line end")),
            None => Ok(text),
        }
    }

    /// What is run, for people.
    pub(super) fn command(&self) -> String {
        self.words()
            .map(|word| super::quote(&word))
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// The server's settings as flags.
    pub(super) fn flags(&self) -> impl Iterator<Item = String> {
        let flag = |(name, values): &(&str, Vec<String>)| {
            let name = name.replace('_', "-");
            values
                .iter()
                .map(|value| format!("--{name}={value}"))
                .collect::<Vec<_>>()
        };
        self.settings
            .iter()
            .flat_map(flag)
            .collect::<Vec<_>>()
            .into_iter()
    }

    fn words(&self) -> impl Iterator<Item = String> {
        let program = self.program.to_string_lossy().into_owned();
        let home = self.home.to_string_lossy().into_owned();
        let start = [program, "server".into(), "run".into(), "--home".into(), home];
        start.into_iter().chain(self.flags())
    }
}

/// A word of a command line: `$` would begin a variable.
fn quoted(word: &str) -> String {
    quoted_plain(&word.replace('$', "$$"))
}

/// As systemd.syntax(7) and systemd.unit(5) have it: `%` would begin a specifier.
fn quoted_plain(word: &str) -> String {
    let word = word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%");
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word
    } else {
        format!("\"{word}\"")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    fn unit() -> Unit {
        Unit {
            program: "/opt/hythe/bin/hythe".into(),
            home: "/home/ops team/.hythe".into(),
            settings: vec![
                (
                    "proxy_listen",
                    vec!["80".to_owned(), "internal=127.0.0.1:8010 http".to_owned()],
                ),
                ("workers", vec![]),
            ],
            path: Some("/usr/local/bin:/usr/bin".to_owned()),
            run_as: Some("ops".to_owned()),
            of_user: false,
            has_subgroups: true,
        }
    }

    #[test]
    fn a_unit_of_the_machine() {
        let expected = "\
# Made by `hythe startup`; `hythe unstartup` removes it.

[Unit]
Description=Hythe: services and the gateway in front of them
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
ExecStart=/opt/hythe/bin/hythe server run --home \"/home/ops team/.hythe\" --proxy-listen=80 \"--proxy-listen=internal=127.0.0.1:8010 http\"
User=ops
Environment=PATH=/usr/local/bin:/usr/bin
Type=notify
NotifyAccess=main
# Services are children of the minder, a second process here. They run on when the server ends or is restarted, and the
# next server adopts them. `hythe server stop --with-services` ends all.
KillMode=process
Restart=on-failure
RestartSec=1
TimeoutStartSec=60
# Longer than the server lets open requests hold it up.
TimeoutStopSec=90
TasksMax=infinity
OOMPolicy=continue
LimitNOFILE=65536:1048576
# Services share what is said here, and what they may need stays allowed: sudo, files that others see in /tmp.
PrivateTmp=no
# Services have cgroups of their own, with limits.
Delegate=yes
DelegateSubgroup=hythe-server
ProtectSystem=true
AmbientCapabilities=CAP_NET_BIND_SERVICE

[Install]
WantedBy=multi-user.target
";
        assert_eq!(unit().text().unwrap(), expected);
        let older = Unit {
            has_subgroups: false,
            ..unit()
        };
        assert!(!older.text().unwrap().contains("Delegate"));
    }

    #[test]
    fn a_unit_of_a_user_has_no_user() {
        let text = Unit {
            of_user: true,
            ..unit()
        }
        .text()
        .unwrap();
        assert!(
            !text.contains("User=") && !text.contains("Capabilities") && !text.contains("network-online")
        );
        assert!(text.ends_with("WantedBy=default.target\n"));
    }

    #[test]
    fn words_are_quoted_and_line_ends_refused() {
        for (word, text) in [
            ("a b", "\"a b\""),
            ("100%", "100%%"),
            ("$HOME", "\"$$HOME\""),
            ("a\"b\\", "\"a\\\"b\\\\\""),
            ("", "\"\""),
        ] {
            assert_eq!(quoted(word), text);
        }
        let hostile = Unit {
            run_as: Some("ops\nExecStartPre=/bin/evil".to_owned()),
            ..unit()
        };
        assert!(hostile.text().unwrap_err().contains("line end"));
    }

    /// systemd's own opinion.
    #[test]
    fn systemd_understands_it() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("hythe 100%");
        fs::copy("/bin/true", &program).unwrap();
        let file = folder.path().join("hythe.service");
        let unit = Unit {
            program,
            has_subgroups: crate::startup::has_subgroups(),
            ..unit()
        };
        fs::write(&file, unit.text().unwrap()).unwrap();
        let verified = Command::new("systemd-analyze")
            .args(["verify", "--man=no", "--recursive-errors=no"])
            .arg(&file)
            .output()
            .expect("systemd-analyze: apt-get install systemd (scripts/setup test)");
        let said = String::from_utf8_lossy(&verified.stderr);
        assert!(
            verified.status.success() && !said.contains("hythe.service"),
            "{said}"
        );
    }
}
