//! A side that does not read stops the other one, instead of filling the gateway's memory.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::proxy::{Proxy, Setup, read_head};

const OFFERED: usize = 64 * 1024 * 1024;
/// What the kernel's buffers of four sockets may hold: one that is filled fast is let grow, to half of what
/// `tcp_rmem` allows (often 32 MB).
const MOST: usize = 32 * 1024 * 1024;
/// Nothing could be written for this long: nobody reads.
const STALLED: Duration = Duration::from_millis(500);

#[test]
fn a_client_that_does_not_read_stops_the_upstream() {
    let (listener, proxy) = set_up();
    let mut client = connect(proxy.address);
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let (mut upstream, _) = listener.accept().unwrap();
    read_head(&mut upstream);
    write!(upstream, "HTTP/1.1 200 OK\r\nContent-Length: {OFFERED}\r\n\r\n").unwrap();
    let taken = offer(&mut upstream, OFFERED);
    assert!(taken < MOST, "{taken} bytes were taken");
    read_head(&mut client);
    the_rest_arrives(upstream, OFFERED - taken, client);
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn an_upstream_that_does_not_read_stops_the_client() {
    let (listener, proxy) = set_up();
    let mut client = connect(proxy.address);
    write!(
        client,
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {OFFERED}\r\n\r\n"
    )
    .unwrap();
    let (mut upstream, _) = listener.accept().unwrap();
    read_head(&mut upstream);
    let taken = offer(&mut client, OFFERED);
    assert!(taken < MOST, "{taken} bytes were taken");
    the_rest_arrives(client, OFFERED - taken, upstream);
    assert_eq!(proxy.stop(), 0);
}

/// An upstream with small buffers, so that what is measured is the gateway, and a gateway before it.
fn set_up() -> (TcpListener, Proxy) {
    let socket = small_socket();
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    socket.bind(&any.into()).unwrap();
    socket.listen(8).unwrap();
    let listener = TcpListener::from(socket);
    let proxy = Proxy::start(Setup {
        upstream: vec![listener.local_addr().unwrap()],
        ..Setup::default()
    });
    (listener, proxy)
}

fn connect(proxy: SocketAddr) -> TcpStream {
    let socket = small_socket();
    socket.connect(&proxy.into()).unwrap();
    socket.into()
}

fn small_socket() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_send_buffer_size(64 * 1024).unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    socket
}

/// Writes up to `most` bytes until nobody takes any more; how many were taken.
fn offer(stream: &mut TcpStream, most: usize) -> usize {
    stream.set_write_timeout(Some(STALLED)).unwrap();
    let block = [b'x'; 64 * 1024];
    let mut taken = 0;
    while taken < most {
        match stream.write(&block[..block.len().min(most - taken)]) {
            Ok(count) => taken += count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    stream.set_write_timeout(None).unwrap();
    taken
}

/// Once the other side reads, everything comes.
fn the_rest_arrives(mut from: TcpStream, left: usize, mut to: TcpStream) {
    std::thread::scope(|scope| {
        scope.spawn(|| assert_eq!(offer_all(&mut from, left), left));
        let mut read = 0;
        let mut buffer = vec![0; 256 * 1024];
        while read < OFFERED {
            let count = to.read(&mut buffer).unwrap();
            assert_ne!(count, 0, "cut off after {read} bytes");
            read += count;
        }
        assert_eq!(read, OFFERED);
    });
}

fn offer_all(stream: &mut TcpStream, length: usize) -> usize {
    stream.write_all(&vec![b'x'; length]).unwrap();
    length
}
