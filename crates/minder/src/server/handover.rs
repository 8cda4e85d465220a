//! From one binary to the next, in the same process: nothing that runs notices.
//!
//! ```text
//!   old: everything it knows ──► a file in memory; descriptors stay open ──► exec(new binary)
//!   new: finds the file's number in its environment, takes everything over, goes on
//! ```
//!
//! Children keep their parent, so exits are reaped as before; pipes, kept sockets, the listening socket, channels and
//! pending binds wait in the kernel for the moment that it takes. Clients see their connections end and connect again.
//! When the new binary cannot be executed the old one goes on as if nothing had been asked.
//!
//! Whether the new binary takes over at all cannot be seen from here: whoever asks makes sure by running it with
//! `minder --handover`, which prints [`VERSION`]. Fields are added with a default.

use std::{
    collections::BTreeMap,
    ffi::CString,
    fs::File,
    io::{self, Read, Seek, Write},
    net::SocketAddr,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use rustix::{
    fs::{MemfdFlags, memfd_create},
    io::{FdFlags, fcntl_setfd},
};
use serde::{Deserialize, Serialize};

use crate::protocol::{Bound, ChildState, ControlGroups, Guarded};

/// What a binary must understand to take over from this one.
pub const VERSION: u32 = 1;

/// Where the new binary finds the number of the file.
pub(super) const VARIABLE: &str = "HYTHE_MINDER_ESTATE";

/// Everything that outlives the binary. Numbers are those of descriptors.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Estate {
    pub(super) started_at_ms: u64,
    pub(super) lock: RawFd,
    pub(super) listener: RawFd,
    pub(super) launcher: Launching,
    pub(super) last_serial: u64,
    pub(super) children: Vec<ChildLeft>,
    pub(super) rebindings: Vec<(u64, RawFd, TurnLeft)>,
    pub(super) channels: Vec<(u64, RawFd, ChannelLeft)>,
    pub(super) sockets: BTreeMap<String, RawFd>,
    pub(super) guard: Option<GuardLeft>,
    /// The server that was launched last.
    #[serde(default)]
    pub(super) launched_server: Option<i32>,
}

/// What every child inherits.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Launching {
    /// Soft and hard limit of descriptors; without a number there is none.
    pub(super) descriptors: (Option<u64>, Option<u64>),
    pub(super) umask: u32,
    pub(super) rebinds: bool,
}

/// A child.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ChildLeft {
    pub(super) serial: u64,
    pub(super) id: String,
    pub(super) pid: i32,
    pub(super) start_time: u64,
    pub(super) state: ChildState,
    pub(super) label: serde_json::Value,
    pub(super) outputs: [OutputLeft; 2],
    pub(super) bound: Option<Bound>,
    #[serde(default)]
    pub(super) ready: bool,
    #[serde(default)]
    pub(super) groups: ControlGroups,
}

/// An output of a child.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct OutputLeft {
    pub(super) pipe: Option<RawFd>,
    /// Read from the pipe and not in a file yet.
    pub(super) pending: Vec<u8>,
    pub(super) segment_limit: u64,
    pub(super) unread_limit: u64,
    pub(super) end: u64,
    pub(super) consumed: u64,
    pub(super) dropped: u64,
}

/// Which binds are turned.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct TurnLeft {
    pub(super) from: Option<u16>,
    pub(super) to: SocketAddr,
}

/// A channel.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ChannelLeft {
    pub(super) line: Vec<u8>,
    pub(super) skipping: bool,
    pub(super) worker: Option<WorkerLeft>,
}

/// What a worker of Node's cluster may have.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WorkerLeft {
    pub(super) turn: Option<TurnLeft>,
    pub(super) is_foreign: bool,
}

/// The server that is guarded.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct GuardLeft {
    pub(super) server: Guarded,
    #[serde(default)]
    pub(super) fallback: Option<Guarded>,
    /// While it lives.
    pub(super) pid: Option<i32>,
    /// Readable once it has ended.
    #[serde(default)]
    pub(super) watched: Option<RawFd>,
    pub(super) failures: u32,
}

