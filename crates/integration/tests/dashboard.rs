//! `hythe monit` in a terminal of its own: a pseudo-terminal, whose other end types and reads the screen.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use hythe_testkit::home::{Home, hythe_binary};
use hythe_testkit::process_table::signal;
use hythe_testkit::wait::until;
use rustix::fs::{Mode, OFlags, open};
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

const TALK: &str = "  talk:\n    command: [sh, -c, 'echo good morning; exec sleep 100000']\n";
const LATER: &str = "  later:\n    command: [sh, -c, 'echo here I am; exec sleep 100000']\n";

/// A program in a terminal.
struct Terminal {
    child: Child,
    /// Both ends; the one that the program has is kept to look at its modes.
    master: File,
    slave: OwnedFd,
    output: Receiver<Vec<u8>>,
    screen: Screen,
}

impl Terminal {
    fn start(home: &Home, args: &[&str]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let master = File::from(master);
        resize(&master, 80, 24);
        let end = || Stdio::from(slave.try_clone().unwrap());
        let hythe = home.command(&[]);
        let settings = hythe.get_envs().filter_map(|(name, value)| Some((name, value?)));
        let child = Command::new("setsid")
            .args(["--ctty", "--wait"])
            .arg(hythe_binary())
            .args(args)
            .envs(settings)
            .env("TERM", "xterm-256color")
            .current_dir(home.folder())
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("setsid: apt-get install util-linux (scripts/setup test)");
        let output = read(master.try_clone().unwrap());
        Self {
            child,
            master,
            slave,
            output,
            screen: Screen::default(),
        }
    }

    fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until the screen has a text somewhere.
    #[track_caller]
    fn await_text(&mut self, text: &str) {
        until(&format!("the screen shows `{text}`"), || {
            self.output.try_iter().for_each(|bytes| self.screen.take(&bytes));
            self.screen.lines().iter().any(|line| line.contains(text))
        });
    }

    /// Waits for the program's end, and sees that it has left the terminal as it was.
    #[track_caller]
    fn await_restored(&mut self) {
        until("it ends", || self.child.try_wait().unwrap().is_some());
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        until("the usual screen is back, with its cursor", || {
            self.output.try_iter().for_each(|bytes| self.screen.take(&bytes));
            !self.screen.is_other && self.screen.has_cursor
        });
        let modes = tcgetattr(&self.slave).unwrap().local_modes;
        assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO), "{modes:?}");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- screen\n{}", self.screen.lines().join("\n"));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn resize(master: &File, columns: u16, rows: u16) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(master, size).unwrap();
}

/// What the program writes, as it comes; ends with the program.
fn read(mut master: File) -> Receiver<Vec<u8>> {
    let (sender, receiver) = sync_channel(64);
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = master.read(&mut buffer) {
            if sender.send(buffer[..length].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

/// As much of a terminal as the dashboard uses: the cursor's place, clearing, and the second screen.
#[derive(Default)]
struct Screen {
    cells: Vec<Vec<char>>,
    row: usize,
    column: usize,
    /// What has come and is not a whole character or sequence.
    rest: Vec<u8>,
    is_other: bool,
    has_cursor: bool,
}

impl Screen {
    fn lines(&self) -> Vec<String> {
        self.cells.iter().map(|line| line.iter().collect()).collect()
    }

    fn take(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        let text = match std::str::from_utf8(&self.rest) {
            Ok(text) => text.to_owned(),
            Err(error) => String::from_utf8_lossy(&self.rest[..error.valid_up_to()]).into_owned(),
        };
        let mut left = text.as_str();
        while let Some(first) = left.chars().next() {
            if first != '\u{1b}' {
                self.put(first);
                left = &left[first.len_utf8()..];
                continue;
            }
            let Some(end) = left[1..].find(|c: char| c.is_ascii_alphabetic()) else {
                break;
            };
            let (sequence, after) = left.split_at(end + 2);
            self.obey(&sequence[1..]);
            left = after;
        }
        let taken = text.len() - left.len();
        self.rest.drain(..taken);
    }

    fn put(&mut self, character: char) {
        match character {
            '\r' => self.column = 0,
            '\n' => self.row += 1,
            _ => {
                let height = self.cells.len().max(self.row + 1);
                self.cells.resize(height, Vec::new());
                let line = &mut self.cells[self.row];
                let width = line.len().max(self.column + 1);
                line.resize(width, ' ');
                line[self.column] = character;
                self.column += 1;
            }
        }
    }

    fn obey(&mut self, sequence: &str) {
        match sequence {
            "[?1049h" => self.is_other = true,
            "[?1049l" => self.is_other = false,
            "[?25h" => self.has_cursor = true,
            "[?25l" => self.has_cursor = false,
            "[2J" => self.cells.clear(),
            _ => {
                let place = sequence.strip_prefix('[').and_then(|rest| rest.strip_suffix('H'));
                if let Some((row, column)) = place.and_then(|place| place.split_once(';')) {
                    self.row = row.parse::<usize>().unwrap() - 1;
                    self.column = column.parse::<usize>().unwrap() - 1;
                }
            }
        }
    }
}

#[test]
fn a_service_is_seen_selected_and_restarted() {
    let home = Home::new();
    home.write("hythe.yaml", &format!("services:\n{TALK}"));
    home.ok(&["up", "-d"]);
    let mut terminal = Terminal::start(&home, &["monit"]);
    terminal.await_text("talk-1");
    terminal.await_text("good morning");
    assert!(terminal.screen.is_other);

    home.write("hythe.yaml", &format!("services:\n{TALK}{LATER}"));
    home.ok(&["up", "-d"]);
    terminal.await_text("later-1");
    terminal.press("/later\r");
    terminal.await_text("here I am");
    terminal.press("\u{1b}[B");
    terminal.await_text("▸  later-1");

    let before = home.pids("later");
    terminal.press("r");
    terminal.await_text("restart later: on its way");
    until("it has another process", || {
        let now = home.pids("later");
        now.len() == 1 && now != before
    });
    terminal.press("+");
    terminal.await_text("scale later from 1 to 2? y/n");
    terminal.press("y");
    terminal.await_text("2/2");

    resize(&terminal.master, 100, 40);
    until("it uses the whole terminal", || {
        terminal
            .output
            .try_iter()
            .for_each(|bytes| terminal.screen.take(&bytes));
        terminal
            .screen
            .lines()
            .get(39)
            .is_some_and(|line| line.contains("on its way"))
    });
    terminal.press("?");
    terminal.await_text("leave; everything runs on");
    terminal.press("?q");
    terminal.await_restored();
    assert_eq!(home.pids("later").len(), 2, "everything runs on");
}

#[test]
fn a_signal_leaves_the_terminal_as_it_was() {
    let home = Home::new();
    home.write("hythe.yaml", &format!("services:\n{TALK}"));
    home.ok(&["up", "-d"]);
    let mut terminal = Terminal::start(&home, &["monit"]);
    terminal.await_text("talk-1");
    let children = format!("/proc/{0}/task/{0}/children", terminal.child.id());
    let dashboard = std::fs::read_to_string(children).unwrap();
    // setsid is the parent if it had to fork, and otherwise has become the dashboard itself.
    let pid = dashboard.trim().parse().unwrap_or(terminal.child.id());
    signal(pid, Signal::TERM);
    terminal.await_restored();
    let refused = home.run(&["monit"]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("needs a terminal"), "{}", refused.stderr);
}
