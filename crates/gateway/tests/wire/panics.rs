//! A plugin that panics costs its request and nothing else.

use std::io::Write;
use std::net::TcpListener;
use std::sync::atomic::Ordering;

use hythe_gateway::plugin::answer::AnswerView;
use hythe_gateway::{Exchange, Plugin, PluginKind, Resume, SettingProblem, Verdict};
use serde_json::{Map, Value, json};

use crate::proxy::{Proxy, Setup, read_head};

const KIND: PluginKind = PluginKind {
    name: "fragile",
    priority: 1,
    summary: "panics when it is asked to, answers otherwise",
    parse,
};

struct Fragile;

fn parse(_: &Map<String, Value>) -> Result<Box<dyn Plugin>, Vec<SettingProblem>> {
    Ok(Box::new(Fragile))
}

impl Plugin for Fragile {
    fn before(&self, exchange: &mut Exchange<'_>) -> Verdict {
        match exchange.path() {
            b"/now" => panic!("as asked"),
            b"/after" | b"/whole" => Verdict::Continue,
            b"/later" => Verdict::Await(Box::pin(async {
                tokio::task::yield_now().await;
                panic!("as asked, later")
            })),
            _ => Verdict::Await(Box::pin(async {
                let fine = hythe_gateway::Reply::new(200, "text/plain".to_owned(), b"fine".to_vec());
                Box::new(|_: &mut Exchange<'_>| Verdict::Respond(fine)) as Resume
            })),
        }
    }

    fn sees_answers(&self) -> bool {
        true
    }

    fn after(&self, answer: &mut AnswerView<'_>) {
        assert_eq!(answer.status, 200, "as asked, of an answer");
    }
}

#[test]
fn a_panic_is_a_500_and_counted() {
    let proxy = Proxy::start(Setup {
        kinds: &[KIND],
        plugins: vec![json!({"name": "fragile"})],
        ..Setup::default()
    });
    for (count, path) in [(1, "/now"), (2, "/later")] {
        let answer = proxy.ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nAccept: text/plain\r\n\r\n"
        ));
        assert!(
            answer.starts_with("HTTP/1.1 500 Internal Server Error\r\n"),
            "{answer}"
        );
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("\r\nConnection: close\r\n"), "{head}");
        assert!(
            body.starts_with("An unexpected error occurred\nrequest_id: "),
            "{body}"
        );
        assert_eq!(proxy.metrics.panics.load(Ordering::Relaxed), count);

        let answer = proxy.ask("GET /fine HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nfine"),
            "{answer}"
        );
    }
    assert_eq!(proxy.stop(), 2);
}

/// The client gets a page instead of the answer, whose connection is not used again.
#[test]
fn a_panic_at_an_answer_is_a_500_too() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(Setup {
        upstream: vec![listener.local_addr().unwrap()],
        kinds: &[KIND],
        plugins: vec![json!({"name": "fragile"})],
        ..Setup::default()
    });
    for (path, answered, expected) in [("/after", "404 Not Found", 500), ("/whole", "200 OK", 200)] {
        let upstream = std::thread::spawn({
            let listener = listener.try_clone().unwrap();
            move || {
                let mut stream = listener.accept().unwrap().0;
                read_head(&mut stream);
                let answer = format!("HTTP/1.1 {answered}\r\nX-Up: 1\r\nContent-Length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).unwrap();
                stream
            }
        });
        let answer = proxy.ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        ));
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{answer}");
        assert_eq!(answer.contains("X-Up"), expected == 200, "{answer}");
        drop(upstream.join().unwrap());
    }
    assert_eq!(proxy.stop(), 1);
}
