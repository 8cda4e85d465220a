//! What a change of a table makes anew, counted.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Request, found, route, table};
use crate::{RouteChange, RouteEntry, RouteTable};

fn changed(table: &RouteTable<()>, changes: Vec<RouteChange<()>>) -> RouteTable<()> {
    let (table, problems) = table.changed(changes);
    assert_eq!(problems, []);
    table
}

fn serve(line: &str) -> RouteChange<()> {
    RouteChange::Serve(route(line))
}

fn drop_route(name: &str) -> RouteChange<()> {
    RouteChange::Drop(name.parse().unwrap())
}

/// How many parts of `after` are not those of `before`: nodes of trees and routes.
fn fresh(before: &RouteTable<()>, after: &RouteTable<()>) -> (usize, usize) {
    let routes = |table: &RouteTable<()>| -> BTreeSet<usize> {
        let addresses = table.routes.values().map(|route| Arc::as_ptr(route).addr());
        addresses.collect()
    };
    let nodes = after.hosts.parts().difference(&before.hosts.parts()).count();
    (nodes, routes(after).difference(&routes(before)).count())
}

/// Ten thousand routes under one host, or under ten thousand hosts; every tenth with a regex.
fn many(hosts: bool) -> RouteTable<()> {
    let line = |number: usize| {
        let host = if hosts {
            format!("host=h{number}.test ")
        } else {
            String::new()
        };
        let regex = if number.is_multiple_of(10) { "~" } else { "" };
        format!("r{number} {host}path={regex}/p{number}/v1/")
    };
    RouteTable::compile((0..10_000).map(|number| route(&line(number)))).unwrap()
}

#[test]
fn a_change_of_one_route_makes_its_own_part_anew() {
    for hosts in [false, true] {
        let before = many(hosts);
        let total = before.hosts.parts().len();
        assert!(total > 10_000, "{total}");
        let host = if hosts { "host=h4711.test " } else { "" };
        let changes = [
            vec![serve(&format!("r4711 {host}path=/p4711/v2/"))],
            vec![serve(&format!("r4711 {host}path=~/p4711/[v]\\d+/"))],
            vec![serve(&format!("r4711 {host}path=/p4711/v1/ method=PUT"))],
            vec![drop_route("r4711")],
            vec![serve(&format!("new {host}path=/p4711/v1/new"))],
        ];
        for change in changes {
            let (nodes, routes) = fresh(&before, &changed(&before, change.clone()));
            assert!(
                nodes <= 16 && routes <= 1,
                "{nodes} nodes, {routes} routes: {change:?}"
            );
        }
        assert_eq!(fresh(&before, &changed(&before, Vec::new())), (0, 0));
    }
}

#[test]
fn a_route_that_stays_is_not_read_again() {
    let routes = ["a path=~/a/\\d+", "b path=/b method=PUT", "c path=/c"].map(route);
    let before = RouteTable::compile(routes.clone()).unwrap();
    let [a, b, _] = routes.map(RouteChange::Serve);
    let after = changed(&before, vec![serve("c path=/c/d"), b, a]);
    let matcher = |table: &RouteTable<()>, name: &str| {
        Arc::as_ptr(&table.routes.get(&name.parse().unwrap()).unwrap().matcher).addr()
    };
    let stayed = |name| matcher(&before, name) == matcher(&after, name);
    assert_eq!([stayed("a"), stayed("b"), stayed("c")], [true, true, false]);
}

#[test]
fn regexes_that_are_asked_together_stay_together() {
    let line = |number: usize| format!("r{number} path=~/\\d+/{number}$");
    let entries: Vec<RouteEntry<()>> = (0..100).map(|number| route(&line(number))).collect();
    let before = RouteTable::compile(entries.clone()).unwrap();
    let set = |table: &RouteTable<()>| table.hosts.regex_sets();
    assert_eq!(set(&before).len(), 1);
    let again = RouteEntry {
        created_at: 0,
        ..entries[7].clone()
    };
    let same = changed(&before, vec![RouteChange::Serve(again)]);
    assert_eq!(set(&same), set(&before));
    let other = changed(&before, vec![serve("r7 path=~/\\d+/other$")]);
    assert_ne!(set(&other), set(&before));
    assert_eq!(found(&other, &Request::get("h/1/other")).as_deref(), Some("r7"));
    assert_eq!(found(&other, &Request::get("h/1/8")).as_deref(), Some("r8"));
}

