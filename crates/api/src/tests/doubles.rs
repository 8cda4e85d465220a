//! A server's inputs: a real store, everything else made up.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use hythe_model::desired::DocumentChange;
use hythe_model::endpoint::{Endpoint, EndpointRules, PoolEndpoints};
use hythe_model::instance::{Listening, ServiceInstances};
use hythe_model::view::{Explanation, LogLine, RouteView};
use hythe_model::{
    Desired, Endpoints, FullName, Instance, InstanceId, InstanceState, Instances, Name, ProjectName,
    Revision, Route,
};
use hythe_ports::documents::{Documents, NodeId, Op, Reach};
use hythe_ports::{BoxFuture, ExplainRequest, LogQuery, Logs, Routes, Traffic};
use hythe_routing::RouteTable;
use hythe_spine::{Publisher, Spine, latest};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::mpsc;
use tower::ServiceExt;

use crate::extract::Door;
use crate::guard::Rules;
use crate::token::Token;
use crate::{Api, Control, GatewayProblem, GatewayStatus, Inputs, PluginFindings, ServerInfo, openapi};

pub(crate) struct Server {
    folder: tempfile::TempDir,
    documents: Arc<dyn Documents>,
    publishers: Publishers,
    control: Arc<Recorded>,
    spine: Spine,
    router: Router,
    token: Token,
}

struct Publishers {
    desired: Publisher<Desired>,
    instances: Publisher<Instances>,
    endpoints: Publisher<Endpoints>,
    gateway: Publisher<GatewayStatus>,
}

/// What came back.
pub(crate) struct Answered {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Server {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (inputs, publishers, control) = inputs(&folder.path().join("store"));
        let documents = Arc::clone(&inputs.documents);
        let spine = Spine::default();
        let bound: SocketAddr = "10.1.1.1:8002".parse().unwrap();
        let token = Token::load_or_create(&folder.path().join("token")).unwrap();
        let api = Api {
            inputs,
            api: Some(bound),
            socket: PathBuf::from("/data/hythe.sock"),
            spine: spine.clone(),
            shutdown: spine.shutdown(),
        };
        let rules = Rules {
            bound: Some(bound),
            token: token.clone(),
        };
        let router = openapi::router(Arc::new(api), rules);
        Self {
            folder,
            documents,
            publishers,
            control,
            spine,
            router,
            token,
        }
    }

    pub(crate) fn token(&self) -> &str {
        self.token.text()
    }

    /// What the control was asked: to stop, with services or without.
    pub(crate) fn stopped(&self) -> Option<bool> {
        *self.control.0.lock().unwrap()
    }

    pub(crate) async fn generation(&self) -> u64 {
        self.documents.generation().await.unwrap()
    }

    /// Takes the store's state in, as the server's own follower does.
    pub(crate) async fn follow(&self) {
        let changes = self.documents.changes_since(0, Reach::Here, 1_000).await.unwrap();
        let mut desired = Desired {
            generation: changes.generation,
            ..Desired::default()
        };
        for change in &changes.changes {
            let document = &change.document;
            desired
                .apply(&DocumentChange {
                    kind: &document.identity.kind,
                    scope: &document.identity.scope,
                    name: &document.identity.name,
                    uid: "",
                    generation: change.generation,
                    created_at: 0,
                    body: (change.op != Op::Delete).then_some(&document.body),
                })
                .unwrap();
        }
        self.publishers.desired.publish(desired);
    }

    /// Publishes instances of `users`, and that everybody has acted on what is desired.
    pub(crate) fn run(&self, instances: &[(&str, InstanceState)]) {
        let generation = self.publishers.desired.get().generation;
        let users: FullName = "users".parse().unwrap();
        let all_ready = instances.iter().all(|(_, state)| *state == InstanceState::Ready);
        let wanted = self.publishers.desired.get().workloads.contains_key(&users);
        let service = ServiceInstances {
            desired: if wanted { 2 } else { 0 },
            settled: all_ready && (wanted || instances.is_empty()),
            instances: instances
                .iter()
                .map(|(id, state)| Arc::new(instance(&users, id, *state)))
                .collect(),
            ..ServiceInstances::default()
        };
        let services = BTreeMap::from([(users, service)]);
        self.publishers.endpoints.publish(Endpoints {
            generation,
            pools: pools(),
        });
        self.publishers.gateway.publish(GatewayStatus {
            generation,
            problems: Vec::new(),
        });
        self.publishers.instances.publish(Instances {
            generation,
            synced: true,
            services,
        });
    }

