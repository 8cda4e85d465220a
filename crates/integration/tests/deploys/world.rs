//! A repository, a clone of it with an ecosystem file, and machines.

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hythe_testkit::free_address;
use hythe_testkit::home::Home;
use hythe_testkit::wait::until;
use serde_json::{Value, json};

pub(super) struct Site {
    pub(super) home: Home,
    pub(super) machines: Vec<Machine>,
    /// The folder of the app below a machine's home.
    folder: String,
}

/// An `sshd` with a home of its own.
pub(super) struct Machine {
    pub(super) home: PathBuf,
    port: u16,
    log: PathBuf,
    server: RefCell<Child>,
}

/// A service that answers all requests with one status.
pub(super) struct Service {
    pub(super) url: String,
    pub(super) answer: Arc<AtomicUsize>,
    pub(super) asked: Arc<AtomicUsize>,
}

impl Service {
    /// Ends with the test's process.
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let service = Self {
            url: format!("http://{}/health?a=1&b='2'", listener.local_addr().unwrap()),
            answer: Arc::default(),
            asked: Arc::default(),
        };
        let (answer, asked) = (Arc::clone(&service.answer), Arc::clone(&service.asked));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let lines = BufReader::new(&stream).lines().map_while(Result::ok);
                lines.take_while(|line| !line.is_empty()).for_each(drop);
                asked.fetch_add(1, Ordering::AcqRel);
                let status = answer.load(Ordering::Acquire);
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                );
            }
        });
        service
    }
}

pub(super) fn read(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.trim_end_matches('\n').to_owned()
}

impl Site {
    pub(super) fn new(machines: usize) -> Self {
        Self::with_folder(machines, "app")
    }

    pub(super) fn with_folder(machines: usize, folder: &str) -> Self {
        let mut home = Home::new();
        let temporary = home.path().with_file_name("tmp");
        fs::create_dir(&temporary).unwrap();
        home.set("TMPDIR", &temporary.to_string_lossy());
        let keys = home.path().with_file_name("keys");
        fs::create_dir(&keys).unwrap();
        make_key(&keys.join("user"));
        make_key(&keys.join("host"));
        let machines = (0..machines)
            .map(|number| Machine::start(&keys, number))
            .collect();
        let site = Self {
            home,
            machines,
            folder: folder.to_owned(),
        };
        let repository = site.repository();
        site.git(&["init", "--quiet", "--bare", "--initial-branch=main", &repository]);
        site.git(&["init", "--quiet", "--initial-branch=main"]);
        site.git(&["remote", "add", "origin", &repository]);
        site
    }

    pub(super) fn repository(&self) -> String {
        self.home
            .path()
            .with_file_name("repo.git")
            .to_string_lossy()
            .into_owned()
    }

    /// The app's folder on a machine.
    pub(super) fn app(&self, machine: usize) -> PathBuf {
        self.machines[machine].home.join(&self.folder)
    }

