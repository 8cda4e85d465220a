//! The gateway's listening sockets, kept by the minder: while there is no server, connections wait in them.

use std::time::Duration;

use anyhow::Context;
use hythe_gateway::{KeptSocket, ListenerPlan, OpenListeners};
use hythe_runtime_process::ProcessRuntime;
use hythe_spine::{Latest, Spine};

const PREFIX: &str = "proxy.";
/// Time to the next try when the minder does not answer.
const RETRY: Duration = Duration::from_secs(1);

/// The sockets an earlier server listened on.
pub(crate) async fn take(runtime: &ProcessRuntime) -> anyhow::Result<Vec<KeptSocket>> {
    let kept = runtime
        .take_listeners(PREFIX)
        .await
        .context("ask the minder for listening sockets")?;
    let read = |(name, socket): (String, _)| KeptSocket {
        listener: name.split('.').nth(1).unwrap_or_default().to_owned(),
        socket,
    };
    Ok(kept.into_iter().map(read).collect())
}

/// Has the sockets of what is open kept, now and whenever something else is.
pub(crate) async fn follow(
    runtime: &ProcessRuntime,
    mut listeners: Latest<OpenListeners>,
    spine: &Spine,
) -> anyhow::Result<()> {
    keep(runtime, &listeners.get_and_mark()).await?;
    let runtime = runtime.clone();
    spine.spawn("kept sockets", |shutdown| async move {
        let follow = async {
            loop {
                listeners.changed().await;
                while let Err(error) = keep(&runtime, &listeners.get_and_mark()).await {
                    tracing::error!(%error, "listening sockets would not outlive this server; trying again");
                    tokio::time::sleep(RETRY).await;
                }
            }
        };
        shutdown.unless_requested(follow).await;
    });
    Ok(())
}

/// Has exactly these sockets kept. Those of addresses that are no longer listened on are let go.
async fn keep(runtime: &ProcessRuntime, listeners: &OpenListeners) -> anyhow::Result<()> {
    let wanted: Vec<_> = listeners
        .list
        .iter()
        .flat_map(|listening| {
            let plan = &listening.plan;
            listening
                .sockets()
                .map(move |(number, socket)| (name(plan, number), socket))
        })
        .collect();
    let kept = runtime
        .take_listeners(PREFIX)
        .await
        .context("ask the minder for listening sockets")?;
    for (name, _) in kept
        .iter()
        .filter(|(name, _)| !wanted.iter().any(|(wanted, _)| wanted == name))
    {
        runtime
            .drop_listener(name)
            .await
            .context("let a listening socket go")?;
    }
    for (name, socket) in &wanted {
        runtime
            .keep_listener(name, socket)
            .await
            .context("have a listening socket kept")?;
    }
    Ok(())
}

/// In the alphabet of the minder's names.
fn name(plan: &ListenerPlan, number: usize) -> String {
    let address = plan
        .address
        .to_string()
        .replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
    format!("{PREFIX}{}.{address}.{number}", plan.kept_as())
}
