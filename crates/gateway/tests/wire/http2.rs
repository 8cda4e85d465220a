//! Clients that speak HTTP/2: the same requests and answers, in frames.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use hythe_gateway::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::proxy::{Proxy, Setup};

/// Runs a test with a gateway before an upstream, and looks that it stops in order.
fn with_gateway<F: Future<Output = ()>>(
    limits: Limits,
    test: impl FnOnce(SocketAddr, TcpListener) -> F,
) -> Proxy {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let proxy = Proxy::start(Setup {
        upstream: vec![listener.local_addr().unwrap()],
        limits,
        ..Setup::default()
    });
    runtime.block_on(async {
        let all = test(proxy.address, listener);
        tokio::time::timeout(Duration::from_secs(20), all).await.unwrap();
    });
    proxy
}

fn limits() -> Limits {
    Setup::default().limits
}

async fn connect(address: SocketAddr) -> SendRequest<Bytes> {
    let socket = TcpStream::connect(address).await.unwrap();
    let (send, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    send.ready().await.unwrap()
}

fn get(path: &str) -> Request<()> {
    Request::get(format!("http://shop.test{path}")).body(()).unwrap()
}

/// Everything up to `end`, from a connection of HTTP/1.1.
async fn read_to(upstream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        assert!(
            upstream.read_buf(&mut text).await.unwrap() > 0,
            "{}",
            text.escape_ascii()
        );
    }
    String::from_utf8(text).unwrap()
}

/// What came behind a head by the time that it was complete.
async fn behind_head(upstream: &mut TcpStream) -> Vec<u8> {
    const END: &[u8] = b"\r\n\r\n";
    let mut bytes = Vec::new();
    loop {
        assert!(
            upstream.read_buf(&mut bytes).await.unwrap() > 0,
            "{}",
            bytes.escape_ascii()
        );
        if let Some(at) = bytes.windows(END.len()).position(|window| window == END) {
            return bytes.split_off(at + END.len());
        }
    }
}

/// Answers one request without a body.
async fn answer(listener: &TcpListener, text: &str) -> (String, TcpStream) {
    let mut upstream = listener.accept().await.unwrap().0;
    let request = read_to(&mut upstream, "\r\n\r\n").await;
    upstream.write_all(text.as_bytes()).await.unwrap();
    (request, upstream)
}

/// A whole answer: its body and its trailers.
async fn whole(response: ResponseFuture) -> (Response<()>, Vec<u8>, Option<HeaderMap>) {
    let (head, mut body) = response.await.unwrap().into_parts();
    let payload = payload(&mut body).await.unwrap();
    let trailers = body.trailers().await.unwrap();
    (Response::from_parts(head, ()), payload, trailers)
}

async fn payload(body: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut payload = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        let _ = body.flow_control().release_capacity(data.len());
        payload.extend_from_slice(&data);
    }
    Ok(payload)
}

