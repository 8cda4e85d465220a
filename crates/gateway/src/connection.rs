//! One client connection: heads come in, exchanges happen one after another, until either side is done.
//! A client that begins with the preface of HTTP/2 is served by [`streams`] from there on.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hythe_http1::Progress;
use hythe_http2::PREFACE;
use hythe_upstream::{Negotiated, Wire, WireError};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::client_certificate::ClientCertificate;
use crate::door::Ends;
use crate::link::{Link, Reader};
use crate::listener::LocalListening;
use crate::respond::Failure;
use crate::worker::{CHUNK, Worker, Workspace, plain_ip};
use crate::{proxy, streams, tls};

/// A client, as exchanges see it.
pub(crate) struct Client {
    pub(crate) link: Link,
    /// Who sent the request.
    pub(crate) peer: std::net::IpAddr,
    /// The port at the other end of the connection.
    pub(crate) port: u16,
    /// The other end of the connection, if it is a proxy whose word on its requests counts.
    pub(crate) proxy: Option<std::net::IpAddr>,
    /// What that proxy says of the request at hand: whether it came over TLS.
    pub(crate) told_https: Option<bool>,
    pub(crate) local: SocketAddr,
    /// What was agreed on, if it speaks TLS.
    pub(crate) tls: Option<Rc<Negotiated>>,
    /// What it proved to be, if it was asked.
    pub(crate) certificate: Option<Rc<ClientCertificate>>,
    /// Where it came in.
    pub(crate) listening: LocalListening,
    /// Whether the connection may be kept after the current exchange.
    pub(crate) keep: bool,
    /// Whether the connection's end must not look like an end.
    pub(crate) cut_off: bool,
}

impl Client {
    /// Whether the request was made over TLS.
    pub(crate) fn https(&self) -> bool {
        self.told_https.unwrap_or(self.tls.is_some())
    }

    /// Both ends of its way here. Of a client that a trusted proxy names, only the address is known.
    pub(crate) fn ends(&self) -> Ends {
        let port = if self.proxy.is_some_and(|proxy| proxy != self.peer) {
            0
        } else {
            self.port
        };
        Ends {
            client: SocketAddr::new(self.peer, port),
            local: self.local,
        }
    }

    /// The server name it asked for (SNI).
    pub(crate) fn server_name(&self) -> Option<&str> {
        self.tls.as_ref()?.server_name.as_deref()
    }
}

/// What is known after waiting for a head.
enum Arrival {
    Head,
    /// Closed, or nothing came in time: nobody waits for an answer.
    Nobody,
    /// No head, but the preface of HTTP/2.
    Preface,
    Failed(Failure),
}

/// What became of a request that was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Served {
    /// It was answered, or refused, or the client has left.
    Request,
    /// There was none.
    Nothing,
    /// The client speaks HTTP/2.
    Http2,
}

/// How long a stopping worker waits for the first request of a connection: whoever has just connected is about
/// to send one.
const LAST_FIRST: Duration = Duration::from_secs(1);
/// And for a further one, which may have been sent before the end was decided.
const LAST_NEXT: Duration = Duration::from_millis(50);
/// The same while another server serves already: a client that keeps its connection and sees it closed at the wrong moment
/// has lost a request. It is told with the next answer.
const LINGERING: Duration = Duration::from_secs(10);
/// A connection on which nothing comes for this long is idle. Meanwhile it does not notice a shutdown.
const SOON: Duration = Duration::from_millis(100);

/// Serves a connection to its end.
pub(crate) async fn serve(worker: &Rc<Worker>, stream: TcpStream, ends: Ends, listening: LocalListening) {
    let peer = plain_ip(ends.client);
    let mut wire = Wire::new(stream, worker.limits().head_timeout);
    let greeting = tls::greet(worker, &mut wire, &listening.plan).await;
    let agreed = wire.negotiated();
    let certificate = agreed.and_then(|agreed| agreed.peer_certificate.as_ref());
    let mut client = Client {
        certificate: certificate.map(|certificate| Rc::new(ClientCertificate::new(certificate))),
        tls: agreed.cloned().map(Rc::new),
        link: Link::Wire(wire),
        peer,
        port: ends.client.port(),
        proxy: worker.shared.trust.proxy(peer),
        told_https: None,
        local: ends.local,
        listening,
        keep: true,
        cut_off: false,
    };
    match greeting {
        Ok(()) => serve_http(worker, client).await,
        Err(failure) => {
            if let Some(failure) = failure {
                refuse(worker, &mut client, failure).await;
            }
            linger(&mut client.link).await;
        }
    }
}

