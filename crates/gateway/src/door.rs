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
    match listening.plan.protocol {
        ListenerProtocol::Auto => relay::auto::serve(worker, stream, ends, listening).await,
        protocol if protocol.is_http() => connection::serve(worker, stream, ends, listening).await,
        _ => relay::tcp::serve(worker, stream, ends, &listening).await,
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
