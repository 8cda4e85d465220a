//! The gateway's listening sockets, kept by the minder: while there is no server, connections wait in them.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use anyhow::Context;
use hythe_gateway::OpenListeners;
use hythe_runtime_process::ProcessRuntime;

const PREFIX: &str = "proxy.";

/// The sockets an earlier server listened on.
pub(crate) async fn take(runtime: &ProcessRuntime) -> anyhow::Result<Vec<OwnedFd>> {
    let kept = runtime
        .take_listeners(PREFIX)
        .await
        .context("ask the minder for listening sockets")?;
    Ok(kept.into_iter().map(|(_, socket)| socket).collect())
}

/// Has exactly these sockets kept. Those of addresses that are no longer listened on are let go.
pub(crate) async fn keep(runtime: &ProcessRuntime, listeners: &OpenListeners) -> anyhow::Result<()> {
    let wanted: Vec<_> = listeners
        .list
        .iter()
        .flat_map(|listening| {
            let address = listening.plan.address;
            listening
                .sockets()
                .map(move |(number, socket)| (name(address, number), socket))
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
fn name(address: SocketAddr, number: usize) -> String {
    let address = address
        .to_string()
        .replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
    format!("{PREFIX}{address}.{number}")
}
