//! The router over a real store, with fakes for everything that runs.

mod documents;
pub(crate) mod doubles;
mod sockets;

use std::collections::BTreeMap;

use axum::http::{Method, StatusCode};
use hythe_model::view::{ChangeView, ServiceView};
use hythe_model::{InstanceState, Name, Workload, view};
use serde_json::{Value, json};

use crate::extract::Door;
use crate::wire::{Problem, ProjectView, ServiceDetail, WaitView};
use doubles::{Answered, Server};

fn manifest(replicas: u32) -> Value {
    json!({
        "path": "/app/hythe.yaml",
        "actor": "me",
        "spec": {
            "workloads": {"users": {
                "command": ["run"], "working_dir": "/app", "port": 80,
                "replicas": {"count": replicas}, "environment": {"KEY": "secret"},
            }},
            "services": {"users": {"host": "users"}, "legacy": {"host": "127.0.0.1", "port": 9}},
            "routes": {"all": {"service": "users", "paths": ["/"]}},
        },
    })
}

async fn server() -> Server {
    let server = Server::new();
    server
        .put("/v1/projects/default", &manifest(2))
        .await
        .ok::<ChangeView>();
    server.follow().await;
    server
}

fn told(change: &ChangeView) -> Vec<String> {
    let line = |line: &view::ChangeLine| {
        format!(
            "{} {} {} {}",
            line.action,
            line.kind,
            line.name,
            line.fields.join("; ")
        )
    };
    change
        .changes
        .iter()
        .map(|change| line(change).trim().to_owned())
        .chain(change.conflicts.clone())
        .collect()
}

fn refused(answered: &Answered, status: StatusCode, code: &str) -> Problem {
    assert_eq!(answered.status, status, "{}", answered.text());
    assert_eq!(answered.header("content-type"), "application/problem+json");
    let problem: Problem = serde_json::from_slice(&answered.body).unwrap();
    assert_eq!((problem.code.as_str(), problem.status), (code, status.as_u16()));
    problem
}

#[tokio::test]
async fn applying_changes_what_changed_and_nothing_twice() {
    let server = Server::new();
    let first: ChangeView = server.put("/v1/projects/default", &manifest(2)).await.ok();
    assert_eq!(
        told(&first),
        [
            "create workload users",
            "create service legacy",
            "create service users",
            "create route all"
        ]
    );
    let again: ChangeView = server.put("/v1/projects/default", &manifest(2)).await.ok();
    assert_eq!((again.generation, told(&again).len()), (first.generation, 0));

    let scaled: ChangeView = server
        .post("/v1/services/users/scale", &json!({"replicas": 4}))
        .await
        .ok();
    assert_eq!(told(&scaled), ["update workload users replicas: 2 -> 4"]);
    let same: ChangeView = server
        .post("/v1/services/users/scale", &json!({"replicas": 4}))
        .await
        .ok();
    assert_eq!((same.generation, told(&same).len()), (scaled.generation, 0));
    let kept: ChangeView = server.put("/v1/projects/default", &manifest(2)).await.ok();
    assert_eq!(kept.generation, scaled.generation);
    assert_eq!(
        told(&kept),
        ["users: replicas is 4 (set by cli), the file says 2: kept"]
    );

    let mut dry = manifest(3);
    dry["dry_run"] = json!(true);
    let dry: ChangeView = server.put("/v1/projects/default", &dry).await.ok();
    assert_eq!(
        (told(&dry), dry.generation),
        (
            vec!["update workload users replicas: 4 -> 3".to_owned()],
            kept.generation
        )
    );
    let real: ChangeView = server.put("/v1/projects/default", &manifest(3)).await.ok();
    assert!(real.generation > kept.generation);

    let down: ChangeView = server.delete("/v1/projects/default").await.ok();
    assert_eq!(
        told(&down),
        [
            "delete workload users",
            "delete service legacy",
            "delete service users",
            "delete route all"
        ]
    );
    refused(
        &server.delete("/v1/projects/default").await,
        StatusCode::NOT_FOUND,
        "no_such_project",
    );

    let history: Vec<view::HistoryView> = server.get("/v1/history?limit=2").await.ok();
    let words: Vec<_> = history
        .iter()
        .map(|entry| (entry.actor.as_str(), entry.reason.as_str()))
        .collect();
    assert_eq!(
        words,
        [("somebody", "down default"), ("me", "up /app/hythe.yaml")]
    );
    assert_eq!(
        history[1].changes,
        ["update workload users", "update manifest manifest"]
    );
}

