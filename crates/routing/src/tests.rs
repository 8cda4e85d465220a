//! What the table finds and says, case by case.

mod against_a_scan;
mod changes;

use std::sync::Arc;

use hythe_model::Route;
use hythe_model::traffic::Protocol;

use super::{Candidate, MatchedPath, RequestKey, RouteEntry, RouteTable, Verdict};

#[derive(Debug, Clone)]
struct Request {
    method: String,
    host: String,
    path: String,
    https: bool,
    sni: Option<&'static str>,
    listener: Option<&'static str>,
    headers: Vec<(String, String)>,
}

impl Request {
    fn get(url: &str) -> Self {
        let (host, path) = url.split_once('/').unwrap();
        Self {
            method: "GET".to_owned(),
            host: host.to_owned(),
            path: format!("/{path}"),
            https: false,
            sni: None,
            listener: None,
            headers: Vec::new(),
        }
    }

    fn on(self, listener: &'static str) -> Self {
        Self {
            listener: Some(listener),
            ..self
        }
    }

    fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Asks with the key of this request.
    fn ask<R>(&self, answer: impl FnOnce(&RequestKey<'_>) -> R) -> R {
        answer(&RequestKey {
            method: self.method.as_bytes(),
            host: self.host.as_bytes(),
            path: self.path.as_bytes(),
            https: self.https,
            sni: self.sni,
            listener: self.listener,
            headers: &self.headers,
        })
    }
}

/// `name host=a,b path=/a method=GET header=x:1|2 sni=s priority=3 created=5 protocol=https`, each optional.
fn route(line: &str) -> RouteEntry<()> {
    let mut words = line.split_whitespace();
    let name = words.next().unwrap().parse().unwrap();
    let mut route = Route::to(None);
    let mut created_at = 0;
    for word in words {
        let (key, value) = word.split_once('=').unwrap();
        let listed = || value.split(',').map(str::to_owned).collect();
        match key {
            "host" => route.hosts = listed(),
            "path" => route.paths = listed(),
            "method" => route.methods = listed(),
            "sni" => route.snis = listed(),
            "listener" => route.listeners = value.split(',').map(|name| name.parse().unwrap()).collect(),
            "priority" => route.regex_priority = value.parse().unwrap(),
            "created" => created_at = value.parse().unwrap(),
            "protocol" => {
                let protocol = if value == "https" {
                    Protocol::Https
                } else {
                    Protocol::Http
                };
                route.protocols = vec![protocol];
            }
            "header" => {
                let (header, values) = value.split_once(':').unwrap();
                let values = if values.starts_with("~*") {
                    vec![values]
                } else {
                    values.split('|').collect()
                };
                route
                    .headers
                    .insert(header.to_owned(), values.into_iter().map(str::to_owned).collect());
            }
            other => panic!("{other}"),
        }
    }
    RouteEntry {
        name,
        created_at,
        route: Arc::new(route),
        payload: (),
    }
}

fn table(lines: &[&str]) -> RouteTable<()> {
    RouteTable::compile(lines.iter().map(|line| route(line))).unwrap()
}

fn found(table: &RouteTable<()>, request: &Request) -> Option<String> {
    request.ask(|key| table.find(key).map(|found| found.entry.name.to_string()))
}

#[test]
fn a_route_is_only_on_its_listeners() {
    let table = table(&[
        "everywhere path=/",
        "inside path=/ listener=internal,admin created=9",
        "shop.inside path=/shop listener=internal",
    ]);
    let rows = [
        ("http", "/", "everywhere"),
        ("internal", "/", "inside"),
        ("admin", "/shop", "inside"),
        ("internal", "/shop", "shop.inside"),
        ("shop.internal", "/shop", "shop.inside"),
        ("shop.internal", "/", "everywhere"),
    ];
    for (listener, path, expected) in rows {
        let request = Request::get(&format!("a{path}")).on(listener);
        assert_eq!(
            found(&table, &request).as_deref(),
            Some(expected),
            "{listener} {path}"
        );
    }
    // Without a listener every route may be the one.
    assert_eq!(found(&table, &Request::get("a/")).as_deref(), Some("inside"));
    let reasons: Vec<String> = Request::get("a/shop").on("http").ask(|key| {
        let reason = |candidate: Candidate| match candidate.verdict {
            Verdict::Wins { because } => because,
            Verdict::Loses { reason } => reason,
        };
        table.explain(key).into_iter().map(reason).collect()
    });
    assert_eq!(
        reasons,
        [
            "path prefix `/` matches",
            "listener `http` is not among `internal`",
            "listener `http` is not among `internal`, `admin`",
        ]
    );
}

#[test]
fn precedence_rule_by_rule() {
    // The first of each pair is younger and later by name, unless that is the rule.
    for (better, worse) in [
        ("z path=/a method=GET created=9", "a host=h"),
        ("z host=h created=9", "a header=x:1"),
        ("z header=x:1 created=9", "a path=/a/b/c"),
        ("z path=/ created=9", "a method=GET"),
        ("z method=GET created=9", "a sni=s"),
        ("z host=h method=GET created=9", "a header=x:1 path=/a"),
        ("z host=h path=/ created=9", "a host=*.h,h path=~/a priority=9"),
        (
            "z header=x:1 header=y:1 path=/ created=9",
            "a header=x:1 path=~/a priority=9",
        ),
        ("z path=~/a created=9", "a path=/a/b/c"),
        ("z path=~/a priority=1 created=9", "a path=~/a/b/c"),
        ("z path=/a/b created=9", "a path=/a"),
        ("z path=/a created=1", "a path=/a created=2"),
        ("a path=/a", "b path=/a"),
    ] {
        let request = Request {
            https: true,
            sni: Some("S."),
            ..Request::get("h/a/b/c")
        };
        let request = request.header("X", "1").header("y", "1");
        let (left, right) = (route(better), route(worse));
        let (name, table) = (left.name.to_string(), RouteTable::compile([right, left]).unwrap());
        assert_eq!(
            found(&table, &request).as_deref(),
            Some(name.as_str()),
            "{better} / {worse}"
        );
    }
}

#[test]
fn lower_categories_are_tried() {
    let table = table(&[
        "strict host=a.com path=/users method=POST",
        "hosted host=a.com path=/users",
        "wild host=*.com path=/",
        "free path=/users",
        "tenant path=/users header=x-tenant:one|two",
        "shaped path=/users header=x-shape:~*^v[0-9]+$",
        "secure sni=s path=/secure",
        "odd host=a.com:8443 path=/odd",
    ]);
    for (request, expected) in [
        (
            Request {
                method: "POST".to_owned(),
                ..Request::get("a.com/users")
            },
            Some("strict"),
        ),
        (Request::get("A.com:8000/users/1"), Some("hosted")),
        (Request::get("a.com/x"), Some("wild")),
        (Request::get("b.org/usersandmore"), Some("free")),
        (Request::get("b.org/other"), None),
        (
            Request::get("b.org/users")
                .header("X-Tenant", "zero")
                .header("x-tenant", "TWO"),
            Some("tenant"),
        ),
        (
            Request::get("b.org/users").header("x-shape", "V12"),
            Some("shaped"),
        ),
        (
            Request::get("b.org/users").header("x-shape", "xV12"),
            Some("free"),
        ),
        (Request::get("b.org/secure"), Some("secure")),
        (
            Request {
                https: true,
                ..Request::get("b.org/secure")
            },
            None,
        ),
        (
            Request {
                https: true,
                sni: Some("S"),
                ..Request::get("b.org/secure")
            },
            Some("secure"),
        ),
        (Request::get("a.com:8443/odd"), Some("odd")),
        (Request::get("a.com/odd"), Some("wild")),
    ] {
        assert_eq!(found(&table, &request).as_deref(), expected, "{request:?}");
    }
}

#[test]
fn many_regexes_at_one_stop() {
    let lines: Vec<String> = (0..40)
        .map(|number| {
            format!(
                "r{number} path=~/[a-z]+/{number}$ priority={number} method={}",
                method(number)
            )
        })
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let table = table(&lines);
    for (method, path, expected) in [
        ("GET", "h/abc/38", Some("r38")),
        ("GET", "h/abc/39", None),
        ("POST", "h/z/3", Some("r3")),
    ] {
        let request = Request {
            method: method.to_owned(),
            ..Request::get(path)
        };
        assert_eq!(found(&table, &request).as_deref(), expected, "{method} {path}");
    }
}

fn method(number: u32) -> &'static str {
    if number.is_multiple_of(2) { "GET" } else { "POST" }
}

