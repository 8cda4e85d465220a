//! Why a request goes where it goes.

use hythe_model::view::{Explanation, RouteView};

use crate::world::up;

const ROUTES: &str = "\
services:
  users:
    command: node echo.js
    port: 3000
    healthcheck: {http: /health, interval: 1s}
    upstream: {path: /v2}
routes:
  - {name: everything, service: users, paths: [/], strip_path: false}
  - name: users
    service: users
    paths: [/users]
    plugins: [{name: correlation-id, config: {header_name: X-Trace}}]
  - {name: writes, service: users, paths: [/users], methods: [POST]}
  - {name: inner, service: users, hosts: [inner.example], paths: [/users]}
";

#[test]
fn a_request_is_explained_without_being_sent() {
    let home = up(ROUTES);
    let url = format!("http://localhost:{}/users/7?full=1", home.gateway().port());
    let explained: Explanation = home.json(&["explain", "GET", &url]);

    let route = explained.route.as_ref().unwrap();
    assert_eq!(
        (route.name.as_str(), route.service.as_deref()),
        ("users", Some("users"))
    );
    assert!(route.because.contains("/users"), "{route:#?}");
    let reason = |name: &str| {
        let candidate = explained
            .candidates
            .iter()
            .find(|candidate| candidate.name == name);
        &candidate
            .unwrap_or_else(|| panic!("{name} in {explained:#?}"))
            .reason
    };
    assert!(reason("writes").contains("POST"), "{}", reason("writes"));
    assert!(reason("inner").contains("inner.example"), "{}", reason("inner"));
    assert!(!reason("everything").is_empty());
    assert!(
        explained
            .plugins
            .iter()
            .any(|plugin| plugin.contains("correlation-id")),
        "{explained:#?}"
    );
    let upstream = explained.upstream.as_ref().unwrap();
    assert_eq!(upstream.path, "/v2/7?full=1");
    let instance = &home.instances("users")[0];
    let endpoint = upstream.endpoint.as_ref().unwrap();
    assert_eq!(
        (Some(&endpoint.address), &endpoint.id),
        (instance.address.as_ref(), &instance.id)
    );

    let text = home.ok(&["explain", "GET", &url]);
    for part in [
        "users",
        "writes",
        "inner.example",
        "correlation-id",
        "/v2/7?full=1",
        &endpoint.address,
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    // And so it is.
    let answer = home.get("/users/7?full=1");
    assert_eq!(answer.header("x-path"), Some("/v2/7?full=1"));
    assert_eq!(answer.header("x-instance"), Some(instance.id.as_str()));
}

#[test]
fn a_header_decides_and_nothing_matching_is_told() {
    let home = up(ROUTES);
    let url = format!("http://localhost:{}/users", home.gateway().port());
    let explained: Explanation = home.json(&["explain", "GET", &url, "-H", "Host: inner.example"]);
    assert_eq!(explained.route.unwrap().name, "inner");

    home.write(
        "hythe.yaml",
        &ROUTES.replace("paths: [/], ", "paths: [/], methods: [DELETE], "),
    );
    home.ok(&["up", "-d"]);
    let nowhere = format!("http://localhost:{}/elsewhere", home.gateway().port());
    let explained: Explanation = home.json(&["explain", "GET", &nowhere]);
    assert_eq!(explained.route, None);
    assert_eq!(explained.answer.map(|answer| answer.status), Some(404));
    assert_eq!(home.get("/elsewhere").status, 404);
}

#[test]
fn routes_are_listed_in_the_order_in_which_they_are_tried() {
    let home = up(ROUTES);
    let routes: Vec<RouteView> = home.json(&["routes"]);
    let names: Vec<&str> = routes.iter().map(|route| route.name.as_str()).collect();
    assert_eq!(names.len(), 4, "{names:?}");
    assert_eq!((names[0], names[3]), ("inner", "everything"), "{names:?}");
    let users = routes.iter().find(|route| route.name == "users").unwrap();
    assert_eq!(
        (&users.paths, users.strip_path),
        (&vec!["/users".to_owned()], true)
    );
    let text = home.ok(&["routes"]);
    for name in names {
        assert!(text.contains(name), "{text}");
    }
}
