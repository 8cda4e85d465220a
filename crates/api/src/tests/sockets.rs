//! The API on real sockets.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use hythe_spine::Spine;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::doubles::quiet_inputs;
use crate::{Config, bind, serve};

fn start(folder: &Path, spine: &Spine) -> SocketAddr {
    let bound = bind(Config {
        api_listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        socket: folder.join("hythe.sock"),
        token_file: folder.join("token"),
    })
    .unwrap();
    let address = bound.api_address().unwrap();
    serve(bound, quiet_inputs(&folder.join("store")), spine).unwrap();
    address
}

async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> String {
    stream
        .write_all(request.replace('\n', "\r\n").as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn both_doors_answer_and_only_one_asks_for_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let spine = Spine::default();
    let address = start(folder.path(), &spine);
    let change = "DELETE /v1/projects/x HTTP/1.1\nHost: localhost\nConnection: close\n\n";
    let unix = UnixStream::connect(folder.path().join("hythe.sock"))
        .await
        .unwrap();
    assert!(ask(unix, change).await.starts_with("HTTP/1.1 404"));
    let tcp = TcpStream::connect(address).await.unwrap();
    assert!(ask(tcp, change).await.starts_with("HTTP/1.1 401"));
    assert!(spine.stop(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn a_stopping_server_ends_streams_and_idle_connections() {
    let folder = tempfile::tempdir().unwrap();
    let spine = Spine::default();
    let address = start(folder.path(), &spine);
    let idle = TcpStream::connect(address).await.unwrap();
    let mut events = UnixStream::connect(folder.path().join("hythe.sock"))
        .await
        .unwrap();
    events
        .write_all(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("event: change") {
        assert_ne!(events.read_buf(&mut seen).await.unwrap(), 0);
    }
    assert!(spine.stop(Duration::from_secs(10)).await);
    assert_eq!(events.read_to_end(&mut seen).await.ok().map(|_| ()), Some(()));
    assert!(
        String::from_utf8_lossy(&seen).ends_with("0\r\n\r\n"),
        "the stream ended in good order"
    );
    drop(idle);
}