#[test]
fn captures_and_lengths() {
    let table = table(&[
        "r path=~/users/(?<id>\\d+)(?:/(?<tail>x))?",
        "p path=/plain",
        "m method=GET",
    ]);
    for (url, matched, captures) in [
        ("h/users/42/y", MatchedPath::Regex(9), vec![("id", "42")]),
        (
            "h/users/42/x",
            MatchedPath::Regex(11),
            vec![("id", "42"), ("tail", "x")],
        ),
        ("h/plain", MatchedPath::Prefix(6), vec![]),
        ("h/", MatchedPath::None, vec![]),
    ] {
        Request::get(url).ask(|key| {
            let found = table.find(key).unwrap();
            assert_eq!(found.matched_path, matched, "{url}");
            let text = |(name, value)| (name, std::str::from_utf8(value).unwrap());
            assert_eq!(
                found.captures(key.path).into_iter().map(text).collect::<Vec<_>>(),
                captures,
                "{url}"
            );
        });
    }
}

#[test]
fn protocols_do_not_choose_but_are_told() {
    let table = table(&[
        "tls path=/tls protocol=https",
        "clear path=/clear protocol=http",
        "both path=/both",
    ]);
    for (path, https, mismatch) in [
        ("h/tls", false, true),
        ("h/tls", true, false),
        ("h/clear", false, false),
        ("h/clear", true, true),
        ("h/both", false, false),
        ("h/both", true, false),
    ] {
        let request = Request {
            https,
            ..Request::get(path)
        };
        let told = request.ask(|key| table.find(key).unwrap().protocol_mismatch);
        assert_eq!(told, mismatch, "{path} {https}");
    }
}

