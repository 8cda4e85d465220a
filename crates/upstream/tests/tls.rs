//! Wires under TLS, against each other over real sockets.

#![expect(clippy::unwrap_used, reason = "what is not there is a test that fails")]

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hythe_upstream::{Buffer, Greeting, IdlePool, KeepAlive, Peer, Reuse, Wire, WireError, connect};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

const PATIENCE: Duration = Duration::from_secs(20);
const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// Both sides' settings for the name `hythe.test`.
struct Settings {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

fn settings(version: &'static SupportedProtocolVersion) -> Settings {
    let own = rcgen::generate_simple_self_signed(["hythe.test".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key.into())
        .unwrap();
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut roots = RootCertStore::empty();
    roots.add(own.cert.der().clone()).unwrap();
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Settings {
        server: Arc::new(server),
        client: Arc::new(client),
    }
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn client(address: SocketAddr, settings: &Settings) -> Result<Wire, WireError> {
    let mut wire = connect(address, PATIENCE).await?;
    let deadline = Instant::now() + PATIENCE;
    wire.begin_tls(&peer("Hythe.test", settings), deadline).await?;
    Ok(wire)
}

fn peer(name: &'static str, settings: &Settings) -> Arc<Peer> {
    Arc::new(Peer {
        name: name.try_into().unwrap(),
        config: Arc::clone(&settings.client),
    })
}

async fn server(listener: &TcpListener, settings: &Settings) -> Result<Wire, WireError> {
    let mut wire = Wire::new(listener.accept().await.unwrap().0, PATIENCE);
    let greeting = wire.accept_tls(Arc::clone(&settings.server), PATIENCE).await?;
    assert_eq!(greeting, Greeting::Tls);
    Ok(wire)
}

/// A client's and a server's end.
async fn pair(settings: &Settings) -> (Wire, Wire) {
    let (listener, address) = listener().await;
    tokio::try_join!(client(address, settings), server(&listener, settings)).unwrap()
}

async fn read_all(wire: &mut Wire, most: usize) -> (Vec<u8>, Result<(), WireError>) {
    let mut buffer = Buffer::default();
    let (mut reader, _) = wire.split();
    reader.set_deadline(Instant::now() + PATIENCE);
    loop {
        match reader.read(&mut buffer, most).await {
            Ok(0) => return (buffer.bytes().to_vec(), Ok(())),
            Ok(count) => assert!(count <= most),
            Err(error) => return (buffer.bytes().to_vec(), Err(error)),
        }
    }
}

async fn say_all(wire: &mut Wire, bytes: &[u8], piece: usize) {
    let (_, mut writer) = wire.split();
    writer.set_deadline(Instant::now() + PATIENCE);
    for piece in bytes.chunks(piece) {
        writer.write_all(piece).await.unwrap();
    }
    writer.finish().await;
}

/// Bytes in which every mistake in their order shows.
fn bytes(count: usize) -> Vec<u8> {
    (0..count)
        .map(|number| (number * 31 + number / 251) as u8)
        .collect()
}

#[tokio::test]
async fn both_versions_say_what_was_agreed_on() {
    for version in VERSIONS {
        let settings = settings(version);
        let (_, first) = pair(&settings).await;
        let first = first.negotiated().unwrap();
        assert_eq!(first.server_name.as_deref(), Some("hythe.test"));
        assert_eq!(first.alpn.as_deref(), Some(b"http/1.1".as_slice()));
        assert!(!first.resumed);
        let (name, cipher) = match version.version {
            rustls::ProtocolVersion::TLSv1_2 => ("TLSv1.2", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
            _ => ("TLSv1.3", "TLS_AES_256_GCM_SHA384"),
        };
        assert_eq!((first.version, first.cipher.as_str()), (name, cipher));
    }
}

#[tokio::test]
async fn a_session_is_taken_up_again() {
    for version in VERSIONS {
        let settings = settings(version);
        let (mut first, mut server) = pair(&settings).await;
        say_all(&mut server, b"", 1).await;
        // Tickets come before the end.
        read_all(&mut first, 100).await.1.unwrap();
        let (again, _) = pair(&settings).await;
        let again = again.negotiated().unwrap();
        assert!(again.resumed, "{version:?}");
        assert!(again.peer_certificate.is_some());
    }
}

#[tokio::test]
async fn large_bodies_go_both_ways_at_once() {
    for version in VERSIONS {
        let (mut client, mut server) = pair(&settings(version)).await;
        let body = bytes(3_000_000);
        let echo = async {
            let (mut reader, mut writer) = server.split();
            let mut buffer = Buffer::default();
            while reader.read(&mut buffer, 64 * 1024).await.unwrap() > 0 {
                writer.write_all(buffer.bytes()).await.unwrap();
                buffer.clear();
            }
            writer.finish().await;
        };
        let both = async {
            let (mut reader, mut writer) = client.split();
            let up = async {
                writer.write_all(&body).await.unwrap();
                writer.finish().await;
            };
            let down = async {
                let mut buffer = Buffer::default();
                while reader.read(&mut buffer, 10_000).await.unwrap() > 0 {}
                buffer.bytes().to_vec()
            };
            tokio::join!(up, down).1
        };
        assert!(tokio::join!(both, echo).0 == body);
    }
}

#[tokio::test]
async fn small_records_and_small_reads_lose_nothing() {
    for (piece, most) in [(7, 1), (1, 100_000), (5_000, 333), (16_384, 16_383)] {
        let (mut client, mut server) = pair(&settings(&TLS13)).await;
        let body = bytes(100_000);
        let (_, (read, end)) = tokio::join!(say_all(&mut client, &body, piece), read_all(&mut server, most));
        end.unwrap();
        assert!(read == body, "pieces of {piece}, reads of {most}");
    }
}

#[tokio::test]
async fn bytes_may_come_one_by_one() {
    for version in VERSIONS {
        let settings = settings(version);
        let (inner, inner_address) = listener().await;
        let (outer, outer_address) = listener().await;
        let relay = tokio::spawn(async move {
            let (mut near, _) = outer.accept().await.unwrap();
            let mut far = TcpStream::connect(inner_address).await.unwrap();
            far.set_nodelay(true).unwrap();
            near.set_nodelay(true).unwrap();
            let (near, far) = (near.split(), far.split());
            tokio::join!(one_by_one(near.0, far.1), one_by_one(far.0, near.1));
        });
        let (client, server) = tokio::join!(client(outer_address, &settings), server(&inner, &settings));
        let (mut client, mut server) = (client.unwrap(), server.unwrap());
        let body = bytes(2_000);
        let (_, (read, end)) = tokio::join!(say_all(&mut client, &body, 500), read_all(&mut server, 4096));
        end.unwrap();
        assert!(read == body);
        drop((client, server));
        relay.await.unwrap();
    }
}

async fn one_by_one(mut from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin) {
    let mut byte = [0];
    while matches!(from.read(&mut byte).await, Ok(1)) {
        if to.write_all(&byte).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

#[tokio::test]
async fn an_end_that_was_not_announced_is_an_error() {
    let (mut client, mut server) = pair(&settings(&TLS13)).await;
    let (_, mut writer) = server.split();
    writer.write_all(b"all that came").await.unwrap();
    drop(server);
    let (read, end) = read_all(&mut client, 4096).await;
    assert_eq!(read, b"all that came");
    assert!(
        matches!(&end, Err(WireError::Broken(error)) if error.kind() == ErrorKind::UnexpectedEof),
        "{end:?}"
    );
}

#[tokio::test]
async fn a_stranger_is_refused_with_the_reason() {
    let (known, stranger) = (settings(&TLS13), settings(&TLS13));
    let (listener, address) = listener().await;
    let (client, server) = tokio::join!(client(address, &known), server(&listener, &stranger));
    for (refused, reason) in [(client, "InvalidCertificate"), (server, "AlertReceived")] {
        let Err(WireError::Broken(error)) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        let source = error.get_ref().unwrap().downcast_ref::<rustls::Error>().unwrap();
        assert!(format!("{source:?}").contains(reason), "{source:?}");
    }
}

#[tokio::test]
async fn plain_http_is_told_apart_and_left_unread() {
    let (listener, address) = listener().await;
    let mut plain = connect(address, PATIENCE).await.unwrap();
    say_all(&mut plain, b"GET / HTTP/1.1\r\n\r\n", 100).await;
    let mut wire = Wire::new(listener.accept().await.unwrap().0, PATIENCE);
    let greeting = wire.accept_tls(settings(&TLS13).server, PATIENCE).await;
    assert_eq!(greeting.unwrap(), Greeting::PlainHttp);
    assert_eq!(read_all(&mut wire, 100).await.0, b"GET / HTTP/1.1\r\n\r\n");
}

#[tokio::test(start_paused = true)]
async fn silence_is_not_waited_for() {
    let settings = settings(&TLS13);
    let (listener, address) = listener().await;
    let timed_out = client(address, &settings).await.unwrap_err();
    assert!(timed_out.is_timeout(), "{timed_out}");

    let _mute = TcpStream::connect(address).await.unwrap();
    let _not_for_us = listener.accept().await.unwrap();
    assert!(server(&listener, &settings).await.unwrap_err().is_timeout());

    let mut hesitant = TcpStream::connect(address).await.unwrap();
    hesitant.write_all(b"\x16\x03\x01\x02").await.unwrap();
    assert!(server(&listener, &settings).await.unwrap_err().is_timeout());
}

#[tokio::test]
async fn a_kept_connection_takes_tickets_and_nothing_else() {
    let now = Instant::now();
    let mut pool = IdlePool::new(KeepAlive::default());
    let settings = settings(&TLS13);
    let (client, mut server) = pair(&settings).await;
    let address = client.stream().peer_addr().unwrap();
    let peer = peer("hythe.test", &settings);

    client.stream().readable().await.unwrap();
    pool.put(address, client, None, now);
    let client = pool.take(address, Some(&peer), Reuse::OnlyCertain, now).unwrap();

    pool.put(address, client, None, now);
    pool.sweep(now, |_| true);
    assert_eq!(pool.len(), 1);
    let mut client = pool.take(address, Some(&peer), Reuse::Likely, now).unwrap();

    let (_, mut writer) = server.split();
    writer
        .write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        .await
        .unwrap();
    client.split().0.readable().await.unwrap();
    pool.put(address, client, None, now);
    assert!(pool.take(address, Some(&peer), Reuse::Likely, now).is_none());
}

#[tokio::test]
async fn a_connection_made_for_one_name_serves_no_other() {
    let now = Instant::now();
    let settings = settings(&TLS13);
    let mut pool = IdlePool::new(KeepAlive::default());
    let (client, _server) = pair(&settings).await;
    let address = client.stream().peer_addr().unwrap();
    pool.put(address, client, None, now);
    let others = [
        None,
        Some(peer("other.test", &settings)),
        Some(Arc::new(Peer {
            config: Arc::new(ClientConfig::clone(&settings.client)),
            ..Peer::clone(&peer("hythe.test", &settings))
        })),
    ];
    for other in others {
        assert!(pool.take(address, other.as_ref(), Reuse::Likely, now).is_none());
    }
    let same = peer("HYTHE.test", &settings);
    assert!(pool.take(address, Some(&same), Reuse::Likely, now).is_some());
}
