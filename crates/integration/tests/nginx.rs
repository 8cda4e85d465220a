//! One configuration for a real nginx and for us: the same routes, the same choices, the same command line.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hythe_testkit::free_address;
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

/// A service that answers with its name and the head of the request, its lines in order of the alphabet.
fn start_echo(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || echo(&stream.unwrap(), name));
        }
    });
    address
}

fn echo(mut stream: &TcpStream, name: &str) {
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    let mut head: Vec<_> = lines
        .take_while(|line| !line.is_empty())
        .map(|line| line.to_lowercase())
        .collect();
    head.sort();
    let head = format!("{}\nby {name}", head.join("\n"));
    let length = head.len();
    let _ = write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nX-Secret: 1\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{head}"
    );
}

/// What is asked of both: the request line, fields, and which fields of the answer must be the same.
const PRACTICE: [(&str, &str, &[&str]); 20] = [
    ("GET /plain HTTP/1.1", "", &["content-encoding"]),
    (
        "GET /gzip HTTP/1.1",
        "Accept-Encoding: gzip\r\n",
        &["content-encoding", "vary"],
    ),
    ("GET /gzip HTTP/1.1", "", &["content-encoding"]),
    (
        "GET /api/x?y=1 HTTP/1.1",
        "X-Forwarded-For: 9.9.9.9\r\n",
        &["x-secret", "x-frame-options"],
    ),
    ("POST /small HTTP/1.1", "Content-Length: 0\r\n", &[]),
    ("POST /small HTTP/1.1", "Content-Length: 11\r\n", &[]),
    ("GET /status HTTP/1.1", "", &["www-authenticate"]),
    (
        "GET /status HTTP/1.1",
        "Authorization: Basic YW5uOndyb25n\r\n",
        &["www-authenticate"],
    ),
    ("GET /closed HTTP/1.1", "", &[]),
    ("GET /guarded HTTP/1.1", "", &["www-authenticate"]),
    (
        "GET /guarded HTTP/1.1",
        "Authorization: Basic YW5uOnNlY3JldA==\r\n",
        &[],
    ),
    ("GET /say?a=1 HTTP/1.1", "", &["content-type", "x-frame-options"]),
    ("GET /go/there?a=1 HTTP/1.1", "", &["location"]),
    ("GET /internal HTTP/1.1", "", &[]),
    (
        "GET /files/a.txt HTTP/1.1",
        "",
        &["content-type", "last-modified", "etag"],
    ),
    ("GET /files/none HTTP/1.1", "", &[]),
    ("GET /files/ HTTP/1.1", "", &["content-type"]),
    (
        "GET /alias/a.txt HTTP/1.1",
        "Range: bytes=0-1\r\n",
        &["content-range"],
    ),
    ("GET /app/none HTTP/1.1", "", &["content-type"]),
    ("POST /files/a.txt HTTP/1.1", "Content-Length: 0\r\n", &[]),
];

#[test]
fn what_stands_in_files_in_practice_does_the_same() {
    let echo = start_echo("echo");
    let home = Home::new();
    home.write("users", "ann:{PLAIN}secret\n");
    std::fs::create_dir_all(home.folder().join("files")).unwrap();
    std::fs::create_dir_all(home.folder().join("app")).unwrap();
    home.write("files/a.txt", "of a file\n");
    home.write("files/index.html", "<p>index</p>\n");
    home.write("app/index.html", "<p>app</p>\n");
    let http = PRACTICE_CONF
        .replace("ECHO", &echo.to_string())
        .replace("FOLDER", &home.folder().display().to_string());
    let site = Site::new(&http);
    let (theirs, ours) = site.both(|| PRACTICE.map(|row| asked(&site, row)));
    let different = theirs.iter().zip(&ours).filter(|(theirs, ours)| theirs != ours);
    assert_eq!(different.collect::<Vec<_>>(), Vec::new(), "nginx on the left");

    // What only one of them tells, and what Debian's nginx needs a module for.
    let raw = free_address();
    let conf = std::fs::read_to_string(site.file()).unwrap();
    let stream = format!("stream {{ server {{ listen {raw}; proxy_pass {echo}; }} }}\n");
    site.home.write("nginx.conf", &(conf + &stream));
    site.start(Proxy::Hythe);
    let answer = Connection::open(raw)
        .unwrap()
        .exchange("GET /raw HTTP/1.1\r\n\r\n");
    assert_eq!(answer.unwrap().body, "get /raw http/1.1\nby echo");
    let page = "Authorization: Basic YW5uOnNlY3JldA==\r\n";
    let page = asked(&site, ("GET /status HTTP/1.1", page, &[]));
    site.stop(Proxy::Hythe);
    assert!(page.contains("server accepts handled requests"), "{page}");
}

