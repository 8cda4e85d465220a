//! Datagrams: each client that sends some has a session, with a socket of its own to one member.
//!
//! A session ends when nothing was sent either way for its time, or with the number of answers the
//! listener names. Datagrams that a socket has no room for are dropped, as the network would.
//!
//! All datagrams of a client come to the same worker, as long as there are as many sockets: the kernel chooses by
//! the client's address. Sessions end with the worker that holds them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hythe_balance::{Fault, Lease, Timing};
use rustix::net::SendFlags;
use tokio::net::UdpSocket;
use tokio::time::Instant;

use super::{Record, RelayPlan};
use crate::listener::LocalListening;
use crate::tunnel::Way;
use crate::worker::Worker;

/// The largest datagram there is.
const LARGEST: usize = 64 * 1024;
/// Clients of one listener that one worker remembers at a time; datagrams of more are dropped.
const MOST_SESSIONS: usize = 16_384;
/// Datagrams taken in or passed back before others of the worker have their turn.
const TURN: usize = 256;

/// What the sessions of one socket share.
struct Door {
    worker: Rc<Worker>,
    listening: LocalListening,
    socket: UdpSocket,
    sessions: RefCell<HashMap<SocketAddr, Rc<Session>>>,
    /// Room for one datagram, used within a poll only.
    room: RefCell<Vec<u8>>,
}

/// A client and the member that answers it.
struct Session {
    client: SocketAddr,
    upstream: UdpSocket,
    lease: RefCell<Lease>,
    plan: Arc<RelayPlan>,
    last: Cell<Instant>,
    /// Datagrams from the client, and those that answered.
    requests: Cell<u64>,
    answers: Cell<u64>,
    record: RefCell<Record>,
}

/// Passes datagrams on until the listener is closed.
pub(crate) async fn serve(worker: Rc<Worker>, listening: LocalListening, socket: UdpSocket) {
    let shutdown = listening.shutdown.clone();
    let door = Rc::new(Door {
        worker,
        listening,
        socket,
        sessions: RefCell::default(),
        room: RefCell::new(vec![0; LARGEST]),
    });
    while let Some(ready) = shutdown.unless_requested(door.socket.readable()).await {
        if ready.is_ok() {
            // As many as come at once, but not for ever: a flood must not keep others from their turn.
            let _ = (0..TURN).all(|_| door.take_in());
        }
        // Others of this worker have their turn.
        tokio::task::yield_now().await;
    }
}

impl Door {
    /// Passes one datagram on; `false` when there is none.
    fn take_in(self: &Rc<Self>) -> bool {
        let mut room = self.room.borrow_mut();
        let (count, client) = match self.socket.try_recv_from(&mut room) {
            Ok(received) => received,
            // An error of an answer that could not be delivered is told here, and is no business of the others.
            Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
        };
        let datagram = room.get(..count).unwrap_or_default();
        if let Some(session) = self.session(client) {
            session.send(datagram);
        }
        true
    }

    fn session(self: &Rc<Self>, client: SocketAddr) -> Option<Rc<Session>> {
        if let Some(known) = self.sessions.borrow().get(&client) {
            return Some(Rc::clone(known));
        }
        if self.sessions.borrow().len() >= MOST_SESSIONS {
            return None;
        }
        let session = Rc::new(self.open(client)?);
        self.sessions.borrow_mut().insert(client, Rc::clone(&session));
        tokio::task::spawn_local(answer(Rc::clone(self), Rc::clone(&session)));
        Some(session)
    }

    fn open(&self, client: SocketAddr) -> Option<Session> {
        let plan = self
            .worker
            .snapshot()
            .relays
            .get(&self.listening.plan.name)
            .cloned()?;
        let service = plan.services.find(None)?;
        let mut query = super::query(service, client);
        let lease = service.pool.cell.pick(&mut query, Instant::now().into_std())?;
        let member = &lease.member().endpoint;
        let upstream = connected(member.address).ok()?;
        let mut record = Record::start(Some(&plan));
        record.service = Some(Arc::clone(service));
        (record.tries, record.instance) = (1, Some(member.id.clone()));
        Some(Session {
            client,
            upstream,
            lease: RefCell::new(lease),
            plan,
            last: Cell::new(Instant::now()),
            requests: Cell::new(0),
            answers: Cell::new(0),
            record: RefCell::new(record),
        })
    }
}

impl Session {
    /// Notes an answer; whether the client still waits for one.
    fn expects_more(&self) -> bool {
        let Some(responses) = self.plan.responses else {
            return true;
        };
        self.answers.set(self.answers.get() + 1);
        self.answers.get() < self.requests.get() * u64::from(responses)
    }

    fn send(&self, datagram: &[u8]) {
        self.last.set(Instant::now());
        self.requests.set(self.requests.get() + 1);
        // The kernel is asked, not the reactor, which knows nothing of a socket this young.
        if rustix::net::send(&self.upstream, datagram, SendFlags::DONTWAIT).is_ok() {
            self.record.borrow().moved.add(Way::FromClient, datagram.len());
        }
    }
}

/// A socket that only hears its member.
fn connected(member: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = if member.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = std::net::UdpSocket::bind(any)?;
    socket.connect(member)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

/// Passes the member's answers back until the session ends.
async fn answer(door: Rc<Door>, session: Rc<Session>) {
    while let Some(Ok(())) = await_answer(&door, &session).await {
        if !pass_back(&door, &session) {
            break;
        }
    }
    door.sessions.borrow_mut().remove(&session.client);
    let record = session.record.borrow();
    record.finish(&door.worker, session.client, &door.listening);
}

/// `None`: the session is over.
async fn await_answer(door: &Door, session: &Session) -> Option<io::Result<()>> {
    let shutdown = &door.listening.shutdown;
    loop {
        let until = session.last.get() + session.plan.idle;
        let ready = tokio::time::timeout_at(until, session.upstream.readable());
        match shutdown.unless_requested(ready).await? {
            Ok(ready) => return Some(ready),
            // The client may have sent something meanwhile.
            Err(_) if session.last.get() + session.plan.idle > Instant::now() => {}
            Err(_) => return None,
        }
    }
}

/// Passes on what has come, or a turn's worth of it; whether the session goes on.
fn pass_back(door: &Door, session: &Session) -> bool {
    let mut room = door.room.borrow_mut();
    for _ in 0..TURN {
        match session.upstream.try_recv(&mut room) {
            Ok(count) => {
                session.last.set(Instant::now());
                let mut lease = session.lease.borrow_mut();
                // How soon is not known of datagrams.
                lease.answered(None, || Timing::new(Instant::now().into_std(), Duration::ZERO));
                drop(lease);
                let datagram = room.get(..count).unwrap_or_default();
                if door.socket.try_send_to(datagram, session.client).is_ok() {
                    session.record.borrow().moved.add(Way::ToClient, count);
                }
                if !session.expects_more() {
                    return false;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
            // Nobody listens there (the network says so).
            Err(_) => {
                let now = Instant::now().into_std();
                session.lease.borrow_mut().failed(Fault::Connection, now);
                session.record.borrow_mut().status = 502;
                return false;
            }
        }
    }
    true
}
