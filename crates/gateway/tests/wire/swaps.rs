//! Routes that change and members that come and go, all the time, under everything that clients do: nobody notices.
//!
//! `HYTHE_LONG=1` makes it a thousand changes of ten thousand routes.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use hythe_model::{Desired, Endpoints};
use hythe_testkit::http_client::Connection;
use serde_json::json;

use crate::proxy::{Proxy, Setup, insert};

/// What is uploaded with each change: slow, yet no trickle.
const PIECE: [u8; 4096] = [b'x'; 4096];
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn nobody_notices_changes() {
    let is_long = std::env::var_os("HYTHE_LONG").is_some();
    let (routes, changes) = if is_long { (10_000, 1_000) } else { (300, 60) };
    let port = start_backend();
    let member = |last| SocketAddr::new(IpAddr::from([127, 0, 0, last]), port);
    let mut proxy = Proxy::start(Setup {
        upstream: vec![member(1), member(2)],
        ..Setup::default()
    });
    proxy.change(|desired, _| (0..routes).for_each(|number| put_route(desired, number, 0)));

    let clients = Clients::start(proxy.address);
    let mut upload = proxy.connect();
    let length = changes * PIECE.len();
    write!(
        upload,
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"
    )
    .unwrap();
    for change in 1..=changes {
        proxy.change(|desired, endpoints| {
            put_route(desired, change % routes, change);
            if change % 5 == 0 {
                put_service(desired, change);
            }
            flap(endpoints, change % 2 == 0);
        });
        upload.write_all(&PIECE).unwrap();
    }
    let mut answer = String::new();
    BufReader::new(upload).read_line(&mut answer).unwrap();
    assert_eq!(answer, "HTTP/1.1 200 OK\r\n");
    for (kind, outcome) in clients.stop() {
        let served = outcome.unwrap_or_else(|error| panic!("{kind}: {error}"));
        println!("{kind}: {served} served during {changes} changes");
        assert!(served > 0, "{kind}");
    }
    assert_eq!(proxy.stop(), 0);
}

/// Beside the route that is asked; some by regex, which are the ones that take time to compile.
fn put_route(desired: &mut Desired, number: usize, version: usize) {
    let path = if number.is_multiple_of(10) {
        format!("~/other/{number}/v{version}/\\d+$")
    } else {
        format!("/other/{number}/v{version}")
    };
    let route = json!({"service": "up", "paths": [path]});
    insert(&mut desired.routes, &format!("other-{number}"), route);
}

/// What the route that is asked leads to.
fn put_service(desired: &mut Desired, version: usize) {
    insert(
        &mut desired.services,
        "up",
        json!({"host": "up", "retries": version % 7}),
    );
}

/// The last member falls ill or gets well.
fn flap(endpoints: &mut Endpoints, healthy: bool) {
    for pool in endpoints.pools.values_mut() {
        if let Some(last) = Arc::make_mut(pool).endpoints.last_mut() {
            last.healthy = healthy;
        }
    }
}

/// One thread for each way to be a client.
struct Clients {
    stop: Arc<AtomicBool>,
    running: Vec<(&'static str, JoinHandle<io::Result<u64>>)>,
}

type Work = fn(SocketAddr, &AtomicBool) -> io::Result<u64>;

impl Clients {
    fn start(gateway: SocketAddr) -> Self {
        let kinds: [(&str, Work); 4] = [
            ("kept connection", keep_asking),
            ("new connections", ask_anew),
            ("WebSocket", keep_talking),
            ("HTTP/2", keep_streaming),
        ];
        let stop = Arc::new(AtomicBool::new(false));
        let start = |(kind, work): (&'static str, Work)| {
            let stop = Arc::clone(&stop);
            (kind, std::thread::spawn(move || work(gateway, &stop)))
        };
        Self {
            running: kinds.into_iter().map(start).collect(),
            stop,
        }
    }

    /// How many requests of each were served, or what was the first that was not.
    fn stop(self) -> Vec<(&'static str, io::Result<u64>)> {
        self.stop.store(true, Ordering::Relaxed);
        let join = |(kind, thread): (_, JoinHandle<_>)| (kind, thread.join().unwrap());
        self.running.into_iter().map(join).collect()
    }
}

/// Calls `once` until told to stop; how often it went well.
fn until_told(stop: &AtomicBool, mut once: impl FnMut() -> io::Result<()>) -> io::Result<u64> {
    let mut served = 0;
    while !stop.load(Ordering::Relaxed) {
        once()?;
        served += 1;
    }
    Ok(served)
}

fn keep_asking(gateway: SocketAddr, stop: &AtomicBool) -> io::Result<u64> {
    let mut connection = Connection::open(gateway)?;
    until_told(stop, || {
        let answer = connection.exchange(GET)?;
        if answer.is_last() {
            connection = Connection::open(gateway)?;
        }
        must_be_fine(answer.status)
    })
}

fn ask_anew(gateway: SocketAddr, stop: &AtomicBool) -> io::Result<u64> {
    until_told(stop, || {
        must_be_fine(Connection::open(gateway)?.exchange(GET)?.status)
    })
}

/// One tunnel for all the time.
fn keep_talking(gateway: SocketAddr, stop: &AtomicBool) -> io::Result<u64> {
    let mut tunnel = TcpStream::connect(gateway)?;
    tunnel.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")?;
    let head = crate::proxy::read_head(&mut tunnel);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    until_told(stop, || {
        tunnel.write_all(b"ping")?;
        let mut echo = [0; 4];
        tunnel.read_exact(&mut echo)?;
        assert_eq!(&echo, b"ping");
        Ok(())
    })
}

/// One connection for all the time, or as long as the gateway keeps one.
fn keep_streaming(gateway: SocketAddr, stop: &AtomicBool) -> io::Result<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut sender = runtime.block_on(open_http2(gateway))?;
    until_told(stop, || {
        runtime.block_on(async {
            let mut ready = sender.clone().ready().await.map_err(io::Error::other)?;
            let request = http::Request::get("http://a/")
                .body(())
                .map_err(io::Error::other)?;
            let (answer, _) = ready.send_request(request, true).map_err(io::Error::other)?;
            sender = ready;
            let answer = answer.await.map_err(io::Error::other)?;
            must_be_fine(answer.status().as_u16())
        })
    })
}

async fn open_http2(gateway: SocketAddr) -> io::Result<h2::client::SendRequest<bytes::Bytes>> {
    let stream = tokio::net::TcpStream::connect(gateway).await?;
    let (sender, connection) = h2::client::handshake(stream).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    Ok(sender)
}

fn must_be_fine(status: u16) -> io::Result<()> {
    match status {
        200 => Ok(()),
        other => Err(io::Error::other(format!("answered {other}"))),
    }
}

/// Serves until the test's process ends; its port.
fn start_backend() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    port
}

/// Answers requests after their bodies, and is an echo after an upgrade.
fn serve(stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        let mut upgrade = false;
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let value = |name| line.strip_prefix(name).map(str::trim);
            length = value("Content-Length:")
                .and_then(|value| value.parse().ok())
                .unwrap_or(length);
            upgrade |= value("Upgrade:").is_some();
        }
        if upgrade {
            writer
                .write_all(b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")?;
            return io::copy(&mut reader, &mut writer).map(drop);
        }
        io::copy(&mut (&mut reader).take(length), &mut io::sink())?;
        writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
    }
}