    /// Git in the clone; what it says.
    #[track_caller]
    pub(super) fn git(&self, words: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=a", "-c", "user.email=a@b"])
            .args(words)
            .current_dir(self.home.folder())
            .output()
            .expect("git; `scripts/setup test` installs it");
        assert!(output.status.success(), "git {words:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Commits a version of the app and pushes it.
    pub(super) fn push(&self, version: &str) {
        self.home.write("version", &format!("{version}\n"));
        self.git(&["add", "version"]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", version]);
        self.git(&["push", "--quiet", "-u", "origin", "main"]);
    }

    /// Writes the ecosystem file: the target `production` on all machines, with what `fields` say instead; null takes
    /// away, and `apps` are the file's.
    pub(super) fn target(&self, fields: &Value) -> Value {
        let keys = self.home.path().with_file_name("keys");
        let hosts: Vec<String> = self.machines.iter().map(Machine::address).collect();
        let known = format!("UserKnownHostsFile=\"{}\"", keys.join("known").display());
        let mut target = json!({
            "host": hosts,
            "key": keys.join("user"),
            "ssh_options": [known, "IdentitiesOnly=yes", "IdentityAgent=none"],
            "repo": self.repository(),
            "ref": "origin/main",
            "path": format!("~/{}", self.folder),
        });
        for (name, value) in fields.as_object().unwrap() {
            target[name] = value.clone();
        }
        let apps = target.as_object_mut().unwrap().remove("apps");
        let apps = apps.unwrap_or_else(|| json!([]));
        let file = json!({"apps": apps, "deploy": {"production": target}});
        self.home.write("ecosystem.json", &file.to_string());
        target
    }

    /// A search path that has everything but one program.
    pub(super) fn path_without(&self, program: &str) -> String {
        let tools = self.home.path().with_file_name("tools");
        fs::create_dir(&tools).unwrap();
        for folder in ["/usr/bin", "/bin"] {
            for entry in fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                if entry.file_name() != program {
                    let _ = std::os::unix::fs::symlink(entry.path(), tools.join(entry.file_name()));
                }
            }
        }
        tools.to_string_lossy().into_owned()
    }
}

impl Machine {
    fn start(keys: &Path, number: usize) -> Self {
        let home = keys.with_file_name(format!("machine-{number}"));
        fs::create_dir_all(home.join("tmp")).unwrap();
        fs::write(home.join(".bashrc"), "echo noise of a login shell\n").unwrap();
        let log = home.join("sshd.log");
        // The port is free when it is chosen, and may be taken when it is wanted.
        let (port, server) = (0..20)
            .find_map(|_| {
                let port = free_address().port();
                let server = serve(keys, &home, &log, port);
                is_up(server, &log).map(|server| (port, server))
            })
            .unwrap_or_else(|| panic!("sshd does not listen: {}", read(&log)));
        let machine = Self {
            home,
            port,
            log,
            server: RefCell::new(server),
        };
        machine.introduce(keys);
        machine
    }

    /// As a target has it.
    pub(super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Adds the host's key to those that are known.
    fn introduce(&self, keys: &Path) {
        let key = read(&keys.join("host.pub"));
        let mut known = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(keys.join("known"))
            .unwrap();
        writeln!(known, "[127.0.0.1]:{} {key}", self.port).unwrap();
    }

    /// Fails if a step has left anything in the folder for temporary files.
    #[track_caller]
    pub(super) fn has_nothing_left(&self) {
        let left: Vec<_> = fs::read_dir(self.home.join("tmp")).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }

    /// Whether anybody has connected.
    pub(super) fn was_asked(&self) -> bool {
        read(&self.log).contains("Connection from")
    }

    pub(super) fn stop(&self) {
        let mut server = self.server.borrow_mut();
        let _ = server.kill();
        let _ = server.wait();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.stop();
    }
}

fn make_key(path: &Path) {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"])
        .arg(path)
        .status();
    let made = made.expect("ssh-keygen; `scripts/setup test` installs it");
    assert!(made.success());
}

fn serve(keys: &Path, home: &Path, log: &Path, port: u16) -> Child {
    let config = home.join("sshd_config");
    let (keys, shown) = (keys.display(), home.display());
    let text = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {keys}/host\nAuthorizedKeysFile {keys}/user.pub\n\
         PidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
         PermitRootLogin yes\nSetEnv HOME={shown} TMPDIR={shown}/tmp\nLogLevel VERBOSE\nMaxStartups 100\n"
    );
    fs::write(&config, text).unwrap();
    fs::write(log, "").unwrap();
    if rustix::process::geteuid().is_root() {
        // Where sshd locks up what speaks to strangers; its unit makes it at each start.
        fs::create_dir_all("/run/sshd").unwrap();
    }
    Command::new("/usr/sbin/sshd")
        .args(["-D", "-f"])
        .arg(&config)
        .arg("-E")
        .arg(log)
        .stdin(Stdio::null())
        .spawn()
        .expect("/usr/sbin/sshd; `scripts/setup test` installs it")
}

/// The server once it listens; `None` if it has ended.
fn is_up(mut server: Child, log: &Path) -> Option<Child> {
    let mut ended = false;
    until("sshd listens", || {
        ended = matches!(server.try_wait(), Ok(Some(_)));
        ended || read(log).contains("Server listening")
    });
    (!ended).then_some(server)
}
