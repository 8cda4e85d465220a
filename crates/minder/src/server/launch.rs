//! Fork and exec.
//!
//! Everything that allocates happens before the fork; between fork and exec there are only system calls. A
//! socket that exec closes tells the outcome: nothing when the program runs, else the step and the error number.
//! The minder waits for that, so an exec from a file system that hangs would hang it too: the price of a
//! failed exec being an error and never an exit.

use std::{
    ffi::{CStr, CString, c_char},
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    ptr,
};

use rustix::{
    fs::Mode,
    io::{Errno, ioctl_fionbio, retry_on_intr},
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
    pipe::{PipeFlags, pipe_with},
    process::{
        Pid, Resource, Rlimit, Signal, WaitOptions, chdir, getpid, getppid, getrlimit,
        set_parent_process_death_signal, setpgid, setrlimit, setsid, umask, waitpid,
    },
    stdio::{dup2_stderr, dup2_stdin, dup2_stdout},
};

use super::{
    channel::Inherited,
    confine::{Birth, Confinement},
    given::{Given, ListenPid, beside},
    handover::Launching,
    rebind, signals,
};
use crate::protocol::{self, Guarded, Refusal, Spawn, SpawnStep};

/// Where a program without a slash is looked for when the environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The message that comes with the descriptor of binds: no step of a failure.
const REBINDS: u8 = u8::MAX;

/// The steps after the fork, which the new process reports by their place in this list.
const STEPS: [SpawnStep; 7] = [
    SpawnStep::Prepare,
    SpawnStep::Groups,
    SpawnStep::Limits,
    SpawnStep::User,
    SpawnStep::Chdir,
    SpawnStep::Socket,
    SpawnStep::Exec,
];

/// What every child inherits from before the minder changed it for itself.
pub(super) struct Launcher {
    null: File,
    descriptors: Rlimit,
    umask: Mode,
    /// Whether binds can be turned here.
    rebinds: bool,
}

/// A running child.
pub(super) struct Launched {
    pub(super) pid: Pid,
    /// In clock ticks since boot.
    pub(super) start_time: u64,
    /// The reading ends of standard output and standard error; they do not block.
    pub(super) pipes: [OwnedFd; 2],
    /// Where the kernel asks about its binds.
    pub(super) binds: Option<OwnedFd>,
}

/// What a new process has to do with the minder.
#[derive(Clone, Copy)]
enum Tie {
    /// A group of its own, told to end when the minder is gone.
    UntilMinderDies,
    /// A session of its own.
    None,
}

pub(super) type Failure = (SpawnStep, Errno);

/// What a new process does, and how that is called when it fails.
type Step<'a> = (SpawnStep, &'a dyn Fn() -> Result<(), Errno>);

