//! Tells whoever started this server that it serves, or stops: systemd's `Type=notify` (`sd_notify(3)`).
//!
//! Left out: the watchdog and the store of descriptors; sockets are kept by the minder.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It serves.
    Ready,
    /// It finishes what is open, and ends.
    Stopping,
}

impl State {
    fn words(self) -> &'static [u8] {
        match self {
            Self::Ready => b"READY=1",
            Self::Stopping => b"STOPPING=1",
        }
    }
}

/// Tells `state` to the socket that `NOTIFY_SOCKET` names, if it does.
pub(crate) fn tell(state: State) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    if let Err(error) = send(&socket, state) {
        tracing::warn!(%error, ?socket, "cannot tell that this server is {state:?}");
    }
}

/// A path, or a name in the abstract space with an `@` in front.
fn send(socket: &OsStr, state: State) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?
        .send_to_addr(state.words(), &address)
        .map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_with_paths_and_abstract_names_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("@hythe-readiness-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name[1..]).unwrap();
        for (socket, listening) in [
            (path.as_os_str(), UnixDatagram::bind(&path).unwrap()),
            (
                OsStr::new(&name),
                UnixDatagram::bind_addr(&abstract_name).unwrap(),
            ),
        ] {
            for (state, words) in [(State::Ready, "READY=1"), (State::Stopping, "STOPPING=1")] {
                send(socket, state).unwrap();
                let mut told = [0; 32];
                let length = listening.recv(&mut told).unwrap();
                assert_eq!(&told[..length], words.as_bytes(), "{socket:?}");
            }
        }
        assert!(send(folder.path().join("none").as_os_str(), State::Ready).is_err());
    }
}