/// Says why there is nothing to serve.
async fn refuse(worker: &Worker, client: &mut Client, failure: Failure) {
    client.keep = false;
    let mut space = worker.take_space();
    proxy::refuse(worker, client, &mut space, failure).await;
    worker.give_back(space);
}

/// How far a connection is.
struct Course {
    /// Requests so far.
    served: u64,
    /// Since when nothing has happened on it.
    quiet_since: Instant,
}

async fn serve_http(worker: &Rc<Worker>, mut client: Client) {
    let mut course = Course {
        served: 0,
        quiet_since: Instant::now(),
    };
    while client.keep {
        if !bytes_come(worker, &mut client, &course).await {
            return;
        }
        // On the heap, and only as long as the connection is busy: what serves a request is large, and an idle
        // connection must not be.
        match Box::pin(serve_burst(worker, &mut client, &mut course)).await {
            Burst::Over => course.quiet_since = Instant::now(),
            Burst::Nobody => return,
            Burst::Http2(space) => {
                return Box::pin(streams::serve(worker, client, space.inbox.bytes())).await;
            }
        }
    }
    if client.cut_off {
        reset(client.link);
    } else {
        linger(&mut client.link).await;
    }
}

/// How requests that came one after another ended.
enum Burst {
    /// The last one is answered, and no other has come since.
    Over,
    /// There is nobody to serve any more.
    Nobody,
    /// The client speaks HTTP/2, and this much has come.
    Http2(Box<Workspace>),
}

/// Serves requests as long as the next one comes soon. No buffer is held while it is waited for.
async fn serve_burst(worker: &Worker, client: &mut Client, course: &mut Course) -> Burst {
    let mut space = worker.take_space();
    loop {
        course.served += 1;
        let most = worker.limits().requests_per_connection;
        let last = most.is_some_and(|most| course.served >= u64::from(most));
        match serve_request(worker, client, &mut space, last).await {
            Served::Request => {}
            Served::Http2 if course.served == 1 => return Burst::Http2(space),
            Served::Http2 | Served::Nothing => return Burst::Nobody,
        }
        if !space.inbox.is_empty() && client.keep {
            continue;
        }
        worker.give_back(space);
        if !client.keep || !comes_soon(worker, client).await {
            return Burst::Over;
        }
        space = worker.take_space();
    }
}

/// Whether the client sends more before its connection counts as idle.
async fn comes_soon(worker: &Worker, client: &mut Client) -> bool {
    let (mut reader, _) = client.link.split();
    reader.allow(SOON.min(worker.limits().idle_timeout));
    reader.readable().await.is_ok()
}

/// Reads a head and serves its request. `last`: the client's connection is not kept after it.
pub(crate) async fn serve_request(
    worker: &Worker,
    client: &mut Client,
    space: &mut Workspace,
    last: bool,
) -> Served {
    match read_head(worker, client, space).await {
        Arrival::Head => {
            client.keep = space.head.keep_alive && !last && !client.listening.shutdown.is_requested();
            proxy::exchange(worker, client, space).await;
        }
        Arrival::Nobody => return Served::Nothing,
        Arrival::Preface => return Served::Http2,
        Arrival::Failed(failure) => {
            client.keep = false;
            proxy::refuse(worker, client, space, failure).await;
        }
    }
    Served::Request
}