#[tokio::test]
async fn what_cannot_be_applied_is_refused_whole() {
    let server = server().await;
    let mut broken = manifest(2);
    broken["spec"]["routes"]["all"]["service"] = json!("nosuch");
    broken["spec"]["workloads"]["users"]["command"] = json!([]);
    let problem = refused(
        &server.put("/v1/projects/default", &broken).await,
        StatusCode::UNPROCESSABLE_ENTITY,
        "invalid",
    );
    assert_eq!(
        problem.errors,
        [
            "users: command is empty",
            "route all: there is no service `nosuch`"
        ]
    );
    refused(
        &server.put("/v1/projects/shop", &manifest(2)).await,
        StatusCode::BAD_REQUEST,
        "other_project",
    );
    refused(
        &server.put("/v1/projects/A", &manifest(2)).await,
        StatusCode::BAD_REQUEST,
        "invalid_name",
    );
    let typo = json!({"path": "/x", "spec": {"worklods": {}}});
    let problem = refused(
        &server.put("/v1/projects/default", &typo).await,
        StatusCode::BAD_REQUEST,
        "invalid_body",
    );
    assert!(problem.detail.contains("worklods"), "{problem:?}");
}

#[tokio::test]
async fn the_default_project_of_another_folder_is_not_replaced_silently() {
    let server = Server::new();
    let folder = tempfile::tempdir().unwrap();
    let there = folder.path().join("hythe.yaml");
    std::fs::write(&there, "").unwrap();
    let mut from_there = manifest(1);
    from_there["path"] = json!(there);
    server
        .put("/v1/projects/default", &from_there)
        .await
        .ok::<ChangeView>();

    let refusal = server.put("/v1/projects/default", &manifest(1)).await;
    let problem = refused(&refusal, StatusCode::CONFLICT, "project_elsewhere");
    assert!(problem.hint.unwrap().contains("name:"));
    let mut forced = manifest(1);
    forced["force"] = json!(true);
    server
        .put("/v1/projects/default", &forced)
        .await
        .ok::<ChangeView>();
}

#[tokio::test]
async fn a_service_that_does_not_exist_is_answered_with_a_guess() {
    let server = server().await;
    let mut other = manifest(1);
    other["spec"]["project"] = json!("shop");
    server.put("/v1/projects/shop", &other).await.ok::<ChangeView>();
    server.follow().await;
    let rows = [
        ("user", Some("did you mean `users`?")),
        (
            "lab.users",
            Some("`users` is in project default, shop; choose it with -p"),
        ),
        ("something", None),
    ];
    for (name, hint) in rows {
        let answered = server
            .post(&format!("/v1/services/{name}/restart"), &json!({}))
            .await;
        let problem = refused(&answered, StatusCode::NOT_FOUND, "no_such_service");
        assert_eq!(problem.hint.as_deref(), hint, "{name}");
    }
    let legacy = server.post("/v1/services/legacy/stop", &json!({})).await;
    refused(&legacy, StatusCode::UNPROCESSABLE_ENTITY, "not_a_process");
    let many = server
        .post("/v1/services/users/scale", &json!({"replicas": 1001}))
        .await;
    refused(&many, StatusCode::UNPROCESSABLE_ENTITY, "invalid");
}

