//! A throw-away data directory with the real `hythe` binary: a folder for a project, a server on free ports,
//! and no process left behind, whatever a test does.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::{env, fs};

use hythe_model::view::{InstanceView, ServiceView, StatusView};
use rustix::process::{Signal, geteuid};
use serde::de::DeserializeOwned;

use crate::control_groups;
use crate::http_client::{self, Answer};
use crate::process_table::{Process, processes_of, signal};
use crate::wait::{PATIENCE, eventually, until};

/// A data directory and everything that belongs to it; removed when dropped.
#[derive(Debug)]
pub struct Home {
    root: tempfile::TempDir,
    hythe: PathBuf,
    settings: BTreeMap<String, String>,
    /// Who commands run as, if not as the test.
    user: Option<u32>,
}

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// A command that runs on.
#[derive(Debug)]
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    seen: String,
}

/// The binary under test: `HYTHE_BIN`, or the one that stands in the folders above this test's.
///
/// # Panics
/// When it has not been built.
pub fn hythe_binary() -> PathBuf {
    if let Some(given) = env::var_os("HYTHE_BIN") {
        return given.into();
    }
    let test = env::current_exe().unwrap_or_default();
    let beside = test.ancestors().skip(1).map(|folder| folder.join("hythe"));
    beside.take(3).find(|path| path.is_file()).unwrap_or_else(|| {
        panic!(
            "no hythe binary above {}: run `cargo build -p hythe`",
            test.display()
        )
    })
}

impl Home {
    /// An empty one; nothing runs yet.
    ///
    /// # Panics
    /// When there is no binary, or no room for temporary files.
    #[expect(clippy::new_without_default, reason = "it makes a folder")]
    #[expect(clippy::unwrap_used, reason = "without its folders a test cannot begin")]
    pub fn new() -> Self {
        let root = tempfile::Builder::new().prefix("hythe-test-").tempdir().unwrap();
        fs::create_dir(root.path().join("project")).unwrap();
        let home = root.path().join("home").to_string_lossy().into_owned();
        let settings = [
            ("HYTHE_HOME", home.as_str()),
            ("HYTHE_PROXY_LISTEN", "127.0.0.1:0"),
            ("HYTHE_PROXY_TLS_LISTEN", "127.0.0.1:0"),
            ("HYTHE_API_LISTEN", "127.0.0.1:0"),
            ("HYTHE_WORKERS", "2"),
        ];
        Self {
            root,
            hythe: hythe_binary(),
            settings: settings
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            user: None,
        }
    }

    /// One whose commands have no privileges, also when the test has.
    ///
    /// # Panics
    /// As [`Home::new`].
    #[expect(clippy::unwrap_used, reason = "without its folders a test cannot begin")]
    pub fn unprivileged() -> Self {
        let mut home = Self::new();
        if geteuid().is_root() {
            for folder in [home.root.path().to_owned(), home.folder()] {
                std::os::unix::fs::chown(folder, Some(NOBODY), Some(NOBODY)).unwrap();
            }
            home.user = Some(NOBODY);
        }
        home
    }

    /// Sets a variable in the environment of all further commands.
    pub fn set(&mut self, name: &str, value: &str) {
        self.settings.insert(name.to_owned(), value.to_owned());
    }

    /// The data directory.
    pub fn path(&self) -> PathBuf {
        self.root.path().join("home")
    }

    /// The folder in which commands run; manifests go here.
    pub fn folder(&self) -> PathBuf {
        self.root.path().join("project")
    }

    /// Writes a file below [`Home::folder`].
    ///
    /// # Panics
    /// When that fails.
    #[expect(clippy::unwrap_used, reason = "without its files a test cannot go on")]
    pub fn write(&self, file: &str, text: &str) {
        let path = self.folder().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// `hythe` with arguments, with this home in its environment.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.hythe);
        let inherited = env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HYTHE_"));
        for (name, _) in inherited {
            command.env_remove(name);
        }
        command
            .args(args)
            .envs(&self.settings)
            .current_dir(self.folder())
            .stdin(Stdio::null());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    /// Runs `hythe` to its end.
    ///
    /// # Panics
    /// When it does not end, or leaves its output open to somebody who goes on.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Ran {
        let mut child = self.spawn_piped(args);
        let stdout = read_to_end(child.stdout.take());
        let stderr = read_to_end(child.stderr.take());
        let what = format!("hythe {} ends", args.join(" "));
        let status = wait(&mut child, &what);
        let text = |output: Receiver<String>| {
            let text = output.recv_timeout(PATIENCE);
            text.unwrap_or_else(|_| panic!("hythe {}: somebody keeps its output open", args.join(" ")))
        };
        Ran {
            code: status.code(),
            stdout: text(stdout),
            stderr: text(stderr),
        }
    }