const PRACTICE_CONF: &str = r#"
    types { text/html html; text/plain txt; }
    upstream app { server ECHO; keepalive 4; }
    map $http_upgrade $connection_upgrade { default upgrade; "" close; }
    absolute_redirect off;
    server {
        listen LISTEN;
        server_name shop.test;
        proxy_http_version 1.1;
        location / { proxy_pass http://app; proxy_set_header Connection ""; }
        location /gzip { proxy_pass http://app; gzip on; gzip_vary on; }
        location /api/ {
            proxy_pass http://app/v1/;
            proxy_set_header Host inside.test;
            proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-From $remote_addr-$http_x_forwarded_for;
            proxy_set_header Connection $connection_upgrade;
            proxy_hide_header X-Secret;
            add_header X-Frame-Options DENY always;
        }
        location /small { proxy_pass http://app; client_max_body_size 10; }
        location = /status { stub_status; auth_basic "status page"; auth_basic_user_file FOLDER/users; }
        location /closed { proxy_pass http://app; allow 10.0.0.0/8; deny all; }
        location /guarded {
            proxy_pass http://app;
            auth_basic "all";
            auth_basic_user_file FOLDER/users;
            allow 127.0.0.0/8;
            deny all;
        }
        location /say {
            default_type text/plain;
            add_header X-Frame-Options DENY;
            return 200 "$request_method $host$uri $args $remote_addr\n";
        }
        location /go/ { return 302 https://$host$request_uri; }
        location /internal { internal; proxy_pass http://app; }
        location /files/ { root FOLDER; try_files $uri $uri/ =404; }
        location /alias/ { alias FOLDER/files/; }
        location /app/ { root FOLDER; try_files $uri /app/index.html; }
    }
"#;

/// What is asked about rewrites, conditions and tables: the request line, fields, and which fields of the answer must be
/// the same.
const DECISIONS: [(&str, &str, &[&str]); 61] = [
    // Redirects and rewrites of a whole server.
    ("GET /old/a/b HTTP/1.1", "", &["location"]),
    ("GET /old/a?x=1 HTTP/1.1", "", &["location"]),
    ("GET /older?x=1 HTTP/1.1", "", &["location"]),
    ("GET /away/x?y=1 HTTP/1.1", "", &["location"]),
    ("GET /post/7?x=1 HTTP/1.1", "", &[]),
    ("GET /post/x HTTP/1.1", "", &[]),
    ("GET /first HTTP/1.1", "", &[]),
    ("GET /bare?x=1 HTTP/1.1", "", &[]),
    ("GET /named-ann HTTP/1.1", "", &[]),
    // Conditions of a whole server.
    ("GET /plain HTTP/1.1", "User-Agent: a Robot\r\n", &[]),
    ("GET /plain HTTP/1.1", "User-Agent: a robot\r\n", &[]),
    ("GET /plain HTTP/1.1", "User-Agent: curl\r\n", &[]),
    ("DELETE /plain HTTP/1.1", "", &[]),
    ("PURGE /old/a HTTP/1.1", "", &["location"]),
    ("GET /plain?secret=1 HTTP/1.1", "", &[]),
    ("GET /plain?secret=0 HTTP/1.1", "", &[]),
    ("GET /plain?secret= HTTP/1.1", "", &[]),
    ("GET /plain HTTP/1.1", "Cookie: mode=closed\r\n", &[]),
    ("GET /plain HTTP/1.1", "Cookie: mode=open\r\n", &[]),
    // Rewrites in locations.
    ("GET /cart/7?x=1 HTTP/1.1", "", &[]),
    ("GET /cart/ HTTP/1.1", "", &[]),
    ("GET /cart//x/../y HTTP/1.1", "", &[]),
    ("GET /twice/a HTTP/1.1", "", &[]),
    ("GET /given/a?x=1 HTTP/1.1", "", &[]),
    ("GET /dropped/a?x=1 HTTP/1.1", "", &[]),
    ("GET /stop/a HTTP/1.1", "", &[]),
    ("GET /stop/b HTTP/1.1", "", &["location"]),
    ("GET /users/7 HTTP/1.1", "", &[]),
    ("GET /users/7/?x=1 HTTP/1.1", "", &[]),
    ("GET /members/ann/ HTTP/1.1", "", &[]),
    ("GET /to/there/x HTTP/1.1", "", &["location"]),
    ("GET /TO/there HTTP/1.1", "", &["location"]),
    ("GET /echo/a?b=c HTTP/1.1", "", &[]),
    // Conditions in locations.
    (
        "OPTIONS /cors HTTP/1.1",
        "Origin: https://a.test\r\n",
        &["access-control-allow-origin", "access-control-max-age"],
    ),
    (
        "GET /cors HTTP/1.1",
        "Origin: https://a.test\r\n",
        &["access-control-allow-origin", "access-control-max-age"],
    ),
    (
        "GET /cors HTTP/1.1",
        "Origin: https://b.test\r\n",
        &["access-control-allow-origin"],
    ),
    ("GET /cors HTTP/1.1", "", &["access-control-allow-origin"]),
    ("GET /split HTTP/1.1", "X-Beta: 1\r\n", &[]),
    ("GET /split HTTP/1.1", "X-Beta: 2\r\n", &[]),
    ("GET /only/a HTTP/1.1", "", &[]),
    ("POST /only/a HTTP/1.1", "Content-Length: 0\r\n", &[]),
    ("GET /both?a=1 HTTP/1.1", "", &[]),
    ("GET /both?a=2 HTTP/1.1", "", &[]),
    ("GET /both HTTP/1.1", "", &[]),
    // Tables.
    ("GET /mapped HTTP/1.1", "X-Kind: A\r\n", &["x-kind"]),
    ("GET /mapped HTTP/1.1", "X-Kind: ab\r\n", &["x-kind"]),
    ("GET /mapped HTTP/1.1", "X-Kind: bc\r\n", &["x-kind"]),
    ("GET /mapped HTTP/1.1", "X-Kind: none\r\n", &["x-kind"]),
    ("GET /mapped HTTP/1.1", "", &["x-kind"]),
    ("GET /chosen HTTP/1.1", "Cookie: app=second\r\n", &[]),
    ("GET /chosen HTTP/1.1", "Cookie: app=SECOND\r\n", &[]),
    ("GET /chosen HTTP/1.1", "Cookie: app=2nd\r\n", &[]),
    ("GET /chosen HTTP/1.1", "Cookie: app=third\r\n", &[]),
    ("GET /page.html HTTP/1.1", "", &["location"]),
    ("GET /PAGE.html?x=1 HTTP/1.1", "", &["location"]),
    // Files.
    ("GET /app/deep/link HTTP/1.1", "", &["content-type"]),
    ("GET /app/a.txt HTTP/1.1", "", &["content-type"]),
    ("GET /static/a.txt HTTP/1.1", "", &["content-type"]),
    ("GET /static/none HTTP/1.1", "", &[]),
    ("GET /moved/a.txt HTTP/1.1", "", &[]),
    // Nothing of this is about it.
    ("GET /nowhere HTTP/1.1", "", &[]),
];

const DECISIONS_CONF: &str = r#"
    types { text/html html; text/plain txt; }
    upstream first { server FIRST; }
    upstream second { server SECOND; }
    absolute_redirect off;
    map $http_user_agent $robot { default 0; "~ Robot" 1; }
    map $http_x_kind $kind { default other; a letter; ~^a "starts with a"; ~^b b; none ""; }
    map $cookie_app $app { default first; second second; ~^\d second; }
    map $uri $moved { /page.html /page; }
    map $http_origin $cors { default ""; ~^https://a\.test$ $http_origin; }
    server {
        listen LISTEN;
        server_name shop.test;
        set $closed closed;
        proxy_http_version 1.1;
        if ($robot) { return 403; }
        if ($http_user_agent = curl) { return 410; }
        if ($request_method !~ ^(GET|HEAD|POST|OPTIONS)$) { return 405; }
        if ($arg_secret) { return 404; }
        if ($cookie_mode = $closed) { return 503; }
        if ($moved) { return 301 $moved; }
        rewrite ^/old/(.*)$ /new/$1 permanent;
        rewrite ^/older$ /new?from=older redirect;
        rewrite ^/away/(.*)$ https://away.test/$1? permanent;
        rewrite ^/post/(\d+)$ /echo/post?id=$1 last;
        rewrite ^/first$ /echo/first;
        rewrite ^/bare$ /echo/bare? last;
        rewrite ^/named-(?<who>[a-z]+)$ /echo/$who last;
        location /plain { return 200 plain; }
        location /echo/ { proxy_pass http://first; }
        location /cart/ { rewrite ^/cart/(.*)$ /api/cart/$1 break; proxy_pass http://first; }
        location /twice/ { rewrite ^/twice/(.*)$ /twice/again/$1; rewrite ^/twice/again/(.*)$ /third/$1 break; proxy_pass http://first; }
        location /given/ { rewrite ^/given/(.*)$ /g?of=$1 break; proxy_pass http://first; }
        location /dropped/ { rewrite ^/dropped/(.*)$ /d?of=$1? break; proxy_pass http://first; }
        location /stop/ { if ($uri = /stop/a) { break; } rewrite ^ /gone redirect; proxy_pass http://first; }
        location ~ ^/users/(\d+)/?$ { proxy_pass http://first/members/$1$is_args$args; }
        location ~ ^/members/(?<who>[a-z]+)/$ { return 200 "$who $1"; }
        location ~* ^/to/([a-z]+) { return 302 /from/$1; }
        location /cors {
            add_header Access-Control-Allow-Origin $cors;
            if ($request_method = OPTIONS) {
                add_header Access-Control-Allow-Origin $http_origin;
                add_header Access-Control-Max-Age 60;
                return 204;
            }
            proxy_pass http://first;
        }
        location /split { if ($http_x_beta = 1) { proxy_pass http://second; } proxy_pass http://first; }
        location /only/ { limit_except GET { deny all; } proxy_pass http://first; }
        location /both { if ($arg_a = 1) { return 200 one; } if ($arg_a) { return 200 other; } return 200 none; }
        location /mapped { proxy_set_header X-Kind $kind; add_header X-Kind "kind $kind" always; proxy_pass http://first; }
        location /chosen { proxy_pass http://$app; }
        location /app/ { root FOLDER; try_files $uri $uri/ /app/index.html; }
        location /static/ { alias FOLDER/app/; try_files $uri =404; }
        location /moved/ { root FOLDER; rewrite ^/moved/(.*)$ /app/$1 break; }
    }
"#;

#[test]
fn rewrites_conditions_and_tables_do_the_same() {
    let (first, second) = (start_echo("first"), start_echo("second"));
    let home = Home::new();
    std::fs::create_dir_all(home.folder().join("app")).unwrap();
    home.write("app/index.html", "<p>app</p>\n");
    home.write("app/a.txt", "of a file\n");
    let http = DECISIONS_CONF
        .replace("FIRST", &first.to_string())
        .replace("SECOND", &second.to_string())
        .replace("FOLDER", &home.folder().display().to_string());
    let site = Site::new(&http);
    let (theirs, ours) = site.both(|| DECISIONS.map(|row| asked(&site, row)));
    let different = theirs.iter().zip(&ours).filter(|(theirs, ours)| theirs != ours);
    assert_eq!(different.collect::<Vec<_>>(), Vec::new(), "nginx on the left");
    let answered = theirs.iter().filter(|answer| answer.contains(": 200\n"));
    assert!(answered.count() > 25, "nginx is not what was asked");
}

#[test]
fn proxies_in_front_are_believed_alike() {
    let site = Site::new(
        "set_real_ip_from 127.0.0.0/8; set_real_ip_from 10.0.0.0/8; real_ip_header X-Forwarded-For; real_ip_recursive on;\n\
         server { listen LISTEN; location / { return 200 $remote_addr; }\n\
         location /guarded { allow 192.0.2.0/24; deny all; proxy_pass http://127.0.0.1:1; } }",
    );
    let rows = [
        ("GET / HTTP/1.1", "", &[][..]),
        ("GET / HTTP/1.1", "X-Forwarded-For: 192.0.2.7\r\n", &[]),
        (
            "GET / HTTP/1.1",
            "X-Forwarded-For: 6.6.6.6, 192.0.2.7, 10.0.0.1\r\n",
            &[],
        ),
        ("GET / HTTP/1.1", "X-Forwarded-For: 10.0.0.2, 10.0.0.1\r\n", &[]),
        ("GET / HTTP/1.1", "X-Forwarded-For: nonsense\r\n", &[]),
        ("GET / HTTP/1.1", "X-Real-IP: 192.0.2.7\r\n", &[]),
        ("GET /guarded HTTP/1.1", "X-Forwarded-For: 192.0.2.7\r\n", &[]),
        ("GET /guarded HTTP/1.1", "X-Forwarded-For: 192.0.3.7\r\n", &[]),
    ];
    let (theirs, ours) = site.both(|| rows.map(|row| asked(&site, row)));
    assert_eq!(theirs, ours);
    assert!(theirs[2].contains("192.0.2.7"), "{}", theirs[2]);
}

/// Status, the fields of `row`, and the body where it is not a page of the proxy's own.
fn asked(site: &Site, row: (&str, &str, &[&str])) -> String {
    let (line, fields, shown) = row;
    let body = if fields.contains("Content-Length: 11") {
        "eleven byte"
    } else {
        ""
    };
    let request = format!("{line}\r\nHost: shop.test\r\n{fields}Connection: close\r\n\r\n{body}");
    let answer = Connection::open(site.address)
        .unwrap()
        .exchange(&request)
        .unwrap();
    let mut seen = format!("{line} {fields}: {}\n", answer.status);
    for name in shown {
        let value = answer.header(name).unwrap_or("none");
        seen.push_str(&format!("{name}: {value}\n"));
    }
    let zipped = answer.header("content-encoding").is_some();
    if answer.status < 300 && !zipped {
        let lines = answer.body.lines().filter(|line| !is_own(line, fields));
        seen.extend(lines.flat_map(|line| [line, "\n"]));
    }
    seen
}

/// Whether the gateway sends a field by itself, and nothing in the configuration says so.
fn is_own(line: &str, fields: &str) -> bool {
    const ALWAYS: [&str; 8] = [
        "connection:",
        "via:",
        "x-credential-identifier:",
        "x-forwarded-host:",
        "x-forwarded-path:",
        "x-forwarded-port:",
        "x-forwarded-prefix:",
        "x-request-id:",
    ];
    let unless_set = !fields.contains("X-Forwarded-For")
        && ["x-forwarded-", "x-real-ip:"]
            .iter()
            .any(|name| line.starts_with(name));
    unless_set || ALWAYS.iter().any(|name| line.starts_with(name))
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