impl Launcher {
    /// Remembers the limits of this process and takes for itself what it may: private files, many descriptors.
    pub(super) fn take_over() -> io::Result<Self> {
        let null = File::options().read(true).write(true).open("/dev/null")?;
        let descriptors = getrlimit(Resource::Nofile);
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: descriptors.maximum,
                maximum: descriptors.maximum,
            },
        )?;
        Ok(Self {
            null,
            descriptors,
            umask: umask(Mode::RWXG | Mode::RWXO),
            rebinds: rebind::works(),
        })
    }

    /// As an earlier binary in this process remembered it.
    pub(super) fn left(launching: &Launching) -> io::Result<Self> {
        let (current, maximum) = launching.descriptors;
        Ok(Self {
            null: File::options().read(true).write(true).open("/dev/null")?,
            descriptors: Rlimit { current, maximum },
            umask: Mode::from_raw_mode(launching.umask),
            rebinds: launching.rebinds,
        })
    }

    /// For a later binary in this process.
    pub(super) fn to_leave(&self) -> Launching {
        Launching {
            descriptors: (self.descriptors.current, self.descriptors.maximum),
            umask: self.umask.as_raw_mode(),
            rebinds: self.rebinds,
        }
    }

    /// Standard input of every child.
    pub(super) fn null(&self) -> &File {
        &self.null
    }

    /// Whether binds can be turned here.
    pub(super) fn rebinds(&self) -> bool {
        self.rebinds
    }

    /// Starts a child in a process group of its own.
    pub(super) fn launch(&self, spawn: &Spawn, channel: Option<Inherited>) -> Result<Launched, Refusal> {
        let given = spawn.socket.map(Given::listening).transpose();
        let mut image = Image {
            channel,
            socket: given.map_err(|error| refusal((SpawnStep::Socket, error)))?,
            ..Image::of(spawn)?
        };
        let (out, out_end) = output_pipe().map_err(|error| refusal((SpawnStep::Pipe, error)))?;
        let (err, err_end) = output_pipe().map_err(|error| refusal((SpawnStep::Pipe, error)))?;
        let (pid, binds) = self
            .start(&mut image, [&out_end, &err_end], Tie::UntilMinderDies)
            .map_err(refusal)?;
        Ok(Launched {
            pid,
            start_time: start_time(pid),
            pipes: [out, err],
            binds,
        })
    }

    /// Starts the server, in a session of its own, with its output in `log`.
    pub(super) fn launch_server(&self, server: &Guarded, log: &OwnedFd) -> Result<Pid, Refusal> {
        let mut image = Image::of(&Spawn {
            env: server.env.clone(),
            ..Spawn::new("server", server.argv.clone())
        })?;
        let started = self.start(&mut image, [log, log], Tie::None).map_err(refusal)?;
        Ok(started.0)
    }

    fn start(
        &self,
        image: &mut Image,
        outputs: [&OwnedFd; 2],
        tie: Tie,
    ) -> Result<(Pid, Option<OwnedFd>), Failure> {
        let pair = report_pair().and_then(|(outcome, report)| Ok((outcome, beside(report)?)));
        let (outcome, report) = pair.map_err(|error| (SpawnStep::Pipe, error))?;
        let minder = getpid();
        let (forked, born) = image
            .confinement
            .fork()
            .map_err(|error| (SpawnStep::Fork, error))?;
        let Some(pid) = forked else {
            let failure = self.become_child(image, outputs, tie, minder, born, &report);
            let _ = rustix::io::write(&report, &encode_failure(failure));
            // SAFETY: leaves at once, without running what belongs to the minder.
            unsafe { libc::_exit(127) }
        };
        drop(report);
        let mut binds = Vec::new();
        match read_failure(&outcome, &mut binds) {
            None => Ok((pid, binds.pop())),
            Some(failure) => {
                let _ = retry_on_intr(|| waitpid(Some(pid), WaitOptions::empty()));
                Err(failure)
            }
        }
    }

    /// Runs in the new process; returns only when it failed.
    fn become_child(
        &self,
        image: &mut Image,
        outputs: [&OwnedFd; 2],
        tie: Tie,
        minder: Pid,
        born: Birth,
        report: &OwnedFd,
    ) -> Failure {
        let confinement = &image.confinement;
        let steps: [Step<'_>; 6] = [
            (SpawnStep::Prepare, &|| self.prepare(image, outputs, tie)),
            (SpawnStep::Groups, &|| confinement.join(born)),
            (SpawnStep::Limits, &|| self.limit(image)),
            (SpawnStep::User, &|| {
                self.install_rebinds(image, report);
                confinement.become_user()?;
                stay_until_minder_dies(tie, minder)
            }),
            (SpawnStep::Chdir, &|| chdir(&image.cwd)),
            // Last: its place may be that of a file that the steps before need.
            (SpawnStep::Socket, &|| {
                image.socket.as_ref().map_or(Ok(()), Given::place)
            }),
        ];
        for (step, take) in steps {
            if let Err(error) = take() {
                return (step, error);
            }
        }
        (SpawnStep::Exec, image.execute())
    }

    fn prepare(&self, image: &Image, [out, err]: [&OwnedFd; 2], tie: Tie) -> Result<(), Errno> {
        match tie {
            Tie::UntilMinderDies => setpgid(None, None)?,
            Tie::None => drop(setsid()?),
        }
        signals::reset_in_child()?;
        image.channel.as_ref().map_or(Ok(()), Inherited::keep_over_exec)?;
        dup2_stdin(&self.null)?;
        dup2_stdout(out)?;
        dup2_stderr(err)
    }

    fn limit(&self, image: &Image) -> Result<(), Errno> {
        umask(image.umask.unwrap_or(self.umask));
        setrlimit(Resource::Nofile, self.descriptors)?;
        image.confinement.limit()
    }

    /// While it still has the minder's rights: without them it would have to give up gaining any.
    fn install_rebinds(&self, image: &Image, report: &OwnedFd) {
        if self.rebinds
            && image.rebinds
            && let Ok(binds) = rebind::install()
        {
            // What cannot be handed over would hold up every bind: it ends with this process then.
            let _ = protocol::send(report, &[REBINDS], Some(binds.as_fd()));
        }
    }
}

