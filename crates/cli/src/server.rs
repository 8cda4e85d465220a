//! The platform's own life: `server run`, `start`, `stop`; and starting one for `up`.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hythe_api::wire::StopServerRequest;
use hythe_config::ServerArgs;
use hythe_minder::client::{Client as Minder, ClientError};
use hythe_minder::protocol::Refusal;
use hythe_model::ProjectName;
use hythe_model::view::StatusView;

use crate::arguments::{RunOptions, StopServerOptions};
use crate::client::Presence;
use crate::failure::{Exit, Failure, Outcome};
use crate::{Context, init, status};

/// How long a server may take to answer, and how long to end.
const START: Duration = Duration::from_secs(20);
const END: Duration = Duration::from_secs(60);
/// How much longer a server takes that somebody else started at the same moment.
const OTHER_START: Duration = Duration::from_millis(500);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(5);

pub(crate) fn run(context: &Context, options: RunOptions) -> Outcome {
    if init::is_needed() {
        return init::run(context);
    }
    if options.detached {
        // Fails only for a group leader, which a shell's job is; then it stays in its session.
        let _ = rustix::process::setsid();
    }
    let arguments = ServerArgs {
        home: context.home.clone(),
        ..options.server
    };
    check(&arguments)?;
    (context.hooks.run_server)(&arguments, options.detached)
        .map_err(|error| Failure::new(Exit::Failed, error))
}

pub(crate) fn start(context: &mut Context, options: &ServerArgs) -> Outcome {
    if ensure(context, options)?.is_some() {
        let status: StatusView = context.client.get("/v1/status")?;
        let gateway = status::gateway(&status.listen);
        return context.out.line(format!(
            "server started (pid {}), gateway on {gateway}",
            status.server.pid
        ));
    }
    context.out.line("a server is running already")
}

/// Starts a server in the background if none answers; the process, if it did.
pub(crate) fn ensure(context: &Context, options: &ServerArgs) -> Outcome<Option<Child>> {
    if is_there(context)? {
        return Ok(None);
    }
    check(&ServerArgs {
        home: context.home.clone(),
        ..options.clone()
    })?;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&context.home)?;
    let path = hythe_config::server_log(&context.home);
    let log = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(&path)?;
    let before = log.metadata()?.len();
    let mut child = spawn(context, options, &log)?;
    let deadline = Instant::now() + START;
    loop {
        if context.client.presence() == Presence::Answers {
            return Ok(Some(child));
        }
        if let Some(status) = child.try_wait()? {
            // Somebody else may have started one at the same moment, and ours found the data directory taken.
            if await_other(context) {
                return Ok(None);
            }
            let said = log_since(&path, before);
            return Err(Failure::new(
                Exit::Failed,
                format!("the server did not start ({status})\n{said}"),
            ));
        }
        if Instant::now() >= deadline {
            let message = format!("the server does not answer after {} s", START.as_secs());
            return Err(Failure::new(Exit::TimedOut, message).hint(format!("see {}", path.display())));
        }
        pause();
    }
}

/// Whether a server that somebody else started answers soon.
fn await_other(context: &Context) -> bool {
    let deadline = Instant::now() + OTHER_START;
    while Instant::now() < deadline {
        if context.client.presence() == Presence::Answers {
            return true;
        }
        pause();
    }
    false
}

/// Settings that cannot be used are a mistake of who calls, and known before anything is started.
pub(crate) fn check(arguments: &ServerArgs) -> Outcome {
    match hythe_config::resolve(arguments) {
        Ok(_) => Ok(()),
        Err(problems) => Err(Failure::new(Exit::Usage, problems.to_string())),
    }
}

/// Whether a server answers. One that was killed may listen for a moment longer than it lives, and holds its
/// data directory as long.
fn is_there(context: &Context) -> Outcome<bool> {
    let deadline = Instant::now() + START;
    loop {
        match context.client.presence() {
            Presence::Answers => return Ok(true),
            Presence::Absent => return Ok(false),
            Presence::Silent if Instant::now() < deadline => pause(),
            Presence::Silent => {
                let message = format!("a server listens and does not answer after {} s", START.as_secs());
                let log = hythe_config::server_log(&context.home);
                return Err(Failure::new(Exit::TimedOut, message).hint(format!("see {}", log.display())));
            }
        }
    }
}

