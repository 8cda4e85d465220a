//! `jlist` and `prettylist`: what scripts and tools read of PM2.
//!
//! The shape is PM2's, with every value that there is here: variables of the environment stand both in `env` and beside
//! the fields, as scripts look for them in either place. What has no meaning here (`axm_*`, of PM2's own instrumentation)
//! is there and empty.

use std::path::Path;

use hythe_dialect_pm2::workload::label;
use hythe_dialect_pm2::{Account, FilterEnv, LogFile, Watch};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::processes::{Process, Processes, Service};
use super::{PROJECT, Pm2, SPEAKS, inspect};
use crate::failure::Outcome;

/// The largest `package.json` that is looked at for a version, bytes.
const LARGEST_PACKAGE: u64 = 1 << 20;

/// One process.
#[derive(Serialize)]
struct Entry<'a> {
    pid: u32,
    name: &'a str,
    pm2_env: Map<String, Value>,
    pm_id: u32,
    monit: Monit,
}

#[derive(Serialize)]
struct Monit {
    memory: u64,
    /// Percent of a core, with one decimal where there is one.
    cpu: Value,
}

pub(crate) fn jlist(pm2: &mut Pm2) -> Outcome {
    let processes = pm2.processes()?;
    let text =
        serde_json::to_string(&entries(&processes, &pm2.context.home)).map_err(std::io::Error::from)?;
    pm2.context.out.raw(&text)
}

pub(crate) fn prettylist(pm2: &mut Pm2) -> Outcome {
    let processes = pm2.processes()?;
    let value = serde_json::to_value(entries(&processes, &pm2.context.home)).map_err(std::io::Error::from)?;
    pm2.context.out.line(inspect::inspect(&value))
}

fn entries<'a>(processes: &'a Processes, home: &Path) -> Vec<Entry<'a>> {
    let entry = |process: &'a Process| {
        let service = processes.service(process)?;
        Some(Entry {
            pid: process.pid.unwrap_or(0),
            name: &service.name,
            pm2_env: environment(process, service, home),
            pm_id: process.id,
            monit: Monit {
                memory: process.memory_bytes,
                cpu: percent(process.cpu_millis),
            },
        })
    };
    processes.list.iter().filter_map(entry).collect()
}

/// As JavaScript writes numbers.
fn percent(cpu_millis: u32) -> Value {
    match cpu_millis % 10 {
        0 => Value::from(cpu_millis / 10),
        _ => Value::from(f64::from(cpu_millis) / 10.0),
    }
}

/// What of the shell's environment was left out, as a file says it.
fn filter(filter: &FilterEnv) -> Value {
    match filter {
        FilterEnv::Nothing => json!([]),
        FilterEnv::Everything => json!(true),
        FilterEnv::Containing(parts) => json!(parts),
    }
}

/// `pm2_env`: the environment, and over it what PM2 says of the process.
pub(crate) fn environment(process: &Process, service: &Service, home: &Path) -> Map<String, Value> {
    let variables = variables(process, service);
    let mut all = variables.clone();
    all.insert("env".to_owned(), Value::Object(variables));
    for fields in [of_app(service), of_process(process, service, home)] {
        if let Value::Object(fields) = fields {
            all.extend(fields);
        }
    }
    all
}

/// What the process has as its environment, as far as that is known here.
pub(crate) fn variables(process: &Process, service: &Service) -> Map<String, Value> {
    let workload = &service.workload;
    let mut variables: Map<String, Value> = workload
        .environment
        .iter()
        .map(|(name, value)| (name.clone(), Value::from(value.clone())))
        .collect();
    for (name, first) in &workload.numbered {
        variables.insert(
            name.clone(),
            Value::from((first + u64::from(process.place)).to_string()),
        );
    }
    variables
}

