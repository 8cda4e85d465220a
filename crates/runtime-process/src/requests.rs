//! What is asked of the minder, each a job on its thread.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hythe_cgroup::Group;
use hythe_minder::client::{Client, ClientError};
use hythe_minder::protocol::{
    self, ChildState, ChildStatus, Farewell, Rebind, Refusal, Request, Spawn, SpawnStep, Stream,
};
use hythe_model::InstanceId;
use hythe_model::workload::NodeChannel;
use hythe_supervisor::runtime::{Found, Listens, Record, RuntimeError, StartSpec, Started};
use rustix::process::Signal;

use crate::commands::Connection;
use crate::confinement::{Confinement, OLDER_MINDER};
use crate::output::NewRun;
use crate::program;
use crate::runs::{Run, bound_of};
use crate::shared::Shared;
use crate::user::Identity;
use crate::whole_tree;

/// How long the end of a killed process may take.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// Starts a run. An ended one of the same instance is forgotten first.
pub(crate) fn start(
    shared: &Shared,
    connection: &mut Connection,
    spec: &StartSpec,
    identity: Option<&Identity>,
) -> Result<Started, RuntimeError> {
    let program = spec.command.first().cloned().unwrap_or_default();
    let folder = spec.working_dir.clone();
    let refused = |source| RuntimeError::Start {
        program: program.clone(),
        folder: folder.clone(),
        source,
    };
    program::find(&program, &spec.environment, &spec.working_dir).map_err(refused)?;
    match shared.runs.of(&spec.record.id) {
        Some(earlier) if earlier.exited => forget_run(shared, connection, &earlier.name)?,
        Some(_) => return Err(refused(io::Error::new(ErrorKind::AlreadyExists, "it is running"))),
        None => {}
    }
    let name = shared.runs.new_name(&spec.record.id, hythe_stdx::unix_ms());
    let learns = shared.learns.load(Ordering::Relaxed);
    if matches!(spec.listens, Listens::Given { .. }) && !shared.gives_sockets.load(Ordering::Relaxed) {
        return Err(refused(io::Error::new(ErrorKind::Unsupported, OLDER_MINDER)));
    }
    let confinement = Confinement::new(shared, &name, spec, identity).map_err(refused)?;
    let spawn = spawn_request(&name, spec, learns, &confinement).map_err(refused)?;
    shared.runs.begin(&name, &spec.record);
    match connection.ask(|client| client.spawn(spawn)) {
        Ok(spawned) => {
            if matches!(spec.listens, Listens::On { .. }) && !spawned.rebinds {
                tracing::warn!(
                    instance = %spec.record.id,
                    "this system cannot turn binds: the program has to listen on PORT"
                );
            }
            started(shared, &name, &spec.record, spawned, &confinement.keep());
            Ok(Started {
                pid: spawned.pid.unsigned_abs(),
            })
        }
        Err(error) => {
            shared.runs.remove(&name);
            Err(refused_start(&program, error).map_or_else(unreachable, refused))
        }
    }
}

/// Every instance's last run.
pub(crate) fn list(shared: &Shared, connection: &mut Connection) -> Result<Vec<Found>, RuntimeError> {
    let children = connection.ask(Client::list).map_err(unreachable)?;
    let found = children
        .into_iter()
        .filter(|child| shared.runs.contains(&child.id))
        .filter_map(|child| {
            let exit = match child.state {
                ChildState::Running {} => None,
                ChildState::Exited(exit) => {
                    shared.runs.exited(&child.id);
                    Some(shared.exit_of(&child.id, exit))
                }
            };
            Some(Found {
                pid: child.pid.unsigned_abs(),
                exit,
                bound: child.bound.map(bound_of),
                said_ready: child.ready,
                record: record_of(&child)?,
            })
        });
    Ok(found.collect())
}

/// Replaces the record of an instance.
pub(crate) fn record(
    shared: &Shared,
    connection: &mut Connection,
    record: &Record,
) -> Result<(), RuntimeError> {
    let run = run_of(shared, &record.id)?;
    let label =
        serde_json::to_value(record).map_err(|error| unreachable(ClientError::Connection(error.into())))?;
    let answer = connection.ask(|client| client.label(&run.name, label));
    answer.map_err(|error| unknown_or_unreachable(&record.id, error))
}