#[tokio::test]
async fn services_are_shown_with_their_instances() {
    let server = server().await;
    server.run(&[
        ("users-1", InstanceState::Ready),
        ("users-2", InstanceState::Starting),
    ]);
    let services: Vec<ServiceView> = server.get("/v1/services").await.ok();
    let shown: Vec<_> = services
        .iter()
        .map(|service| {
            (
                service.name.as_str(),
                service.kind.as_str(),
                service.ready,
                service.desired,
            )
        })
        .collect();
    assert_eq!(shown, [("legacy", "external", 1, 1), ("users", "process", 1, 2)]);
    assert_eq!(services[1].routes, ["all"]);
    assert!(!services[1].settled);
    let none: Vec<ServiceView> = server.get("/v1/services?project=shop").await.ok();
    assert!(none.is_empty());

    let detail: ServiceDetail = server.get("/v1/services/users").await.ok();
    assert_eq!(detail.workload.unwrap().environment["KEY"], "(hidden)");
    let status: view::StatusView = server.get("/v1/status").await.ok();
    assert_eq!(
        (status.counts.instances, status.counts.ready, status.counts.routes),
        (2, 1, 1)
    );
    assert_eq!(status.generations.store, status.generations.supervisor);
    assert_eq!((status.server.pid, status.minder.pid), (7, Some(8)));
    let projects: Vec<ProjectView> = server.get("/v1/projects").await.ok();
    assert_eq!(projects[0].services, ["legacy", "users"]);
}

#[tokio::test]
async fn stop_start_and_restart_set_one_field_each() {
    let server = server().await;
    let rows = [
        ("stop", "update workload users stopped: false -> true"),
        ("start", "update workload users stopped: true -> false"),
        ("restart", "update workload users restarts_asked: 0 -> 1"),
    ];
    for (verb, expected) in rows {
        let change: ChangeView = server
            .post(&format!("/v1/services/users/{verb}"), &json!({}))
            .await
            .ok();
        assert_eq!(told(&change), [expected]);
        assert_eq!(change.changes[0].rolls, verb == "restart");
    }
}

#[tokio::test]
async fn waiting_ends_when_everybody_has_acted() {
    let server = server().await;
    let generation = server.generation().await;
    tokio::time::pause();
    let path = format!("/v1/wait?generation={generation}&project=default&timeout_ms=500");
    let early: WaitView = server.get(&path).await.ok();
    assert!(!early.done && !early.acted);
    server.run(&[
        ("users-1", InstanceState::Ready),
        ("users-2", InstanceState::Starting),
    ]);
    let half: WaitView = server.get(&path).await.ok();
    assert!(half.acted && !half.done);
    let (live, ()) = tokio::join!(server.get(&path), async {
        server.run(&[
            ("users-1", InstanceState::Ready),
            ("users-2", InstanceState::Ready),
        ]);
    });
    let live: WaitView = live.ok();
    assert!(live.done);
    assert_eq!(live.services.len(), 2);
}

#[tokio::test]
async fn what_the_gateway_does_not_serve_is_told_to_those_it_concerns() {
    let server = server().await;
    server.leave_out(&["default", "shop"]);
    for query in ["project=default", "services=users"] {
        let view: WaitView = server.get(&format!("/v1/wait?timeout_ms=1&{query}")).await.ok();
        assert_eq!(view.problems, ["something of default"]);
        assert_eq!(view.other_problems, ["something of shop"]);
    }
    let status: view::StatusView = server.get("/v1/status").await.ok();
    assert_eq!(status.problems, ["something of default", "something of shop"]);
}

#[tokio::test]
async fn a_project_can_be_killed() {
    let server = server().await;
    let killed: Vec<String> = server.post("/v1/projects/shop/kill", &json!({})).await.ok();
    assert_eq!(killed, ["shop-1"]);
    assert_eq!(
        server.post("/v1/projects/a%20b/kill", &json!({})).await.status,
        400
    );
}

#[tokio::test]
async fn instances_get_signals() {
    let server = server().await;
    server.run(&[
        ("users-1", InstanceState::Ready),
        ("users-2", InstanceState::Backoff),
        ("users-3", InstanceState::Starting),
    ]);
    let path = "/v1/services/users/signal";
    let rows = [
        (json!({"signal": 12}), vec!["users-1", "users-3"]),
        (
            json!({"signal": 1, "instances": ["users-3", "users-9"]}),
            vec!["users-3"],
        ),
    ];
    for (request, expected) in rows {
        let signalled: Vec<String> = server.post(path, &request).await.ok();
        assert_eq!(signalled, expected, "{request}");
    }
    let wrong = server.post(path, &json!({"signal": 65})).await;
    refused(&wrong, StatusCode::UNPROCESSABLE_ENTITY, "invalid");
    let nobody = server
        .post("/v1/services/nope/signal", &json!({"signal": 1}))
        .await;
    refused(&nobody, StatusCode::NOT_FOUND, "no_such_service");
}

