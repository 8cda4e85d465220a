//! One connection to a member for each of the client's.
//!
//! A side that finishes is passed on as such and the other goes on; a reset is passed on as a reset. Nothing is
//! read that was not written on, so back-pressure is the sockets' own.

use std::time::Duration;

use hythe_balance::{Fault, Lease, Timing};
use hythe_spine::Shutdown;
use hythe_upstream::{Buffer, Wire, WireError, proxy_protocol};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{Record, RelayPlan};
use crate::connection;
use crate::door::Ends;
use crate::link::Link;
use crate::listener::Listening;
use crate::tunnel;
use crate::worker::Worker;

/// Passes a connection on to its end.
pub(crate) async fn serve(worker: &Worker, stream: TcpStream, ends: Ends, listening: &Listening) {
    let mut client = Link::Wire(Wire::new(stream, worker.limits().head_timeout));
    let snapshot = worker.snapshot();
    let plan = snapshot.relays.get(&listening.plan.name);
    let mut record = Record::start();
    let passed = match plan {
        Some(plan) => pass_on(worker, &mut client, ends, listening, plan, &mut record).await,
        None => {
            record.status = 503;
            Ending::Broken
        }
    };
    record.finish(worker, ends.client, listening, plan);
    if passed == Ending::Broken {
        connection::reset(client);
    }
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Both sides have finished, or were silent for too long.
    Finished,
    /// It must not look like an end.
    Broken,
}

async fn pass_on(
    worker: &Worker,
    client: &mut Link,
    ends: Ends,
    listening: &Listening,
    plan: &RelayPlan,
    record: &mut Record,
) -> Ending {
    let Some((_lease, mut upstream)) = connect(plan, ends, record).await else {
        return Ending::Broken;
    };
    if let Some(version) = plan.announce
        && announce(version, ends, plan, &mut upstream).await.is_err()
    {
        record.status = 502;
        return Ending::Broken;
    }
    let (mut from_client, mut to_client) = client.split();
    let (mut from_upstream, mut to_upstream) = upstream.split();
    let mut buffers = (Buffer::default(), Buffer::default());
    let mut moved = tunnel::Moved::default();
    let ending = tokio::select! {
        ending = tunnel::run(
            (&mut from_client, &mut to_client),
            (&mut from_upstream, &mut to_upstream),
            (&mut buffers.0, &mut buffers.1),
            plan.idle,
            &mut moved,
        ) => match ending {
            Ok(()) | Err(WireError::TimedOut) => Ending::Finished,
            Err(WireError::Broken(_)) => Ending::Broken,
        },
        () = drained(&listening.shutdown, worker.limits().drain) => Ending::Broken,
    };
    (record.from_client, record.to_client) = (moved.from_client, moved.to_client);
    if ending == Ending::Broken {
        connection::reset(upstream);
    }
    ending
}

/// Connects to a member, and to the next one if that fails, as often as the service allows.
async fn connect(plan: &RelayPlan, ends: Ends, record: &mut Record) -> Option<(Lease, Link)> {
    let service = &plan.service;
    let mut query = plan.query(ends.client);
    record.status = 503;
    while record.tries <= service.retries {
        let mut lease = service.pool.cell.pick(&mut query, Instant::now().into_std())?;
        record.tries += 1;
        record.instance = Some(lease.member().endpoint.id.clone());
        let begun = Instant::now();
        let connected =
            hythe_upstream::connect(lease.member().endpoint.address, service.connect_timeout).await;
        let now = || Instant::now().into_std();
        let fault = match connected {
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

/// Tells the member whose connection it is.
async fn announce(
    version: proxy_protocol::Version,
    ends: Ends,
    plan: &RelayPlan,
    upstream: &mut Link,
) -> Result<(), WireError> {
    let mut header = Vec::new();
    proxy_protocol::write(version, ends.client, ends.local, &mut header);
    let (_, mut writer) = upstream.split();
    writer.allow(plan.service.connect_timeout);
    writer.write_all(&header).await
}

/// Waits until what is still open has had its time after the listener was closed.
async fn drained(shutdown: &Shutdown, drain: Duration) {
    shutdown.requested().await;
    tokio::time::sleep(drain).await;
}