/// Signals an instance. That nobody is left to get the signal is as good as delivering it.
pub(crate) fn signal(
    shared: &Shared,
    connection: &mut Connection,
    id: &InstanceId,
    signal: i32,
    group: bool,
) -> Result<(), RuntimeError> {
    let run = run_of(shared, id)?;
    match connection.ask(|client| client.signal(&run.name, signal, group)) {
        Ok(()) | Err(ClientError::Refused(Refusal::ChildEnded { .. })) => {}
        Err(error) => return Err(unknown_or_unreachable(id, error)),
    }
    if group && signal == Signal::KILL.as_raw() {
        whole_tree::kill(shared, &run);
    }
    Ok(())
}

/// Whether an instance was told something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Yes,
    /// It has no channel, or does not listen to it, or has ended.
    No,
}

/// Asks an instance to end over its channel.
pub(crate) fn part(
    shared: &Shared,
    connection: &mut Connection,
    id: &InstanceId,
    farewell: Farewell,
) -> Result<Told, RuntimeError> {
    let run = run_of(shared, id)?;
    if !shared.channels.load(Ordering::Relaxed) {
        return Ok(Told::No);
    }
    match connection.ask(|client| client.part(&run.name, farewell)) {
        Ok(()) => Ok(Told::Yes),
        Err(ClientError::Refused(Refusal::NoChild { .. })) => Err(RuntimeError::Unknown(id.clone())),
        Err(ClientError::Refused(_)) => Ok(Told::No),
        Err(error) => Err(unreachable(error)),
    }
}

/// Forgets an instance; what is left of it is killed.
pub(crate) fn forget(
    shared: &Shared,
    connection: &mut Connection,
    id: &InstanceId,
) -> Result<(), RuntimeError> {
    let run = run_of(shared, id)?;
    forget_run(shared, connection, &run.name)
}

/// Kills what is left of a run and takes it from the minder; its output stays for its reader.
pub(crate) fn forget_run(
    shared: &Shared,
    connection: &mut Connection,
    name: &str,
) -> Result<(), RuntimeError> {
    let kill = Signal::KILL.as_raw();
    match connection.ask(|client| client.signal(name, kill, true)) {
        Ok(()) | Err(ClientError::Refused(_)) => {}
        Err(error) => return Err(unreachable(error)),
    }
    if let Some(run) = shared.runs.get(name) {
        whole_tree::kill(shared, &run);
    }
    // The minder may have reaped a killed process without having said so yet; then this does not wait.
    shared.runs.wait_for_exit(name, KILL_PATIENCE);
    match connection.ask(|client| client.forget(name, false)) {
        Ok(()) | Err(ClientError::Refused(Refusal::NoChild { .. })) => {}
        Err(error) => return Err(unreachable(error)),
    }
    if !shared.group_of(name).end() {
        tracing::warn!(
            run = name,
            "something of an instance does not end although it was killed"
        );
    }
    shared.runs.remove(name);
    shared.output.ended(name);
    Ok(())
}

/// Tells the minder what it may delete.
pub(crate) fn consumed(connection: &mut Connection, run: &str, stream: Stream, up_to: u64) {
    // A failed connection is noticed by whoever needs an answer.
    let _ = connection.ask(|client| client.consumed(run, stream, up_to));
}

/// Duplicates of the kept sockets whose names begin with `prefix`.
pub(crate) fn take_listeners(
    connection: &mut Connection,
    prefix: &str,
) -> Result<Vec<(String, OwnedFd)>, ClientError> {
    let names = connection.ask(Client::list_sockets)?;
    let wanted = names.into_iter().filter(|name| name.starts_with(prefix));
    wanted
        .map(|name| {
            connection
                .ask(|client| client.take_socket(&name))
                .map(|socket| (name, socket))
        })
        .collect()
}

