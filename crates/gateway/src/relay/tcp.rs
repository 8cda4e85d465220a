//! One connection to a member for each of the client's.
//!
//! A side that finishes is passed on as such and the other goes on; a reset is passed on as a reset. Nothing is
//! read that was not written on, so back-pressure is the sockets' own.

use std::sync::Arc;
use std::time::Duration;

use hythe_balance::{Lease, Member, Query, Timing};
use hythe_model::ListenerProtocol;
use hythe_spine::Shutdown;
use hythe_upstream::{Buffer, Wire, WireError};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{Record, RelayPlan, hello};
use crate::door::Ends;
use crate::link::Link;
use crate::listener::Listening;
use crate::reach;
use crate::snapshot::ServicePlan;
use crate::trouble::Trouble;
use crate::worker::Worker;
use crate::{connection, hold, tls, tunnel};

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Both sides have finished, or were silent for too long.
    Finished,
    /// It must not look like an end.
    Broken,
    /// The client has been told what was wrong with its first words.
    Refused,
}

/// Passes a connection on to its end.
pub(crate) async fn serve(worker: &Worker, stream: TcpStream, ends: Ends, listening: &Listening) {
    let mut wire = Wire::new(stream, worker.limits().head_timeout);
    let plan = worker.snapshot().relays.get(&listening.plan.name).cloned();
    let mut record = Record::start(plan.as_deref());
    let agreed = tls::greet(worker, &mut wire, &listening.plan).await;
    let mut client = Link::Wire(wire);
    let ending = match (agreed, plan) {
        (Err(_), _) => {
            record.status = 400;
            Ending::Refused
        }
        (Ok(()), None) => {
            record.status = 503;
            Ending::Broken
        }
        (Ok(()), Some(plan)) => pass_on(worker, &mut client, ends, listening, &plan, &mut record).await,
    };
    record.finish(worker, ends.client, listening);
    end(client, ending).await;
}

/// The same to a member that it is connected to already, of a client that has not been read from.
pub(super) async fn pass_on_to(
    worker: &Worker,
    stream: TcpStream,
    ends: Ends,
    listening: &Listening,
    plan: &RelayPlan,
    record: Record,
    member: (Lease, Wire),
) {
    let mut client = Link::Wire(Wire::new(stream, plan.idle));
    let early = Buffer::default();
    let ending = run(worker, &mut client, early, listening, plan, &record, member).await;
    record.finish(worker, ends.client, listening);
    end(client, ending).await;
}

/// Ends the client's connection as it should look to it.
pub(super) async fn end(mut client: Link, ending: Ending) {
    match ending {
        Ending::Finished => {}
        Ending::Broken => connection::reset(client),
        Ending::Refused => connection::linger(&mut client).await,
    }
}

async fn pass_on(
    worker: &Worker,
    client: &mut Link,
    ends: Ends,
    listening: &Listening,
    plan: &RelayPlan,
    record: &mut Record,
) -> Ending {
    let mut early = Buffer::default();
    let Ok(name) = name(worker, client, listening, &mut early).await else {
        record.status = 400;
        return Ending::Broken;
    };
    record.service = plan.services.find(name.as_deref()).cloned();
    match connect(worker, plan, ends, record).await {
        Some(member) => run(worker, client, early, listening, plan, record, member).await,
        None => Ending::Broken,
    }
}