fn of_app(service: &Service) -> Value {
    let app = &service.app;
    let list = |name: &str| serde_json::from_str(service.label(name)).unwrap_or_else(|_| json!([]));
    json!({
        "name": service.name,
        "namespace": service.namespace,
        "instances": service.count(),
        "exec_mode": service.label(label::EXEC_MODE),
        "exec_interpreter": service.label(label::INTERPRETER),
        "pm_exec_path": service.script(),
        "pm_cwd": service.workload.working_dir,
        "args": list(label::ARGS),
        "node_args": list(label::NODE_ARGS),
        "filter_env": filter(&app.filter_env),
        "merge_logs": true,
        "vizion": true,
        "autostart": app.autostart,
        "autorestart": app.autorestart,
        "watch": is_watched(service),
        "instance_var": app.instance_var,
        "pmx": false,
        "automation": true,
        "treekill": app.treekill,
        "windowsHide": true,
        "kill_retry_time": app.kill_retry_time_ms,
        "kill_timeout": app.kill_timeout_ms,
        "username": user(service),
        "km_link": false,
        "vizion_running": false,
        "version": version(service),
        "node_version": "N/A",
    })
}

fn of_process(process: &Process, service: &Service, home: &Path) -> Value {
    let log = |file: &LogFile| match file {
        LogFile::At(path) => service.workload.working_dir.join(path).display().to_string(),
        LogFile::Default => log_file(home, &process.service),
        LogFile::Disabled => "/dev/null".to_owned(),
    };
    let pid_file = service
        .app
        .pid_file
        .as_ref()
        .map(|path| path.display().to_string());
    json!({
        "pm_id": process.id,
        "NODE_APP_INSTANCE": process.place,
        "status": process.status.as_str(),
        "pm_uptime": process.started_at.unwrap_or(0),
        "created_at": created_at(process, service),
        "restart_time": process.restarts,
        "unstable_restarts": 0,
        "exit_code": process.last_exit.and_then(|exit| exit.code).unwrap_or(0),
        "pm_out_log_path": log(&service.app.out_file),
        "pm_err_log_path": log(&service.app.error_file),
        "pm_pid_path": pid_file.unwrap_or_default(),
        "unique_id": unique_id(process),
        "axm_actions": [],
        "axm_monitor": {},
        "axm_options": {},
        "axm_dynamic": {},
        "_pm2_version": SPEAKS,
    })
}

/// Where the server keeps what a service prints, both streams together.
pub(crate) fn log_file(home: &Path, service: &str) -> String {
    let file = home.join("logs").join(format!("{PROJECT}.{service}.log"));
    file.display().to_string()
}

/// When the app was started first, Unix milliseconds.
pub(crate) fn created_at(process: &Process, service: &Service) -> u64 {
    let known = service.label(label::CREATED_AT).parse().ok();
    known.or(process.started_at).unwrap_or(0)
}

/// A number in the form of a UUID, the same as long as the instance is.
fn unique_id(process: &Process) -> String {
    let half = |salt: &[u8]| {
        let hash = hythe_stdx::StableHash::default().with(salt);
        hash.with(process.service.as_bytes())
            .with(process.counted.instance.as_bytes())
            .finish()
    };
    let (high, low) = (half(b"high"), half(b"low"));
    let text = format!("{high:016x}{low:016x}");
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    format!(
        "{}-{}-{}-{}-{}",
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32)
    )
}

/// Whether changes of files restart it.
pub(crate) fn is_watched(service: &Service) -> bool {
    service.app.watch != Watch::Off
}

/// Whom it runs as.
pub(crate) fn user(service: &Service) -> String {
    match &service.app.uid {
        Some(Account::Name(name)) => name.clone(),
        Some(Account::Id(id)) => id.to_string(),
        None => {
            let environment = &service.workload.environment;
            let named = environment.get("USER").or_else(|| environment.get("LOGNAME"));
            named
                .cloned()
                .unwrap_or_else(|| name_of(rustix::process::getuid().as_raw()))
        }
    }
}

