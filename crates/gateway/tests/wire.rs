//! Plays every conversation in `tests/wire/` against a real gateway with one worker.
//!
//! Settings of a case: `route`, `service`, `plugin` as JSON of the model's documents (the service's host is
//! the upstream of the case); `limits` as `name=milliseconds`; `upstream: none` for a pool without members.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hythe_balance::EndpointTable;
use hythe_gateway::plugin::{correlation_id, request_termination};
use hythe_gateway::{Config, Inputs, Limits, Listeners, PluginKind};
use hythe_model::endpoint::PoolEndpoints;
use hythe_model::{Desired, Endpoint, Endpoints, Entry, FullName};
use hythe_spine::{Spine, constant};
use hythe_testkit::wire_case::{Pace, WireCase};
use serde_json::{Value, json};

const PLUGINS: &[PluginKind] = &[correlation_id::KIND, request_termination::KIND];

#[test]
fn conversations() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(paths.len() > 0, "the cases are not where they should be");
    let only = std::env::var("WIRE_CASE").ok();
    let failures: Vec<String> = std::thread::scope(|scope| {
        let cases = paths
            .iter()
            .filter(|path| only.as_ref().is_none_or(|only| path.ends_with(only)));
        let running: Vec<_> = cases.map(|path| scope.spawn(|| play(path))).collect();
        running
            .into_iter()
            .filter_map(|case| case.join().unwrap().err())
            .collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

fn play(path: &Path) -> Result<(), String> {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let case = WireCase::parse(&name, &std::fs::read_to_string(path).unwrap())?;
    for pace in [Pace::Whole, Pace::Bytes] {
        let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy::start(&case, &upstream);
        case.play(proxy.address, &upstream, pace)
            .map_err(|error| format!("{pace:?}: {error}"))?;
        proxy.stop();
    }
    Ok(())
}

struct Proxy {
    address: std::net::SocketAddr,
    runtime: tokio::runtime::Runtime,
    spine: Spine,
    workers: Vec<std::thread::JoinHandle<()>>,
}

impl Proxy {
    fn start(case: &WireCase, upstream: &TcpListener) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let spine = Spine::default();
        let inputs = Inputs {
            desired: constant(desired(case)),
            endpoints: constant(endpoints(case, upstream)),
            table: Arc::new(EndpointTable::default()),
        };
        let config = Config {
            workers: 1,
            access_log: None,
            limits: limits(case),
            plugins: PLUGINS,
        };
        let listeners = Listeners::bind(&["127.0.0.1:0".parse().unwrap()], 1, Vec::new()).unwrap();
        let address = listeners.addresses().next().unwrap();
        let (gateway, outputs) =
            runtime.block_on(async { hythe_gateway::build(config, inputs, &spine).unwrap() });
        assert_eq!(outputs.status.get().problems, []);
        let workers = gateway.serve(listeners).unwrap();
        Self {
            address,
            runtime,
            spine,
            workers,
        }
    }

    fn stop(self) {
        assert!(self.runtime.block_on(self.spine.stop(Duration::from_secs(5))));
        for worker in self.workers {
            worker.join().unwrap();
        }
    }
}

fn desired(case: &WireCase) -> Desired {
    let mut desired = Desired {
        generation: 1,
        ..Desired::default()
    };
    let route = merged(
        json!({"service": "up", "paths": ["/"], "strip_path": false}),
        setting(case, "route"),
    );
    insert(&mut desired.routes, "route", route);
    insert(
        &mut desired.services,
        "up",
        merged(json!({"host": "up"}), setting(case, "service")),
    );
    insert(&mut desired.upstreams, "up", json!({}));
    for (number, (_, plugin)) in case
        .settings
        .iter()
        .filter(|(key, _)| key == "plugin")
        .enumerate()
    {
        insert(
            &mut desired.plugins,
            &format!("plugin-{number}"),
            serde_json::from_str(plugin).unwrap(),
        );
    }
    desired
}

fn insert<T: serde::de::DeserializeOwned + Clone>(
    map: &mut hythe_model::desired::Map<T>,
    name: &str,
    spec: Value,
) {
    let spec = serde_json::from_value(spec).unwrap();
    let entry = Arc::new(Entry {
        uid: name.to_owned(),
        generation: 1,
        created_at: 0,
        spec,
    });
    Arc::make_mut(map).insert(name.parse().unwrap(), entry);
}

fn merged(mut base: Value, over: Option<Value>) -> Value {
    for (key, value) in over.iter().flat_map(|over| over.as_object().unwrap()) {
        base[key] = value.clone();
    }
    base
}

fn setting(case: &WireCase, key: &str) -> Option<Value> {
    let (_, text) = case.settings.iter().find(|(known, _)| known == key)?;
    Some(serde_json::from_str(text).unwrap())
}

fn endpoints(case: &WireCase, upstream: &TcpListener) -> Endpoints {
    let wanted = case
        .settings
        .iter()
        .find(|(key, _)| key == "upstream")
        .map(|(_, value)| value.as_str());
    let real = upstream.local_addr().unwrap();
    // Nobody listens on port 1 of this address.
    let dead = "127.0.0.9:1".parse().unwrap();
    let addresses = match wanted {
        None => vec![real],
        Some("none") => vec![],
        Some("dead") => vec![dead],
        Some("dead first") => vec![dead, real],
        Some(other) => panic!("unknown upstream: {other}"),
    };
    let endpoint = |address: std::net::SocketAddr| Endpoint {
        id: address.to_string().into(),
        address,
        weight: 100,
        healthy: true,
        revision: None,
    };
    let pool = PoolEndpoints {
        endpoints: addresses.into_iter().map(endpoint).collect(),
        unresolved: Vec::new(),
    };
    let up: FullName = "up".parse().unwrap();
    Endpoints {
        generation: 1,
        pools: BTreeMap::from([(up, Arc::new(pool))]),
    }
}

fn limits(case: &WireCase) -> Limits {
    let mut limits = Limits {
        drain: Duration::from_secs(2),
        ..Limits::default()
    };
    for (_, text) in case.settings.iter().filter(|(key, _)| key == "limits") {
        let (name, value) = text.split_once('=').unwrap();
        let time = Duration::from_millis(value.parse().unwrap());
        match name {
            "head_timeout" => limits.head_timeout = time,
            "idle_timeout" => limits.idle_timeout = time,
            "body_timeout" => limits.body_timeout = time,
            "requests_per_connection" => limits.requests_per_connection = value.parse().unwrap(),
            other => panic!("unknown limit: {other}"),
        }
    }
    limits
}