    /// Runs `hythe`, which must succeed; its standard output.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, Some(0), "hythe {}: {ran:#?}", args.join(" "));
        ran.stdout
    }

    /// What `hythe ARGS --json` prints.
    ///
    /// # Panics
    /// When it fails or prints something else.
    #[track_caller]
    pub fn json<T: DeserializeOwned>(&self, args: &[&str]) -> T {
        let text = self.ok(&[args, &["--json"]].concat());
        serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("hythe {}: {error} in {text}", args.join(" ")))
    }

    /// Starts `hythe` and lets it run; its standard output is read line by line.
    #[track_caller]
    pub fn spawn(&self, args: &[&str]) -> Running {
        let mut child = self.spawn_piped(args);
        drop(read_to_end(child.stderr.take()));
        let lines = read_lines(child.stdout.take());
        Running {
            child,
            lines,
            seen: String::new(),
        }
    }

    /// `hythe status`.
    #[track_caller]
    pub fn status(&self) -> StatusView {
        self.json(&["status"])
    }

    /// `hythe ls --all-projects`.
    #[track_caller]
    pub fn services(&self) -> Vec<ServiceView> {
        self.json(&["ls", "--all-projects"])
    }

    /// One service of `hythe ls`.
    ///
    /// # Panics
    /// When there is none of that name.
    #[track_caller]
    pub fn service(&self, name: &str) -> ServiceView {
        let found = self.services().into_iter().find(|service| service.name == name);
        found.unwrap_or_else(|| panic!("there is no service {name}"))
    }

    /// Instances of a service by id.
    #[track_caller]
    pub fn instances(&self, name: &str) -> Vec<InstanceView> {
        self.service(name).instances
    }

    /// Process ids of a service's instances, sorted.
    #[track_caller]
    pub fn pids(&self, name: &str) -> Vec<u32> {
        let mut pids: Vec<u32> = self
            .instances(name)
            .into_iter()
            .filter_map(|one| one.pid)
            .collect();
        pids.sort_unstable();
        pids
    }

    /// Waits until a service looks as wanted.
    #[track_caller]
    pub fn await_service(&self, name: &str, what: &str, looks: impl Fn(&ServiceView) -> bool) -> ServiceView {
        eventually(&format!("{name} {what}"), || {
            Some(self.service(name)).filter(|service| looks(service))
        })
    }

    /// Where the gateway listens.
    ///
    /// # Panics
    /// When nothing answers.
    #[track_caller]
    pub fn gateway(&self) -> SocketAddr {
        let address = self
            .status()
            .listen
            .proxy
            .first()
            .and_then(|address| address.parse().ok());
        address.unwrap_or_else(|| panic!("the gateway does not listen"))
    }

    /// GETs a path through the gateway.
    ///
    /// # Panics
    /// When there is no answer.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        http_client::get(self.gateway(), path).unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// Kills the server as a crash would, and waits until it is gone.
    #[track_caller]
    pub fn kill_server(&self) {
        let pid = self.status().server.pid;
        signal(pid, Signal::KILL);
        until("the server is gone", || !crate::process_table::is_alive(pid));
    }

    /// Everything that runs because of this home.
    pub fn processes(&self) -> Vec<Process> {
        processes_of(self.root.path())
    }

    /// Waits until nothing runs.
    ///
    /// # Panics
    /// When something does not end.
    #[track_caller]
    pub fn await_nothing_left(&self) {
        until("nothing is left", || self.processes().is_empty());
    }

    /// What a failed test's reader wants to see.
    fn tell(&self) {
        let ls = self.command(&["ls", "--all-projects"]).output();
        let ls = ls.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        eprintln!("--- ls\n{}", ls.unwrap_or_default());
        eprintln!("--- processes\n{:#?}", self.processes());
        for log in ["server.log", "run/minder.log"] {
            let text = fs::read_to_string(self.path().join(log)).unwrap_or_default();
            let start = text.len().saturating_sub(TOLD);
            let start = (start..text.len())
                .find(|at| text.is_char_boundary(*at))
                .unwrap_or(0);
            eprintln!("--- {log}\n{}", &text[start..]);
        }
    }

    fn spawn_piped(&self, args: &[&str]) -> Child {
        let mut command = self.command(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn();
        child.unwrap_or_else(|error| panic!("cannot run {}: {error}", self.hythe.display()))
    }
}

/// How much of a log is shown after a failure, bytes.
const TOLD: usize = 20_000;

/// Whom everybody takes for a user without rights.
const NOBODY: u32 = 65_534;

impl Drop for Home {
    fn drop(&mut self) {
        if thread::panicking() {
            self.tell();
        }
        self.kill_all();
        control_groups::remove(&self.path());
    }
}

impl Home {
    fn kill_all(&self) {
        // What is killed may have been starting something.
        for _ in 0..10 {
            let left = self.processes();
            if left.is_empty() {
                return;
            }
            for process in left {
                signal(process.pid, Signal::KILL);
            }
            crate::wait::pause(std::time::Duration::from_millis(10));
        }
    }
}

impl Running {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line that contains `part`.
    ///
    /// # Panics
    /// When the output ends before, or nothing more comes.
    #[track_caller]
    pub fn await_line(&mut self, part: &str) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    self.seen.push_str(&line);
                    self.seen.push('\n');
                    if line.contains(part) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("no line with `{part}` came after:\n{}", self.seen),
                Err(RecvTimeoutError::Disconnected) => panic!("no line with `{part}` in:\n{}", self.seen),
            }
        }
    }

    /// Whether a line that contains `part` has come since the last question.
    pub fn has_line(&mut self, part: &str) -> bool {
        let new: Vec<String> = self.lines.try_iter().collect();
        for line in &new {
            self.seen.push_str(line);
            self.seen.push('\n');
        }
        new.iter().any(|line| line.contains(part))
    }

    /// Sends a signal.
    pub fn signal(&self, number: Signal) {
        signal(self.pid(), number);
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        wait(&mut self.child, "the command ends")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn wait(child: &mut Child, what: &str) -> ExitStatus {
    eventually(what, || child.try_wait().ok().flatten())
}

fn read_to_end(from: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (done, text) = sync_channel(1);
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut from) = from {
            let _ = from.read_to_end(&mut bytes);
        }
        let _ = done.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    text
}

fn read_lines(from: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (tell, lines) = sync_channel(10_000);
    thread::spawn(move || {
        let Some(from) = from else { return };
        for line in BufReader::new(from).lines() {
            let Ok(line) = line else { return };
            if tell.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// Copies a folder with everything in it.
///
/// # Panics
/// When that fails.
#[expect(clippy::unwrap_used, reason = "without its files a test cannot go on")]
pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