/// Only now: whoever becomes another user is not tied any more.
fn stay_until_minder_dies(tie: Tie, minder: Pid) -> Result<(), Errno> {
    if matches!(tie, Tie::None) {
        return Ok(());
    }
    set_parent_process_death_signal(Some(Signal::TERM))?;
    if getppid() == Some(minder) {
        Ok(())
    } else {
        // It died before the signal was asked for.
        Err(Errno::SRCH)
    }
}

/// Everything the new process needs, ready for the system calls.
struct Image {
    /// The files to try, in order.
    programs: Vec<CString>,
    argv: Strings,
    env: Strings,
    cwd: CString,
    umask: Option<Mode>,
    confinement: Confinement,
    rebinds: bool,
    /// The child's end of its channel.
    channel: Option<Inherited>,
    /// What it listens with from its start.
    socket: Option<Given>,
}

impl Image {
    fn of(spawn: &Spawn) -> Result<Self, Refusal> {
        let program = spawn
            .argv
            .first()
            .filter(|program| !program.is_empty())
            .ok_or_else(|| bad("argv"))?;
        if !spawn.cwd.is_absolute() {
            return Err(bad("cwd"));
        }
        let bad_name = |(name, _): &(String, String)| name.is_empty() || name.contains('=');
        if spawn.env.iter().any(bad_name) {
            return Err(bad("env"));
        }
        let env = spawn.env.iter().map(|(name, value)| format!("{name}={value}"));
        Ok(Self {
            programs: c_strings(candidates(program, &spawn.env), "argv")?,
            argv: Strings::new(c_strings(spawn.argv.iter().cloned(), "argv")?),
            env: Strings::new(c_strings(env, "env")?),
            cwd: CString::new(spawn.cwd.as_os_str().as_bytes()).map_err(|_| bad("cwd"))?,
            umask: spawn.umask.map(Mode::from_raw_mode),
            confinement: Confinement::of(spawn)?,
            rebinds: spawn.rebind.is_some(),
            channel: None,
            socket: None,
        })
    }

    /// Tries the files one after the other; returns only when none could be executed.
    fn execute(&mut self) -> Errno {
        let listen_pid = ListenPid::of_this_process();
        if self.socket.is_some() {
            self.env.append(listen_pid.as_c_str());
        }
        let mut outcome = Errno::NOENT;
        for program in &self.programs {
            // SAFETY: all are NUL-terminated, the lists end with a null pointer, and `self` keeps them alive, but for the
            // process's own variable, which lives as long as this function.
            unsafe {
                libc::execve(
                    program.as_ptr(),
                    self.argv.pointers.as_ptr(),
                    self.env.pointers.as_ptr(),
                )
            };
            match last_errno() {
                Errno::NOENT | Errno::NOTDIR => {}
                Errno::ACCESS => outcome = Errno::ACCESS,
                other => return other,
            }
        }
        outcome
    }
}

/// Strings and the null-terminated list of pointers to them, with room for one more.
struct Strings {
    pointers: Vec<*const c_char>,
    _owned: Vec<CString>,
}

impl Strings {
    fn new(owned: Vec<CString>) -> Self {
        let pointers = owned
            .iter()
            .map(|text| text.as_ptr())
            .chain([ptr::null(); 2])
            .collect();
        Self {
            pointers,
            _owned: owned,
        }
    }

