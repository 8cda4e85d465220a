//! The table against a scan that knows nothing of its index.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use hythe_model::Route;
use proptest::prelude::*;

use super::Request;
use crate::{MatchedPath, RouteChange, RouteEntry, RouteTable, Verdict};

/// What the rules say, asked of every route and path in turn.
fn scan(entries: &[RouteEntry<()>], request: &Request) -> Option<(String, MatchedPath)> {
    let mut best: Option<(&RouteEntry<()>, usize, MatchedPath)> = None;
    for entry in entries.iter().filter(|entry| takes(&entry.route, request)) {
        for nth in 0..entry.route.paths.len().max(1) {
            let Some(matched) = matched_path(entry.route.paths.get(nth), request) else {
                continue;
            };
            let better = best.is_none_or(|(other, other_nth, other_matched)| {
                goes_before((entry, nth, matched), (other, other_nth, other_matched)) == Ordering::Less
            });
            if better {
                best = Some((entry, nth, matched));
            }
        }
    }
    best.map(|(entry, _, matched)| (entry.name.to_string(), matched))
}

fn takes(route: &Route, request: &Request) -> bool {
    let lower = request.host.to_lowercase();
    let (name, port) = lower
        .split_once(':')
        .unwrap_or((&lower, if request.https { "443" } else { "80" }));
    let host_matches = |own: &String| {
        let own = own.to_lowercase();
        let (own, own_port) = own
            .split_once(':')
            .map_or((own.as_str(), port), |(own, port)| (own, port));
        let matches = match (own.strip_prefix('*'), own.strip_suffix('*')) {
            (Some(suffix), _) => name.len() > suffix.len() && name.ends_with(suffix),
            (_, Some(prefix)) => name.len() > prefix.len() && name.starts_with(prefix),
            _ => own == name,
        };
        matches && own_port == port
    };
    let header_matches = |(name, values): (&String, &Vec<String>)| {
        let mut own = request.headers.iter().filter(|(own, _)| own == name);
        own.any(|(_, value)| values.contains(value))
    };
    (route.hosts.is_empty() || route.hosts.iter().any(host_matches))
        && (route.methods.is_empty() || route.methods.contains(&request.method))
        && (route.snis.is_empty()
            || !request.https
            || route.snis.iter().any(|sni| Some(sni.as_str()) == request.sni))
        && route.headers.iter().all(header_matches)
}

fn matched_path(path: Option<&String>, request: &Request) -> Option<MatchedPath> {
    let Some(path) = path else {
        return Some(MatchedPath::None);
    };
    if let Some(regex) = path.strip_prefix('~') {
        let found = regex::Regex::new(regex).unwrap().find(&request.path)?;
        return (found.start() == 0).then_some(MatchedPath::Regex(found.end()));
    }
    request
        .path
        .starts_with(path.as_str())
        .then_some(MatchedPath::Prefix(path.len()))
}

type Scanned<'a> = (&'a RouteEntry<()>, usize, MatchedPath);

fn goes_before(left: Scanned<'_>, right: Scanned<'_>) -> Ordering {
    let kinds = |route: &Route| {
        [
            !route.hosts.is_empty(),
            !route.headers.is_empty(),
            !route.paths.is_empty(),
            !route.methods.is_empty(),
            !route.snis.is_empty(),
        ]
    };
    let count = |route: &Route| kinds(route).iter().filter(|listed| **listed).count();
    let wild = |route: &Route| route.hosts.iter().any(|host| host.contains('*'));
    let regex = |matched| matches!(matched, MatchedPath::Regex(_));
    let prefix = |matched| {
        if let MatchedPath::Prefix(length) = matched {
            length
        } else {
            0
        }
    };
    let (l, r) = (&left.0.route, &right.0.route);
    count(r)
        .cmp(&count(l))
        .then_with(|| kinds(r).cmp(&kinds(l)))
        .then_with(|| wild(l).cmp(&wild(r)))
        .then_with(|| r.headers.len().cmp(&l.headers.len()))
        .then_with(|| regex(right.2).cmp(&regex(left.2)))
        .then_with(|| {
            if regex(left.2) {
                r.regex_priority.cmp(&l.regex_priority)
            } else {
                Ordering::Equal
            }
        })
        .then_with(|| prefix(right.2).cmp(&prefix(left.2)))
        .then_with(|| left.0.created_at.cmp(&right.0.created_at))
        .then_with(|| left.0.name.cmp(&right.0.name))
        .then_with(|| left.1.cmp(&right.1))
}

