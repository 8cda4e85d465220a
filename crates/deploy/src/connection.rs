//! One connection to a host, with as many sessions as there are steps.
//!
//! The first session is ssh's master, a shell that reads from a pipe which we hold: when we end, in whatever way, the
//! pipe does, then the shell, its lock and the connection. Further sessions go through its socket, in a folder that
//! only its owner may enter. For this machine all of them are plain children.

use std::ffi::OsString;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use hythe_dialect_pm2::deploy::{Host, Target};

use crate::process::{self, ANSWER, BEGIN, Ran, Signals, Trust, follow, next_line, spawn};
use crate::trouble::Trouble;

/// Lines that a login shell may print before ours.
const NOISE: usize = 1_000;

/// An open connection.
pub(crate) struct Connection {
    way: Way,
    signals: Signals,
    anchor: Child,
    anchor_in: Option<ChildStdin>,
    anchor_out: BufReader<ChildStdout>,
    complaints: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

/// How a session is opened.
enum Way {
    /// On this machine, in a folder.
    Here(PathBuf),
    /// With these arguments of ssh, to this host.
    Ssh(Vec<OsString>, String),
}

/// What a session is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Session {
    Anchor,
    Step,
    Terminal,
}

impl Connection {
    /// To a host of `target`, by a socket of that name.
    pub(crate) fn open(
        host: &Host,
        target: &Target,
        socket: &Path,
        folder: &Path,
        signals: Signals,
    ) -> Result<Self, Trouble> {
        let way = match is_here(host, target) {
            true => Way::Here(folder.to_owned()),
            false => Way::Ssh(arguments(host, target, socket), host.name.clone()),
        };
        Self::anchored(way, signals)
    }

    /// To this machine.
    pub(crate) fn here(folder: &Path) -> Result<Self, Trouble> {
        Self::anchored(Way::Here(folder.to_owned()), Signals::Ours)
    }

