//! PM2's command line, through a link called `pm2`: its words, its answers, its exit codes.

use std::env;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hythe_testkit::home::{Home, Ran, hythe_binary};
use hythe_testkit::http_client::get;
use hythe_testkit::process_table::signal;
use hythe_testkit::wait::{eventually, until};
use rustix::process::Signal;
use serde_json::Value;

use crate::apps::load;
use crate::world::none_failed;
use hythe_testkit::free_address;

/// Tells what it was told.
const APP: &str = "\
const { pm_id, name, NODE_APP_INSTANCE, SECRET, NODE_ENV } = process.env;
console.log('up');
console.error('complaint');
process.on('SIGUSR2', () => console.log('signalled'));
require('node:http').createServer((request, response) => {
  response.end(JSON.stringify({ pm_id, name, NODE_APP_INSTANCE, SECRET, NODE_ENV }));
}).listen(@PORT@);
";

/// A home with a link called `pm2`, an app, and the port that it listens on.
struct Site {
    home: Home,
    place: SocketAddr,
}

impl Site {
    fn new() -> Self {
        let site = Self {
            home: Home::new(),
            place: free_address(),
        };
        site.home
            .write("app.js", &APP.replace("@PORT@", &site.place.port().to_string()));
        site.home.write(
            "worker.js",
            "console.log('working'); setInterval(() => {}, 1000);\n",
        );
        symlink(hythe_binary(), site.home.folder().join("pm2")).unwrap();
        site
    }

    /// `PM2_HOME`.
    fn folder(&self) -> PathBuf {
        self.home.folder().join("pm2-home")
    }

