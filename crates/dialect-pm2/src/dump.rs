//! What PM2 has saved (`dump.pm2`), as apps again.
//!
//! A dump has a process each, with everything that PM2's daemon knew of it, its variables twice, and PM2's own among them.
//! Processes of one name become one app again, with the environment that was saved and nothing of the shell's.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::ecosystem::Ecosystem;
use crate::file;
use crate::problem::Problem;

/// A dump as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Dump {
    /// Its apps, in the order of their first process.
    pub ecosystem: Ecosystem,
    /// What was wrong with them and was treated as absent.
    pub problems: Vec<Problem>,
    /// Names of what is no app, each with the reason.
    pub left_out: Vec<(String, String)>,
}

/// Fields that stand in a dump as they do in a file.
const KEPT: [&str; 24] = [
    "autorestart",
    "cron_restart",
    "disable_logs",
    "exp_backoff_restart_delay",
    "gid",
    "ignore_watch",
    "increment_var",
    "instance_var",
    "kill_timeout",
    "listen_timeout",
    "log_date_format",
    "log_type",
    "max_memory_restart",
    "max_restarts",
    "min_uptime",
    "restart_delay",
    "shutdown_with_message",
    "stop_exit_codes",
    "time",
    "treekill",
    "uid",
    "wait_ready",
    "watch",
    "watch_delay",
];

/// Reads a dump.
///
/// # Errors
/// It is none.
pub fn parse(text: &str) -> Result<Dump, Box<Problem>> {
    let processes: Vec<Map<String, Value>> = serde_json::from_str(text).map_err(|error| no_dump(&error))?;
    let mut apps: Vec<(String, Vec<&Map<String, Value>>)> = Vec::new();
    for process in &processes {
        let Some(name) = process.get("name").and_then(Value::as_str) else {
            return Err(no_dump(&"a process has no `name`"));
        };
        match apps.iter_mut().find(|(known, _)| known == name) {
            Some((_, processes)) => processes.push(process),
            None => apps.push((name.to_owned(), vec![process])),
        }
    }
    let mut left_out = Vec::new();
    let mut fields = Vec::new();
    for (name, processes) in &apps {
        match reason_to_leave_out(processes) {
            Some(reason) => left_out.push((name.clone(), reason.to_owned())),
            None => fields.push(app(name, processes)),
        }
    }
    let parsed = file::parse_json(&json!({ "apps": fields }).to_string());
    let problems: Vec<Problem> = parsed.problems.into_iter().map(without_place).collect();
    match parsed.ecosystem {
        Some(ecosystem) => Ok(Dump {
            ecosystem,
            problems,
            left_out,
        }),
        None => {
            let worst = problems.into_iter().min_by_key(|problem| problem.severity);
            Err(worst.map_or_else(|| no_dump(&"its apps cannot be read"), Box::new))
        }
    }
}

fn no_dump(why: &dyn std::fmt::Display) -> Box<Problem> {
    Box::new(Problem::error(None, format!("it is no dump of PM2: {why}")))
}

/// Places are those of a text that nobody has written.
fn without_place(problem: Problem) -> Problem {
    Problem {
        place: None,
        ..problem
    }
}

fn reason_to_leave_out(processes: &[&Map<String, Value>]) -> Option<&'static str> {
    let process = processes.first()?;
    let script = process
        .get("pm_exec_path")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if process.get("pmx_module").is_some_and(|flag| *flag == true) {
        return Some("it is a module of PM2");
    }
    if script.ends_with("/lib/API/Serve.js") {
        return Some("it is a folder that PM2 serves; `files` of a manifest serves one here");
    }
    script.is_empty().then_some("it has no script")
}