    /// Publishes that the gateway does not serve something of each of these projects.
    pub(crate) fn leave_out(&self, projects: &[&str]) {
        let problem = |project: &&str| GatewayProblem {
            project: Some(project.parse().unwrap()),
            text: format!("something of {project}"),
        };
        let generation = self.publishers.gateway.get().generation;
        self.publishers.gateway.publish(GatewayStatus {
            generation,
            problems: projects.iter().map(problem).collect(),
        });
    }

    pub(crate) async fn get(&self, path: &str) -> Answered {
        self.ask(Door::Socket, Method::GET, path, &[], Vec::new()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answered {
        self.ask(Door::Socket, Method::DELETE, path, &[], Vec::new())
            .await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answered {
        self.ask(
            Door::Socket,
            Method::PUT,
            path,
            &[],
            body.to_string().into_bytes(),
        )
        .await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answered {
        self.ask(
            Door::Socket,
            Method::POST,
            path,
            &[],
            body.to_string().into_bytes(),
        )
        .await
    }

    pub(crate) async fn ask(
        &self,
        door: Door,
        method: Method,
        path: &str,
        headers: &[&str],
        body: Vec<u8>,
    ) -> Answered {
        let mut request = Request::builder().method(method).uri(path).extension(door);
        for header in headers {
            let (name, value) = header.split_once(": ").unwrap();
            request = request.header(name, value);
        }
        let request = request.body(Body::from(body)).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, 1 << 20).await.unwrap();
        Answered {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        assert_eq!(self.spine.panics(), 0);
        assert!(self.folder.path().exists());
    }
}

impl Answered {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn ok<T: DeserializeOwned>(&self) -> T {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text());
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// Inputs of a server with an empty store in `folder`.
fn inputs(folder: &std::path::Path) -> (Inputs, Publishers, Arc<Recorded>) {
    let store = hythe_store::open(hythe_store::Config::new(folder, NodeId("here".to_owned()))).unwrap();
    let (desired, desired_reader) = latest(Desired::default());
    let (instances, instances_reader) = latest(Instances::default());
    let (endpoints, endpoints_reader) = latest(Endpoints::default());
    let (gateway, gateway_reader) = latest(GatewayStatus::default());
    let control = Arc::new(Recorded::default());
    let inputs = Inputs {
        documents: Arc::new(store),
        desired: desired_reader,
        instances: instances_reader,
        endpoints: endpoints_reader,
        gateway: gateway_reader,
        routes: Arc::new(MadeUp),
        traffic: Arc::new(MadeUp),
        logs: Arc::new(MadeUp),
        metrics: Arc::new(|| "hythe_up 1\n".to_owned()),
        info: ServerInfo {
            program: "/usr/bin/hythe".into(),
            pid: 7,
            version: "0.0.0".to_owned(),
            started_at: 1,
            home: PathBuf::from("/data"),
            workers: 1,
            proxy: Vec::new(),
            proxy_tls: Vec::new(),
            minder_pid: Arc::new(|| Some(8)),
        },
        control: Arc::clone(&control) as Arc<dyn Control>,
        plugin_check: Arc::new(|_, _| PluginFindings::default()),
    };
    (
        inputs,
        Publishers {
            desired,
            instances,
            endpoints,
            gateway,
        },
        control,
    )
}

/// The inputs alone, for a server on real sockets.
pub(crate) fn quiet_inputs(folder: &std::path::Path) -> Inputs {
    inputs(folder).0
}

fn instance(service: &FullName, id: &str, state: InstanceState) -> Instance {
    Instance {
        id: InstanceId(id.into()),
        service: service.clone(),
        slot: 0,
        revision: Revision(1),
        pid: Some(100),
        address: Some("127.0.0.1:20000".parse().unwrap()),
        listening: Some(Listening::Port),
        state,
        restarts: 0,
        started_at: Some(1),
        last_exit: None,
        cause: None,
        message: None,
        cpu_millis: 0,
        memory_bytes: 0,
    }
}

fn pools() -> BTreeMap<FullName, Arc<PoolEndpoints>> {
    let endpoint = Endpoint {
        id: "127.0.0.1:9".into(),
        address: "127.0.0.1:9".parse().unwrap(),
        weight: 1,
        healthy: true,
        revision: None,
        rules: EndpointRules::default(),
    };
    let pool = PoolEndpoints {
        endpoints: vec![endpoint],
        ..PoolEndpoints::default()
    };
    BTreeMap::from([("legacy~external".parse().unwrap(), Arc::new(pool))])
}

#[derive(Default)]
struct Recorded(Mutex<Option<bool>>);

impl Control for Recorded {
    fn stop(&self, with_services: bool) {
        *self.0.lock().unwrap() = Some(with_services);
    }
    fn upgrade<'a>(&'a self, binary: &'a Path) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move { Err(format!("{} is not executable", binary.display())) })
    }
    fn kill<'a>(&'a self, project: &'a ProjectName) -> BoxFuture<'a, Result<Vec<InstanceId>, String>> {
        let id = InstanceId(format!("{project}-1").into());
        Box::pin(async { Ok(vec![id]) })
    }
    fn signal<'a>(
        &'a self,
        instances: &'a [InstanceId],
        _: i32,
    ) -> BoxFuture<'a, Result<Vec<InstanceId>, String>> {
        Box::pin(async { Ok(instances.to_vec()) })
    }
}

struct MadeUp;

impl Traffic for MadeUp {
    fn in_flight(&self, _: SocketAddr) -> u64 {
        3
    }
    fn requests(&self, _: SocketAddr) -> u64 {
        3
    }
    fn is_listed(&self, _: SocketAddr) -> bool {
        true
    }
    fn awaited(&self) -> BoxFuture<'_, BTreeSet<FullName>> {
        Box::pin(std::future::pending())
    }
}

/// As a gateway that serves no route would find them.
pub(crate) fn route_problems(project: &ProjectName, routes: &BTreeMap<Name, Route>) -> Vec<String> {
    let full = |name: &Name| FullName::new(project.clone(), name.clone());
    let routes = routes.iter().map(|(name, route)| (full(name), route));
    let problems = RouteTable::<()>::default().problems(routes);
    problems.iter().map(ToString::to_string).collect()
}

impl Routes for MadeUp {
    fn routes(&self, project: Option<&ProjectName>) -> Vec<RouteView> {
        if project.is_some_and(|project| !project.is_default()) {
            return Vec::new();
        }
        let all = serde_json::json!({
            "name": "all", "service": null, "protocols": [], "methods": [], "hosts": [], "paths": ["/"],
            "headers": [], "strip_path": true, "preserve_host": false, "plugins": [],
        });
        vec![serde_json::from_value(all).unwrap()]
    }
    fn problems(&self, project: &ProjectName, routes: &BTreeMap<Name, Route>) -> Vec<String> {
        route_problems(project, routes)
    }
    fn explain<'a>(&'a self, request: &'a ExplainRequest) -> BoxFuture<'a, Explanation> {
        let explanation = Explanation {
            method: request.method.clone(),
            host: request.host.clone(),
            path: request.target.clone(),
            route: None,
            candidates: Vec::new(),
            plugins: Vec::new(),
            upstream: None,
            answer: None,
        };
        Box::pin(async { explanation })
    }
}

impl Logs for MadeUp {
    fn tail<'a>(&'a self, query: &'a LogQuery) -> BoxFuture<'a, std::io::Result<Vec<LogLine>>> {
        let names: Vec<String> = query.services.iter().map(ToString::to_string).collect();
        let message = format!("last {} of {}", query.last.unwrap_or_default(), names.join(","));
        let line = LogLine {
            at: 1,
            service: "users".to_owned(),
            instance: "users-1".to_owned(),
            stream: "stdout".to_owned(),
            message,
        };
        Box::pin(async { Ok(vec![line.clone(), line]) })
    }
    fn follow<'a>(&'a self, query: &'a LogQuery) -> BoxFuture<'a, std::io::Result<mpsc::Receiver<LogLine>>> {
        Box::pin(async {
            let (sender, receiver) = mpsc::channel(8);
            for line in self.tail(query).await? {
                sender.send(line).await.unwrap();
            }
            Ok(receiver)
        })
    }
    fn flush<'a>(&'a self, services: &'a [FullName]) -> BoxFuture<'a, std::io::Result<()>> {
        let refused = services.iter().any(|service| service.name.as_str() == "web");
        Box::pin(async move {
            if refused {
                Err(std::io::Error::other("the disk is gone"))
            } else {
                Ok(())
            }
        })
    }
    fn reopen(&self) {}
    fn note(&self, _: &FullName, _: &str, _: &str) {}
}