    fn command(&self, words: &[&str]) -> Command {
        let usual = self.home.command(&[]);
        let mut command = Command::new(self.home.folder().join("pm2"));
        for (name, value) in usual.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
            .args(words)
            .env("PM2_HOME", self.folder())
            .current_dir(self.home.folder())
            .stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> Ran {
        ran(&self.command(words).output().unwrap())
    }

    #[track_caller]
    fn ok(&self, words: &[&str]) -> String {
        let ran = self.run(words);
        assert_eq!(ran.code, Some(0), "pm2 {}: {ran:#?}", words.join(" "));
        ran.stdout
    }

    #[track_caller]
    fn jlist(&self) -> Vec<Value> {
        let text = self.ok(&["jlist"]);
        assert!(text.ends_with(']'), "no line end: {text:?}");
        serde_json::from_str(&text).unwrap()
    }

    /// `0 app online`, a line for each process.
    #[track_caller]
    fn list(&self) -> Vec<String> {
        let line = |process: &Value| {
            let (name, status) = (&process["name"], &process["pm2_env"]["status"]);
            format!(
                "{} {} {}",
                process["pm_id"],
                name.as_str().unwrap(),
                status.as_str().unwrap()
            )
        };
        self.jlist().iter().map(line).collect()
    }

    /// What the app was told; each instance answers in turn.
    #[track_caller]
    fn answer(&self) -> Value {
        serde_json::from_str(&get(self.place, "/").unwrap().body).unwrap()
    }
}

fn ran(output: &std::process::Output) -> Ran {
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[test]
fn the_tutorial_is_pm2s() {
    let site = Site::new();
    let said = site.ok(&["start", "app.js", "-i", "2"]);
    assert!(said.contains("app.js in cluster_mode (2 instances)"), "{said}");
    assert!(said.contains("│ id │ name   │ namespace   │"), "{said}");
    assert_eq!(site.list(), ["0 app online", "1 app online"]);

    let listed = site.jlist();
    let environment = &listed[1]["pm2_env"];
    for (field, expected) in [
        ("exec_mode", "cluster_mode"),
        ("exec_interpreter", "node"),
        ("namespace", "default"),
        ("name", "app"),
    ] {
        assert_eq!(environment[field], expected, "{field}");
    }
    assert_eq!(environment["NODE_APP_INSTANCE"], 1);
    assert_eq!(environment["pm_cwd"], site.home.folder().display().to_string());
    assert!(listed[0]["monit"]["memory"].as_u64().unwrap() > 1_000_000);
    let mut told: Vec<String> = (0..4)
        .map(|_| site.answer()["pm_id"].as_str().unwrap().to_owned())
        .collect();
    told.sort();
    told.dedup();
    assert_eq!(told, ["0", "1"]);
    assert_eq!(site.answer()["name"], "app");

    let pids: Vec<String> = site.home.pids("app").iter().map(ToString::to_string).collect();
    let mut said: Vec<String> = site.ok(&["pid", "app"]).lines().map(str::to_owned).collect();
    said.sort_by_key(|pid| pid.parse::<u32>().unwrap());
    assert_eq!(said, pids);
    assert_eq!(site.ok(&["id", "app"]), "[ 0, 1 ]\n");
    assert!(site.ok(&["describe", "app"]).contains("│ script path       │ "));
    assert!(site.ok(&["prettylist"]).contains("name: 'app'"));
    assert!(site.ok(&["ls", "-m"]).starts_with("+--- app\n"));
    assert!(site.ok(&["env", "1"]).contains("\nPM2_HOME: "));

    let logs = site.ok(&["logs", "--nostream", "--lines", "1"]);
    assert!(
        logs.contains("for [all] processes") && logs.contains("|app  | up"),
        "{logs}"
    );
    assert_eq!(
        logs.matches("|app  | ").count(),
        2,
        "one line of each stream: {logs}"
    );
    let json = site.ok(&["logs", "app", "--nostream", "--json", "--err", "--lines", "1"]);
    let line: Value = serde_json::from_str(json.trim_end()).unwrap();
    assert_eq!(
        (line["message"].as_str(), line["type"].as_str()),
        (Some("complaint\n"), Some("err"))
    );
    assert_eq!(line["app_name"], "app");

    let load = load(site.place);
    site.ok(&["reload", "all"]);
    site.ok(&["scale", "app", "+1"]);
    site.ok(&["restart", "0"]);
    none_failed(&load, "reload, scale and restart");
    load.stop();
    assert_eq!(site.list(), ["0 app online", "1 app online", "2 app online"]);
    assert_eq!(site.jlist()[0]["pm2_env"]["restart_time"], 2);

    site.ok(&["stop", "app"]);
    assert_eq!(site.list(), ["0 app stopped", "1 app stopped", "2 app stopped"]);
    assert_eq!(site.jlist()[0]["pid"], 0);
    site.ok(&["stop", "app"]);
    site.ok(&["start", "app"]);
    site.ok(&["delete", "all"]);
    assert_eq!(site.ok(&["jlist"]), "[]");
    assert!(site.home.services().is_empty());
}

#[test]
fn what_goes_wrong_has_pm2s_exit_code() {
    let site = Site::new();
    let said = site.run(&[]);
    assert!(
        said.code == Some(1) && said.stdout.starts_with("usage: pm2"),
        "{said:?}"
    );
    site.ok(&["start", "worker.js", "--name", "job", "--namespace", "jobs"]);
    let rows: [(&[&str], i32, &str); 27] = [
        (&["frobnicate"], 1, "Command not found"),
        (&["stop", "nope"], 1, "Process or Namespace nope not found"),
        (&["restart", "nope"], 1, "Process or Namespace nope not found"),
        (&["reload", "nope"], 1, "Process or Namespace nope not found"),
        (&["delete", "/nope/"], 1, "Process or Namespace /nope/ not found"),
        (&["start", "nope.js"], 1, "nope.js, which is not there"),
        (&["start", "nope.json"], 1, "File nope.json not found"),
        (
            &["start", "worker.js", "--name", "job"],
            1,
            "Script already launched, add -f option",
        ),
        (&["start", "app.js", "--name", "job"], 1, "runs another script"),
        (&["start", "job", "--env", "production"], 1, "--env production"),
        (&["scale", "job", "1"], 1, "Nothing to do"),
        (&["scale", "nope", "2"], 1, "Application nope not found"),
        (&["scale", "job", "many"], 1, "`many` is not a number"),
        (&["describe", "nope"], 1, "nope doesn't exist"),
        (&["env", "99"], 1, "99 not found"),
        (&["sendSignal", "SIGHUP"], 1, "required"),
        (&["sendSignal", "SIGNOPE", "job"], 1, "there is no signal SIGNOPE"),
        (&["sendSignal", "SIGHUP", "nope"], 1, "nope"),
        (&["reset", "nope"], 1, "nope"),
        (&["stop"], 1, "required"),
        (&["get", "nope"], 1, "nope is not set"),
        (&["link", "a", "b"], 1, "is not offered"),
        (&["install", "pm2-logrotate"], 1, "is not offered"),
        (&["pid", "nope"], 0, "\n"),
        (&["id", "nope"], 0, "[]"),
        (&["ping"], 0, "{ msg: 'pong' }"),
        (&["--version"], 0, "."),
    ];
    for (words, code, part) in rows {
        let ran = site.run(words);
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(
            ran.code == Some(code) && said.contains(part),
            "pm2 {}: {ran:#?}",
            words.join(" ")
        );
    }
    assert_eq!(site.list(), ["0 job online"]);
    site.ok(&["delete", "jobs"]);
    for words in [["stop", "all"], ["restart", "all"], ["delete", "all"]] {
        let ran = site.run(&words);
        assert!(
            ran.code == Some(1) && ran.stderr.contains("No process found"),
            "{ran:?}"
        );
    }
}

#[test]
fn files_say_what_runs_and_with_what() {
    let site = Site::new();
    let file = |secret: &str| {
        format!(
            "module.exports = {{ apps: [\n  {{ name: 'web', script: './app.js', instances: 2, namespace: 'shop',\n    \
             env: {{ {secret} }}, env_production: {{ NODE_ENV: 'production' }} }},\n  \
             {{ name: 'job', script: 'worker.js', namespace: 'shop' }} ] }};\n"
        )
    };
    site.home.write("ecosystem.config.js", &file("SECRET: 'first'"));
    site.ok(&["start", "--only", "web"]);
    assert_eq!(site.list(), ["0 web online", "1 web online"]);
    assert_eq!(site.answer()["SECRET"], "first");

    site.ok(&["start", "ecosystem.config.js", "--env", "production"]);
    assert_eq!(site.list(), ["0 web online", "1 web online", "2 job online"]);
    assert_eq!(site.answer()["NODE_ENV"], "production");
    site.home.write("ecosystem.config.js", &file(""));
    site.ok(&["restart", "ecosystem.config.js", "--keep-env"]);
    assert_eq!(site.answer()["SECRET"], "first");
    site.ok(&["startOrReload", "ecosystem.config.js"]);
    let told = site.answer();
    assert_eq!((&told["SECRET"], &told["NODE_ENV"]), (&Value::Null, &Value::Null));

    let mut restart = site.command(&["restart", "web", "--update-env", "-i", "1"]);
    let restarted = ran(&restart.env("SECRET", "shell").output().unwrap());
    assert_eq!(restarted.code, Some(0), "{restarted:?}");
    assert_eq!(site.answer()["SECRET"], "shell");
    assert_eq!(site.list(), ["0 web online", "2 job online"]);
    site.ok(&["restart", "web"]);
    assert_eq!(site.answer()["SECRET"], "shell");

    site.ok(&["stop", "/^j/", "web"]);
    assert_eq!(site.list(), ["0 web stopped", "2 job stopped"]);
    site.ok(&["restart", "shop"]);
    assert_eq!(site.list(), ["0 web online", "2 job online"]);
    site.ok(&["delete", "ecosystem.config.js"]);
    assert_eq!(site.ok(&["jlist"]), "[]");
}

#[test]
fn a_configuration_comes_through_stdin() {
    let site = Site::new();
    let mut child = site
        .command(&["start", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"{name: 'piped', script: 'worker.js'}")
        .unwrap();
    let started = ran(&child.wait_with_output().unwrap());
    assert_eq!(started.code, Some(0), "{started:?}");
    assert_eq!(site.list(), ["0 piped online"]);
}

#[test]
fn a_dump_brings_everything_back_and_shows_no_secret() {
    let site = Site::new();
    let saved = site.ok(&["save"]);
    assert!(!site.folder().join("dump.pm2").exists(), "nothing runs: {saved}");
    let mut start = site.command(&["start", "app.js", "-i", "2", "--name", "web"]);
    let started = ran(&start.env("SECRET", "hunter2").output().unwrap());
    assert_eq!(started.code, Some(0), "{started:?}");
    site.ok(&["start", "worker.js"]);
    site.ok(&["stop", "worker"]);
    site.ok(&["save"]);

    let dump = site.folder().join("dump.pm2");
    assert_eq!(dump.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    for entry in std::fs::read_dir(site.folder()).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!text.contains("hunter2"), "{text}");
    }

    site.ok(&["delete", "web"]);
    site.ok(&["resurrect"]);
    assert_eq!(site.answer()["SECRET"], "hunter2");
    site.ok(&["kill"]);
    site.home.await_nothing_left();
    site.ok(&["resurrect"]);
    assert_eq!(site.list(), ["0 web online", "1 web online", "2 worker stopped"]);
    assert_eq!(site.answer()["SECRET"], "hunter2");
    site.home.ok(&["server", "stop", "--with-services"]);
    site.ok(&["resurrect"]);
    until("everything runs again", || {
        site.list() == ["0 web online", "1 web online", "2 worker stopped"]
    });

    std::fs::write(&dump, "[{").unwrap();
    site.ok(&["cleardump"]);
    assert_eq!(std::fs::read_to_string(&dump).unwrap(), "[]");
}

#[test]
fn signals_reach_the_app_and_restarts_are_counted_until_a_reset() {
    let site = Site::new();
    site.ok(&["start", "app.js"]);
    site.ok(&["sendSignal", "SIGUSR2", "app"]);
    until("the app has got the signal", || {
        site.ok(&["logs", "--nostream", "--raw", "--out"])
            .contains("signalled")
    });
    site.ok(&["flush"]);
    assert!(
        !site
            .ok(&["logs", "--nostream", "--raw", "--out"])
            .contains("signalled")
    );

    let [pid] = site.home.pids("app")[..] else {
        panic!("one process");
    };
    signal(pid, Signal::KILL);
    until("it was started again", || {
        let pids = site.home.pids("app");
        pids.len() == 1 && pids[0] != pid
    });
    let pids = site.home.pids("app");
    assert!(site.ok(&["update"]).contains("1 services noticed nothing"));
    assert_eq!(site.home.pids("app"), pids);
    let restarts = || site.jlist()[0]["pm2_env"]["restart_time"].clone();
    assert_eq!(restarts(), 1);
    site.ok(&["reset", "app"]);
    assert_eq!(restarts(), 0);
}

#[test]
fn what_is_attached_to_is_heard_and_may_end_with_it() {
    let mut site = Site::new();
    let folder = site.folder().display().to_string();
    site.home.set("PM2_HOME", &folder);
    let mut attached = site.home.spawn(&["pm2", "start", "worker.js", "--attach"]);
    attached.await_line("0|worker  | working");
    attached.signal(Signal::INT);
    attached.wait();
    assert_eq!(site.list(), ["0 worker online"]);
    site.ok(&["delete", "worker"]);

    let mut foreground = site.home.spawn(&["pm2", "start", "worker.js", "--no-daemon"]);
    foreground.await_line("0|worker  | working");
    foreground.signal(Signal::INT);
    assert!(foreground.wait().success());
    assert_eq!(site.ok(&["jlist"]), "[]");

    let mut logs = site.home.spawn(&["pm2", "logs", "--format"]);
    let starts = ["one", "two", "three"].map(|name| {
        let mut start = site.command(&["start", "worker.js", "--name", name]);
        start.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    });
    for mut start in starts {
        assert!(start.wait().unwrap().success());
    }
    let line = logs.await_line("message=working");
    assert!(line.contains(" type=out "), "{line}");
    let ids: Vec<Value> = site
        .jlist()
        .iter()
        .map(|process| process["pm_id"].clone())
        .collect();
    assert_eq!(ids, [0, 1, 2], "each number once");
}

#[test]
fn what_is_written_is_not_written_over() {
    let site = Site::new();
    site.ok(&["init", "simple"]);
    let file = site.home.folder().join("ecosystem.config.js");
    let simple = std::fs::read_to_string(&file).unwrap();
    assert_eq!(site.run(&["ecosystem"]).code, Some(1));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), simple);
    site.ok(&["ecosystem", "--force"]);
    site.home.ok(&["check", "ecosystem.config.js"]);
    site.ok(&["set", "app:key", "value"]);
    assert_eq!(
        site.ok(&["get", "app:key"]),
        "Value for module app key key: value\n"
    );
    site.ok(&["unset", "app:key"]);
    assert_eq!(site.run(&["get", "app:key"]).code, Some(1));
}

