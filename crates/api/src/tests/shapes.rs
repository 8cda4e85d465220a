//! The described shapes and the model's.

use hythe_model::view;
use serde_json::{Value, json};

use crate::schema;

/// What the model says can be read as what the description says, and the other way round.
#[test]
fn the_described_shapes_are_the_models() {
    fn alike<Model, Described>(sample: &Value)
    where
        Model: serde::Serialize + serde::de::DeserializeOwned,
        Described: serde::Serialize + serde::de::DeserializeOwned,
    {
        let model: Model = serde_json::from_value(sample.clone()).unwrap();
        let written = serde_json::to_value(&model).unwrap();
        let described: Described = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(serde_json::to_value(&described).unwrap(), written);
    }
    let exit = json!({"code": 1, "signal": null, "at": 2});
    let instance = |state: &str| {
        json!({
            "id": "a-1", "slot": 0, "pid": 1, "address": "x", "state": state, "restarts": 0, "revision": "0",
            "started_at": 1, "last_exit": exit, "message": "m", "cpu_millis": 1, "memory_bytes": 2, "in_flight": 3,
        })
    };
    let states = [
        "waiting",
        "starting",
        "ready",
        "unhealthy",
        "draining",
        "stopping",
        "backoff",
        "failed",
        "completed",
    ];
    let instances: Vec<Value> = states.iter().map(|state| instance(state)).collect();
    alike::<view::ServiceView, schema::ServiceView>(&json!({
        "name": "a", "project": "p", "kind": "process", "ready": 1, "desired": 2, "settled": true,
        "stopped": false, "failure": "f", "instances": instances, "routes": ["r"],
    }));
    alike::<view::StatusView, schema::StatusView>(&json!({
        "version": 1,
        "server": {"pid": 1, "version": "v", "started_at": 1, "home": "h", "workers": 1, "memory_bytes": 1},
        "minder": {"pid": 2}, "generations": {"store": 1, "supervisor": 1, "registry": 1, "gateway": 1},
        "listen": {"proxy": ["a"], "api": "b", "socket": "c"},
        "counts": {"services": 1, "instances": 1, "ready": 1, "routes": 1}, "panics": 0,
    }));
    alike::<view::RouteView, schema::RouteView>(&json!({
        "name": "r", "service": "s", "protocols": ["http"], "methods": ["GET"], "hosts": ["h"], "paths": ["/"],
        "headers": ["a: b"], "strip_path": true, "preserve_host": false, "plugins": ["p"],
    }));
    let endpoint = json!({"id": "e", "address": "a", "weight": 1, "healthy": true, "in_flight": 0});
    alike::<view::Explanation, schema::Explanation>(&json!({
        "method": "GET", "host": "h", "path": "/",
        "route": {"name": "r", "service": "s", "because": "b"}, "candidates": [{"name": "c", "reason": "r"}],
        "plugins": ["p"], "answer": {"status": 404, "message": "m"},
        "upstream": {"pool": "p", "path": "/", "host": "h", "algorithm": "a", "endpoint": endpoint, "endpoints": [endpoint]},
    }));
    alike::<view::ChangeView, schema::ChangeView>(&json!({
        "generation": 1, "conflicts": ["c"], "warnings": ["w"],
        "changes": [{"action": "create", "kind": "workload", "name": "a", "fields": ["f"], "rolls": true}],
    }));
    alike::<view::HistoryView, schema::HistoryView>(
        &json!({"generation": 1, "at": 2, "actor": "a", "reason": "r", "changes": ["c"]}),
    );
    alike::<view::LogLine, schema::LogLine>(
        &json!({"at": 1, "service": "s", "instance": "i", "stream": "stdout", "message": "m"}),
    );
}
