//! Flags.

use clap::{CommandFactory, Parser};

use super::{app, told};
use crate::{App, ExecMode, FilterEnv, Instances, Interpreter, LogFile, Options, Severity, Watch, split};

/// A command with these flags.
#[derive(Debug, Parser)]
struct Start {
    what: Vec<String>,
    #[command(flatten)]
    options: Options,
}

fn options(flags: &str) -> Options {
    let words = ["start".to_owned(), "a.js".to_owned()]
        .into_iter()
        .chain(split(flags));
    let start = Start::try_parse_from(words).unwrap_or_else(|error| panic!("{flags}: {error}"));
    assert_eq!(start.what, ["a.js"], "{flags}");
    start.options
}

#[test]
fn flags_say_what_fields_say() {
    let rows = [
        ("", ""),
        (
            "-n x --namespace y --cwd /srv",
            "name: 'x', namespace: 'y', cwd: '/srv'",
        ),
        (
            "--interpreter python3 --node-args '-u -B'",
            "interpreter: 'python3', node_args: ['-u', '-B']",
        ),
        ("--interpreter-args --inspect", "node_args: ['--inspect']"),
        ("-i 4", "instances: 4"),
        ("-i -1 --name x", "instances: -1, name: 'x'"),
        ("-i max -x", "instances: 'max', exec_mode: 'fork'"),
        ("--filter-env AWS --filter-env GCP", "filter_env: ['AWS', 'GCP']"),
        ("--watch --time", "watch: true, time: true"),
        (
            "--watch src --ignore-watch 'logs tmp'",
            "watch: ['src'], ignore_watch: ['logs', 'tmp']",
        ),
        ("--watch-delay 4", "watch_delay: 4000"),
        ("--watch-delay 4000ms", "watch_delay: 4000"),
        (
            "--no-autorestart --no-autostart",
            "autorestart: false, autostart: false",
        ),
        ("--stop-exit-codes 0 64", "stop_exit_codes: [0, 64]"),
        (
            "--min-uptime 5s --max-restarts 3",
            "min_uptime: '5s', max_restarts: 3",
        ),
        (
            "--restart-delay 10 --exp-backoff-restart-delay 20",
            "restart_delay: 10, exp_backoff_restart_delay: 20",
        ),
        ("--max-memory-restart 200M", "max_memory_restart: '200M'"),
        ("-c '0 3 * * *' -k 500", "cron: '0 3 * * *', kill_timeout: 500"),
        ("--cron-restart 0", "cron_restart: 0"),
        (
            "--shutdown-with-message --no-treekill",
            "shutdown_with_message: true, treekill: false",
        ),
        (
            "--wait-ready --listen-timeout 9",
            "wait_ready: true, listen_timeout: 9",
        ),
        (
            "-o o.log -e NULL -l all.log",
            "out: 'o.log', error: null, log: 'all.log'",
        ),
        ("--log", "log: true"),
        (
            "--merge-logs --disable-logs",
            "merge_logs: true, disable_logs: true",
        ),
        (
            "--log-date-format YYYY --log-type json",
            "log_date_format: 'YYYY', log_type: 'json'",
        ),
        (
            "-p x.pid --uid 33 --gid www -f",
            "pid: 'x.pid', uid: 33, gid: 'www', force: true",
        ),
        ("-- --port 80 'a b'", "args: ['--port', '80', 'a b']"),
        ("--env prod --only a,b", ""),
    ];
    for (flags, fields) in rows {
        let (made, problems) = options(flags).app("a.js").expect(flags);
        assert_eq!(made, app(fields), "{flags}");
        assert_eq!(problems, [], "{flags}");
    }
}

#[test]
fn what_is_no_field_stays_a_flag() {
    let options = options("--env prod --only a,b --ext .ts,json");
    assert_eq!(options.env.as_deref(), Some("prod"));
    let kept = ["a", "b", "c"].map(|name| options.keeps(&App::new(name)));
    assert_eq!(kept, [true, true, false]);
    assert_eq!(options.app("a.js").expect("no error").0.ext, ["ts", "json"]);
    assert!(Options::default().keeps(&App::new("c")));
}

#[test]
fn flags_win_over_a_file() {
    let mut app = app("name: 'web', instances: 2, watch: true, autorestart: false, out: 'o.log'");
    let before = app.clone();
    let problems = options("-i 3 --max-restarts 1 -- -v").override_app(&mut app);
    assert_eq!(problems, Ok(vec![]));
    let expected = App {
        instances: Some(Instances::Count(3)),
        max_restarts: 1,
        args: vec!["-v".to_owned()],
        ..before.clone()
    };
    assert_eq!(app, expected);
    assert_eq!(
        (app.watch, app.out_file),
        (Watch::Folder, LogFile::At("o.log".into()))
    );

    let mut app = before.clone();
    let problems = options("--max-restarts many -i 9")
        .override_app(&mut app)
        .expect_err("no number");
    assert_eq!(
        told(&problems),
        ["app `web`: `max_restarts` must be a whole number, 0 or more, not `many`"]
    );
    assert_eq!(app, before);
}

#[test]
fn commands_and_modes_follow_from_flags() {
    let (made, problems) = options("-i 2 -- x").app("npm start").expect("no error");
    assert_eq!(
        (made.name.as_str(), made.exec_mode()),
        ("npm start", ExecMode::Fork)
    );
    assert_eq!(made.interpreter, Some(Interpreter::Shell));
    assert_eq!(problems[0].severity, Severity::Warning);
    assert_eq!(problems[0].field.as_deref(), Some("args"));
    let clustered = options("-i 2").app("a.js").expect("no error").0;
    assert_eq!(clustered.exec_mode(), ExecMode::Cluster);
    let all = options("--filter-env true").app("a.js").expect("no error").0;
    assert_eq!(all.filter_env, FilterEnv::Everything);
}

#[test]
fn flags_without_effect_are_told_as_such() {
    let flags = "--no-vizion --no-pmx --no-automation --trace --disable-trace --v8 --event-loop-inspector \
                 --deep-monitoring --source-map-support --disable-source-map-support -w";
    let (made, problems) = options(flags).app("a.js").expect("no error");
    assert_eq!(made, App::new("a.js"));
    assert_eq!(problems.len(), 11, "{problems:?}");
    assert!(problems.iter().all(|problem| problem.severity == Severity::Note));
}

#[test]
fn flags_leave_the_words_of_a_command_alone() {
    let command = Start::command();
    let about = command.get_about().map(ToString::to_string);
    assert_eq!(about.as_deref(), Some("A command with these flags"));
    command.debug_assert();
}
