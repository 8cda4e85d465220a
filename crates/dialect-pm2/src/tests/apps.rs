//! Fields of apps.

use std::path::PathBuf;

use super::{app, apps, told};
use crate::fields::{FIELDS, IGNORED};
use crate::file::parse_json;
use crate::{
    Account, App, ExecMode, FilterEnv, Instances, Interpreter, LogFile, LogType, Pattern, Severity, Watch,
    file_name,
};

/// A field with a value, and what the app then is besides its defaults.
type Row = (&'static str, fn(&mut App));

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

fn check(rows: &[Row]) {
    for (fields, change) in rows {
        let mut expected = App::new("a.js");
        change(&mut expected);
        assert_eq!(app(fields), expected, "{fields}");
    }
}

#[test]
fn defaults_are_those_of_the_code() {
    let app = app("");
    assert_eq!(app, App::new("a.js"));
    assert_eq!((app.name.as_str(), app.namespace.as_str()), ("a", "default"));
    assert_eq!(app.instance_var, "NODE_APP_INSTANCE");
    assert_eq!((app.min_uptime_ms, app.max_restarts), (1_000, 16));
    assert_eq!(
        (app.kill_timeout_ms, app.listen_timeout_ms, app.kill_retry_time_ms),
        (1_600, 3_000, 100)
    );
    assert!(app.autorestart && app.autostart && app.treekill);
    assert_eq!((app.exec_mode(), app.instances_on(8)), (ExecMode::Fork, 1));
    assert_eq!(
        (app.out_file, app.log_file),
        (LogFile::Default, LogFile::Disabled)
    );
}

#[test]
fn programs_are_read() {
    check(&[
        ("name: 'x'", |app| app.name = "x".into()),
        ("name: 12", |app| app.name = "12".into()),
        ("name_prefix: 'p'", |app| app.name_prefix = Some("p".into())),
        ("namespace: 'n'", |app| app.namespace = "n".into()),
        ("cwd: '/srv'", |app| app.cwd = Some("/srv".into())),
        ("cwd: ''", |_| {}),
        ("args: '-a \"b c\"'", |app| app.args = texts(&["-a", "b c"])),
        ("args: ['-a b', 1, true]", |app| {
            app.args = texts(&["-a b", "1", "true"]);
        }),
        ("node_args: '--inspect'", |app| {
            app.node_args = texts(&["--inspect"]);
        }),
        ("interpreterArgs: ['-r', 'x']", |app| {
            app.node_args = texts(&["-r", "x"]);
        }),
        ("interpreter: 'none'", |app| {
            app.interpreter = Some(Interpreter::Direct);
        }),
        ("exec_interpreter: '/opt/py'", |app| {
            app.interpreter = Some(Interpreter::Program("/opt/py".into()));
        }),
        ("interpreter: 'node@18'", |app| {
            app.interpreter = Some(Interpreter::Node("18".into()));
        }),
        ("execMode: 'cluster_mode'", |app| {
            app.wanted_mode = Some(ExecMode::Cluster);
        }),
        ("exec_mode: 'fork'", |app| app.wanted_mode = Some(ExecMode::Fork)),
        ("execute_command: true", |app| {
            app.wanted_mode = Some(ExecMode::Fork);
        }),
        ("instances: 4", |app| app.instances = Some(Instances::Count(4))),
        ("instances: '4'", |app| app.instances = Some(Instances::Count(4))),
        ("instances: 'max'", |app| app.instances = Some(Instances::All)),
        ("instances: 0", |app| app.instances = Some(Instances::All)),
        ("instances: -1", |app| app.instances = Some(Instances::AllBut(1))),
        ("user: 'www'", |app| app.uid = Some(Account::Name("www".into()))),
        ("uid: '1000', gid: 100", |app| {
            app.uid = Some(Account::Id(1000));
            app.gid = Some(Account::Id(100));
        }),
        ("force: true", |app| app.force = true),
    ]);
}

#[test]
fn environments_and_watching_are_read() {
    check(&[
        ("increment_var: 'PORT'", |app| {
            app.increment_var = Some("PORT".into());
        }),
        ("instanceVar: 'I'", |app| app.instance_var = "I".into()),
        ("port: '3000'", |app| app.port = Some(3000)),
        ("env: {A: 1}", |app| app.env = [("A".into(), "1".into())].into()),
        ("env: null", |_| {}),
        ("env_dev: {A: 'x'}", |app| {
            app.environments = [("dev".into(), [("A".into(), "x".into())].into())].into();
        }),
        ("filter_env: true", |app| app.filter_env = FilterEnv::Everything),
        ("filter_env: []", |_| {}),
        ("filter_env: 'AWS'", |app| {
            app.filter_env = FilterEnv::Containing(texts(&["AWS"]));
        }),
        ("append_env_to_name: 'true'", |app| app.append_env_to_name = true),
        ("watch: true", |app| app.watch = Watch::Folder),
        ("watch: []", |_| {}),
        ("watch: ['src', 'my lib']", |app| {
            app.watch = Watch::Paths(texts(&["src", "my lib"]));
        }),
        ("watch: 'src'", |app| app.watch = Watch::Paths(texts(&["src"]))),
        ("ignore_watch: 'logs tmp'", |app| {
            app.ignore_watch = Some(vec![Pattern::Glob("logs".into()), Pattern::Glob("tmp".into())]);
        }),
        ("ignore_watch: ['logs', {$re: '\\\\.log$', flags: 'i'}]", |app| {
            let regex = Pattern::Regex {
                source: "\\.log$".into(),
                flags: "i".into(),
            };
            app.ignore_watch = Some(vec![Pattern::Glob("logs".into()), regex]);
        }),
        ("watch_delay: 500", |app| app.watch_delay_ms = 500),
        ("watch_options: {usePolling: true}", |app| {
            app.watch_options.insert("usePolling".into(), true.into());
        }),
    ]);
}

#[test]
fn restarts_and_stops_are_read() {
    check(&[
        ("autorestart: false, autostart: false", |app| {
            app.autorestart = false;
            app.autostart = false;
        }),
        ("stop_exit_codes: 0", |app| app.stop_exit_codes = vec![0]),
        ("stop_exit_codes: [0, '64']", |app| {
            app.stop_exit_codes = vec![0, 64];
        }),
        ("min_uptime: '5s'", |app| app.min_uptime_ms = 5_000),
        ("min_uptime: '1h'", |app| app.min_uptime_ms = 3_600_000),
        ("min_uptime: 100", |app| app.min_uptime_ms = 100),
        ("max_restarts: '3'", |app| app.max_restarts = 3),
        ("restart_delay: '250'", |app| app.restart_delay_ms = 250),
        ("exp_backoff_restart_delay: 100", |app| {
            app.exp_backoff_restart_delay_ms = Some(100);
        }),
        ("exp_backoff_restart_delay: 0", |_| {}),
        ("max_memory_restart: '200M'", |app| {
            app.max_memory_restart_bytes = Some(200 << 20);
        }),
        ("max_memory_restart: '1G'", |app| {
            app.max_memory_restart_bytes = Some(1 << 30);
        }),
        ("max_memory_restart: '300K'", |app| {
            app.max_memory_restart_bytes = Some(300 << 10);
        }),
        ("max_memory_restart: 1000", |app| {
            app.max_memory_restart_bytes = Some(1_000);
        }),
        ("cron: '0 3 * * *'", |app| {
            app.cron_restart = Some("0 3 * * *".into());
        }),
        ("cron_restart: 0", |_| {}),
        ("kill_timeout: 3000", |app| app.kill_timeout_ms = 3_000),
        ("kill_retry_time: 50", |app| app.kill_retry_time_ms = 50),
        ("shutdown_with_message: true", |app| {
            app.shutdown_with_message = true;
        }),
        ("treekill: false", |app| app.treekill = false),
        ("wait_ready: true, listen_timeout: '10s'", |app| {
            app.wait_ready = true;
            app.listen_timeout_ms = 10_000;
        }),
    ]);
}

#[test]
fn logs_are_read() {
    check(&[
        ("out: 'o.log'", |app| app.out_file = LogFile::At("o.log".into())),
        ("out_file: null, err_log: 'NULL'", |app| {
            app.out_file = LogFile::Disabled;
            app.error_file = LogFile::Disabled;
        }),
        ("error: '/dev/null'", |app| app.error_file = LogFile::Disabled),
        ("log: true", |app| app.log_file = LogFile::Default),
        ("log_file: 'all.log'", |app| {
            app.log_file = LogFile::At("all.log".into());
        }),
        ("log_file: false", |_| {}),
        ("combine_logs: true", |app| app.merge_logs = Some(true)),
        ("disable_logs: true, time: true", |app| {
            app.disable_logs = true;
            app.time = true;
        }),
        ("log_date_format: 'YYYY'", |app| {
            app.log_date_format = Some("YYYY".into());
        }),
        ("log_type: 'json'", |app| app.log_type = LogType::Json),
        ("pid: 'x.pid'", |app| app.pid_file = Some(PathBuf::from("x.pid"))),
    ]);
}

#[test]
fn interpreters_follow_from_scripts() {
    let first = |programs| Some(Interpreter::FirstOf(programs));
    let rows = [
        ("a.js", "a", first(&["node"])),
        ("dir/a.b.mjs", "a.b", first(&["node"])),
        ("a.ts", "a", first(&["bun", "node"])),
        ("a.sh", "a", first(&["bash"])),
        ("a.py", "a", first(&["python", "python3"])),
        ("./server", "server", None),
        (".hidden", ".hidden", None),
        ("npm run start", "npm run start", Some(Interpreter::Shell)),
    ];
    for (script, name, interpreter) in rows {
        let app = App::new(script);
        assert_eq!(
            (app.name.as_str(), app.interpreter),
            (name, interpreter),
            "{script}"
        );
    }
}

#[test]
fn cluster_needs_instances_and_node() {
    let rows = [
        ("script: 'a.js'", ExecMode::Fork),
        ("script: 'a.js', instances: 1", ExecMode::Cluster),
        ("script: 'a', instances: 2", ExecMode::Cluster),
        ("script: 'a.ts', instances: 2", ExecMode::Cluster),
        ("script: 'a.js', instances: 2, exec_mode: 'fork'", ExecMode::Fork),
        ("script: 'a.js', exec_mode: 'cluster'", ExecMode::Cluster),
        (
            "script: 'a', instances: 2, interpreter: '/opt/node/bin/node'",
            ExecMode::Cluster,
        ),
        (
            "script: 'a', instances: 2, interpreter: 'node@20'",
            ExecMode::Cluster,
        ),
        ("script: 'a', instances: 2, interpreter: 'none'", ExecMode::Fork),
        ("script: 'a.py', instances: 2", ExecMode::Fork),
        ("script: 'npm start', instances: 2", ExecMode::Fork),
    ];
    for (fields, mode) in rows {
        let app = &apps(&format!("[{{{fields}}}]"))[0];
        assert_eq!(app.exec_mode(), mode, "{fields}");
        assert_eq!(app.merges_logs(), mode == ExecMode::Fork, "{fields}");
    }
}

#[test]
fn instances_are_counted_by_cores() {
    let rows = [
        (Instances::Count(3), 8, 3),
        (Instances::All, 8, 8),
        (Instances::AllBut(1), 8, 7),
        (Instances::AllBut(9), 8, 1),
        (Instances::All, 0, 1),
    ];
    for (instances, cores, expected) in rows {
        assert_eq!(instances.on(cores), expected, "{instances:?}");
    }
}

#[test]
fn names_are_put_together() {
    let app = app("name: 'web', name_prefix: 'shop', append_env_to_name: true");
    assert_eq!(app.process_name(None), "shop:web");
    assert_eq!(app.process_name(Some("prod")), "shop:web-prod");
    assert_eq!(file_name("shop:web é_1.x"), "shop-web---1.x");
}

#[test]
fn every_mistake_is_told_at_once() {
    let text = r"{apps: [
  {script: 'a.js', name: 'web', instances: 1.5, max_memory_restart: '200MB',
   min_uptime: 50, exec_mode: 'threads', env: [1], watch: 1, ports: 1},
  {name: 'none', kill_timeout: '1d', env_prod: {'A=B': 1}},
  'x', {script: 'b.js', execs: true, vizion: false, cmd: 'c.js', instances: 'many'},
  {script: 'npm start', args: ['x']},
]}";
    let parsed = parse_json(text);
    assert_eq!(parsed.ecosystem, None);
    let expected = [
        "line 2, column 44: app `web`: `instances` must be a whole number or `max`, not 1.5",
        "line 2, column 69: app `web`: `max_memory_restart` must be bytes, or a size like `300K`, `200M` \
         or `1G`, not `200MB`",
        "line 3, column 16: app `web`: `min_uptime` must be at least 100 (milliseconds), not 50",
        "line 3, column 31: app `web`: `exec_mode` must be `cluster` or `fork`, not `threads`",
        "line 3, column 47: app `web`: `env` must be a map of variables, not a list",
        "line 3, column 59: app `web`: `watch` must be true, false, a path or a list of paths, not 1",
        "line 3, column 62: app `web`: `ports` is no field of an app and has no effect",
        "line 4, column 3: app `none`: `script` is missing: every app needs the path of what to run",
        "line 4, column 32: app `none`: `kill_timeout` must be milliseconds, or a time like `5s`, `1m` \
         or `1h`, not `1d`",
        "line 4, column 49: app `none`: `env_prod.A=B` cannot be the name of a variable",
        "line 5, column 3: app `number 3`: must be a map, not `x`",
        "line 5, column 25: app `b.js`: `execs` is no field of an app and has no effect",
        "line 5, column 38: app `b.js`: `vizion` is accepted and has no effect here",
        "line 5, column 53: app `b.js`: `cmd` is another name of `script`, which is given too and wins",
        "line 5, column 66: app `b.js`: `instances` is `many`, which stands for all cores",
        "line 6, column 25: app `npm start`: `args` has no effect, as a script with a space \
         in it is a shell command",
    ];
    assert_eq!(told(&parsed.problems), expected);
    let help = |field: &str| {
        let problem = parsed.problems.iter().find(|p| p.field.as_deref() == Some(field));
        problem.and_then(|problem| problem.help.as_deref())
    };
    assert_eq!(help("ports"), Some("did you mean `port`?"));
    assert_eq!(help("execs"), Some("did you mean `exec`?"));
}

#[test]
fn every_field_of_the_table_is_read() {
    for (field, _) in FIELDS {
        let text = format!("[{{script: 'a.js', {field}: [[1]]}}]");
        let parsed = parse_json(&text);
        let is_told = parsed.problems.iter().any(|problem| {
            problem.severity == Severity::Error
                && problem.field.as_deref() == Some(field)
                && *field != "script"
        });
        assert!(is_told || *field == "script", "{field}: {:?}", parsed.problems);
    }
    for field in IGNORED {
        let parsed = parse_json(&format!("[{{script: 'a.js', {field}: [[1]]}}]"));
        assert!(parsed.ecosystem.is_some(), "{field}");
        assert_eq!(parsed.problems[0].severity, Severity::Note, "{field}");
    }
}
