//! Does what a plan says: every action is a task of its own and its answer an event, so that nothing
//! waits for anything else. A request that the runtime does not answer in time counts as unanswered: what
//! became of it is found out by asking for everything the runtime has.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hythe_model::InstanceId;
use hythe_stdx::chain;

use crate::launch::Launch;
use crate::observed::Heard;
use crate::runtime::{Found, Listens, Record, Runtime, RuntimeError};

/// A request to the runtime.
#[derive(Debug)]
pub(crate) enum Request {
    List,
    Start(Launch),
    Record(Record),
    /// Remember that it stops, then send its stop signal to the main process.
    Stop(Record),
    /// SIGKILL to everything it started, also what its main process left behind.
    Kill(InstanceId),
    Forget(InstanceId),
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Answer {
    List(Option<Vec<Found>>),
    Start(InstanceId, StartAnswer),
    Forget(InstanceId, Heard),
    Other(InstanceId, Heard),
}

/// What came of a start.
#[derive(Debug)]
pub(crate) enum StartAnswer {
    Started { pid: u32, address: Option<SocketAddr> },
    Refused(String),
    Unanswered,
}

const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const SIGKILL: i32 = 9;

/// Asks `runtime` and waits for its answer.
pub(crate) async fn execute(runtime: Arc<dyn Runtime>, request: Request) -> Answer {
    let runtime = &*runtime;
    match request {
        Request::List => Answer::List(list(runtime).await),
        Request::Start(launch) => {
            let id = launch.id().clone();
            Answer::Start(id, start_in_time(runtime, launch).await)
        }
        Request::Record(record) => {
            let heard = hear(runtime.record(&record)).await;
            Answer::Other(record.id, heard)
        }
        Request::Stop(record) => {
            let heard = hear(stop(runtime, &record)).await;
            Answer::Other(record.id, heard)
        }
        Request::Kill(id) => {
            let heard = hear(runtime.signal(&id, SIGKILL, true)).await;
            Answer::Other(id, heard)
        }
        Request::Forget(id) => {
            let heard = hear(runtime.forget(&id)).await;
            Answer::Forget(id, heard)
        }
    }
}

async fn list(runtime: &dyn Runtime) -> Option<Vec<Found>> {
    match tokio::time::timeout(ANSWER_WITHIN, runtime.list()).await {
        Ok(Ok(found)) => Some(found),
        Ok(Err(error)) => {
            tracing::warn!(
                error = chain(&error),
                "cannot ask the runtime what runs; asking again"
            );
            None
        }
        Err(_) => {
            tracing::warn!("the runtime does not say what runs; asking again");
            None
        }
    }
}

async fn start_in_time(runtime: &dyn Runtime, launch: Launch) -> StartAnswer {
    match tokio::time::timeout(ANSWER_WITHIN, start(runtime, launch)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(RuntimeError::Unreachable { .. })) | Err(_) => StartAnswer::Unanswered,
        Ok(Err(error)) => StartAnswer::Refused(chain(&error)),
    }
}

async fn start(runtime: &dyn Runtime, launch: Launch) -> Result<StartAnswer, RuntimeError> {
    if launch.again {
        match runtime.forget(launch.id()).await {
            Ok(()) | Err(RuntimeError::Unknown(_)) => {}
            Err(error) => return Err(error),
        }
    }
    let address = match launch.listens() {
        Listens::Nowhere => None,
        listens => runtime.allocate_address(listens).await?,
    };
    let started = runtime.start(launch.at(address)).await?;
    Ok(StartAnswer::Started {
        pid: started.pid,
        address: address.filter(|address| address.port() != 0),
    })
}

async fn stop(runtime: &dyn Runtime, record: &Record) -> Result<(), RuntimeError> {
    runtime.record(record).await?;
    runtime.ask_to_end(record).await
}

async fn hear(request: impl Future<Output = Result<(), RuntimeError>>) -> Heard {
    match tokio::time::timeout(ANSWER_WITHIN, request).await {
        Ok(Ok(())) => Heard::Done,
        Ok(Err(RuntimeError::Unknown(_))) => Heard::Unknown,
        Ok(Err(error)) => {
            tracing::warn!(
                error = chain(&error),
                "a request to the runtime failed; looking at everything again"
            );
            Heard::Nothing
        }
        Err(_) => Heard::Nothing,
    }
}