/// Waits for the next request's first byte; `false`: it will not come.
async fn bytes_come(worker: &Worker, client: &mut Client, course: &Course) -> bool {
    let limits = worker.limits();
    let first = course.served == 0;
    let patience = if first {
        limits.head_timeout
    } else {
        limits.idle_timeout
    };
    let (mut reader, _) = client.link.split();
    reader.set_deadline(course.quiet_since + patience);
    let shutdown = client.listening.shutdown.clone();
    let arrived = match shutdown.unless_requested(reader.readable()).await {
        Some(arrived) => arrived,
        None => {
            let last = Instant::now() + last_wait(worker, first);
            reader.set_deadline((course.quiet_since + patience).min(last));
            reader.readable().await
        }
    };
    arrived.is_ok()
}

/// How long a stopping worker waits for a connection's `first` request, or for a further one.
pub(crate) fn last_wait(worker: &Worker, first: bool) -> Duration {
    match worker.shared.lingers.load(Ordering::Relaxed) {
        true => LINGERING,
        false if first => LAST_FIRST,
        false => LAST_NEXT,
    }
}

/// Reads until the head is complete. The whole head must come within one deadline: a byte a minute does
/// not keep a connection.
async fn read_head(worker: &Worker, client: &mut Client, space: &mut Workspace) -> Arrival {
    let limits = worker.limits();
    let (mut reader, _) = client.link.split();
    reader.allow(limits.head_timeout);
    space.head.reset();
    loop {
        if !space.inbox.is_empty() {
            match space.head.parse(space.inbox.bytes(), &limits.wire) {
                Ok(Progress::Complete) => return Arrival::Head,
                Ok(Progress::Partial) => {}
                Err(_) if is_preface(space.inbox.bytes()) => return Arrival::Preface,
                Err(refusal) => return Arrival::Failed(Failure::Refused(refusal)),
            }
        }
        match reader.read(&mut space.inbox, CHUNK).await {
            Ok(0) if space.inbox.is_empty() => return Arrival::Nobody,
            // Cut off in the middle of a head; the peer may still read.
            Ok(0) => return Arrival::Failed(Failure::Truncated),
            Ok(_) => {}
            Err(WireError::TimedOut) if space.inbox.is_empty() => return Arrival::Nobody,
            Err(WireError::TimedOut) => return Arrival::Failed(Failure::RequestTimeout),
            Err(WireError::Broken(_)) => return Arrival::Nobody,
        }
    }
}

/// The preface looks like a request of a version that does not exist, so it is looked for only where a head
/// was refused.
fn is_preface(bytes: &[u8]) -> bool {
    const LINE: usize = b"PRI * HTTP/2.0\r\n".len();
    bytes.get(..LINE).is_some_and(|line| PREFACE.starts_with(line))
}

/// Closes without losing the answer: a socket that is closed with unread bytes is reset by the kernel, and
/// a reset may overtake what was just sent. So: say that we are done, then take in what still comes, for a
/// while and up to a limit.
pub(crate) async fn linger(link: &mut Link) {
    let (mut reader, mut writer) = link.split();
    writer.finish().await;
    drain(&mut reader).await;
}

/// Closes by a reset, which nobody takes for the end of a message.
pub(crate) fn reset(link: Link) {
    if let Link::Wire(wire) = &link {
        // Fails only on a socket that is already dead.
        let _ = socket2::SockRef::from(wire.stream()).set_linger(Some(Duration::ZERO));
    }
    drop(link);
}

async fn drain(reader: &mut Reader<'_>) {
    const PATIENCE: Duration = Duration::from_secs(1);
    const MOST: usize = 1024 * 1024;
    reader.set_deadline(Instant::now() + PATIENCE);
    let mut sink = hythe_upstream::Buffer::default();
    let mut taken = 0;
    while taken < MOST {
        match reader.read(&mut sink, 4096).await {
            Ok(0) | Err(_) => return,
            Ok(count) => taken += count,
        }
        sink.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<F: Future>(
        _: impl FnOnce(&'static Rc<Worker>, TcpStream, Ends, LocalListening) -> F,
    ) -> usize {
        size_of::<F>()
    }

    /// 10,000 idle connections are 10,000 of these.
    #[test]
    fn a_connection_that_waits_is_small() {
        let size = size_of_future(serve);
        assert!(size < 4096, "{size} bytes");
    }
}
