//! The first moments of a connection: whose it is, and who serves it.
//!
//! On a listener that stands behind a proxy, the header of the PROXY protocol comes first, before TLS. It is
//! taken off the socket to the byte, so that whoever serves the connection finds it as the client made it.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hythe_model::{ListenerProtocol, is_own_address};
use hythe_upstream::proxy_protocol::{self, Header, LONGEST, Source};
use tokio::net::TcpStream;

use crate::crowd::Place;
use crate::listener::LocalListening;
use crate::worker::{Worker, plain_ip};
use crate::{connection, relay};

/// How long a client may be silent before it counts as one that waits for the other side.
const SILENCE: Duration = Duration::from_millis(300);
/// Between two looks at a beginning that is not complete.
const MORE: Duration = Duration::from_millis(5);
/// The longest method with a registration is shorter, `UPDATEREDIRECTREF`.
const LONGEST_METHOD: usize = 20;

/// Both ends of a connection, as its client sees them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends {
    /// The client.
    pub(crate) client: SocketAddr,
    /// Where it connected to.
    pub(crate) local: SocketAddr,
}

/// Serves a connection to its end.
pub(crate) async fn serve(
    worker: &Rc<Worker>,
    stream: TcpStream,
    peer: SocketAddr,
    listening: LocalListening,
) {
    let Ok(local) = stream.local_addr() else { return };
    if is_own_address(local.ip()) && listening.plan.address.ip().is_unspecified() {
        return refuse(&stream);
    }
    let mut ends = Ends { client: peer, local };
    if listening.plan.proxy_protocol {
        match announced(&stream, worker.limits().head_timeout).await {
            Some(Source::Proxied { client, destination }) => {
                ends = Ends {
                    client,
                    local: destination,
                }
            }
            Some(Source::Local) => {}
            None => {
                worker.metrics().refused.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
    }
    let Some(_place) = enter(worker, ends.client) else {
        // A new connection takes bytes as soon as the reactor has seen it.
        if stream.writable().await.is_ok() {
            worker.turn_away(&stream, &listening);
        }
        return;
    };
    let is_http = match listening.plan.protocol {
        ListenerProtocol::Auto => begins_with_http(&stream).await,
        protocol => protocol.is_http(),
    };
    if is_http {
        connection::serve(worker, stream, ends, listening).await;
    } else {
        relay::tcp::serve(worker, stream, ends, &listening).await;
    }
}

/// Meant for an instance that does not listen: the connection came here only because this listener has every address.
/// Passed on it would come back, again and again.
fn refuse(stream: &TcpStream) {
    // Fails only on a socket that is already dead.
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// Lets a client in, unless it has too many connections already. What is let in is counted, but for a proxy.
fn enter(worker: &Worker, client: SocketAddr) -> Option<Option<Place>> {
    let client = plain_ip(client);
    match worker.shared.trust.proxy(client) {
        Some(_) => Some(None),
        None => worker.shared.crowd.enter(client).map(Some),
    }
}

/// Whether the client begins with a request of HTTP. One that is silent at first waits for the other side to speak, as
/// in SMTP; what it says then is passed on, whatever it is.
async fn begins_with_http(stream: &TcpStream) -> bool {
    let spoken = async {
        let mut bytes = [0; LONGEST_METHOD + 2];
        loop {
            let seen = stream.peek(&mut bytes).await.unwrap_or(0);
            match beginning(bytes.get(..seen).unwrap_or_default()) {
                Beginning::Partial if seen > 0 => tokio::time::sleep(MORE).await,
                beginning => return beginning == Beginning::Http,
            }
        }
    };
    tokio::time::timeout(SILENCE, spoken).await.unwrap_or(false)
}

/// What the first bytes of a connection say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beginning {
    Http,
    Other,
    Partial,
}

/// `GET /`, `OPTIONS *`, `PRI *` or `GET http://...`. Redis and memcached have lines like the first half of it.
fn beginning(bytes: &[u8]) -> Beginning {
    let letters = bytes.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    if letters > LONGEST_METHOD {
        return Beginning::Other;
    }
    match bytes.get(letters..) {
        Some([] | [b' ']) => Beginning::Partial,
        Some([b' ', b'/' | b'*' | b'h', ..]) if letters >= 3 => Beginning::Http,
        _ => Beginning::Other,
    }
}

/// What the proxy in front says. `None`: nothing that can be believed, within the time for a head.
async fn announced(stream: &TcpStream, allowed: Duration) -> Option<Source> {
    tokio::time::timeout(allowed, take_header(stream)).await.ok()?
}

/// Bytes are looked at before they are taken: as long as the header is not complete all of them are its own.
async fn take_header(stream: &TcpStream) -> Option<Source> {
    let mut bytes = vec![0; LONGEST];
    let mut taken = 0;
    loop {
        let room = bytes.get_mut(taken..).filter(|room| !room.is_empty())?;
        let seen = taken + stream.peek(room).await.ok().filter(|count| *count > 0)?;
        let (end, source) = match proxy_protocol::parse(bytes.get(..seen)?).ok()? {
            Header::Partial => (seen, None),
            Header::Complete { source, length } => (length, Some(source)),
        };
        while taken < end {
            taken += stream
                .try_read(bytes.get_mut(taken..end)?)
                .ok()
                .filter(|count| *count > 0)?;
        }
        if source.is_some() {
            return source;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_what_is_spoken() {
        for (bytes, expected) in [
            (&b"GET / HTTP/1.1\r\n"[..], Beginning::Http),
            (b"OPTIONS *", Beginning::Http),
            (b"PRI * HTTP/2.0", Beginning::Http),
            (b"POST http://a.test/", Beginning::Http),
            (b"UPDATEREDIRECTREF /", Beginning::Http),
            (b"GE", Beginning::Partial),
            (b"GET ", Beginning::Partial),
            (b"", Beginning::Partial),
            (b"*1\r\n$4\r\nPING\r\n", Beginning::Other),
            (b"PING\r\n", Beginning::Other),
            (b"SET key 1", Beginning::Other),
            (b"get key", Beginning::Other),
            (b"\x16\x03\x01", Beginning::Other),
            (b"AAAAAAAAAAAAAAAAAAAAA", Beginning::Other),
            (b"A /", Beginning::Other),
        ] {
            assert_eq!(beginning(bytes), expected, "{}", String::from_utf8_lossy(bytes));
        }
    }
}
