//! `hythe server run` as process 1 of a process namespace, as in a container: it reaps orphans, keeps services through a
//! crash of the server, and ends them in order when it is told to end.

use std::fs;
use std::process::{Child, Command, Stdio};

use hythe_testkit::home::{Home, hythe_binary};
use hythe_testkit::process_table::signal;
use hythe_testkit::wait::until;
use rustix::process::{Signal, geteuid};

/// Says good-bye, for which it takes a moment.
const POLITE: &str = "\
services:
  polite:
    command: [sh, -c, 'trap \"echo bye > bye; exit\" USR1; echo $$ >> started; while :; do sleep 0.05; done']
    stop_signal: USR1
";

/// A server that is process 1, and everything in its namespace; killed when dropped.
struct Container {
    unshare: Child,
    /// Process 1, as it is called outside.
    init: u32,
}

impl Container {
    fn start(home: &Home) -> Self {
        let server = home.command(&["server", "run"]);
        let settings = server.get_envs().filter_map(|(name, value)| Some((name, value?)));
        let unshare = process_1()
            .args(["server", "run"])
            .envs(settings)
            .current_dir(home.folder())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("unshare: apt-get install util-linux (scripts/setup test)");
        until("there is a process 1", || children(unshare.id()).len() == 1);
        let init = children(unshare.id())[0];
        until("the server answers", || home.run(&["status"]).code == Some(0));
        Self { unshare, init }
    }

    /// The server, which is a child of process 1.
    fn server(&self) -> Option<u32> {
        let is_server = |pid: &u32| {
            fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|words| words.windows(6).any(|word| word == b"server"))
        };
        children(self.init).into_iter().find(is_server)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // When process 1 goes, all go.
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}

/// `hythe` as process 1 of a namespace of its own; what else is in there goes with it.
fn process_1() -> Command {
    let mut command = Command::new("unshare");
    if !geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command
        .args(["--pid", "--fork", "--mount-proc", "--kill-child"])
        .arg(hythe_binary());
    command
}

fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

fn is_zombie(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| rest.starts_with('Z'))
}

#[test]
fn process_1_reaps_keeps_services_and_ends_them_in_order() {
    let home = Home::new();
    home.write("hythe.yaml", POLITE);
    let mut container = Container::start(&home);
    home.ok(&["up", "-d"]);
    let started = || fs::read_to_string(home.folder().join("started")).unwrap_or_default();
    until("the service runs", || started().lines().count() == 1);

    // Whoever is left behind by a process that entered comes to process 1.
    let entered = Command::new("nsenter")
        .args(["--pid", "--mount", "--target", &container.init.to_string()])
        .args(["sh", "-c", "sleep 0.1 & sleep 0.1 &"])
        .status();
    assert!(
        entered.unwrap().success() || !geteuid().is_root(),
        "only root may enter"
    );
    until("nobody is left unreaped", || {
        let children = children(container.init);
        children.len() == 2 && !children.into_iter().any(is_zombie)
    });

    let first = container.server().expect("it has a server");
    signal(first, Signal::KILL);
    until("another server answers", || {
        container.server().is_some_and(|server| server != first) && home.run(&["status"]).code == Some(0)
    });
    until("it has adopted the service", || home.ok(&["ls"]).contains("1/1"));
    assert_eq!(started().lines().count(), 1, "the service ran on");

    signal(container.init, Signal::TERM);
    assert_eq!(container.unshare.wait().unwrap().code(), Some(0));
    assert_eq!(fs::read_to_string(home.folder().join("bye")).unwrap(), "bye\n");
}

#[test]
fn a_server_that_cannot_start_is_the_end_of_process_1() {
    let home = Home::new();
    home.write("hythe.yaml", POLITE);
    let container = Container::start(&home);
    let second = process_1()
        .args(["server", "run", "--home"])
        .arg(home.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains("the server ended with code 1"), "{said}");
    drop(container);
}