/// What an earlier binary has left for this one, if there was one. To be asked once, by the only thread.
pub(super) fn inherited() -> io::Result<Option<Estate>> {
    let Some(number) = std::env::var_os(VARIABLE) else {
        return Ok(None);
    };
    let bad = || {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{VARIABLE} is no descriptor"),
        )
    };
    let number = number
        .to_str()
        .and_then(|number| number.parse::<RawFd>().ok())
        .filter(|number| *number > 2)
        .ok_or_else(bad)?;
    // SAFETY: this process has one thread, which does not read the environment at the same time.
    unsafe { std::env::remove_var(VARIABLE) };
    // SAFETY: the binary before has left it open for this one, and nobody else knows it.
    let mut file = File::from(unsafe { OwnedFd::from_raw_fd(number) });
    file.rewind()?;
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    let estate: Estate = serde_json::from_slice(&text)?;
    for descriptor in estate.descriptors() {
        // SAFETY: as above; it is only borrowed, to be closed on exec again.
        fcntl_setfd(unsafe { BorrowedFd::borrow_raw(descriptor) }, FdFlags::CLOEXEC)?;
    }
    Ok(Some(estate))
}

/// A descriptor of the estate, whose owner is whoever asks.
pub(super) fn take(descriptor: RawFd) -> OwnedFd {
    // SAFETY: the binary before has left it open for this one; each is named in the estate once, and taken once.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

impl Estate {
    /// Executes `exe` as the minder of `home` with all this. Returns only when that could not be done.
    pub(super) fn hand_over(&self, exe: &Path, home: &Path) -> io::Error {
        let handed = self.prepare(exe, home).map(|(image, file)| image.execute(&file));
        let error = match handed {
            Ok(error) | Err(error) => error,
        };
        for descriptor in self.descriptors() {
            let _ = fcntl_setfd(borrowed(descriptor), FdFlags::CLOEXEC);
        }
        error
    }

    fn prepare(&self, exe: &Path, home: &Path) -> io::Result<(Image, OwnedFd)> {
        let file = memfd_create("hythe-minder-estate", MemfdFlags::CLOEXEC)?;
        let mut writer = File::from(file);
        writer.write_all(&serde_json::to_vec(self)?)?;
        let file = OwnedFd::from(writer);
        let image = Image::new(exe, home, file.as_raw_fd())?;
        for descriptor in self.descriptors() {
            fcntl_setfd(borrowed(descriptor), FdFlags::empty())?;
        }
        Ok((image, file))
    }

    /// Every descriptor that has to stay open.
    fn descriptors(&self) -> impl Iterator<Item = RawFd> + use<'_> {
        let pipes = self.children.iter().flat_map(|child| &child.outputs);
        [self.lock, self.listener]
            .into_iter()
            .chain(pipes.filter_map(|output| output.pipe))
            .chain(self.rebindings.iter().map(|(_, descriptor, _)| *descriptor))
            .chain(self.channels.iter().map(|(_, descriptor, _)| *descriptor))
            .chain(self.sockets.values().copied())
            .chain(self.guard.iter().filter_map(|guard| guard.watched))
    }
}

fn borrowed<'a>(descriptor: RawFd) -> BorrowedFd<'a> {
    // SAFETY: whoever has described the estate owns it all the while.
    unsafe { BorrowedFd::borrow_raw(descriptor) }
}

/// What is executed.
struct Image {
    program: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl Image {
    fn new(exe: &Path, home: &Path, file: RawFd) -> io::Result<Self> {
        let text = |bytes: &[u8]| CString::new(bytes).map_err(io::Error::other);
        let program = text(exe.as_os_str().as_bytes())?;
        let arguments = vec![
            program.clone(),
            text(b"minder")?,
            text(b"--home")?,
            text(home.as_os_str().as_bytes())?,
        ];
        let mut environment = vec![text(format!("{VARIABLE}={file}").as_bytes())?];
        for (name, value) in std::env::vars_os() {
            let pair = [name.as_bytes(), b"=", value.as_bytes()].concat();
            environment.push(text(&pair)?);
        }
        Ok(Self {
            program,
            arguments,
            environment,
        })
    }

    /// Returns only when it could not be executed.
    fn execute(&self, file: &OwnedFd) -> io::Error {
        if let Err(error) = fcntl_setfd(file.as_fd(), FdFlags::empty()) {
            return error.into();
        }
        let pointers = |texts: &[CString]| -> Vec<*const libc::c_char> {
            let pointers = texts.iter().map(|text| text.as_ptr());
            pointers.chain([std::ptr::null()]).collect()
        };
        let (arguments, environment) = (pointers(&self.arguments), pointers(&self.environment));
        // SAFETY: all are NUL-terminated, the lists end with a null pointer, and `self` keeps them alive.
        unsafe { libc::execve(self.program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
        io::Error::last_os_error()
    }
}