    fn anchored(way: Way, signals: Signals) -> Result<Self, Trouble> {
        let unusable = |source| Trouble::Program {
            program: way.program(),
            source,
        };
        let mut anchor =
            spawn(&mut way.session(Session::Anchor, &["sh", "-s"]), signals).map_err(unusable)?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (anchor.stdin.take(), anchor.stdout.take(), anchor.stderr.take())
        else {
            return Err(Trouble::Lost);
        };
        let complaints = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&complaints);
        let reader = thread::spawn(move || {
            process::lines(stderr, |line| {
                let mut tail = heard.lock().unwrap_or_else(PoisonError::into_inner);
                process::remember(&mut tail, line);
            });
        });
        let mut connection = Self {
            way,
            signals,
            anchor,
            anchor_in: Some(stdin),
            anchor_out: BufReader::new(stdout),
            complaints,
            reader: Some(reader),
        };
        match connection.ask_anchor("echo hythe:ready\n") {
            Some(_) => Ok(connection),
            None => Err(connection.failure()),
        }
    }

    /// Has the anchor's shell take the lock, and keep it.
    pub(crate) fn lock(&mut self, script: &str) -> Result<(), Trouble> {
        match self.ask_anchor(script).as_deref() {
            Some("locked") => Ok(()),
            Some(answer) => {
                let reason = answer.strip_prefix("failed ").unwrap_or(answer);
                Err(Trouble::Refused(reason.to_owned()))
            }
            None => Err(self.failure()),
        }
    }

    /// Runs a script of ours.
    pub(crate) fn run(
        &mut self,
        trust: Trust,
        script: &str,
        tell: &(dyn Fn(&str) + Sync),
    ) -> Result<Ran, Trouble> {
        self.session(Session::Step, &["sh", "-s"], trust, script, tell)
    }

    /// Runs a file that [`Connection::run`] has left on the host, with a terminal if there is a way to one.
    pub(crate) fn run_in_terminal(
        &mut self,
        file: &str,
        tell: &(dyn Fn(&str) + Sync),
    ) -> Result<Ran, Trouble> {
        // It becomes part of a command line; it comes from the host's `mktemp`.
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
        if !file.bytes().all(is_plain) {
            let reason = format!("the folder for temporary files has a name that is not used: {file}");
            return Err(Trouble::Refused(reason));
        }
        self.session(Session::Terminal, &["sh", file], Trust::Theirs, "", tell)
    }

    /// Unpacks an archive in a new folder.
    pub(crate) fn unpack(
        &mut self,
        folder: &str,
        write: impl FnOnce(&mut dyn Write) -> std::io::Result<()> + Send,
        tell: &(dyn Fn(&str) + Sync),
    ) -> Result<Ran, Trouble> {
        let child = self.spawn(Session::Step, &["sh", "-c", UNPACK])?;
        let feed = |stdin: &mut dyn Write| {
            writeln!(stdin, "{folder}")?;
            write(stdin)
        };
        follow(child, Trust::Theirs, feed, tell).map_err(|_| Trouble::Lost)
    }

    fn session(
        &mut self,
        session: Session,
        words: &[&str],
        trust: Trust,
        script: &str,
        tell: &(dyn Fn(&str) + Sync),
    ) -> Result<Ran, Trouble> {
        let child = self.spawn(session, words)?;
        let feed = |stdin: &mut dyn Write| stdin.write_all(script.as_bytes());
        let ran = follow(child, trust, feed, tell).map_err(|_| Trouble::Lost)?;
        match self.is_open() {
            true => Ok(ran),
            false => Err(Trouble::Lost),
        }
    }

    /// Without its anchor there is no lock, and ssh would open another connection.
    fn spawn(&mut self, session: Session, words: &[&str]) -> Result<Child, Trouble> {
        if !self.is_open() {
            return Err(Trouble::Lost);
        }
        let program = self.way.program();
        spawn(&mut self.way.session(session, words), self.signals)
            .map_err(|source| Trouble::Program { program, source })
    }

    fn is_open(&mut self) -> bool {
        matches!(self.anchor.try_wait(), Ok(None))
    }

    /// The anchor's answer to a script of ours.
    fn ask_anchor(&mut self, script: &str) -> Option<String> {
        let stdin = self.anchor_in.as_mut()?;
        stdin.write_all(script.as_bytes()).ok()?;
        stdin.flush().ok()?;
        for _ in 0..NOISE {
            let line = next_line(&mut self.anchor_out)?;
            match line.strip_prefix(ANSWER) {
                Some(BEGIN) | None => {}
                Some(answer) => return Some(answer.to_owned()),
            }
        }
        None
    }

    /// Why the anchor has ended.
    fn failure(&mut self) -> Trouble {
        self.close();
        let complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        Trouble::of_ssh(&complaints)
    }

    fn close(&mut self) {
        self.anchor_in = None;
        let _ = self.anchor.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close();
    }
}

/// The folder comes as the first line, the archive after it: `read` takes no byte more than a line.
const UNPACK: &str =
    r#"echo hythe:begin; IFS= read -r folder && mkdir -- "$folder" && cd -- "$folder" && exec tar -xzof -"#;

impl Way {
    fn program(&self) -> &'static str {
        match self {
            Self::Here(_) => "sh",
            Self::Ssh(..) => "ssh",
        }
    }

    /// The command of a session. `words` are ours, and those with a space in them contain no single quote.
    fn session(&self, session: Session, words: &[&str]) -> Command {
        match self {
            Self::Here(folder) => {
                let mut command = Command::new(words[0]);
                command.args(&words[1..]).current_dir(folder);
                command
            }
            Self::Ssh(arguments, host) => {
                let own: &[&str] = match session {
                    Session::Anchor => &["-T", "-oControlMaster=yes", "-oControlPersist=no"],
                    Session::Step => &["-T", "-oControlMaster=no", "-oLogLevel=ERROR"],
                    Session::Terminal => &["-tt", "-oControlMaster=no", "-oLogLevel=ERROR"],
                };
                let words: Vec<String> = words.iter().map(|word| one_word(word)).collect();
                let mut command = Command::new("ssh");
                command.args(own).args(arguments).arg("--").arg(host);
                command.arg(words.join(" "));
                command
            }
        }
    }
}