#[test]
fn a_route_that_cannot_be_read_stays_what_it_is() {
    let before = table(&["a path=/a", "b path=/b method=GET"]);
    let methods: Vec<String> = (0..64).map(|number| format!("M{number}")).collect();
    let too_many = format!("b path=/b method={}", methods.join(","));
    let (after, problems) = before.changed([serve("a path=~/(?=a)"), serve(&too_many), serve("c path=/c")]);
    let names: Vec<String> = problems.iter().map(|problem| problem.route.to_string()).collect();
    assert_eq!(names, ["a", "b"]);
    for (path, name) in [("h/a", "a"), ("h/b", "b"), ("h/c", "c")] {
        assert_eq!(found(&after, &Request::get(path)).as_deref(), Some(name));
    }
}

/// `count` methods, from the one with this number on.
fn methods(first: usize, count: usize) -> String {
    let listed: Vec<String> = (first..first + count)
        .map(|number| format!("M{number}"))
        .collect();
    listed.join(",")
}

fn refused(table: &RouteTable<()>, changes: Vec<RouteChange<()>>) -> (RouteTable<()>, Vec<String>) {
    let (after, problems) = table.changed(changes);
    let names = problems.iter().map(|problem| problem.route.to_string());
    (after, names.collect())
}

#[test]
fn a_route_that_finds_no_room_keeps_its_methods() {
    let before = table(&["a method=PUT", "b path=/b method=GET"]);
    let without = changed(&before, vec![drop_route("a")]);
    let too_many = serve(&format!("b path=/b method={}", methods(0, 64)));
    let (after, names) = refused(&without, vec![too_many]);
    assert_eq!(names, ["b"]);
    let after = changed(&after, vec![serve("c path=/c method=DELETE")]);
    let asked = |method: &str, url: &str| {
        let request = Request {
            method: method.to_owned(),
            ..Request::get(url)
        };
        found(&after, &request)
    };
    assert_eq!(asked("GET", "h/b").as_deref(), Some("b"));
    assert_eq!(asked("DELETE", "h/c").as_deref(), Some("c"));
    assert_eq!(asked("DELETE", "h/b"), None);
}

#[test]
fn what_goes_makes_room_wherever_it_stands_among_the_changes() {
    let full = format!("z method={}", methods(0, 63));
    let before = table(&[&full]);
    for freed in [drop_route("z"), serve("z method=M0")] {
        let newcomer = serve(&format!("a path=/a method={}", methods(1, 62)));
        let other = serve("b path=/b method=GET");
        assert_eq!(refused(&before, vec![other.clone(), freed.clone()]).1, [""; 0]);
        assert_eq!(refused(&before, vec![newcomer.clone(), freed.clone()]).1, [""; 0]);
        assert_eq!(refused(&before, vec![other]).1, ["b"]);
    }
    let named = |line: &str| (route(line).name, route(line).route);
    let wanted = ["a path=/a method=GET", "z method=M0"].map(named);
    let wanted = wanted.iter().map(|(name, route)| (name.clone(), &**route));
    assert_eq!(before.problems(wanted), []);
}

#[test]
fn room_that_is_called_back_is_given_to_nobody_else() {
    // `a` could have what `b` leaves, but for `b` there is no other room.
    let before = table(&[&format!("b path=/b method={}", methods(0, 60))]);
    let newcomer = serve(&format!("a path=/a method={}", methods(100, 10)));
    let too_many = serve(&format!("b path=/b method={}", methods(200, 64)));
    let (after, names) = refused(&before, vec![newcomer, too_many]);
    assert_eq!(names, ["a", "b"]);
    let request = Request {
        method: "M59".to_owned(),
        ..Request::get("h/b")
    };
    assert_eq!(found(&after, &request).as_deref(), Some("b"));
    let small = changed(&after, vec![serve("c path=/c method=M100,M101,M102")]);
    assert_eq!(found(&small, &request).as_deref(), Some("b"));
}

#[test]
fn one_change_may_tell_of_a_route_twice() {
    let before = table(&["a path=/a"]);
    let after = changed(
        &before,
        vec![serve("a path=/b"), serve("a path=/c"), drop_route("gone")],
    );
    let asked = ["h/a", "h/b", "h/c"].map(|path| found(&after, &Request::get(path)));
    assert_eq!(asked, [None, None, Some("a".to_owned())]);
}

#[test]
fn methods_of_former_routes_use_up_nothing() {
    let mut table = RouteTable::default();
    for round in 0..20 {
        let listed: Vec<String> = (0..10).map(|number| format!("M{round}-{number}")).collect();
        table = changed(&table, vec![serve(&format!("a method={}", listed.join(",")))]);
    }
    assert_eq!(table.in_order(None).len(), 1);
}