/// What was remembered with a child; nothing if it was not started by a server.
pub(crate) fn record_of(child: &ChildStatus) -> Option<Record> {
    match serde_json::from_value(child.label.clone()) {
        Ok(record) => Some(record),
        Err(error) => {
            tracing::warn!(child = child.id, %error, "the minder has a child that is no instance");
            None
        }
    }
}

/// The minder cannot be asked.
pub(crate) fn unreachable(error: impl std::error::Error + Send + Sync + 'static) -> RuntimeError {
    RuntimeError::Unreachable {
        runtime: "process",
        source: Box::new(error),
    }
}

fn run_of(shared: &Shared, id: &InstanceId) -> Result<Run, RuntimeError> {
    shared
        .runs
        .of(id)
        .ok_or_else(|| RuntimeError::Unknown(id.clone()))
}

fn unknown_or_unreachable(id: &InstanceId, error: ClientError) -> RuntimeError {
    match error {
        ClientError::Refused(Refusal::NoChild { .. }) => RuntimeError::Unknown(id.clone()),
        error => unreachable(error),
    }
}

/// Refused here already when it could not be sent: that is the instance's fault, not the connection's.
fn spawn_request(
    name: &Arc<str>,
    spec: &StartSpec,
    learns: bool,
    confinement: &Confinement,
) -> io::Result<Spawn> {
    let spawn = Spawn {
        cwd: std::path::absolute(&spec.working_dir)?,
        env: spec
            .environment
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        label: serde_json::to_value(&spec.record)?,
        rebind: spec
            .record
            .address
            .and_then(|address| rebind(spec.listens, address, learns)),
        channel: spec.channel.map(|channel| protocol::NodeChannel {
            // The cluster's numbers begin with 1.
            worker: (channel == NodeChannel::Cluster).then(|| u64::from(spec.record.slot) + 1),
        }),
        socket: spec
            .record
            .address
            .filter(|_| matches!(spec.listens, Listens::Given { .. })),
        limits: confinement.limits(),
        groups: confinement.groups(),
        user: confinement.user(),
        ..Spawn::new(&**name, spec.command.clone())
    };
    let request = Request::Spawn(Box::new(spawn.clone()));
    protocol::encode(&request).map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))?;
    Ok(spawn)
}

/// Which binds of a program that listens there are turned to its own address.
fn rebind(listens: Listens, address: SocketAddr, learns: bool) -> Option<Rebind> {
    let (from, shared) = match listens {
        Listens::Nowhere | Listens::AsTold | Listens::Given { .. } => return None,
        Listens::On { port, shared } => (port, shared && learns && port == address.port()),
        Listens::Somewhere => (0, true),
    };
    let port = if shared { 0 } else { address.port() };
    let to = SocketAddr::new(address.ip(), port);
    Some(Rebind { from, to })
}

fn started(shared: &Shared, name: &Arc<str>, record: &Record, spawned: protocol::Spawned, group: &Group) {
    let process = (spawned.pid, spawned.start_time);
    shared.runs.started(name, process);
    if let Some(address) = record.address {
        shared.addresses().used(address);
    }
    let new = NewRun {
        run: name,
        instance: &record.id,
        service: &record.service,
        slot: Some(record.slot),
        from: [spawned.out_start, spawned.err_start],
        adopted: false,
    };
    if let Err(error) = shared
        .output
        .files
        .write(&new, process, shared.minder_pid(), group)
    {
        tracing::warn!(instance = %record.id, %error, "should the minder die, what it leaves will not be found");
    }
    shared.output.began(&new);
}

/// What the operating system or the request itself has against a start; anything else is given back.
fn refused_start(program: &str, error: ClientError) -> Result<io::Error, ClientError> {
    match error {
        ClientError::Refused(Refusal::SpawnFailed { step, errno }) => {
            let error = io::Error::from_raw_os_error(errno);
            Ok(match step {
                SpawnStep::Exec => program::explain(program, error),
                step => io::Error::new(error.kind(), format!("{step}: {error}")),
            })
        }
        ClientError::Refused(refusal @ (Refusal::BadField { .. } | Refusal::TooMany { .. })) => {
            Ok(io::Error::new(ErrorKind::InvalidInput, refusal))
        }
        error => Err(error),
    }
}
