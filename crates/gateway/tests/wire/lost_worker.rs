//! A panic that no request can be blamed for takes its worker down, and the worker comes back on the same sockets.

use std::future::Future;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use hythe_gateway::{Exchange, Plugin, PluginKind, Reply, SettingProblem, Verdict};
use serde_json::{Map, Value, json};

use crate::proxy::{Proxy, Setup};

const KIND: PluginKind = PluginKind {
    name: "lethal",
    priority: 1,
    summary: "kills its worker when it is asked to, answers otherwise",
    parse,
};

struct Lethal;

fn parse(_: &Map<String, Value>) -> Result<Box<dyn Plugin>, Vec<SettingProblem>> {
    Ok(Box::new(Lethal))
}

impl Plugin for Lethal {
    fn before(&self, exchange: &mut Exchange<'_>) -> Verdict {
        if exchange.path() == b"/kill" {
            return Verdict::Await(Box::pin(deadly()));
        }
        Verdict::Respond(Reply::new(200, "text/plain".to_owned(), b"fine".to_vec()))
    }
}

/// Sets a timer whose firing panics: that is the runtime's own code, outside of every request.
async fn deadly() -> hythe_gateway::Resume {
    struct Bomb;
    impl Wake for Bomb {
        fn wake(self: Arc<Self>) {
            panic!("as asked");
        }
    }
    let mut timer = Box::pin(tokio::time::sleep(Duration::from_millis(1)));
    let bomb = Waker::from(Arc::new(Bomb));
    let _ = timer.as_mut().poll(&mut Context::from_waker(&bomb));
    std::future::pending::<()>().await;
    drop(timer);
    std::future::pending().await
}

#[test]
fn a_worker_is_replaced_and_loses_its_request() {
    let proxy = Proxy::start(Setup {
        kinds: &[KIND],
        plugins: vec![json!({"name": "lethal"})],
        ..Setup::default()
    });
    for killed in 1..=3 {
        let mut idle = proxy.connect();
        let lost = proxy.ask("GET /kill HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(lost, "", "nobody is left to answer");
        assert_eq!(idle.read(&mut [0]).unwrap_or(0), 0);
        for _ in 0..20 {
            let answer = proxy.ask("GET /fine HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        }
        assert_eq!(proxy.metrics.panics.load(Ordering::Relaxed), killed);
    }
    assert_eq!(proxy.stop(), 3);
}