/// Any login shell takes this for one word.
fn one_word(word: &str) -> String {
    match word.contains(' ') {
        true => format!("'{word}'"),
        false => word.to_owned(),
    }
}

/// As in PM2, `localhost` needs no ssh; but where something is said about ssh, it is meant.
fn is_here(host: &Host, target: &Target) -> bool {
    matches!(host.name.as_str(), "localhost" | "127.0.0.1")
        && host.port.is_none()
        && target.key.is_none()
        && target.ssh_options.is_empty()
}

/// What all sessions of a host have in common. ssh takes the first of several values of an option, so `ssh_options`
/// win over ours, and both over `~/.ssh/config`.
fn arguments(host: &Host, target: &Target, socket: &Path) -> Vec<OsString> {
    let mut path = OsString::from("-oControlPath=\"");
    path.push(socket);
    path.push("\"");
    let mut arguments = vec![path, "-oRemoteCommand=none".into()];
    let mut add = |argument: String| arguments.push(argument.into());
    target
        .ssh_options
        .iter()
        .for_each(|option| add(format!("-o{option}")));
    add("-oBatchMode=yes".to_owned());
    add("-oConnectTimeout=15".to_owned());
    add("-oServerAliveInterval=15".to_owned());
    if target.forward_agent {
        add("-oForwardAgent=yes".to_owned());
    }
    if let Some(port) = host.port {
        add(format!("-p{port}"));
    }
    if let Some(key) = &target.key {
        // ssh itself resolves `~`, and would resolve `%`.
        let key = key.replace('%', "%%").replace('"', "\\\"");
        add(format!("-oIdentityFile=\"{key}\""));
    }
    if let Some(user) = &host.user {
        add(format!("-l{user}"));
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        Target {
            hosts: Vec::new(),
            key: None,
            ssh_options: Vec::new(),
            forward_agent: false,
            needs_tty: false,
            source: hythe_dialect_pm2::deploy::Source::Upload,
            path: "/app".to_owned(),
            env: std::collections::BTreeMap::new(),
            hooks: hythe_dialect_pm2::deploy::Hooks::default(),
            keep_releases: 5,
            shared: Vec::new(),
            max_parallel: 10,
            health_check: None,
        }
    }

    fn host(name: &str, port: Option<u16>) -> Host {
        Host {
            user: Some("u".to_owned()),
            name: name.to_owned(),
            port,
        }
    }

    #[test]
    fn what_the_target_says_comes_before_what_we_say() {
        let target = Target {
            key: Some("~/.ssh/my key".to_owned()),
            ssh_options: vec![
                "StrictHostKeyChecking=no".to_owned(),
                "ConnectTimeout 3".to_owned(),
            ],
            forward_agent: true,
            ..target()
        };
        let arguments = arguments(&host("h", Some(22)), &target, Path::new("/t/0"));
        let arguments: Vec<_> = arguments
            .iter()
            .map(|argument| argument.to_string_lossy())
            .collect();
        assert_eq!(
            arguments,
            [
                "-oControlPath=\"/t/0\"",
                "-oRemoteCommand=none",
                "-oStrictHostKeyChecking=no",
                "-oConnectTimeout 3",
                "-oBatchMode=yes",
                "-oConnectTimeout=15",
                "-oServerAliveInterval=15",
                "-oForwardAgent=yes",
                "-p22",
                "-oIdentityFile=\"~/.ssh/my key\"",
                "-lu",
            ]
        );
    }

    #[test]
    fn this_machine_needs_no_ssh_unless_something_is_said_about_it() {
        let with_key = Target {
            key: Some("k".to_owned()),
            ..target()
        };
        assert!(is_here(&host("localhost", None), &target()));
        assert!(is_here(&host("127.0.0.1", None), &target()));
        assert!(!is_here(&host("127.0.0.1", Some(22)), &target()));
        assert!(!is_here(&host("localhost", None), &with_key));
        assert!(!is_here(&host("h", None), &target()));
    }
}