fn app(name: &str, processes: &[&Map<String, Value>]) -> Value {
    let none = Map::new();
    let process = processes.first().copied().unwrap_or(&none);
    let of_process = process.get("env").and_then(Value::as_object).unwrap_or(&none);
    let mut app: Map<String, Value> = process
        .iter()
        .filter(|(key, _)| KEPT.contains(&key.as_str()) || key.starts_with("env_"))
        // A variable of the same name stands there as well.
        .filter(|(key, _)| !of_process.contains_key(*key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let renamed = [
        ("pm_exec_path", "script"),
        ("pm_cwd", "cwd"),
        ("exec_interpreter", "exec_interpreter"),
        ("exec_mode", "exec_mode"),
        ("namespace", "namespace"),
        ("args", "args"),
        ("node_args", "node_args"),
    ];
    for (from, to) in renamed {
        if let Some(value) = process.get(from) {
            app.insert(to.to_owned(), value.clone());
        }
    }
    let is_stopped =
        |process: &&Map<String, Value>| process.get("status").is_some_and(|status| *status == "stopped");
    app.insert("name".to_owned(), json!(name));
    app.insert("env".to_owned(), json!(variables(name, of_process)));
    app.insert("filter_env".to_owned(), json!(true));
    app.insert("autostart".to_owned(), json!(!processes.iter().all(is_stopped)));
    if processes.len() > 1
        || process
            .get("exec_mode")
            .is_some_and(|mode| *mode == "cluster_mode")
    {
        app.insert("instances".to_owned(), json!(processes.len()));
    }
    Value::Object(app)
}

/// The variables without those that PM2 has put there.
fn variables<'e>(name: &str, env: &'e Map<String, Value>) -> BTreeMap<&'e String, &'e Value> {
    let is_pm2s = |variable: &str| {
        variable.starts_with("PM2_")
            || ["unique_id", "pm_id", "NODE_APP_INSTANCE", "name", name].contains(&variable)
    };
    env.iter().filter(|(variable, _)| !is_pm2s(variable)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{App, ExecMode, FilterEnv, Interpreter};

    fn process(name: &str, more: Value) -> Value {
        let mut process = json!({
            "name": name, "namespace": "default", "pm_exec_path": format!("/srv/{name}.js"), "pm_cwd": "/srv",
            "exec_interpreter": "node", "exec_mode": "cluster_mode", "args": ["--x", "a b"], "node_args": [],
            "status": "online", "SECRET": "s", "kill_timeout": 3000, "max_memory_restart": 209_715_200,
            "env": {"SECRET": "s", "A": 1, "PM2_HOME": "/x", "unique_id": "1", name: "{}", "time": "now"},
            "time": "now", "axm_monitor": {}, "created_at": 1,
        });
        let Value::Object(more) = more else { return process };
        process.as_object_mut().expect("an object").extend(more);
        process
    }

    #[test]
    fn processes_of_a_name_are_an_app_again() {
        let dump = json!([
            process("api", json!({})),
            process(
                "job",
                json!({"exec_mode": "fork_mode", "exec_interpreter": "python", "status": "stopped"})
            ),
            process("api", json!({})),
            process(
                "cmd",
                json!({"exec_interpreter": "none", "pm_exec_path": "/bin/sh", "exec_mode": "fork_mode"})
            ),
            process("mod", json!({"pmx_module": true})),
            process(
                "web",
                json!({"pm_exec_path": "/usr/lib/node_modules/pm2/lib/API/Serve.js"})
            ),
        ]);
        let dump = parse(&dump.to_string()).expect("a dump");
        let said = |app: &App| {
            let mode = app.exec_mode();
            (
                app.name.clone(),
                app.script.clone(),
                mode,
                app.instances_on(8),
                app.autostart,
            )
        };
        let expected = [
            ("api", "/srv/api.js", ExecMode::Cluster, 2, true),
            ("job", "/srv/job.js", ExecMode::Fork, 1, false),
            ("cmd", "/bin/sh", ExecMode::Fork, 1, true),
        ];
        let expected = expected.map(|(name, script, mode, count, start)| {
            (name.to_owned(), script.to_owned(), mode, count, start)
        });
        assert_eq!(dump.ecosystem.apps.iter().map(said).collect::<Vec<_>>(), expected);
        let api = &dump.ecosystem.apps[0];
        assert_eq!(api.args, ["--x", "a b"]);
        assert_eq!(
            (api.kill_timeout_ms, api.max_memory_restart_bytes),
            (3_000, Some(200 << 20))
        );
        assert_eq!(api.filter_env, FilterEnv::Everything);
        assert!(!api.time, "that is a variable");
        let variables: Vec<&str> = api.env.keys().map(String::as_str).collect();
        assert_eq!(variables, ["A", "SECRET", "time"]);
        assert_eq!(dump.ecosystem.apps[2].interpreter, Some(Interpreter::Direct));
        let names: Vec<&str> = dump.left_out.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["mod", "web"]);
    }

    #[test]
    fn what_is_no_dump_is_refused() {
        for text in ["", "{}", "[1]", "[{}]"] {
            let problem = parse(text).expect_err(text);
            assert!(problem.message.starts_with("it is no dump of PM2"), "{problem}");
        }
        assert!(parse("[]").expect("an empty dump").ecosystem.apps.is_empty());
    }
}