#[tokio::test]
async fn environments_are_shown_to_the_socket_alone() {
    let server = server().await;
    let path = "/v1/projects/default/workloads";
    let workloads: BTreeMap<Name, Workload> = server.get(path).await.ok();
    let users: Name = "users".parse().unwrap();
    assert_ne!(workloads[&users].environment["KEY"], "(hidden)");
    let none: BTreeMap<Name, Workload> = server.get("/v1/projects/shop/workloads").await.ok();
    assert!(none.is_empty());
    let token = format!("Authorization: Bearer {}", server.token());
    let headers = ["host: 10.1.1.1:8002", token.as_str()];
    let door = Door::Tcp(Some("10.1.1.1:8002".parse().unwrap()));
    let over_tcp = server.ask(door, Method::GET, path, &headers, Vec::new()).await;
    refused(&over_tcp, StatusCode::FORBIDDEN, "socket_only");
}

#[tokio::test]
async fn a_removed_service_is_waited_for_until_its_last_instance_is_gone() {
    let server = server().await;
    server.run(&[
        ("users-1", InstanceState::Ready),
        ("users-2", InstanceState::Ready),
    ]);
    let down: ChangeView = server.delete("/v1/projects/default").await.ok();
    server.follow().await;
    let path = format!(
        "/v1/wait?generation={}&project=default&timeout_ms=20",
        down.generation
    );
    server.run(&[("users-2", InstanceState::Stopping)]);
    let stopping: WaitView = server.get(&path).await.ok();
    assert!(!stopping.done);
    assert_eq!(
        (stopping.services[0].name.as_str(), stopping.services[0].desired),
        ("users", 0)
    );
    server.run(&[]);
    assert!(server.get(&path).await.ok::<WaitView>().done);
}

#[tokio::test]
async fn logs_are_lines_of_json() {
    let server = server().await;
    let answered = server.get("/v1/logs?service=users&last=1").await;
    assert_eq!(answered.header("content-type"), "application/x-ndjson");
    let lines: Vec<view::LogLine> = answered
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0].message, "last 1 of users");
    assert_eq!(lines.len(), 2);
    refused(
        &server.get("/v1/logs?service=nosuch").await,
        StatusCode::NOT_FOUND,
        "no_such_service",
    );
    assert_eq!(server.get("/v1/logs?project=empty").await.text(), "");
    let followed = server.get("/v1/logs?follow=true&project=default").await.text();
    assert_eq!(followed.lines().count(), 2, "{followed}");
}

#[tokio::test]
async fn logs_are_flushed() {
    let server = server().await;
    server
        .delete("/v1/logs?service=users")
        .await
        .ok::<serde_json::Value>();
    server
        .delete("/v1/logs?project=empty")
        .await
        .ok::<serde_json::Value>();
    refused(
        &server.delete("/v1/logs?service=nosuch").await,
        StatusCode::NOT_FOUND,
        "no_such_service",
    );
    server
        .post("/v1/logs/reopen", &serde_json::json!({}))
        .await
        .ok::<serde_json::Value>();
}

#[tokio::test]
async fn a_server_with_running_services_does_not_just_stop() {
    let server = server().await;
    server.run(&[
        ("users-1", InstanceState::Ready),
        ("users-2", InstanceState::Backoff),
    ]);
    let answered = server.post("/v1/server/stop", &json!({})).await;
    let problem = refused(&answered, StatusCode::CONFLICT, "services_running");
    assert_eq!(problem.errors, ["users (1)"]);
    assert_eq!(server.stopped(), None);
    let answered = server
        .post("/v1/server/stop", &json!({"with_services": true}))
        .await;
    assert_eq!(
        (answered.status, server.stopped()),
        (StatusCode::ACCEPTED, Some(true))
    );
}