#[test]
fn a_folder_is_served() {
    let site = Site::new();
    site.home.write("public/index.html", "home");
    let port = site.place.port().to_string();
    let said = site.ok(&["serve", "public", &port, "--spa"]);
    assert!(said.contains(&format!("on port {port}")), "{said}");
    for path in ["/", "/index.html", "/no/such/page"] {
        assert_eq!(get(site.place, path).unwrap().body, "home", "{path}");
    }
    let guarded = [
        "serve",
        "public",
        &port,
        "--basic-auth-username",
        "me",
        "--basic-auth-password",
        "x",
    ];
    site.ok(&guarded);
    assert_eq!(get(site.place, "/").unwrap().status, 401);
    assert_eq!(site.run(&["serve", "nowhere"]).code, Some(1));
    site.home
        .ok(&["down", "-p", &format!("static-page-server-{port}")]);
    assert!(get(site.place, "/").is_err());
}

#[test]
fn an_app_that_keeps_ending_is_told_with_its_last_words() {
    let site = Site::new();
    site.home
        .write("broken.js", "console.error('no database'); process.exit(3);\n");
    let ran = site.run(&["start", "broken.js"]);
    assert!(
        ran.code == Some(1) && ran.stderr.contains("no database"),
        "{ran:?}"
    );
    assert_eq!(site.jlist()[0]["name"], "broken");
    site.ok(&["delete", "broken"]);
}