fn name_of(uid: u32) -> String {
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let number = uid.to_string();
    let account = accounts.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let mut own = account.filter(|fields| fields.get(2) == Some(&number.as_str()));
    own.next()
        .and_then(|fields| fields.first().map(|name| (*name).to_owned()))
        .unwrap_or(number)
}

/// What the nearest `package.json` above the script says.
pub(crate) fn version(service: &Service) -> String {
    let near = if service.is_command() {
        Some(service.workload.working_dir.as_path())
    } else {
        Path::new(service.script()).parent()
    };
    let files = near
        .into_iter()
        .flat_map(Path::ancestors)
        .map(|folder| folder.join("package.json"));
    let package = files.into_iter().find(|file| {
        let known = file.metadata();
        known.is_ok_and(|file| file.is_file() && file.len() <= LARGEST_PACKAGE)
    });
    let text = package.and_then(|file| std::fs::read(file).ok());
    let package: Option<Value> = text.and_then(|text| serde_json::from_slice(&text).ok());
    let version = package
        .as_ref()
        .and_then(|package| package.get("version")?.as_str());
    version.unwrap_or("N/A").to_owned()
}

#[cfg(test)]
mod tests {
    use hythe_model::InstanceState;

    use super::*;
    use crate::pm2::processes::tests::{processes, service};

    #[test]
    fn the_shape_is_pm2s() {
        let listed = processes(vec![service(
            "api",
            &[InstanceState::Ready, InstanceState::Ready],
            false,
        )]);
        let text = serde_json::to_string(&entries(&listed, Path::new("/h"))).unwrap();
        assert!(
            text.starts_with(r#"[{"pid":100,"name":"api","pm2_env":{"#),
            "{text}"
        );
        assert!(
            text.ends_with(r#""pm_id":1,"monit":{"memory":54128640,"cpu":12.3}}]"#),
            "{text}"
        );
        let value: Value = serde_json::from_str(&text).unwrap();
        let env = &value[1]["pm2_env"];
        for (field, expected) in [
            ("name", json!("api")),
            ("namespace", json!("default")),
            ("pm_id", json!(1)),
            ("NODE_APP_INSTANCE", json!(1)),
            ("instances", json!(2)),
            ("status", json!("online")),
            ("exec_mode", json!("cluster_mode")),
            ("exec_interpreter", json!("node")),
            ("pm_exec_path", json!("/srv/app.js")),
            ("pm_cwd", json!("/srv")),
            ("restart_time", json!(1)),
            ("created_at", json!(1_000)),
            ("pm_uptime", json!(1_000)),
            ("args", json!([])),
            ("watch", json!(false)),
            ("pm_out_log_path", json!("/h/logs/default.api.log")),
            ("SECRET", json!("it's")),
            ("axm_actions", json!([])),
        ] {
            assert_eq!(env[field], expected, "{field}");
        }
        assert_eq!(env["env"], json!({"USER": "web", "SECRET": "it's"}));
        assert_eq!((percent(0), percent(120)), (json!(0), json!(12)));
        assert_eq!(env["unique_id"].as_str().unwrap().len(), 36);
        let nothing = serde_json::to_string(&entries(&Processes::default(), Path::new("/h"))).unwrap();
        assert_eq!(nothing, "[]");
    }

    #[test]
    fn versions_are_those_of_packages() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("src/lib")).unwrap();
        let (view, mut workload) = service("api", &[InstanceState::Ready], false);
        let script = at("src/lib/app.js").display().to_string();
        workload.labels.insert(label::SCRIPT.to_owned(), script);
        let listed = processes(vec![(view, workload)]);
        let service = &listed.services["api"];
        std::fs::write(at("package.json"), r#"{"version": "1.2.3"}"#).unwrap();
        assert_eq!(version(service), "1.2.3");
        std::fs::write(at("src/package.json"), "broken").unwrap();
        assert_eq!(version(service), "N/A");
    }
}