    /// Lists one more, which must live as long as the list is used. Allocates nothing.
    fn append(&mut self, text: &CStr) {
        if let [.., room, _] = &mut self.pointers[..] {
            *room = text.as_ptr();
        }
    }
}

fn candidates(program: &str, env: &[(String, String)]) -> Vec<String> {
    if program.contains('/') {
        return vec![program.to_owned()];
    }
    let path = env
        .iter()
        .rev()
        .find(|(name, _)| name == "PATH")
        .map_or(DEFAULT_PATH, |(_, value)| value);
    let folders = path
        .split(':')
        .map(|folder| if folder.is_empty() { "." } else { folder });
    folders.map(|folder| format!("{folder}/{program}")).collect()
}

fn c_strings(texts: impl IntoIterator<Item = String>, field: &str) -> Result<Vec<CString>, Refusal> {
    texts
        .into_iter()
        .map(|text| CString::new(text).map_err(|_| bad(field)))
        .collect()
}

fn output_pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    let (reading, writing) = pipe_with(PipeFlags::CLOEXEC)?;
    ioctl_fionbio(&reading, true)?;
    Ok((reading, writing))
}

/// For messages of a new process to this one: of a child, at most one with the descriptor of its binds, then one with its failure or the end.
pub(super) fn report_pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
}

fn encode_failure((step, error): Failure) -> [u8; 5] {
    let index = STEPS.iter().position(|each| *each == step).unwrap_or(0);
    let [a, b, c, d] = error.raw_os_error().to_ne_bytes();
    [index as u8, a, b, c, d]
}

fn read_failure(outcome: impl AsFd, binds: &mut Vec<OwnedFd>) -> Option<Failure> {
    let mut message = [0; 5];
    let read = loop {
        match protocol::receive(&outcome, &mut message, binds) {
            Ok(1) if message[0] == REBINDS => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => break read.unwrap_or(0),
        }
    };
    let [index, error @ ..] = message;
    let step = STEPS
        .get(usize::from(index))
        .copied()
        .unwrap_or(SpawnStep::Prepare);
    (read == message.len()).then(|| (step, Errno::from_raw_os_error(i32::from_ne_bytes(error))))
}

/// Field 22 of the process's `stat`. The second field is the program's name in parentheses and may hold anything.
fn start_time(pid: Pid) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    after_name
        .split(' ')
        .nth(19)
        .and_then(|field| field.parse().ok())
        .unwrap_or(0)
}

pub(super) fn last_errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

pub(super) fn refusal((step, error): Failure) -> Refusal {
    Refusal::SpawnFailed {
        step,
        errno: error.raw_os_error(),
    }
}

pub(super) fn bad(field: &str) -> Refusal {
    Refusal::BadField {
        field: field.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_looked_for_in_the_childs_own_path() {
        let path = |value: &str| vec![("PATH".to_owned(), value.to_owned())];
        for (program, env, tried) in [
            ("/bin/true", path("/a"), vec!["/bin/true"]),
            ("./run", path("/a"), vec!["./run"]),
            ("node", path("/a:/b"), vec!["/a/node", "/b/node"]),
            ("node", path("/a:"), vec!["/a/node", "./node"]),
            (
                "node",
                vec![],
                vec!["/usr/local/bin/node", "/usr/bin/node", "/bin/node"],
            ),
        ] {
            assert_eq!(candidates(program, &env), tried, "{program} {env:?}");
        }
    }

    #[test]
    fn failures_and_descriptors_travel_to_the_parent() {
        for step in STEPS {
            let (reading, writing) = report_pair().unwrap();
            rustix::io::write(&writing, &encode_failure((step, Errno::ACCESS))).unwrap();
            assert_eq!(
                read_failure(&reading, &mut Vec::new()),
                Some((step, Errno::ACCESS))
            );
            let mut binds = Vec::new();
            protocol::send(&writing, &[REBINDS], Some(reading.as_fd())).unwrap();
            drop(writing);
            assert_eq!(read_failure(&reading, &mut binds), None);
            assert_eq!(binds.len(), 1);
        }
    }
}