#[test]
fn processes_of_a_procfile_have_ports_of_their_own() {
    let home = Home::new();
    let server = "require('node:http').createServer((_, response) => response.end(process.env.ROLE)).listen(process.env.PORT)";
    home.write("server.js", server);
    home.write(
        "Procfile",
        "# two of them\nweb: ROLE=web node server.js\nadmin: ROLE=admin node server.js\n",
    );
    home.ok(&["import", "procfile", "Procfile"]);
    let services = home.services();
    let names: Vec<&str> = services.iter().map(|service| service.name.as_str()).collect();
    assert_eq!(names, ["admin", "web"]);
    home.write("Procfile", "web node\n");
    let refused = home.run(&["import", "procfile"]);
    assert!(
        refused.code == Some(2) && refused.stderr.contains("no colon"),
        "{refused:?}"
    );
}

/// PM2 itself, as `scripts/setup` has fetched it.
fn real_pm2() -> PathBuf {
    let test = env::current_exe().unwrap();
    let mut beside = test.ancestors().skip(1).take(4).map(|folder| folder.join("pm2"));
    let folder = beside.find(|folder| folder.join("complete").is_file());
    let folder = folder.expect("PM2 itself is missing: run `scripts/setup test`");
    folder.join("node_modules/.bin/pm2")
}

