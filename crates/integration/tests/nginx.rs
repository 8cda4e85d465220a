//! One configuration for a real nginx and for us: the same routes, the same choices, the same command line.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hythe_testkit::home::Home;
use hythe_testkit::http_client::Connection;
use hythe_testkit::wait::until;

/// A service that answers with its name.
struct Backend {
    address: SocketAddr,
    name: &'static str,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Backend {
    fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut backend = Self {
            address: listener.local_addr().unwrap(),
            name,
            ended: Arc::default(),
            thread: None,
        };
        backend.serve(listener);
        backend
    }

    fn serve(&mut self, listener: TcpListener) {
        self.ended = Arc::default();
        let (name, ended) = (self.name, Arc::clone(&self.ended));
        self.thread = Some(std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::Acquire) {
                    return;
                }
                std::thread::spawn(move || answer(&stream.unwrap(), name));
            }
        }));
    }

    /// From here on connections are refused.
    fn stop(&mut self) {
        self.ended.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    fn come_back(&mut self) {
        self.serve(TcpListener::bind(self.address).unwrap());
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop();
    }
}

/// One request, one answer, and the end of the connection, so that no proxy keeps one to a backend that is gone.
fn answer(stream: &TcpStream, name: &str) {
    let mut lines = BufReader::new(stream).lines();
    while lines
        .next()
        .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
    {}
    let length = name.len();
    let mut writer = stream;
    let _ = write!(
        writer,
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{name}"
    );
}

/// Who runs the configuration.
#[derive(Debug, Clone, Copy)]
enum Proxy {
    Nginx,
    Hythe,
}

/// A configuration and where it listens.
struct Site {
    home: Home,
    address: SocketAddr,
}

impl Site {
    /// `http` stands inside of `http {}`; `LISTEN` in it is the address.
    fn new(http: &str) -> Self {
        let home = Home::new();
        let address = free_address();
        let site = Self { home, address };
        site.write(http);
        site
    }

    fn write(&self, http: &str) {
        let folder = self.home.folder();
        let folder = folder.display();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {folder}/{kind};"))
            .concat();
        let http = http.replace("LISTEN", &self.address.to_string());
        let text = format!(
            "worker_processes 1;\npid {folder}/nginx.pid;\nerror_log {folder}/error.log;\nevents {{}}\n\
             http {{\naccess_log off;\n{temporary}\n{http}\n}}\n"
        );
        self.home.write("nginx.conf", &text);
    }

    fn file(&self) -> String {
        self.home.folder().join("nginx.conf").display().to_string()
    }

    fn command(&self, proxy: Proxy, words: &[&str]) -> std::process::Output {
        let (prefix, file) = (self.home.folder(), self.file());
        let prefix = prefix.to_string_lossy();
        let words = [&["-p", &prefix, "-c", &file], words].concat();
        let mut command = match proxy {
            Proxy::Nginx => {
                let mut command = Command::new("nginx");
                command
                    .env("PATH", "/usr/sbin:/usr/bin:/usr/local/sbin")
                    .args(words);
                command
            }
            Proxy::Hythe => self.home.command(&[&["nginx"], words.as_slice()].concat()),
        };
        command
            .output()
            .expect("nginx is missing: run `scripts/setup test`")
    }