#[tokio::test]
async fn what_does_not_exist_is_a_problem_too() {
    let server = server().await;
    refused(&server.get("/v2").await, StatusCode::NOT_FOUND, "no_such_path");
    refused(
        &server.delete("/v1/services").await,
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
    );
    refused(
        &server.get("/v1/history?limit=x").await,
        StatusCode::BAD_REQUEST,
        "invalid_query",
    );
    assert_eq!(server.get("/healthz").await.text(), "ok\n");
    assert_eq!(server.get("/metrics").await.text(), "hythe_up 1\n");
    let routes: Vec<view::RouteView> = server.get("/v1/routes").await.ok();
    assert_eq!(routes[0].name, "all");
    let routes: Vec<view::RouteView> = server.get("/v1/routes?project=shop").await.ok();
    assert_eq!(routes.len(), 0);
    let explained: view::Explanation = server.get("/v1/explain?url=http://shop/a&method=post").await.ok();
    assert_eq!(
        (explained.method.as_str(), explained.host.as_str()),
        ("POST", "shop")
    );
}

/// Where from, how, with which headers, and what comes of it.
#[tokio::test]
async fn who_may_do_what() {
    let server = server().await;
    let near = "127.0.0.1:50000";
    let far = "192.0.2.9:50000";
    let token = format!("authorization: Bearer {}", server.token());
    let token = token.as_str();
    let rows: &[(&str, Method, &[&str], u16, &str)] = &[
        (near, Method::GET, &["host: localhost:8002"], 200, ""),
        (near, Method::GET, &["host: 127.0.0.1"], 200, ""),
        (near, Method::GET, &["host: [::1]:8002"], 200, ""),
        (near, Method::GET, &["host: 10.1.1.1:8002"], 200, ""),
        (
            near,
            Method::GET,
            &["host: evil.example"],
            403,
            "host_not_allowed",
        ),
        (near, Method::GET, &["host: 10.1.1.2"], 403, "host_not_allowed"),
        (
            near,
            Method::GET,
            &["host: localhost.evil.example"],
            403,
            "host_not_allowed",
        ),
        (near, Method::GET, &[], 400, "host_missing"),
        (
            near,
            Method::GET,
            &["host: localhost", "host: localhost"],
            400,
            "host_missing",
        ),
        (
            near,
            Method::GET,
            &["host: localhost", "origin: http://evil.example"],
            200,
            "",
        ),
        (near, Method::POST, &["host: localhost"], 401, "token_required"),
        (
            near,
            Method::POST,
            &["host: localhost", "authorization: Bearer wrong"],
            401,
            "token_wrong",
        ),
        (
            near,
            Method::POST,
            &["host: localhost", "authorization: Basic eDp5"],
            401,
            "token_required",
        ),
        (near, Method::POST, &["host: localhost", token], 200, ""),
        (
            near,
            Method::POST,
            &["host: evil.example", token],
            403,
            "host_not_allowed",
        ),
        (
            near,
            Method::POST,
            &["host: localhost:8002", token, "origin: http://localhost:8002"],
            200,
            "",
        ),
        (
            near,
            Method::POST,
            &["host: localhost:8002", token, "origin: http://localhost:9"],
            403,
            "origin_not_allowed",
        ),
        (
            near,
            Method::POST,
            &["host: localhost:8002", token, "origin: null"],
            403,
            "origin_not_allowed",
        ),
        (far, Method::GET, &["host: 10.1.1.1:8002"], 401, "token_required"),
        (far, Method::GET, &["host: 10.1.1.1:8002", token], 200, ""),
        (far, Method::POST, &["host: 10.1.1.1:8002", token], 200, ""),
        ("[::ffff:127.0.0.1]:5", Method::GET, &["host: localhost"], 200, ""),
    ];
    for (peer, method, headers, status, code) in rows {
        let door = Door::Tcp(Some(peer.parse().unwrap()));
        let path = if *method == Method::POST {
            "/v1/services/users/start"
        } else {
            "/v1/services"
        };
        let answered = server.ask(door, method.clone(), path, headers, Vec::new()).await;
        let row = format!("{peer} {method} {headers:?}: {}", answered.text());
        assert_eq!(answered.status.as_u16(), *status, "{row}");
        assert!(answered.text().contains(code), "{row}");
        let challenge = answered.headers.contains_key("www-authenticate");
        assert_eq!(challenge, *status == 401, "{row}");
    }
    let unknown = server
        .ask(
            Door::Tcp(None),
            Method::GET,
            "/v1/services",
            &["host: localhost"],
            Vec::new(),
        )
        .await;
    assert_eq!(unknown.status, StatusCode::UNAUTHORIZED);
}
