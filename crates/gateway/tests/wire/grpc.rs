//! Calls of gRPC: many over one connection to the upstream, trailers, and failures told as statuses.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use hythe_gateway::Limits;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

use crate::proxy::{Proxy, Setup};

type Upstream = Connection<TcpStream, Bytes>;
type Call = (Request<RecvStream>, SendResponse<Bytes>);

fn with_gateway<F: Future<Output = ()>>(
    route: serde_json::Value,
    test: impl FnOnce(SocketAddr, TcpListener) -> F,
) -> Proxy {
    let service = json!({"protocol": "grpc"});
    let setup = Setup {
        route,
        service,
        ..Setup::default()
    };
    with_setup(setup, test)
}

fn with_setup<F: Future<Output = ()>>(
    setup: Setup,
    test: impl FnOnce(SocketAddr, TcpListener) -> F,
) -> Proxy {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let proxy = Proxy::start(Setup {
        upstream: vec![listener.local_addr().unwrap()],
        ..setup
    });
    runtime.block_on(async {
        let all = test(proxy.address, listener);
        tokio::time::timeout(Duration::from_secs(20), all).await.unwrap();
    });
    proxy
}

async fn connect(address: SocketAddr) -> SendRequest<Bytes> {
    let socket = TcpStream::connect(address).await.unwrap();
    let (send, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    send.ready().await.unwrap()
}

async fn accept(listener: &TcpListener) -> Upstream {
    let socket = listener.accept().await.unwrap().0;
    h2::server::handshake(socket).await.unwrap()
}

fn call(path: &str) -> Request<()> {
    Request::post(format!("http://calls.test{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap()
}

fn trailers(status: &'static str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(status));
    trailers
}

/// Keeps a connection going beside `work`.
async fn beside<T>(upstream: &mut Upstream, work: impl Future<Output = T>) -> T {
    tokio::select! {
        done = work => done,
        next = upstream.accept() => panic!("another call: {:?}", next.map(|call| call.map(|call| call.0))),
    }
}

async fn next(upstream: &mut Upstream) -> Call {
    upstream.accept().await.unwrap().unwrap()
}

#[test]
fn a_call_with_messages_both_ways_and_a_status() {
    let proxy = with_gateway(json!({}), |address, listener| async move {
        let mut client = connect(address).await;
        let (response, mut messages) = client.send_request(call("/svc.Greeter/Chat"), false).unwrap();
        let mut upstream = accept(&listener).await;
        let (request, mut answer) = next(&mut upstream).await;
        assert_eq!(request.uri(), "http://up/svc.Greeter/Chat");
        assert_eq!(request.headers()["te"], "trailers");
        assert_eq!(request.headers()["via"], "2.0 hythe");
        let mut body = request.into_body();
        let head = Response::builder()
            .header("content-type", "application/grpc")
            .body(())
            .unwrap();
        let mut replies = answer.send_response(head, false).unwrap();
        let talk = async {
            let response = response.await.unwrap();
            assert_eq!(response.headers()["via"], "2.0 hythe");
            let mut answers = response.into_body();
            for word in ["one", "two", "three"] {
                messages.send_data(word.into(), false).unwrap();
                assert_eq!(body.data().await.unwrap().unwrap(), word);
                replies.send_data(word.to_uppercase().into(), false).unwrap();
                assert_eq!(answers.data().await.unwrap().unwrap(), word.to_uppercase());
            }
            messages.send_data(Bytes::new(), true).unwrap();
            while let Some(rest) = body.data().await {
                assert!(rest.unwrap().is_empty());
            }
            replies.send_trailers(trailers("0")).unwrap();
            assert!(answers.data().await.is_none());
            answers.trailers().await.unwrap().unwrap()
        };
        assert_eq!(beside(&mut upstream, talk).await["grpc-status"], "0");
    });
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn calls_share_a_connection_and_trailers_may_be_all() {
    let proxy = with_gateway(json!({}), |address, listener| async move {
        let client = connect(address).await;
        let mut responses = Vec::new();
        for number in 0..20 {
            let mut client = client.clone().ready().await.unwrap();
            responses.push(
                client
                    .send_request(call(&format!("/s/{number}")), true)
                    .unwrap()
                    .0,
            );
        }
        let mut upstream = accept(&listener).await;
        for _ in 0..20 {
            let (request, mut answer) = next(&mut upstream).await;
            let mut head = Response::new(());
            *head.headers_mut() = trailers("5");
            head.headers_mut()
                .insert("x-path", request.uri().path().parse().unwrap());
            answer.send_response(head, true).unwrap();
        }
        let all = async {
            for (number, response) in responses.into_iter().enumerate() {
                let response = response.await.unwrap();
                assert_eq!(response.headers()["grpc-status"], "5");
                assert_eq!(response.headers()["x-path"], format!("/s/{number}").as_str());
                assert!(response.body().is_end_stream());
            }
        };
        beside(&mut upstream, all).await;
    });
    assert_eq!(proxy.stop(), 0);
}

/// Calls with a message.
async fn ask(client: &mut SendRequest<Bytes>) -> ResponseFuture {
    poll_fn(|context| client.poll_ready(context)).await.unwrap();
    let (response, mut body) = client.send_request(call("/s/m"), false).unwrap();
    body.send_data("message".into(), true).unwrap();
    response
}

/// What a server says it has not looked at is sent again, whatever its method: on a connection that goes
/// away, and when a stream is refused.
#[test]
fn what_was_not_processed_is_sent_again() {
    let proxy = with_gateway(json!({}), |address, listener| async move {
        let mut client = connect(address).await;
        let response = ask(&mut client).await;
        let mut first = accept(&listener).await;
        let (_, mut answer) = next(&mut first).await;
        answer.send_response(Response::new(()), true).unwrap();
        assert_eq!(beside(&mut first, response).await.unwrap().status(), 200);

        let response = ask(&mut client).await;
        let (_, mut refused) = next(&mut first).await;
        refused.send_reset(Reason::REFUSED_STREAM);
        let (request, mut answer) = next(&mut first).await;
        answer.send_response(Response::new(()), true).unwrap();
        assert_eq!(beside(&mut first, response).await.unwrap().status(), 200);
        let mut body = request.into_body();
        assert_eq!(beside(&mut first, body.data()).await.unwrap().unwrap(), "message");

        drop((body, answer));
        first.graceful_shutdown();
        assert!(first.accept().await.is_none());
        let response = ask(&mut client).await;
        let mut second = accept(&listener).await;
        let (_, mut answer) = next(&mut second).await;
        answer.send_response(Response::new(()), true).unwrap();
        assert_eq!(beside(&mut second, response).await.unwrap().status(), 200);
    });
    assert!(proxy.metrics.retried.load(Ordering::Relaxed) >= 1);
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn failures_are_statuses() {
    let proxy = with_gateway(json!({"paths": ["/s/"]}), |address, listener| async move {
        drop(listener);
        let rows = [
            (
                "/s/m",
                "14",
                "An invalid response was received from the upstream server",
            ),
            ("/other/m", "12", "no Route matched with those values"),
        ];
        for (path, status, message) in rows {
            let mut client = connect(address).await;
            let response = client.send_request(call(path), true).unwrap().0.await.unwrap();
            assert_eq!(response.status(), 200);
            assert_eq!(response.headers()["content-type"], "application/grpc");
            assert_eq!(response.headers()["grpc-status"], status, "{path}");
            assert_eq!(response.headers()["grpc-message"], message, "{path}");
            assert!(response.body().is_end_stream());
        }
    });
    assert_eq!(proxy.stop(), 0);
}

/// A client that says little, and nothing for longer than any other body may pause, is in a conversation: only the
/// service's silence ends it, with a status.
#[test]
fn a_conversation_may_be_slow() {
    let limits = Limits {
        body_timeout: Duration::from_millis(50),
        ..Limits::default()
    };
    let service = json!({"protocol": "grpc", "read_timeout_ms": 2000});
    let proxy = with_setup(
        Setup {
            limits,
            service,
            ..Setup::default()
        },
        |address, listener| async move {
            let mut client = connect(address).await;
            let (response, mut messages) = client.send_request(call("/svc.Greeter/Chat"), false).unwrap();
            let mut upstream = accept(&listener).await;
            let (request, mut answer) = next(&mut upstream).await;
            let mut body = request.into_body();
            let mut replies = answer.send_response(Response::new(()), false).unwrap();
            let talk = async {
                let mut answers = response.await.unwrap().into_body();
                // Far more than the body of a request would have altogether.
                for _ in 0..5 {
                    tokio::time::sleep(Duration::from_millis(60)).await;
                    replies.send_data("more".into(), false).unwrap();
                    assert_eq!(answers.data().await.unwrap().unwrap(), "more");
                }
                messages.send_data("here".into(), false).unwrap();
                assert_eq!(body.data().await.unwrap().unwrap(), "here");
                assert!(answers.data().await.is_none());
                answers.trailers().await.unwrap().unwrap()
            };
            assert_eq!(beside(&mut upstream, talk).await["grpc-status"], "4");
        },
    );
    assert_eq!(proxy.stop(), 0);
}

/// An answer that has begun and stops, by a reset of its stream or with the whole connection, ends with a status all
/// the same. What came of it stands before.
#[test]
fn an_answer_that_breaks_off_ends_with_a_status() {
    let proxy = with_gateway(json!({}), |address, listener| async move {
        let mut client = connect(address).await;
        for resets in [true, false] {
            let (response, _messages) = client.send_request(call("/svc.Greeter/Chat"), false).unwrap();
            let mut upstream = accept(&listener).await;
            let (_request, mut answer) = next(&mut upstream).await;
            let mut replies = answer.send_response(Response::new(()), false).unwrap();
            replies.send_data("one".into(), false).unwrap();
            let mut answers = beside(&mut upstream, response).await.unwrap().into_body();
            assert_eq!(
                beside(&mut upstream, answers.data()).await.unwrap().unwrap(),
                "one"
            );
            if resets {
                replies.send_reset(Reason::INTERNAL_ERROR);
                assert!(beside(&mut upstream, answers.data()).await.is_none());
            }
            drop(upstream);
            assert!(answers.data().await.is_none());
            let trailers = answers.trailers().await.unwrap().unwrap();
            assert_eq!(trailers["grpc-status"], "14");
            let message = "An invalid response was received from the upstream server";
            assert_eq!(trailers["grpc-message"], message);
            client = client.ready().await.unwrap();
        }
    });
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn a_route_for_calls_takes_nothing_else() {
    let route = json!({"protocols": ["grpc"]});
    let proxy = with_gateway(route, |address, _listener| async move {
        let mut client = connect(address).await;
        let mut request = call("/");
        request.headers_mut().remove("content-type");
        let response = client.send_request(request, true).unwrap().0.await.unwrap();
        assert_eq!(response.status(), 415);
    });
    let text = "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let answer = proxy.ask(text);
    assert!(
        answer.starts_with("HTTP/1.1 426 Upgrade Required\r\n"),
        "{answer}"
    );
    assert!(
        answer.contains("\r\nUpgrade: HTTP/2\r\n") && answer.contains("Please use HTTP2 protocol"),
        "{answer}"
    );
    assert_eq!(proxy.stop(), 0);
}