#[test]
fn all_problems_at_once() {
    let mut silent = route("silent path=/a");
    Arc::make_mut(&mut silent.route).protocols.clear();
    let lines = [
        "fine path=/a",
        "hosts host=a.*.com,b",
        "both path=a,~/(?=b) host=*",
        "header header=host:a",
    ];
    let problems = RouteTable::compile(lines.map(route).into_iter().chain([silent])).unwrap_err();
    let shown: Vec<String> = problems
        .iter()
        .map(|problem| problem.to_string().lines().next().unwrap().to_owned())
        .collect();
    assert_eq!(
        shown,
        [
            "route `both`: host `*` may have one `*`, as its first or its last label",
            "route `both`: path `a` should start with `/` (a prefix) or `~/` (a regex)",
            "route `both`: path `~/(?=b)` is not a regex that runs in linear time: regex parse error:",
            "route `header`: header `host` is matched by `hosts`",
            "route `hosts`: host `a.*.com` may have one `*`, as its first or its last label",
            "route `silent`: protocols are missing",
        ]
    );
}

#[test]
fn routes_in_order() {
    let table = table(&[
        "a path=/a",
        "b path=/b,/longest",
        "c host=h",
        "d",
        "e path=~/e",
        "f host=h path=/",
    ]);
    let names: Vec<String> = table.in_order(None).map(|entry| entry.name.to_string()).collect();
    assert_eq!(names, ["f", "c", "e", "b", "a", "d"]);
    let of = |project: &str| table.in_order(Some(&project.parse().unwrap())).len();
    assert_eq!([of("default"), of("shop")], [6, 0]);
}

#[test]
fn explanations() {
    let table = table(&[
        "users path=/users method=GET",
        "old path=/users",
        "older path=/us,/users",
        "post path=/users method=POST",
        "hosted host=a.com",
        "near path=/usr",
        "far path=/far host=b.com method=PUT header=x:1|2",
        "regex path=~/users/\\d+$ sni=s",
        "all",
    ]);
    let explained = |request: Request| -> Vec<String> {
        let line = |candidate: Candidate| match candidate.verdict {
            Verdict::Wins { because } => format!("{} wins: {because}", candidate.name),
            Verdict::Loses { reason } => format!("{}: {reason}", candidate.name),
        };
        request.ask(|key| table.explain(key).into_iter().map(line).collect())
    };
    assert_eq!(
        explained(Request::get("h/users")),
        [
            "users wins: path prefix `/users`, method GET match",
            "old: behind `users`: fewer matchers (1 against 2)",
            "older: behind `users`: fewer matchers (1 against 2)",
            "all: behind `users`: fewer matchers (0 against 2)",
            "post: method GET is not among POST",
            "regex: path regex `/users/\\d+$` does not match `/users`",
            "hosted: host `a.com` does not match `h`",
            "near: path prefix `/usr` does not match `/users`",
            "far: host `b.com` does not match `h`; path prefix `/far` does not match `/users`; \
             method GET is not among PUT; header `x: 1|2` does not match",
        ]
    );
    let explained = explained(Request {
        method: "PUT".to_owned(),
        ..Request::get("a.com/users")
    });
    assert_eq!(
        explained[..3],
        [
            "hosted wins: host `a.com` matches",
            "old: behind `hosted`: a path counts less than a host",
            "older: behind `hosted`: a path counts less than a host",
        ]
    );
}

#[test]
fn explanations_are_bounded() {
    let lines: Vec<String> = (0..100)
        .map(|number| format!("r{number} path=/{number}"))
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    assert_eq!(
        Request::get("h/57").ask(|key| table(&lines).explain(key)).len(),
        20
    );
}
