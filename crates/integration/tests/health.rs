//! Checks of an upstream's targets: traffic leaves who fails them and comes back.

use hythe_testkit::home::Home;
use hythe_testkit::wait::eventually;

use crate::world::{ECHO, alone, load, none_failed};

const TWO: &str = "\
services:
  a: {command: node echo.js, working_dir: a, port: 3000}
  b: {command: node echo.js, working_dir: b, port: 3000}
";

/// The two as targets of one pool, as if they ran elsewhere.
fn balanced(home: &Home) -> String {
    let address = |name: &str| home.instances(name)[0].address.clone().unwrap();
    format!(
        "{TWO}  both:
    targets: [{{target: '{}'}}, {{target: '{}'}}]
    upstream:
      healthchecks:
        active:
          http_path: /health
          healthy: {{interval: 50ms, successes: 2}}
          unhealthy: {{interval: 50ms, http_failures: 2, tcp_failures: 1, timeouts: 3}}
routes:
  - {{name: all, service: both, paths: [/], strip_path: false}}
",
        address("a"),
        address("b")
    )
}

/// Who answers so many requests.
fn answerers(home: &Home, requests: usize) -> Vec<String> {
    let answerer = |_| {
        home.get("/who")
            .header("x-instance")
            .unwrap_or_default()
            .to_owned()
    };
    (0..requests).map(answerer).collect()
}

#[test]
fn traffic_leaves_a_target_that_fails_its_checks_and_comes_back() {
    let _alone = alone();
    let home = Home::new();
    home.write("a/echo.js", ECHO);
    home.write("b/echo.js", ECHO);
    home.write("hythe.yaml", TWO);
    home.ok(&["up", "-d"]);
    home.write("hythe.yaml", &balanced(&home));
    home.ok(&["up", "-d"]);
    let load = load(&home);
    none_failed(&load, "both are healthy");

    home.write("a/unhealthy", "");
    let seen = home.await_service("both", "has one left", |service| service.ready == 1);
    let sick = seen.endpoints.iter().find(|endpoint| !endpoint.healthy).unwrap();
    let health = sick.health.clone().unwrap();
    assert_eq!(health, "active check: status 503, 2 failures");
    let described = home.ok(&["describe", "both"]);
    assert!(described.contains(&health), "{described}");
    eventually("only b is asked", || {
        let all_b = answerers(&home, 10).iter().all(|name| name.starts_with("b-"));
        all_b.then_some(())
    });
    none_failed(&load, "one target failed its checks");

    std::fs::remove_file(home.folder().join("a/unhealthy")).unwrap();
    home.await_service("both", "has both again", |service| service.ready == 2);
    eventually("a is asked again", || {
        let some_a = answerers(&home, 4).iter().any(|name| name.starts_with("a-"));
        some_a.then_some(())
    });
    none_failed(&load, "it came back");
    load.stop();
}

/// The same pool, checked by nothing but clients' requests.
fn watched(home: &Home) -> String {
    let balanced = balanced(home);
    let (before, checks) = balanced.split_once("        active:").unwrap();
    let (_, after) = checks.split_once("routes:").unwrap();
    format!(
        "{before}        passive:
          healthy: {{recovery_time: 3s}}
          unhealthy: {{http_failures: 2}}
routes:{after}"
    )
}

#[test]
fn requests_take_a_target_out_that_answers_badly_and_it_is_tried_again() {
    let home = Home::new();
    home.write("a/echo.js", ECHO);
    home.write("b/echo.js", ECHO);
    home.write("hythe.yaml", TWO);
    home.ok(&["up", "-d"]);
    home.write("hythe.yaml", &watched(&home));
    home.ok(&["up", "-d"]);
    let statuses =
        |requests: usize| -> Vec<u16> { (0..requests).map(|_| home.get("/health").status).collect() };
    assert_eq!(statuses(8), [200; 8]);

    home.write("a/unhealthy", "");
    let described = eventually("a is out", || {
        statuses(4);
        let described = home.ok(&["describe", "both"]);
        described
            .contains("passive check: status 503, 2 failures")
            .then_some(described)
    });
    assert!(described.contains("unhealthy"), "{described}");

    std::fs::remove_file(home.folder().join("a/unhealthy")).unwrap();
    eventually("a is asked again", || {
        let some_a = answerers(&home, 4).iter().any(|name| name.starts_with("a-"));
        some_a.then_some(())
    });
    let described = home.ok(&["describe", "both"]);
    assert!(
        described.contains("passive check: tried again after 3s"),
        "{described}"
    );
    assert_eq!(statuses(8), [200; 8]);
}