fn spawn(context: &Context, options: &ServerArgs, log: &File) -> Outcome<Child> {
    let program = std::env::current_exe()?;
    let mut command = Command::new(&program);
    command
        .args(["server", "run", "--detached", "--home"])
        .arg(&context.home);
    // What was said about the server is said again to the one in the background.
    for (name, values) in options.settings() {
        let flag = name.replace('_', "-");
        command.args(values.iter().map(|value| format!("--{flag}={value}")));
    }
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log.try_clone()?);
    // A server keeps no folder busy; relative paths were made absolute before.
    command.current_dir("/");
    command
        .spawn()
        .map_err(|error| Failure::new(Exit::Failed, format!("start {}: {error}", program.display())))
}

/// What a log got since it had `start` bytes.
pub(crate) fn log_since(path: &std::path::Path, start: u64) -> String {
    let mut text = String::new();
    let read = File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::Start(start))?;
        file.take(64 * 1024).read_to_string(&mut text)
    });
    match read {
        Ok(_) => text.trim_end().to_owned(),
        Err(error) => format!("its log {} cannot be read: {error}", path.display()),
    }
}

pub(crate) fn stop(context: &mut Context, options: &StopServerOptions) -> Outcome {
    if context.client.presence() == Presence::Absent
        && let Ok(minder) = Minder::connect(&context.home)
    {
        end_minder(minder, options.with_services)?;
        return context.out.line("the minder has ended; no server answered");
    }
    end(context, options.with_services, None)?;
    context.out.line("server and minder have ended")
}

/// Ends a minder whose server is gone, or dies again and again.
fn end_minder(mut minder: Minder, with_services: bool) -> Outcome {
    match minder.shutdown(with_services) {
        Ok(()) => {}
        Err(ClientError::Refused(refusal @ Refusal::ChildrenRunning { .. })) => {
            let hint = "`hythe server stop --with-services` ends them too";
            return Err(Failure::new(Exit::Failed, refusal.to_string()).hint(hint));
        }
        Err(error) => return Err(Failure::new(Exit::Failed, error.to_string())),
    }
    await_minder_end(minder)
}

/// Waits until a minder that was told to end has done so.
pub(crate) fn await_minder_end(minder: Minder) -> Outcome {
    minder
        .await_end()
        .map_err(|error| Failure::new(Exit::TimedOut, format!("the minder does not end: {error}")))
}

/// Ends server and minder, and waits until both are gone. `child`: the server, if this process started it
/// and so has to reap it.
pub(crate) fn end(context: &Context, with_services: bool, child: Option<&mut Child>) -> Outcome {
    let status: StatusView = context.client.get("/v1/status")?;
    let _: serde_json::Value =
        context
            .client
            .send("POST", "/v1/server/stop", &StopServerRequest { with_services })?;
    let deadline = Instant::now() + END;
    if let Some(child) = child {
        await_end(status.server.pid, deadline, || {
            child.try_wait().is_ok_and(|status| status.is_some())
        })?;
    }
    for pid in [Some(status.server.pid), status.minder.pid].into_iter().flatten() {
        await_end(pid, deadline, || has_ended(pid))?;
    }
    Ok(())
}

fn await_end(pid: u32, deadline: Instant, mut ended: impl FnMut() -> bool) -> Outcome {
    while !ended() {
        if Instant::now() >= deadline {
            return Err(Failure::new(
                Exit::TimedOut,
                format!("process {pid} does not end"),
            ));
        }
        pause();
    }
    Ok(())
}

/// Gone, or a zombie: it runs no more, and who reaps it when is its parent's business.
pub(crate) fn has_ended(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return true;
    };
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
}

/// Kills whatever runs of a project, with all it started, without asking.
pub(crate) fn kill_instances(context: &Context, project: &ProjectName) -> Outcome {
    let path = format!("/v1/projects/{project}/kill");
    let _: Vec<String> = context.client.send("POST", &path, &())?;
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the process is waiting for another one, and has nothing else to do"
)]
pub(crate) fn pause() {
    std::thread::sleep(LOOK);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_checked_before_a_server_is_started() {
        let home = tempfile::tempdir().unwrap();
        let with_workers = |workers: &str| ServerArgs {
            home: home.path().to_owned(),
            workers: Some(workers.to_owned()),
            ..ServerArgs::default()
        };
        assert!(check(&with_workers("2")).is_ok());
        let refused = check(&with_workers("many")).unwrap_err();
        assert_eq!(refused.exit, Exit::Usage);
        assert!(refused.message.contains("HYTHE_WORKERS"), "{refused}");
    }
}