#[test]
fn a_request_and_its_answer() {
    let proxy = with_gateway(limits(), |address, listener| async move {
        let mut client = connect(address).await;
        let mut request = get("/a?q=1");
        let fields = request.headers_mut();
        fields.append("cookie", HeaderValue::from_static("a=1"));
        fields.append("cookie", HeaderValue::from_static("b=2"));
        fields.append("te", HeaderValue::from_static("trailers"));
        let (response, _) = client.send_request(request, true).unwrap();
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nKeep-Alive: timeout=5\r\nX-Up: 1\r\n\r\nhi";
        let (sent, _upstream) = answer(&listener, text).await;
        assert!(sent.starts_with("GET /a?q=1 HTTP/1.1\r\nHost: up\r\n"), "{sent}");
        for line in [
            "cookie: a=1; b=2",
            "Via: 2.0 hythe",
            "X-Forwarded-Host: shop.test",
            "TE: trailers",
        ] {
            assert!(sent.contains(&format!("\r\n{line}\r\n")), "{sent}");
        }
        assert!(!sent.contains("chunked") && !sent.contains("ontent-"), "{sent}");
        let (response, payload, trailers) = whole(response).await;
        assert_eq!(
            (response.status().as_u16(), &payload[..], trailers),
            (200, &b"hi"[..], None)
        );
        assert_eq!(response.headers()["content-length"], "2");
        assert_eq!(response.headers()["via"], "1.1 hythe");
        assert_eq!(response.headers()["x-up"], "1");
        assert!(!response.headers().contains_key("keep-alive"));
    });
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn bodies_and_trailers_both_ways() {
    let proxy = with_gateway(limits(), |address, listener| async move {
        let mut client = connect(address).await;
        let (response, mut body) = client.send_request(get("/"), false).unwrap();
        let mut upstream = listener.accept().await.unwrap().0;
        let head = read_to(&mut upstream, "\r\n\r\n").await;
        assert!(head.contains("\r\nTransfer-Encoding: chunked\r\n"), "{head}");
        body.send_data("one".into(), false).unwrap();
        assert_eq!(read_to(&mut upstream, "one\r\n").await, "3\r\none\r\n");
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("7"));
        body.send_data("two".into(), false).unwrap();
        body.send_trailers(trailers).unwrap();
        assert_eq!(
            read_to(&mut upstream, "\r\n\r\n").await,
            "3\r\ntwo\r\n0\r\nx-sum: 7\r\n\r\n"
        );
        let answer =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\nX-Sum: 9\r\n\r\n";
        upstream.write_all(answer.as_bytes()).await.unwrap();
        let (response, payload, trailers) = whole(response).await;
        assert_eq!((response.status().as_u16(), &payload[..]), (200, &b"abc"[..]));
        assert!(!response.headers().contains_key("transfer-encoding"));
        assert_eq!(trailers.unwrap()["x-sum"], "9");
    });
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn a_small_body_that_is_all_there_gets_a_length() {
    let proxy = with_gateway(limits(), |address, listener| async move {
        let mut client = connect(address).await;
        let (response, mut body) = client.send_request(get("/"), false).unwrap();
        body.send_data("small".into(), true).unwrap();
        let mut upstream = listener.accept().await.unwrap().0;
        let sent = read_to(&mut upstream, "small").await;
        assert!(sent.contains("\r\nContent-Length: 5\r\n"), "{sent}");
        upstream
            .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
            .await
            .unwrap();
        assert_eq!(whole(response).await.0.status(), 204);
    });
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn a_megabyte_both_ways() {
    let proxy = with_gateway(limits(), |address, listener| async move {
        let mut client = connect(address).await;
        let sent: Vec<u8> = (0..1 << 20).map(|number: u32| number.to_le_bytes()[1]).collect();
        let request = Request::post("http://a/")
            .header("content-length", sent.len())
            .body(())
            .unwrap();
        let (response, mut body) = client.send_request(request, false).unwrap();
        let upload = async {
            let mut left = Bytes::from(sent.clone());
            while !left.is_empty() {
                body.reserve_capacity(left.len());
                let room = std::future::poll_fn(|context| body.poll_capacity(context)).await;
                let now = left.split_to(room.unwrap().unwrap());
                body.send_data(now, left.is_empty()).unwrap();
            }
        };
        let upstream = async {
            let mut upstream = listener.accept().await.unwrap().0;
            let mut got = behind_head(&mut upstream).await;
            while got.len() < sent.len() {
                assert!(
                    upstream.read_buf(&mut got).await.unwrap() > 0,
                    "{} bytes",
                    got.len()
                );
            }
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", got.len());
            upstream.write_all(head.as_bytes()).await.unwrap();
            upstream.write_all(&got).await.unwrap();
        };
        let (_, (), (_, got, _)) = tokio::join!(upload, upstream, whole(response));
        assert!(got == sent, "what came back is not what was sent");
    });
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn answers_without_a_body() {
    let proxy = with_gateway(limits(), |address, listener| async move {
        let mut client = connect(address).await;
        let mut request = get("/");
        *request.method_mut() = http::Method::HEAD;
        let (response, _) = client.send_request(request, true).unwrap();
        let text =
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        let (_, _upstream) = answer(&listener, text).await;
        let (head, body) = response.await.unwrap().into_parts();
        assert_eq!(head.headers["content-length"], "5");
        assert!(body.is_end_stream());
    });
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn streams_do_not_wait_for_one_another() {
    let proxy = with_gateway(limits(), |address, listener| async move {
        let client = connect(address).await;
        let mut responses = Vec::new();
        for number in 0..50 {
            let mut client = client.clone().ready().await.unwrap();
            responses.push(client.send_request(get(&format!("/{number}")), true).unwrap().0);
        }
        let mut upstreams = Vec::new();
        for _ in 0..50 {
            let mut upstream = listener.accept().await.unwrap().0;
            let request = read_to(&mut upstream, "\r\n\r\n").await;
            upstreams.push((request, upstream));
        }
        // The last is answered first.
        for (request, upstream) in upstreams.iter_mut().rev() {
            let path = request.split(' ').nth(1).unwrap();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}", path.len());
            upstream.write_all(answer.as_bytes()).await.unwrap();
        }
        for (number, response) in responses.into_iter().enumerate() {
            assert_eq!(whole(response).await.1, format!("/{number}").as_bytes());
        }
    });
    assert_eq!(proxy.stop(), 0);
}

/// The upstream's connection breaks off with the stream.
#[test]
fn a_stream_that_is_taken_back() {
    let proxy = with_gateway(limits(), |address, listener| async move {
        let mut client = connect(address).await;
        let (response, mut body) = client.send_request(get("/"), true).unwrap();
        let mut upstream = listener.accept().await.unwrap().0;
        read_to(&mut upstream, "\r\n\r\n").await;
        body.send_reset(Reason::CANCEL);
        assert_eq!(upstream.read(&mut [0; 16]).await.unwrap_or(0), 0);
        drop(response);
    });
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn an_answer_that_breaks_off_does_not_look_whole() {
    let proxy = with_gateway(limits(), |address, listener| async move {
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi!",
        ] {
            let mut client = connect(address).await;
            let (response, _) = client.send_request(get("/"), true).unwrap();
            let (_, upstream) = answer(&listener, text).await;
            drop(upstream);
            // A page, if it is known in time; never an answer that seems to be all.
            if let Ok(response) = response.await
                && response.status() != 502
            {
                let error = payload(&mut response.into_body()).await.unwrap_err();
                assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR), "{text}");
            }
        }
    });
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn requests_that_are_refused() {
    let proxy = with_gateway(limits(), |address, _listener| async move {
        let request = || Request::builder().uri("http://a/");
        let rows = [
            ("another Host", request().header("host", "b"), 400),
            (
                "the same Host",
                Request::builder().uri("http://a/%00").header("host", "a"),
                400,
            ),
            ("a user name", Request::builder().uri("http://u@a/"), 400),
            ("TRACE", request().method("TRACE"), 405),
            ("asterisk", Request::builder().uri("*"), 400),
            ("an expectation", request().header("content-length", "x"), 400),
        ];
        for (name, request, status) in rows {
            let mut client = connect(address).await;
            let (response, _) = client.send_request(request.body(()).unwrap(), true).unwrap();
            match response.await {
                Ok(response) => assert_eq!(response.status(), status, "{name}"),
                // The codec itself sees to some.
                Err(error) => assert_eq!(error.reason(), Some(Reason::PROTOCOL_ERROR), "{name}"),
            }
        }
    });
    assert_eq!(proxy.stop(), 0);
}

/// Ninety-nine fields pass, and a hundred and one do not: the limits of HTTP/1.1.
#[test]
fn fields_are_counted() {
    let proxy = with_gateway(limits(), |address, _listener| async move {
        let mut client = connect(address).await;
        let mut request = get("/");
        for number in 0..101 {
            let name = http::HeaderName::try_from(format!("x-{number}")).unwrap();
            request.headers_mut().insert(name, HeaderValue::from_static("1"));
        }
        let (response, _) = client.send_request(request, true).unwrap();
        assert_eq!(response.await.unwrap().status(), 400);
    });
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn a_client_that_does_not_take_its_answer_loses_the_stream() {
    let few = Limits {
        client_write_timeout: Duration::from_millis(300),
        ..limits()
    };
    let proxy = with_gateway(few, |address, listener| async move {
        let mut client = connect(address).await;
        let (response, _) = client.send_request(get("/"), true).unwrap();
        let upstream = async {
            let mut upstream = listener.accept().await.unwrap().0;
            read_to(&mut upstream, "\r\n\r\n").await;
            upstream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n")
                .await
                .unwrap();
            while upstream.write_all(&[b'x'; 64 * 1024]).await.is_ok() {}
        };
        let client = async {
            let mut body = response.await.unwrap().into_body();
            loop {
                match body.data().await.unwrap() {
                    // The window is not opened again.
                    Ok(_) => {}
                    Err(error) => break error.reason(),
                }
            }
        };
        let ((), reason) = tokio::join!(upstream, client);
        assert_eq!(reason, Some(Reason::INTERNAL_ERROR));
    });
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn a_stopping_gateway_lets_streams_finish() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let proxy = Proxy::start(Setup {
        upstream: vec![listener.local_addr().unwrap()],
        ..Setup::default()
    });
    let (response, mut upstream, mut client) = runtime.block_on(async {
        let mut client = connect(proxy.address).await;
        let (response, _) = client.send_request(get("/"), true).unwrap();
        let mut upstream = listener.accept().await.unwrap().0;
        read_to(&mut upstream, "\r\n\r\n").await;
        (response, upstream, client)
    });
    proxy.ask_to_stop();
    runtime.block_on(async {
        upstream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
            .await
            .unwrap();
        assert_eq!(whole(response).await.1, b"hi");
        let error = std::future::poll_fn(|context| client.poll_ready(context))
            .await
            .unwrap_err();
        assert!(error.is_go_away() || error.is_io(), "{error}");
    });
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn a_connection_ends_after_so_many_requests() {
    let few = Limits {
        requests_per_connection: Some(2),
        ..limits()
    };
    let proxy = with_gateway(few, |address, listener| async move {
        let client = connect(address).await;
        for _ in 0..2 {
            let mut client = client.clone().ready().await.unwrap();
            let (response, _) = client.send_request(get("/"), true).unwrap();
            answer(
                &listener,
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi",
            )
            .await;
            assert_eq!(whole(response).await.1, b"hi");
        }
        let mut client = client;
        while std::future::poll_fn(|context| client.poll_ready(context))
            .await
            .is_ok()
        {
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(proxy.stop(), 0);
}

/// It is idle only from its last stream's end on, however short that stream was.
#[test]
fn a_connection_that_is_used_again_and_again_is_not_idle() {
    let hasty = Limits {
        head_timeout: Duration::from_millis(400),
        ..limits()
    };
    let proxy = with_gateway(hasty, |address, _| async move {
        let client = connect(address).await;
        for _ in 0..12 {
            let mut client = client.clone().ready().await.unwrap();
            // Refused at once: its stream is over before anybody looks.
            let refused = Request::get("http://a/").header("host", "b").body(()).unwrap();
            let (response, _) = client.send_request(refused, true).unwrap();
            assert_eq!(whole(response).await.0.status(), 400);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    assert_eq!(proxy.stop(), 0);
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// `GET /` of `http://a`, from HPACK's static table.
fn headers(stream: u32, flags: u8) -> Vec<u8> {
    frame(1, flags, stream, b"\x82\x86\x84\x41\x01a")
}

/// What a GOAWAY among the gateway's frames says; 0 if there is none.
fn goaway(mut bytes: &[u8]) -> u8 {
    while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = bytes {
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        if *kind == 7 {
            return rest.get(7).copied().unwrap_or_default();
        }
        bytes = rest.get(length..).unwrap_or_default();
    }
    0
}

/// A kind of flood, and its frames by number.
type Kind = (&'static str, fn(u32) -> Vec<u8>);

/// Sends frames until the gateway ends the connection; what it says at last.
async fn flood(address: SocketAddr, frames: impl Fn(u32) -> Vec<u8>) -> u8 {
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(&[PREFACE, SETTINGS].concat()).await.unwrap();
    let (mut reader, mut writer) = client.split();
    let sending = async {
        for number in 0..5_000 {
            if writer.write_all(&frames(number)).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let mut got = Vec::new();
    let receiving = async { while matches!(reader.read_buf(&mut got).await, Ok(count) if count > 0) {} };
    tokio::select! {
        () = sending => {}
        () = receiving => {}
    }
    goaway(&got)
}

#[test]
fn floods_end_the_connection_that_makes_them() {
    const CALM: u8 = 11;
    let kinds: [Kind; 8] = [
        ("rapid reset", |number| {
            let stream = number * 2 + 1;
            [headers(stream, 5), frame(3, 0, stream, &[0, 0, 0, 8])].concat()
        }),
        ("ping", |_| frame(6, 0, 0, &[0; 8])),
        ("settings", |_| SETTINGS.to_vec()),
        ("window update", |_| frame(8, 0, 0, &[0, 0, 0, 1])),
        ("unknown", |_| frame(0xfa, 0, 0, &[])),
        ("empty data", |number| match number {
            0 => headers(1, 4),
            _ => frame(0, 0, 1, &[]),
        }),
        ("continuation", |number| match number {
            0 => headers(1, 1),
            _ => frame(9, 0, 1, &[]),
        }),
        ("made you reset", |number| {
            let stream = number * 2 + 1;
            [headers(stream, 5), frame(8, 0, stream, &[0x7f, 255, 255, 255])].concat()
        }),
    ];
    let proxy = with_gateway(limits(), |address, listener| async move {
        let upstream = tokio::spawn(async move {
            let mut taken = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                taken.push(stream);
            }
        });
        for (name, frames) in kinds {
            assert_eq!(flood(address, frames).await, CALM, "{name}");
        }
        upstream.abort();
    });
    // A flood is counted when its connection has ended, which the client may see a moment earlier.
    let metrics = Arc::clone(&proxy.metrics);
    assert_eq!(proxy.stop(), 0);
    assert!(metrics.floods.load(Ordering::Relaxed) >= 6);
}

/// What follows must be the preface, and only at the beginning of a connection.
#[test]
fn a_preface_has_its_place() {
    let proxy = with_gateway(limits(), |address, _listener| async move {
        let rows: [(&[u8], &[u8]); 3] = [
            (b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", b""),
            (b"PRI * HTTP/2.1\r\n\r\n", b"HTTP/1.1 505 "),
            (b"GET * HTTP/2.0\r\n\r\n", b"HTTP/1.1 505 "),
        ];
        for (sent, start) in rows {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(sent).await.unwrap();
            client.shutdown().await.unwrap();
            let mut got = Vec::new();
            let _ = client.read_to_end(&mut got).await;
            assert!(
                got.starts_with(start),
                "{}: {}",
                sent.escape_ascii(),
                got.escape_ascii()
            );
        }
    });
    assert_eq!(proxy.stop(), 0);
}