fn some_of(values: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<String>> {
    let listed = prop::collection::vec(prop::sample::select(values), 0..=most);
    listed.prop_map(|values| values.into_iter().map(str::to_owned).collect())
}

const HOSTS: &[&str] = &[
    "a.com",
    "b.com",
    "x.a.com",
    "*.com",
    "*.a.com",
    "a.*",
    "x.a.*",
    "a.com:81",
    "*.a.com:81",
    "A.com:80",
];
const PATHS: &[&str] = &[
    "/",
    "/a",
    "/a/",
    "/ab",
    "/a/b",
    "/a/b/c",
    "~/a",
    "~/[ab]+",
    "~/a/(b|c)",
    "~/a.*c$",
    "~/a?b",
];

prop_compose! {
    fn any_route()(
        hosts in some_of(HOSTS, 2),
        paths in some_of(PATHS, 3),
        methods in some_of(&["GET", "POST", "ODD"], 2),
        snis in some_of(&["s", "t"], 1),
        headers in prop::collection::btree_map(
            prop::sample::select(&["x", "y"][..]).prop_map(str::to_owned),
            some_of(&["1", "2"], 2).prop_filter("a header lists values", |values| !values.is_empty()),
            0..2,
        ),
        regex_priority in 0..2i32,
        created_at in 0..3u64,
    ) -> (Route, u64) {
        let headers: BTreeMap<String, Vec<String>> = headers;
        (Route { hosts, paths, methods, snis, headers, regex_priority, ..Route::to(None) }, created_at)
    }
}

prop_compose! {
    fn any_request()(
        method in prop::sample::select(&["GET", "POST", "ODD", "PUT"][..]),
        host in prop::sample::select(
            &["a.com", "A.COM", "b.com", "x.a.com", "y.x.a.com:81", "a.com:81", "a.org", "x.a.org", "a.com:80", "q"][..],
        ),
        path in "/[abc/]{0,6}",
        https in any::<bool>(),
        sni in prop::option::of(prop::sample::select(&["s", "t"][..])),
        headers in prop::collection::vec(
            (prop::sample::select(&["x", "y"][..]), prop::sample::select(&["1", "2", "3"][..])),
            0..3,
        ),
    ) -> Request {
        let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Request { method: method.to_owned(), host: host.to_owned(), path, https, sni, listener: None, headers }
    }
}

/// Routes of some of twelve names; `None`: there shall be none of this name.
fn any_edits() -> impl Strategy<Value = Vec<(usize, Option<(Route, u64)>)>> {
    prop::collection::vec((0..12_usize, prop::option::weighted(0.8, any_route())), 0..30)
}

fn entry((number, (route, created_at)): (usize, (Route, u64))) -> RouteEntry<()> {
    RouteEntry {
        name: format!("r{number}").parse().unwrap(),
        created_at,
        route: Arc::new(route),
        payload: (),
    }
}

fn answer(table: &RouteTable<()>, request: &Request) -> Option<(String, MatchedPath)> {
    request.ask(|key| {
        let found = table.find(key)?;
        Some((found.entry.name.to_string(), found.matched_path))
    })
}

/// Routes of which not all find room at once: each lists up to forty of a hundred methods, or cannot be read.
fn wide_edits() -> impl Strategy<Value = Vec<(usize, Option<(Route, u64)>)>> {
    let path = prop_oneof![9 => Just("/"), 1 => Just("~(")];
    let wide = (0..100_usize, 0..40_usize, path).prop_map(|(first, count, path)| {
        let methods = (first..first + count).map(|number| format!("M{}", number % 100));
        let route = Route {
            methods: methods.collect(),
            paths: vec![path.to_owned()],
            ..Route::to(None)
        };
        (route, 0)
    });
    prop::collection::vec((0..8_usize, prop::option::weighted(0.8, wide)), 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn the_index_finds_what_a_scan_finds(
        routes in prop::collection::vec(any_route(), 0..40),
        requests in prop::collection::vec(any_request(), 1..20),
    ) {
        let entries: Vec<RouteEntry<()>> = routes.into_iter().enumerate().map(entry).collect();
        let table = RouteTable::compile(entries.iter().cloned()).unwrap();
        for request in requests {
            let found = answer(&table, &request);
            prop_assert_eq!(&found, &scan(&entries, &request), "{:?}", request);
            let explained = request.ask(|key| table.explain(key));
            let winner = explained.iter().find(|candidate| matches!(candidate.verdict, Verdict::Wins { .. }));
            prop_assert_eq!(winner.map(|candidate| candidate.name.to_string()), found.map(|(name, _)| name));
            prop_assert!(winner.is_none() || winner == explained.first());
        }
    }

    #[test]
    fn a_table_that_was_changed_is_as_one_made_anew(
        rounds in prop::collection::vec(any_edits(), 1..5),
        requests in prop::collection::vec(any_request(), 1..20),
    ) {
        let mut routes: BTreeMap<usize, RouteEntry<()>> = BTreeMap::new();
        let mut table = RouteTable::default();
        for edits in rounds {
            let mut changes = Vec::new();
            for (number, route) in edits {
                let served = route.map(|route| entry((number, route)));
                routes.remove(&number);
                routes.extend(served.clone().map(|entry| (number, entry)));
                let gone = || RouteChange::Drop(format!("r{number}").parse().unwrap());
                changes.push(served.map_or_else(gone, RouteChange::Serve));
            }
            let before = table.clone();
            let earlier: Vec<_> = requests.iter().map(|request| answer(&before, request)).collect();
            let problems;
            (table, problems) = before.changed(changes);
            prop_assert_eq!(problems, []);
            let anew = RouteTable::compile(routes.values().cloned()).unwrap();
            for (request, earlier) in requests.iter().zip(earlier) {
                prop_assert_eq!(answer(&table, request), answer(&anew, request), "{:?}", request);
                prop_assert_eq!(answer(&before, request), earlier, "{:?}", request);
                prop_assert_eq!(request.ask(|key| table.explain(key)), request.ask(|key| anew.explain(key)));
            }
            let names = |table: &RouteTable<()>| table.in_order(None).map(|entry| entry.name.clone()).collect::<Vec<_>>();
            prop_assert_eq!(names(&table), names(&anew));
            prop_assert_eq!(table.hosts.parts().len(), anew.hosts.parts().len());
        }
    }

    #[test]
    fn what_is_refused_is_served_as_before(
        rounds in prop::collection::vec(wide_edits(), 1..6),
        numbers in prop::collection::vec(0..100_usize, 1..10),
    ) {
        let mut served: BTreeMap<usize, RouteEntry<()>> = BTreeMap::new();
        let mut table = RouteTable::default();
        for edits in rounds {
            let edits: BTreeMap<usize, Option<RouteEntry<()>>> = edits
                .into_iter()
                .map(|(number, route)| (number, route.map(|route| entry((number, route)))))
                .collect();
            let changes = edits.iter().map(|(number, served)| match served {
                Some(entry) => RouteChange::Serve(entry.clone()),
                None => RouteChange::Drop(format!("r{number}").parse().unwrap()),
            });
            let (after, problems) = table.changed(changes);
            table = after;
            for (number, entry) in edits {
                match entry {
                    None => drop(served.remove(&number)),
                    Some(entry) if problems.iter().all(|problem| problem.route != entry.name) => {
                        served.insert(number, entry);
                    }
                    Some(_) => {}
                }
            }
            let entries: Vec<RouteEntry<()>> = served.values().cloned().collect();
            prop_assert!(RouteTable::compile(entries.iter().cloned()).is_ok());
            for number in &numbers {
                let request = Request { method: format!("M{number}"), ..Request::get("h/") };
                prop_assert_eq!(answer(&table, &request), scan(&entries, &request), "{:?}", request);
            }
        }
    }
}
