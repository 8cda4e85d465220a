//! A real gateway with one worker, set up for one test.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use hythe_balance::EndpointTable;
use hythe_gateway::plugin::{
    compression, correlation_id, files, redirect, request_rules, request_size_limiting, request_termination,
    request_transformer, response_transformer,
};
use hythe_gateway::{
    AccessLogFormat, Config, Inputs, Limits, ListenerPlan, Listeners, Metrics, OpenListeners, PluginKind,
    Status, Trust,
};
use hythe_model::endpoint::{EndpointRules, PoolEndpoints};
use hythe_model::{Desired, Endpoint, Endpoints, Entry, FullName, ListenerProtocol, Revision};
use hythe_spine::{Latest, Publisher, Spine, latest};
use serde_json::{Value, json};

/// What a test wants other than one route for everything, to one upstream.
pub(crate) struct Setup {
    /// The service's endpoints.
    pub(crate) upstream: Vec<SocketAddr>,
    /// Fields of the route's document.
    pub(crate) route: Value,
    /// Fields of the service's document.
    pub(crate) service: Value,
    /// Fields of the upstream's document.
    pub(crate) pool: Value,
    /// Fields of the listener that clients connect to.
    pub(crate) listener: Value,
    /// Documents of further listeners, by name.
    pub(crate) listeners: Vec<(&'static str, Value)>,
    /// Whole documents of plugins.
    pub(crate) plugins: Vec<Value>,
    /// Whole documents of certificates.
    pub(crate) certificates: Vec<Value>,
    /// Whole documents of authorities.
    pub(crate) authorities: Vec<Value>,
    /// The plugins there are.
    pub(crate) kinds: &'static [PluginKind],
    pub(crate) limits: Limits,
    pub(crate) trust: Trust,
    pub(crate) access_log: Option<(AccessLogFormat, PathBuf)>,
}

const KINDS: &[PluginKind] = &[
    compression::KIND,
    correlation_id::KIND,
    files::KIND,
    redirect::KIND,
    request_rules::KIND,
    request_size_limiting::KIND,
    request_termination::KIND,
    request_transformer::KIND,
    response_transformer::KIND,
];

impl Default for Setup {
    fn default() -> Self {
        Self {
            upstream: Vec::new(),
            route: json!({}),
            service: json!({}),
            pool: json!({}),
            listener: json!({}),
            listeners: Vec::new(),
            plugins: Vec::new(),
            certificates: Vec::new(),
            authorities: Vec::new(),
            kinds: KINDS,
            limits: Limits {
                drain: Duration::from_secs(2),
                ..Limits::default()
            },
            trust: Trust::default(),
            access_log: None,
        }
    }
}

/// The gateway, serving.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    /// Where TLS is spoken.
    pub(crate) https: SocketAddr,
    pub(crate) metrics: Arc<Metrics>,
    desired: Publisher<Desired>,
    endpoints: Publisher<Endpoints>,
    status: Latest<Status>,
    listeners: Latest<OpenListeners>,
    runtime: tokio::runtime::Runtime,
    spine: Spine,
    workers: Vec<JoinHandle<()>>,
}

