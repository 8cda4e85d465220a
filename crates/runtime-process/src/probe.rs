//! Health check commands: children of the server itself, gone with everything they started when nobody waits
//! for them any more. One that runs while the server is killed runs to its end unseen.

use std::io::{self, ErrorKind};
use std::process::Stdio;

use hythe_supervisor::runtime::{ProbeResult, ProbeSpec, RuntimeError};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};

use crate::program;
use crate::user::Identity;

/// The most output that is kept, bytes: its end.
const MAX_OUTPUT: usize = 1024;

/// Runs a command to its end.
pub(crate) async fn run(spec: &ProbeSpec, identity: Option<&Identity>) -> Result<ProbeResult, RuntimeError> {
    let failed = |source| failed(spec, source);
    let (mut child, output) = start(spec, identity).map_err(failed)?;
    let _group = Group(child.id().and_then(|pid| Pid::from_raw(pid.try_into().ok()?)));
    watch(&mut child, &output).await.map_err(failed)
}

/// Says that a command could not be run.
pub(crate) fn failed(spec: &ProbeSpec, source: io::Error) -> RuntimeError {
    RuntimeError::Start {
        program: spec.command.first().cloned().unwrap_or_default(),
        folder: spec.working_dir.clone(),
        source,
    }
}

fn start(spec: &ProbeSpec, identity: Option<&Identity>) -> io::Result<(Child, pipe::Receiver)> {
    let (name, arguments) = spec
        .command
        .split_first()
        .map_or(("", &[][..]), |(name, rest)| (name.as_str(), rest));
    let file = program::find(name, &spec.environment, &spec.working_dir)?;
    let (output, writer) = io::pipe()?;
    let mut command = Command::new(file);
    command.arg0(name).args(arguments).current_dir(&spec.working_dir);
    command.env_clear().envs(&spec.environment);
    command
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .process_group(0);
    if let Some(identity) = identity {
        // In its first group only: the standard library knows no others.
        command.uid(identity.uid).gid(identity.gid);
    }
    let child = command.spawn().map_err(|error| program::explain(name, error))?;
    Ok((child, pipe::Receiver::from_owned_fd(output.into())?))
}

async fn watch(child: &mut Child, output: &pipe::Receiver) -> io::Result<ProbeResult> {
    let mut tail = Vec::new();
    let mut open = true;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status?,
            readable = output.readable(), if open => {
                readable?;
                open = read_available(output, &mut tail)?;
            }
        }
    };
    if open {
        read_available(output, &mut tail)?;
    }
    Ok(ProbeResult {
        success: status.success(),
        output: String::from_utf8_lossy(&tail).into_owned(),
    })
}

/// Reads what is there, keeping its end. False when there will be no more.
fn read_available(output: &pipe::Receiver, tail: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = [0; 4096];
    // As much as a pipe holds: whoever writes without end must not keep this task from anything else.
    for _ in 0..16 {
        match output.try_read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(read) => {
                tail.extend_from_slice(&buffer[..read]);
                tail.drain(..tail.len().saturating_sub(MAX_OUTPUT));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// The process group of a command; killed with the guard, for what the command may have left behind.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may be empty already.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