    fn start(&self, proxy: Proxy) {
        let output = self.command(proxy, &[]);
        assert!(
            output.status.success(),
            "{proxy:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        until("the pid file is written", || self.pid().is_some());
    }

    fn stop(&self, proxy: Proxy) {
        let output = self.command(proxy, &["-s", "quit"]);
        assert!(
            output.status.success(),
            "{proxy:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        until("nothing of it runs", || self.home.processes().is_empty());
    }

    fn pid(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.home.folder().join("nginx.pid")).ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// Status and body, for a caller with an address of its own.
    fn get_from(&self, source: Ipv4Addr, host: &str, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let mut connection = Connection::open_from(source, self.address).unwrap();
        let answer = connection.exchange(&request).unwrap();
        match answer.status {
            200 => answer.body,
            301..=308 => format!(
                "{} {}",
                answer.status,
                answer.header("location").unwrap_or_default()
            ),
            status => status.to_string(),
        }
    }

    fn get(&self, host: &str, path: &str) -> String {
        self.get_from(Ipv4Addr::LOCALHOST, host, path)
    }

    /// What each of them answers to the same requests, one after the other on the same address.
    fn both<T>(&self, mut ask: impl FnMut() -> T) -> (T, T) {
        self.start(Proxy::Nginx);
        let theirs = ask();
        self.stop(Proxy::Nginx);
        self.start(Proxy::Hythe);
        let ours = ask();
        self.stop(Proxy::Hythe);
        (theirs, ours)
    }
}

/// Nobody listens there, and nobody is given it soon.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn the_same_location_takes_a_request() {
    let site = Site::new(
        r#"
        default_type text/plain;
        absolute_redirect off;
        server {
            listen LISTEN;
            server_name _;
            location / { return 200 "default /"; }
            location = / { return 200 "default = /"; }
            location /api { return 200 "default /api"; }
            location /api/v2/ { return 200 "default /api/v2/"; }
            location ^~ /static/ { return 200 "default ^~ /static/"; }
            location ~ \.php$ { return 200 "default php"; }
            location ~* \.(png|GIF)$ { return 200 "default pictures"; }
            location ~ ^/users/(\d+)$ { return 200 "default user"; }
            location ~ ^/users/ { return 200 "default users"; }
            location /old/ { return 301 https://$host$request_uri; }
            location /moved { return 302 /new$is_args$args; }
            location /none { return 410; }
            location /outer/ {
                return 200 "default outer";
                location /outer/inner/ { return 200 "default inner"; }
                location = /outer/exact { return 200 "default exact"; }
            }
        }
        server {
            listen LISTEN;
            server_name a.test *.wild.test;
            location /only { return 200 "a only"; }
        }
        server {
            listen LISTEN;
            server_name www.wild.test .both.test mail.*;
            location / { return 200 "names"; }
            location ~ \.php$ { return 200 "names php"; }
        }
        server {
            listen LISTEN;
            server_name gone.test;
            return 403;
        }
        "#,
    );
    let paths = [
        "/",
        "/x",
        "/api",
        "/apix",
        "/api/v2/",
        "/api/v2/x.php",
        "/api/v2",
        "/static/",
        "/static/a.php",
        "/static/a.png",
        "/a.php",
        "/a.PHP",
        "/a.php/b",
        "/a.PNG",
        "/b.gif",
        "/b.gifx",
        "/users/7",
        "/users/7a",
        "/users/",
        "/users",
        "/users/x.php",
        "/old/way?q=1",
        "/moved?x=y",
        "/moved",
        "/none",
        "/outer/",
        "/outer/x",
        "/outer/inner/x",
        "/outer/exact",
        "/outer/exactly",
        "/outer/inner/a.php",
        "//x//y",
        "/x/../api",
        "/%61pi",
        "/only",
        "/only/x",
        "/a%2Ephp",
    ];
    let hosts = [
        "other.test",
        "a.test",
        "A.TEST",
        "a.test:81",
        "x.wild.test",
        "x.y.wild.test",
        "wild.test",
        "www.wild.test",
        "both.test",
        "x.both.test",
        "mail.test",
        "mail.a.b",
        "gone.test",
    ];
    let (theirs, ours) = site.both(|| {
        let ask = |host: &&str| paths.map(|path| format!("{host} {path}: {}", site.get(host, path)));
        hosts.iter().flat_map(ask).collect::<Vec<_>>()
    });
    let different = theirs.iter().zip(&ours).filter(|(theirs, ours)| theirs != ours);
    assert_eq!(different.collect::<Vec<_>>(), Vec::new(), "nginx on the left");
    assert!(theirs.len() > 400);
}

#[test]
fn the_same_member_is_chosen() {
    let mut members = ["a", "b", "c", "d"].map(Backend::start);
    let server = |index: usize, more: &str| format!("server {} {more};\n", members[index].address);
    let http = format!(
        "upstream weights {{ {}{}{} }}\n\
         upstream least {{ least_conn; {}{}{} }}\n\
         upstream clients {{ ip_hash; {}{}{} }}\n\
         upstream failing {{ {}{}{} }}\n\
         upstream spare {{ {}{} }}\n\
         server {{ listen LISTEN;\n\
         location /weights {{ proxy_pass http://weights; }}\n\
         location /least {{ proxy_pass http://least; }}\n\
         location /clients {{ proxy_pass http://clients; }}\n\
         location /failing {{ proxy_pass http://failing; }}\n\
         location /spare {{ proxy_pass http://spare; }} }}",
        server(0, "weight=5"),
        server(1, ""),
        server(2, ""),
        server(0, ""),
        server(1, "weight=2"),
        server(2, ""),
        server(0, "weight=2"),
        server(1, ""),
        server(2, ""),
        server(0, "weight=3 max_fails=2 fail_timeout=1s"),
        server(3, "weight=2 fail_timeout=1s"),
        server(1, ""),
        server(3, "fail_timeout=1s"),
        server(2, "backup"),
    );
    let site = Site::new(&http);
    let (theirs, ours) = site.both(|| sequence(&site, &mut members));
    assert_eq!(theirs, ours);
    assert_eq!(theirs[0], "weights: aabacaaaabacaaaabacaa");
}

/// Who answers, request by request; the last of the members fails and comes back.
fn sequence(site: &Site, members: &mut [Backend; 4]) -> Vec<String> {
    let ask = |pool: &str, times: u8| {
        let one = |_| site.get("a.test", &format!("/{pool}"));
        format!("{pool}: {}", (0..times).map(one).collect::<String>())
    };
    let client = |number: u8| site.get_from(Ipv4Addr::new(127, 0, number, 1), "a.test", "/clients");
    let mut seen = vec![
        ask("weights", 21),
        ask("least", 12),
        format!("clients: {}", (0..60).map(client).collect::<String>()),
        ask("failing", 12),
        ask("spare", 3),
    ];
    members[3].stop();
    seen.push(ask("failing", 12));
    seen.push(ask("spare", 3));
    members[3].come_back();
    // nginx counts whole seconds, so that one second may take two.
    let since = Instant::now();
    until("the member may be tried again", || {
        since.elapsed() > Duration::from_millis(2_500)
    });
    seen.push(ask("failing", 24));
    seen.push(ask("spare", 3));
    seen
}

#[test]
fn the_same_verdict_on_the_command_line() {
    let site = Site::new("server { listen LISTEN; }");
    let verdict = |proxy| {
        let output = site.command(proxy, &["-t"]);
        let text = String::from_utf8(output.stderr).unwrap();
        // nginx puts the time before what it tells once it has a log.
        let lines = text.lines().map(|line| match (line.find('['), line.find("#")) {
            (Some(level), Some(_)) => {
                let (level, rest) = line[level..].split_once(' ').unwrap();
                format!("nginx: {level} {}", rest.split_once(": ").unwrap().1)
            }
            _ => line.to_owned(),
        });
        (output.status.code(), lines.collect::<Vec<_>>().join("\n"))
    };
    assert_eq!(verdict(Proxy::Nginx), verdict(Proxy::Hythe));
    site.write("server { listen LISTEN; nonsense; }");
    assert_eq!(verdict(Proxy::Nginx), verdict(Proxy::Hythe));
    assert_eq!(verdict(Proxy::Hythe).0, Some(1));
}

#[test]
fn a_reload_takes_what_is_right_and_leaves_the_rest() {
    let page = |text: &str| {
        format!(
            "server {{ listen LISTEN; location / {{ default_type text/plain; return 200 \"{text}\"; }} }}"
        )
    };
    let site = Site::new(&page("one"));
    site.start(Proxy::Hythe);
    let first = site.pid();
    assert_eq!(site.get("a", "/"), "one");

    site.write(&page("two"));
    assert!(site.command(Proxy::Hythe, &["-s", "reload"]).status.success());
    until("the new page is served", || site.get("a", "/") == "two");

    site.write("server { listen LISTEN; nonsense; }");
    let refused = site.command(Proxy::Hythe, &["-s", "reload"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("unknown directive \"nonsense\""));
    assert_eq!(site.get("a", "/"), "two");

    // Whoever sends the signal past the command line changes nothing with a broken file either.
    let pid = first.as_deref().and_then(|pid| pid.parse().ok()).unwrap();
    hythe_testkit::process_table::signal(pid, rustix::process::Signal::HUP);
    site.write(&page("three"));
    assert!(site.command(Proxy::Hythe, &["-s", "reload"]).status.success());
    until("the repaired page is served", || site.get("a", "/") == "three");
    assert_eq!(site.pid(), first);

    assert!(site.command(Proxy::Hythe, &["-s", "stop"]).status.success());
    until("nothing of it runs", || site.home.processes().is_empty());
    assert_eq!(site.pid(), None);
    let nobody = site.command(Proxy::Hythe, &["-s", "reload"]);
    assert_eq!(nobody.status.code(), Some(1));
}