/// Ends PM2 whatever happens: it would outlive the test.
struct RealPm2<'a> {
    program: PathBuf,
    folder: PathBuf,
    work: &'a Path,
}

impl RealPm2<'_> {
    fn run(&self, words: &[&str]) -> Ran {
        let mut command = Command::new(&self.program);
        let output = command
            .args(words)
            .env("PM2_HOME", &self.folder)
            .env("SECRET", "hunter2")
            .current_dir(self.work);
        ran(&output.output().unwrap())
    }
}

impl Drop for RealPm2<'_> {
    fn drop(&mut self) {
        self.run(&["kill"]);
    }
}

#[test]
fn a_running_pm2_is_taken_over() {
    let site = Site::new();
    let work = site.home.folder();
    let theirs = RealPm2 {
        program: real_pm2(),
        folder: site.folder(),
        work: &work,
    };
    for words in [
        &[
            "start",
            "app.js",
            "-i",
            "2",
            "--name",
            "web",
            "--namespace",
            "shop",
        ][..],
        &["start", "sleep 1000", "--name", "sleeper"],
        &["start", "worker.js", "--name", "gone"],
        &["save"],
    ] {
        let ran = theirs.run(words);
        assert_eq!(ran.code, Some(0), "{ran:#?}");
    }
    eventually("PM2 serves", || get(site.place, "/").ok());
    std::fs::remove_file(work.join("worker.js")).unwrap();

    let folder = site.folder().display().to_string();
    let import = ["import", "pm2", "--pm2-home", &folder];
    let looked = site.home.run(&import);
    assert!(
        looked.code == Some(1) && looked.stderr.contains("still runs these"),
        "{looked:?}"
    );
    assert!(looked.stdout.contains("  web: 2 instances of "), "{looked:?}");
    let refused = site.run(&["cleardump"]);
    assert!(
        refused.code == Some(1) && refused.stderr.contains("was written by PM2 itself"),
        "{refused:?}"
    );
    assert!(get(site.place, "/").is_ok(), "it was left alone");

    let taken = site.home.run(&[&import[..], &["--take-over"]].concat());
    assert!(
        taken.code == Some(1) && taken.stderr.contains("app `gone`"),
        "{taken:#?}"
    );
    assert_eq!(site.list(), ["0 web online", "1 web online", "2 sleeper online"]);
    let told = site.answer();
    assert_eq!(
        (&told["SECRET"], &told["name"]),
        (&Value::from("hunter2"), &Value::from("web"))
    );
    assert_eq!(site.jlist()[0]["pm2_env"]["namespace"], "shop");
    let kept = site.run(&["save"]);
    assert!(
        kept.code == Some(1) && kept.stderr.contains("was written by PM2 itself"),
        "{kept:?}"
    );
    site.ok(&["save", "--force"]);
    let ours = site.home.run(&import);
    assert!(
        ours.code == Some(2) && ours.stderr.contains("resurrect"),
        "{ours:?}"
    );
}