/// Moves bytes both ways. `early`: what was read of the client already.
async fn run(
    worker: &Worker,
    client: &mut Link,
    mut early: Buffer,
    listening: &Listening,
    plan: &RelayPlan,
    record: &Record,
    (_lease, upstream): (Lease, Wire),
) -> Ending {
    let (mut upstream, mut late) = (Link::Wire(upstream), Buffer::default());
    let (mut from_client, mut to_client) = client.split();
    let (mut from_upstream, mut to_upstream) = upstream.split();
    let ending = tokio::select! {
        ending = tunnel::run(
            (&mut from_client, &mut to_client),
            (&mut from_upstream, &mut to_upstream),
            (&mut early, &mut late),
            &worker.pipes,
            plan.idle,
            &record.moved,
        ) => match ending {
            Ok(()) | Err(WireError::TimedOut) => Ending::Finished,
            Err(WireError::Broken(_)) => Ending::Broken,
        },
        () = drained(&listening.shutdown, worker.limits().drain) => Ending::Broken,
    };
    if ending == Ending::Broken {
        connection::reset(upstream);
    }
    ending
}

/// The name that the client asks for, where that is known.
async fn name(
    worker: &Worker,
    client: &mut Link,
    listening: &Listening,
    early: &mut Buffer,
) -> Result<Option<String>, hello::NoHello> {
    if listening.plan.protocol == ListenerProtocol::TlsPassthrough {
        let (mut reader, _) = client.split();
        reader.set_deadline(Instant::now() + worker.limits().head_timeout);
        return hello::server_name(&mut reader, early).await;
    }
    let Link::Wire(wire) = client else { return Ok(None) };
    Ok(wire.negotiated().and_then(|agreed| agreed.server_name.clone()))
}

/// Connects to a member, and to the next one if that fails, as often as the service allows. While there is nobody it waits,
/// if the service's pool holds requests.
pub(super) async fn connect(
    worker: &Worker,
    plan: &RelayPlan,
    ends: Ends,
    record: &mut Record,
) -> Option<(Lease, Wire)> {
    record.status = 503;
    record.tries = 0;
    let service = record.service.clone()?;
    let mut query = super::query(&service, ends.client);
    let held_until = service.hold.map(|most| Instant::now() + most);
    let mut refused = None;
    while record.tries <= service.retries || refused.is_some() {
        let mut lease = pick(worker, &service, held_until, refused.take(), &mut query).await?;
        record.tries += 1;
        record.instance = Some(lease.member().endpoint.id.clone());
        let begun = Instant::now();
        let opened = open(&service, plan, ends, &lease).await;
        let now = || Instant::now().into_std();
        let error = match opened {
            Ok(wire) => {
                record.status = 200;
                lease.answered(None, || Timing::new(now(), begun.elapsed()));
                return Some((lease, wire));
            }
            Err(error) => error,
        };
        record.status = 502;
        let trouble = Trouble::Connect(error);
        if let Some(fault) = trouble.fault(0) {
            lease.failed(fault, now());
        }
        refused = hold::awaitable(&lease).filter(|_| trouble.is_refusal());
        query.add_tried(lease.member());
    }
    None
}

/// Somebody else than those who were tried. Where there is nobody, the pool is waited for, also by whoever was `refused`.
async fn pick(
    worker: &Worker,
    service: &ServicePlan,
    held_until: Option<Instant>,
    refused: Option<Arc<Member>>,
    query: &mut Query,
) -> Option<Lease> {
    let now = Instant::now();
    let picked = service.pool.cell.pick(query, now.into_std());
    let left = held_until.and_then(|until| until.checked_duration_since(now));
    let (None, Some(most)) = (&picked, left) else {
        return picked;
    };
    let wait = hold::Wait {
        worker,
        pool: &service.pool,
        refused,
        most,
    };
    wait.pick_for_relay(query).await
}

/// A connection to the member, which knows whose it is if it is to be told.
async fn open(service: &ServicePlan, plan: &RelayPlan, ends: Ends, lease: &Lease) -> Result<Wire, WireError> {
    let announced = plan.announce.map(|version| (version, ends));
    let address = lease.member().endpoint.address;
    reach::connect(address, announced, None, service.connect_timeout).await
}

/// Waits until what is still open has had its time after the listener was closed.
async fn drained(shutdown: &Shutdown, drain: Duration) {
    shutdown.requested().await;
    tokio::time::sleep(drain).await;
}
