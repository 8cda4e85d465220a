//! Requests in frames that no codec of a client would write: each is refused, and no upstream hears of it.
//!
//! Whether the stream or the connection ends, or a page says why, depends on who notices first, the codec or the rules
//! of HTTP/1.1; all of them are refusals. Not refused is a fragment in `:path`, which the codec drops.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::proxy::{Proxy, Setup};

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PATIENCE: Duration = Duration::from_secs(10);

/// A field that is in no table and stays in none (RFC 7541 6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    [vec![0], text(name), text(value)].concat()
}

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[..], &[kind, flags, 0, 0, 0, 1], payload].concat()
}

/// A request of these fields and payload; what is sent first on a connection included.
fn request(fields: &[(&str, &str)], payload: Option<&[u8]>) -> Vec<u8> {
    let block: Vec<u8> = fields
        .iter()
        .flat_map(|(name, value)| field(name, value))
        .collect();
    let end = if payload.is_none() { END_STREAM } else { 0 };
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    bytes.extend(frame(HEADERS, END_HEADERS | end, &block));
    bytes.extend(
        payload
            .into_iter()
            .flat_map(|payload| frame(0, END_STREAM, payload)),
    );
    bytes
}

/// How the gateway ends the first request.
#[derive(Debug, PartialEq)]
enum Ended {
    /// With a 400, or as a protocol error of the stream or the connection.
    Refused,
    /// With another answer.
    Served,
    /// In no way of the protocol.
    Otherwise,
}

async fn ended(client: &mut TcpStream) -> Ended {
    loop {
        let mut head = [0; 9];
        if client.read_exact(&mut head).await.is_err() {
            return Ended::Otherwise;
        }
        let [a, b, c, kind, ..] = head;
        let mut payload = vec![0; usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)];
        client.read_exact(&mut payload).await.unwrap();
        match (kind, payload.as_slice()) {
            (RST_STREAM, [0, 0, 0, 1]) | (GOAWAY, [_, _, _, _, 0, 0, 0, 1, ..]) => return Ended::Refused,
            // `:status: 400` of HPACK's static table.
            (HEADERS, [0x8c, ..]) => return Ended::Refused,
            (HEADERS, _) => return Ended::Served,
            (RST_STREAM | GOAWAY, _) => return Ended::Otherwise,
            _ => {}
        }
    }
}

/// Requests with one mistake each.
fn malformed() -> Vec<(&'static str, Vec<u8>)> {
    const GET: [(&str, &str); 4] = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/"),
    ];
    let with = |field| [&GET[..], &[field]].concat();
    let without = |name| -> Vec<_> { GET.into_iter().filter(|(known, _)| *known != name).collect() };
    let instead = |name, value| -> Vec<_> { [&[(name, value)], &without(name)[..]].concat() };
    let rows = [
        ("connection", with(("connection", "close"))),
        ("transfer-encoding", with(("transfer-encoding", "chunked"))),
        ("keep-alive", with(("keep-alive", "1"))),
        ("upgrade", with(("upgrade", "websocket"))),
        ("proxy-connection", with(("proxy-connection", "close"))),
        ("te", with(("te", "gzip"))),
        ("upper case", with(("X-A", "1"))),
        ("blank in a name", with(("x a", "1"))),
        ("colon in a name", with(("x:a", "1"))),
        ("CR and LF in a name", with(("x\r\ny", "1"))),
        ("no name", with(("", "1"))),
        ("CR and LF in a value", with(("x-a", "1\r\nx-b: 2"))),
        ("LF in a value", with(("x-a", "1\n2"))),
        ("NUL in a value", with(("x-a", "1\0"))),
        ("pseudo field behind others", [&[("x-a", "1")], &GET[..]].concat()),
        ("pseudo field twice", with((":path", "/b"))),
        ("unknown pseudo field", with((":x", "1"))),
        ("of an answer", with((":status", "200"))),
        ("no method", without(":method")),
        ("no path", without(":path")),
        ("no scheme", without(":scheme")),
        ("neither authority nor host", without(":authority")),
        ("empty path", instead(":path", "")),
        ("path without a slash", instead(":path", "a")),
        ("blank in a path", instead(":path", "/ HTTP/1.1")),
        ("CR and LF in a path", instead(":path", "/ HTTP/1.1\r\nx: 1")),
        ("escaped NUL", instead(":path", "/%00")),
        ("blank in a method", instead(":method", "GET /b")),
        ("CR and LF in an authority", instead(":authority", "a\r\nx: 1")),
        ("slash in an authority", instead(":authority", "a/b")),
        ("another host", with(("host", "b"))),
        ("length without a body", with(("content-length", "3"))),
        (
            "two lengths",
            [with(("content-length", "0")), vec![("content-length", "1")]].concat(),
        ),
    ];
    let mut all: Vec<_> = rows.map(|(name, fields)| (name, request(&fields, None))).into();
    for (name, length, payload) in [
        ("longer", "2", "abc"),
        ("shorter", "4", "abc"),
        ("signed", "+3", "abc"),
    ] {
        let fields = with(("content-length", length));
        all.push((name, request(&fields, Some(payload.as_bytes()))));
    }
    all
}

#[test]
fn malformed_requests_in_frames_are_refused() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let upstream = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let proxy = Proxy::start(Setup {
        upstream: vec![upstream.local_addr().unwrap()],
        ..Setup::default()
    });
    runtime.block_on(async {
        for (name, bytes) in malformed() {
            let mut client = TcpStream::connect(proxy.address).await.unwrap();
            client.write_all(&bytes).await.unwrap();
            let ended = tokio::time::timeout(PATIENCE, ended(&mut client))
                .await
                .expect(name);
            assert_eq!(ended, Ended::Refused, "{name}");
            let asked = tokio::time::timeout(Duration::ZERO, upstream.accept()).await;
            assert!(asked.is_err(), "{name}: the upstream was asked");
        }
    });
    assert_eq!(proxy.stop(), 0);
}
