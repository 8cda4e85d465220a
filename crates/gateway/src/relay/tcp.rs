//! One connection to a member for each of the client's.
//!
//! A side that finishes is passed on as such and the other goes on; a reset is passed on as a reset. Nothing is
//! read that was not written on, so back-pressure is the sockets' own.

use std::time::Duration;

use hythe_balance::{Fault, Lease, Timing};
use hythe_model::ListenerProtocol;
use hythe_spine::Shutdown;
use hythe_upstream::{Buffer, Wire, WireError};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{Record, RelayPlan, hello};
use crate::announce::announce;
use crate::door::Ends;
use crate::link::Link;
use crate::listener::Listening;
use crate::snapshot::ServicePlan;
use crate::worker::Worker;
use crate::{connection, hold, tls, tunnel};

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
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
    let mut buffers = (Buffer::default(), Buffer::default());
    let Ok(name) = name(worker, client, listening, &mut buffers.0).await else {
        record.status = 400;
        return Ending::Broken;
    };
    record.service = plan.services.find(name.as_deref()).cloned();
    let Some((_lease, mut upstream)) = connect(worker, plan, ends, record).await else {
        return Ending::Broken;
    };
    let (mut from_client, mut to_client) = client.split();
    let (mut from_upstream, mut to_upstream) = upstream.split();
    let ending = tokio::select! {
        ending = tunnel::run(
            (&mut from_client, &mut to_client),
            (&mut from_upstream, &mut to_upstream),
            (&mut buffers.0, &mut buffers.1),
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

/// Connects to a member, and to the next one if that fails, as often as the service allows.
async fn connect(
    worker: &Worker,
    plan: &RelayPlan,
    ends: Ends,
    record: &mut Record,
) -> Option<(Lease, Link)> {
    record.status = 503;
    let service = record.service.clone()?;
    let mut query = super::query(&service, ends.client);
    while record.tries <= service.retries {
        let picked = service.pool.cell.pick(&mut query, Instant::now().into_std());
        let mut lease = match (picked, service.hold) {
            (None, Some(most)) => hold::pick_for_relay(worker, &service.pool, &mut query, most).await,
            (picked, _) => picked,
        }?;
        record.tries += 1;
        record.instance = Some(lease.member().endpoint.id.clone());
        let begun = Instant::now();
        let opened = open(&service, plan, ends, &lease).await;
        let now = || Instant::now().into_std();
        let fault = match opened {
            Ok(wire) => {
                record.status = 200;
                lease.answered(None, || Timing::new(now(), begun.elapsed()));
                return Some((lease, Link::Wire(wire)));
            }
            Err(error) if error.is_timeout() => Fault::Timeout,
            Err(_) => Fault::Connection,
        };
        record.status = 502;
        lease.failed(fault, now());
        query.add_tried(lease.member());
    }
    None
}

/// A connection to the member, which knows whose it is if it is to be told.
async fn open(service: &ServicePlan, plan: &RelayPlan, ends: Ends, lease: &Lease) -> Result<Wire, WireError> {
    let allowed = service.connect_timeout;
    let mut wire = hythe_upstream::connect(lease.member().endpoint.address, allowed).await?;
    if let Some(version) = plan.announce {
        announce(&mut wire, version, ends, allowed).await?;
    }
    Ok(wire)
}

/// Waits until what is still open has had its time after the listener was closed.
async fn drained(shutdown: &Shutdown, drain: Duration) {
    shutdown.requested().await;
    tokio::time::sleep(drain).await;
}