impl Proxy {
    pub(crate) fn start(setup: Setup) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let spine = Spine::default();
        let any = "127.0.0.1:0".parse().unwrap();
        let http = ListenerPlan {
            proxy_protocol: setup.listener["proxy_protocol"] == true,
            ..ListenerPlan::http(any)
        };
        let https = ListenerPlan {
            name: "https".to_owned(),
            protocol: ListenerProtocol::Https,
            ..ListenerPlan::http(any)
        };
        let listeners = Listeners::bind(&[http, https], 1, Vec::new()).unwrap();
        let addresses: Vec<SocketAddr> = listeners.plans().map(|plan| plan.address).collect();
        let (desired, desired_reader) = latest(desired(&setup));
        let (endpoints, endpoints_reader) = latest(endpoints(&setup.upstream));
        let inputs = Inputs {
            desired: desired_reader,
            endpoints: endpoints_reader,
            table: Arc::new(EndpointTable::default()),
            listeners,
        };
        let config = Config {
            workers: 1,
            access_log: setup.access_log,
            limits: setup.limits,
            plugins: setup.kinds,
            trust: setup.trust,
            default_certificate: None,
        };
        let (gateway, outputs) =
            runtime.block_on(async { hythe_gateway::build(config, inputs, &spine).unwrap() });
        assert_eq!(outputs.status.get().problems, []);
        let workers = gateway.serve().unwrap();
        Self {
            address: addresses[0],
            https: addresses[1],
            metrics: outputs.metrics,
            desired,
            endpoints,
            status: outputs.status,
            listeners: outputs.listeners,
            runtime,
            spine,
            workers,
        }
    }

    /// Changes what is desired and who is there, and waits until that is served.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Desired, &mut Endpoints)) {
        assert_eq!(self.change_badly(change), [""; 0]);
    }

    /// The same; what of it cannot be served as it says.
    pub(crate) fn change_badly(&mut self, change: impl FnOnce(&mut Desired, &mut Endpoints)) -> Vec<String> {
        let mut desired = Desired::clone(&self.desired.get());
        let mut endpoints = Endpoints::clone(&self.endpoints.get());
        change(&mut desired, &mut endpoints);
        desired.generation += 1;
        endpoints.generation = desired.generation;
        let generation = desired.generation;
        self.endpoints.publish(endpoints);
        self.desired.publish(desired);
        let served = self.status.wait_for(|status| status.generation == generation);
        let status = self.runtime.block_on(served);
        status.problems.iter().map(ToString::to_string).collect()
    }

    /// Where a listener of the setup listens.
    pub(crate) fn listening(&self, name: &str) -> SocketAddr {
        let open = self.listeners.get();
        let found = open.list.iter().find(|listening| listening.plan.name == name);
        found.unwrap().plan.address
    }

    /// Replaces the certificates; returns when the gateway shows them.
    pub(crate) fn show(&mut self, certificates: &[Value]) {
        self.change(|desired, _| {
            desired.certificates = Arc::default();
            insert_all(&mut desired.certificates, certificates);
        });
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    /// Sends a request on a connection of its own and returns all that comes until the connection ends.
    pub(crate) fn ask(&self, head: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Asks the gateway to stop, and does not wait for its workers.
    pub(crate) fn ask_to_stop(&self) {
        assert!(self.runtime.block_on(self.spine.stop(Duration::from_secs(5))));
    }

    /// Drains and stops; how many panics there were.
    pub(crate) fn stop(self) -> u64 {
        self.ask_to_stop();
        for worker in self.workers {
            worker.join().unwrap();
        }
        assert_eq!(
            self.metrics.open.load(Ordering::Relaxed),
            0,
            "connections left open"
        );
        self.metrics.panics.load(Ordering::Relaxed)
    }
}

fn desired(setup: &Setup) -> Desired {
    let mut desired = Desired {
        generation: 1,
        ..Desired::default()
    };
    let route = json!({"service": "up", "paths": ["/"], "strip_path": false});
    insert(&mut desired.routes, "route", merged(route, &setup.route));
    insert(
        &mut desired.services,
        "up",
        merged(json!({"host": "up"}), &setup.service),
    );
    insert(&mut desired.upstreams, "up", setup.pool.clone());
    for (name, listener) in &setup.listeners {
        insert(&mut desired.listeners, name, listener.clone());
    }
    insert_all(&mut desired.plugins, &setup.plugins);
    insert_all(&mut desired.certificates, &setup.certificates);
    insert_all(&mut desired.ca_certificates, &setup.authorities);
    desired
}

fn insert_all<T: serde::de::DeserializeOwned + Clone>(
    map: &mut hythe_model::desired::Map<T>,
    specs: &[Value],
) {
    for (number, spec) in specs.iter().enumerate() {
        insert(map, &format!("number-{number}"), spec.clone());
    }
}

pub(crate) fn insert<T: serde::de::DeserializeOwned + Clone>(
    map: &mut hythe_model::desired::Map<T>,
    name: &str,
    spec: Value,
) {
    let entry = Arc::new(Entry {
        uid: name.to_owned(),
        generation: 1,
        created_at: 0,
        spec: serde_json::from_value(spec).unwrap(),
    });
    Arc::make_mut(map).insert(name.parse().unwrap(), entry);
}

fn merged(mut base: Value, over: &Value) -> Value {
    for (key, value) in over.as_object().unwrap() {
        base[key] = value.clone();
    }
    base
}

pub(crate) fn endpoints(addresses: &[SocketAddr]) -> Endpoints {
    endpoints_of(addresses, None)
}

/// The same, of instances.
pub(crate) fn instances(addresses: &[SocketAddr]) -> Endpoints {
    endpoints_of(addresses, Some(Revision(1)))
}

fn endpoints_of(addresses: &[SocketAddr], revision: Option<Revision>) -> Endpoints {
    let endpoint = |address: &SocketAddr| Endpoint {
        id: address.to_string().into(),
        address: *address,
        weight: 100,
        healthy: true,
        revision,
        rules: EndpointRules::default(),
    };
    let pool = PoolEndpoints {
        endpoints: addresses.iter().map(endpoint).collect(),
        ..PoolEndpoints::default()
    };
    let up: FullName = "up".parse().unwrap();
    Endpoints {
        // They are never what is waited for.
        generation: u64::MAX,
        pools: BTreeMap::from([(up, Arc::new(pool))]),
    }
}

/// Reads up to the end of a head, byte by byte so that nothing of the body is taken.
pub(crate) fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}
