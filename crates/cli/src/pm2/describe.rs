//! Everything about one app or process: `describe`, `env`, `pid`, `id`.

use hythe_dialect_pm2::workload::label;

use super::list::{Styled, boxed, tone, uptime};
use super::processes::{Process, Service};
use super::{Pm2, json};
use crate::failure::{Exit, Failure, Outcome};
use crate::terminal::Tone;

pub(crate) fn describe(pm2: &mut Pm2, which: &str) -> Outcome {
    let processes = pm2.processes()?;
    let meant = processes
        .select(which)
        .map_err(|_| Failure::new(Exit::NotFound, format!("{which} doesn't exist")))?;
    let now = hythe_stdx::unix_ms();
    for process in meant {
        let Some(service) = processes.service(process) else {
            continue;
        };
        let title = format!(
            " Describing process with id {} - name {} ",
            process.id, service.name
        );
        pm2.context.out.line(Tone::Strong.paint(&title))?;
        let log = json::log_file(&pm2.context.home, &process.service);
        for line in two_columns(&fields(process, service, &log, now)) {
            pm2.context.out.line(line)?;
        }
        let hints = format!(
            " `pm2 logs {name}` shows what it prints, `pm2 env {}` its environment, `hythe describe {}` how it is \
             reached",
            process.id,
            process.service,
            name = service.name
        );
        pm2.context.out.line(Tone::Faint.paint(&hints))?;
    }
    Ok(())
}

fn fields(process: &Process, service: &Service, log: &str, now: u64) -> Vec<(&'static str, Styled)> {
    let plain = |text: String| (text, Tone::Plain);
    let or_none = |text: String| if text.is_empty() { "N/A".to_owned() } else { text };
    let words = |name: &str| {
        let words: Vec<String> = serde_json::from_str(service.label(name)).unwrap_or_default();
        plain(or_none(words.join(" ")))
    };
    let node_env = service.workload.environment.get("NODE_ENV");
    let watched = if json::is_watched(service) { "✔" } else { "✘" };
    vec![
        ("status", (process.status.to_string(), tone(process.status))),
        ("name", plain(service.name.clone())),
        ("namespace", plain(service.namespace.clone())),
        ("version", plain(json::version(service))),
        ("restarts", plain(process.restarts.to_string())),
        ("uptime", plain(uptime(process, now))),
        ("script path", plain(service.script().to_owned())),
        ("script args", words(label::ARGS)),
        ("error log path", plain(log.to_owned())),
        ("out log path", plain(log.to_owned())),
        ("pid", plain(process.pid.unwrap_or(0).to_string())),
        ("interpreter", plain(service.label(label::INTERPRETER).to_owned())),
        ("interpreter args", words(label::NODE_ARGS)),
        ("script id", plain(process.id.to_string())),
        (
            "exec cwd",
            plain(service.workload.working_dir.display().to_string()),
        ),
        ("exec mode", plain(service.label(label::EXEC_MODE).to_owned())),
        (
            "node env",
            plain(node_env.cloned().unwrap_or_else(|| "N/A".to_owned())),
        ),
        ("watch & reload", plain(watched.to_owned())),
        ("unstable restarts", plain("0".to_owned())),
        ("created at", plain(time(json::created_at(process, service)))),
    ]
}

/// `2026-11-22T02:55:05.184Z`.
fn time(unix_ms: u64) -> String {
    let milliseconds = i64::try_from(unix_ms).unwrap_or(i64::MAX);
    match jiff::Timestamp::from_millisecond(milliseconds) {
        Ok(time) => time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string(),
        Err(_) => "N/A".to_owned(),
    }
}

fn two_columns(fields: &[(&str, Styled)]) -> Vec<String> {
    let widest = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or(0) + 2;
    let names = widest(&mut fields.iter().map(|(name, _)| name.chars().count()));
    let values = widest(&mut fields.iter().map(|(_, (value, _))| value.chars().count()));
    let rows: Vec<Vec<Styled>> = fields
        .iter()
        .map(|(name, value)| vec![((*name).to_owned(), Tone::Plain), value.clone()])
        .collect();
    boxed(None, &rows, &[names, values])
}

/// `env <id>`: whose values are secrets, and asked for by name.
pub(crate) fn environment(pm2: &mut Pm2, which: &str) -> Outcome {
    let processes = pm2.processes()?;
    let id: Option<u32> = which.parse().ok();
    let process = processes.list.iter().find(|process| Some(process.id) == id);
    let found = process.and_then(|process| Some((process, processes.service(process)?)));
    let Some((process, service)) = found else {
        return Err(Failure::new(
            Exit::NotFound,
            format!("Modules with id {which} not found"),
        ));
    };
    for (name, value) in json::environment(process, service, &pm2.context.home) {
        let value = match value {
            serde_json::Value::String(text) => text,
            value @ (serde_json::Value::Bool(_) | serde_json::Value::Number(_)) => value.to_string(),
            _ => continue,
        };
        pm2.context.out.line(format!("{name}: {value}"))?;
    }
    Ok(())
}

/// `pid [name]`: a line for each; an empty one for what does not run.
pub(crate) fn pids(pm2: &mut Pm2, which: Option<&str>) -> Outcome {
    let processes = pm2.processes()?;
    let meant = processes.select(which.unwrap_or("all")).unwrap_or_default();
    let pids: Vec<String> = meant
        .iter()
        .map(|process| process.pid.unwrap_or(0).to_string())
        .collect();
    pm2.context.out.line(pids.join("\n"))
}

/// `id <name>`.
pub(crate) fn ids(pm2: &mut Pm2, which: &str) -> Outcome {
    let processes = pm2.processes()?;
    let meant = processes.select(which).unwrap_or_default();
    let ids: Vec<String> = meant.iter().map(|process| process.id.to_string()).collect();
    pm2.context.out.line(match ids.as_slice() {
        [] => "[]".to_owned(),
        ids => format!("[ {} ]", ids.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use hythe_model::InstanceState;

    use super::*;
    use crate::pm2::processes::tests::{processes, service};

    #[test]
    fn a_process_is_described_in_two_columns() {
        let listed = processes(vec![service("api", &[InstanceState::Ready], false)]);
        let process = &listed.list[0];
        let fields = fields(
            process,
            listed.service(process).unwrap(),
            "/h/logs/default.api.log",
            4_000,
        );
        let text = two_columns(&fields).join("\n");
        let text = anstream::adapter::strip_str(&text).to_string();
        assert_eq!(
            text,
            "\
┌───────────────────┬──────────────────────────┐
│ status            │ online                   │
│ name              │ api                      │
│ namespace         │ default                  │
│ version           │ N/A                      │
│ restarts          │ 0                        │
│ uptime            │ 3s                       │
│ script path       │ /srv/app.js              │
│ script args       │ N/A                      │
│ error log path    │ /h/logs/default.api.log  │
│ out log path      │ /h/logs/default.api.log  │
│ pid               │ 100                      │
│ interpreter       │ node                     │
│ interpreter args  │ N/A                      │
│ script id         │ 0                        │
│ exec cwd          │ /srv                     │
│ exec mode         │ cluster_mode             │
│ node env          │ N/A                      │
│ watch & reload    │ ✘                        │
│ unstable restarts │ 0                        │
│ created at        │ 1970-01-01T00:00:01.000Z │
└───────────────────┴──────────────────────────┘"
        );
    }
}
