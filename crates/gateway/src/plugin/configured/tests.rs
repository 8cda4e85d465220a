//! Which plugins a route has, and what becomes of those that cannot be read.

use serde_json::{Value, json};

use super::*;
use crate::plugin::fixture::{answered, settings};
use crate::plugin::{correlation_id, request_termination};

const BUILTIN: [PluginKind; 2] = [correlation_id::KIND, request_termination::KIND];
const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Document, plugin, scope (`service route consumer`, `-` for none), config.
type Row<'a> = (&'a str, &'a str, &'a str, Value);

fn desired(plugins: &[Row<'_>]) -> Desired {
    let mut desired = Desired::default();
    for (name, plugin, scope, config) in plugins {
        let mut scope = scope
            .split(' ')
            .map(|part| (part != "-").then(|| part.parse().unwrap()));
        let spec = Document {
            name: (*plugin).to_owned(),
            service: scope.next().unwrap(),
            route: scope.next().unwrap(),
            consumer: scope.next().unwrap(),
            config: settings(config.clone()),
            enabled: true,
            tags: Vec::new(),
        };
        let entry = Entry {
            uid: String::new(),
            generation: 1,
            created_at: 0,
            spec,
        };
        Arc::make_mut(&mut desired.plugins).insert(name.parse().unwrap(), Arc::new(entry));
    }
    desired
}

fn read(desired: &Desired, earlier: &Plugins) -> (Plugins, Vec<String>) {
    let mut plugins = earlier.clone();
    plugins.follow(desired, &BUILTIN, &Plans::new(), &BTreeSet::new());
    let texts = plugins.problems().map(|problem| problem.message).collect();
    (plugins, texts)
}

/// What a caller of a route meets: plugin and scope, first to last.
fn chain(plugins: &Plugins, route: &str, service: Option<&str>, caller: Option<&str>) -> Vec<String> {
    let name = |text: &str| -> FullName { text.parse().unwrap() };
    let chain = plugins.chain(&name(route), service.map(name).as_ref());
    let caller = caller.map(name);
    let links = chain
        .slots()
        .iter()
        .filter_map(|slot| slot.for_caller(caller.as_ref()));
    links
        .map(|link| format!("{} {}", link.kind, link.scope))
        .collect()
}

fn answer_of_all(plugins: &Plugins) -> u16 {
    let chain = plugins.chain(&"any".parse().unwrap(), None);
    let link = chain.links().next().unwrap();
    answered(&*link.plugin, REQUEST).unwrap().0
}

#[test]
fn the_most_specific_wins_and_priority_orders() {
    let desired = desired(&[
        ("a", "request-termination", "- - -", json!({})),
        ("b", "request-termination", "s - -", json!({})),
        ("c", "request-termination", "- r -", json!({})),
        ("d", "correlation-id", "- - -", json!({})),
    ]);
    let plugins = read(&desired, &Plugins::default()).0;
    let rows = [
        ("r", Some("s"), "request-termination route r"),
        ("x", Some("s"), "request-termination service s"),
        ("x", None, "request-termination everywhere"),
    ];
    for (route, service, termination) in rows {
        assert_eq!(
            chain(&plugins, route, service, None),
            ["correlation-id everywhere", termination]
        );
    }
}

#[test]
fn consumers_come_before_routes_and_services_alone() {
    // From the most specific to the least (Kong 3.9); each is taken away in turn.
    let mut rows: Vec<_> = [
        "s r c", "- r c", "s - c", "s r -", "- - c", "- r -", "s - -", "- - -",
    ]
    .into_iter()
    .enumerate()
    .map(|(at, scope)| {
        (
            ["a", "b", "c", "d", "e", "f", "g", "h"][at],
            "request-termination",
            scope,
            json!({}),
        )
    })
    .collect();
    let scopes = [
        "route r and service s and consumer c",
        "route r and consumer c",
        "service s and consumer c",
        "route r and service s",
        "consumer c",
        "route r",
        "service s",
        "everywhere",
    ];
    for scope in scopes {
        let plugins = read(&desired(&rows), &Plugins::default()).0;
        let expected = [format!("request-termination {scope}")];
        assert_eq!(chain(&plugins, "r", Some("s"), Some("c")), expected);
        // Another caller never meets what is for this one.
        assert!(
            !chain(&plugins, "r", Some("s"), Some("d"))
                .concat()
                .contains("consumer")
        );
        assert!(
            !chain(&plugins, "r", Some("s"), None)
                .concat()
                .contains("consumer")
        );
        rows.remove(0);
    }
}

#[test]
fn every_problem_is_told() {
    let desired = desired(&[
        ("a", "nonsense", "- - -", json!({})),
        ("b", "request-termination", "- - -", json!({"status_code": "x"})),
        ("c", "nonsense", "- - c", json!({})),
    ]);
    let (plugins, problems) = read(&desired, &Plugins::default());
    assert_eq!(
        problems,
        [
            "plugin 'nonsense' not enabled; add it to the 'plugins' configuration property",
            "config.status_code: expected an integer",
            "plugin 'nonsense' not enabled; add it to the 'plugins' configuration property",
        ]
    );
    // Nobody passes where a guard cannot be read.
    assert_eq!(chain(&plugins, "any", None, None), ["closed everywhere"]);
    assert_eq!(
        chain(&plugins, "any", None, Some("c")),
        ["closed everywhere", "closed to a consumer consumer c"]
    );
    assert_eq!(answer_of_all(&plugins), 503);
}

#[test]
fn a_plugin_that_became_bad_stays_as_it_was() {
    let termination = |generation, status| {
        let mut desired = desired(&[(
            "a",
            "request-termination",
            "- - -",
            json!({"status_code": status}),
        )]);
        let name: FullName = "a".parse().unwrap();
        let mut entry = Entry::clone(desired.plugins.get(&name).unwrap());
        entry.generation = generation;
        Arc::make_mut(&mut desired.plugins).insert(name, Arc::new(entry));
        desired
    };
    let (good, problems) = read(&termination(1, json!(410)), &Plugins::default());
    assert_eq!(problems, [""; 0]);
    let (kept, problems) = read(&termination(2, json!("x")), &good);
    assert_eq!(problems.len(), 1);
    assert_eq!(answer_of_all(&kept), 410);
    // As long as it is bad it is told.
    assert_eq!(read(&termination(2, json!("x")), &kept).1.len(), 1);
}

#[test]
fn what_never_could_be_read_is_closed_where_its_newest_document_says() {
    let unreadable = |scope| desired(&[("a", "request-termination", scope, json!({"status_code": "x"}))]);
    let links = |plugins: &Plugins| ["r", "q"].map(|route| chain(plugins, route, Some("s"), Some("c")));
    let (mut plugins, _) = read(&unreadable("- r -"), &Plugins::default());
    assert_eq!(links(&plugins), [vec!["closed route r".to_owned()], vec![]]);
    let rows = [
        ("- q -", [None, Some("closed route q")]),
        ("s - -", [Some("closed service s"); 2]),
        ("- - c", [Some("closed to a consumer consumer c"); 2]),
        (
            "- r c",
            [Some("closed to a consumer route r and consumer c"), None],
        ),
    ];
    for (scope, expected) in rows {
        let document = unreadable(scope);
        plugins = read(&document, &plugins).0;
        let expected = expected.map(|link| link.map(str::to_owned).into_iter().collect::<Vec<_>>());
        assert_eq!(links(&plugins), expected, "{scope}");
        // The same again concerns nobody.
        let again = plugins.follow(&document, &BUILTIN, &Plans::new(), &BTreeSet::new());
        assert_eq!(again, Reach::default());
    }
}
