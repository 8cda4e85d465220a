//! The gateway's listening sockets, kept by the minder: while there is no server, connections wait in them.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::Context;
use hythe_gateway::{KeptSocket, ListenerPlan, Listening, OpenListeners};
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
    let mut keeper = Keeper::new(runtime.clone());
    keeper.keep(&listeners.get_and_mark()).await?;
    spine.spawn("kept sockets", |shutdown| async move {
        let follow = async {
            loop {
                listeners.changed().await;
                while let Err(error) = keeper.keep(&listeners.get_and_mark()).await {
                    tracing::error!(%error, "listening sockets would not outlive this server; trying again");
                    tokio::time::sleep(RETRY).await;
                }
            }
        };
        shutdown.unless_requested(follow).await;
    });
    Ok(())
}

/// Knows what the minder has, so that a change costs what changed.
struct Keeper {
    runtime: ProcessRuntime,
    /// The process that has them: another one has none.
    minder: Option<u32>,
    /// By name, with whose they are: of nobody any more for an earlier server's.
    kept: BTreeMap<String, Weak<Listening>>,
}

impl Keeper {
    fn new(runtime: ProcessRuntime) -> Self {
        Self {
            runtime,
            minder: None,
            kept: BTreeMap::new(),
        }
    }

    /// Has exactly these sockets kept. Those of addresses that are no longer listened on are let go.
    async fn keep(&mut self, listeners: &OpenListeners) -> anyhow::Result<()> {
        let minder = self.runtime.minder_pid();
        if minder.is_none() || minder != self.minder {
            self.kept = self.of_minder().await?;
            self.minder = minder;
        }
        let wanted = by_name(listeners);
        let left: Vec<String> = self.kept.keys().cloned().collect();
        for name in left.into_iter().filter(|name| !wanted.contains_key(name)) {
            self.runtime
                .drop_listener(&name)
                .await
                .context("let a listening socket go")?;
            self.kept.remove(&name);
        }
        for (name, (listening, number)) in wanted {
            let kept = self.kept.get(&name);
            if kept.is_some_and(|kept| kept.as_ptr() == Arc::as_ptr(&listening)) {
                continue;
            }
            if let Some((_, socket)) = listening.sockets().nth(number) {
                self.runtime
                    .keep_listener(&name, socket)
                    .await
                    .context("have a listening socket kept")?;
            }
            self.kept.insert(name, Arc::downgrade(&listening));
        }
        Ok(())
    }

    async fn of_minder(&self) -> anyhow::Result<BTreeMap<String, Weak<Listening>>> {
        let kept = self
            .runtime
            .take_listeners(PREFIX)
            .await
            .context("ask the minder for listening sockets")?;
        Ok(kept.into_iter().map(|(name, _)| (name, Weak::new())).collect())
    }
}

/// Every socket, as the number of it that its listener has.
fn by_name(listeners: &OpenListeners) -> BTreeMap<String, (Arc<Listening>, usize)> {
    let of_one = |listening: &Arc<Listening>| {
        let numbers: Vec<usize> = listening.sockets().map(|(number, _)| number).collect();
        let listening = Arc::clone(listening);
        numbers
            .into_iter()
            .map(move |number| (name(&listening.plan, number), (Arc::clone(&listening), number)))
    };
    listeners.list.iter().flat_map(of_one).collect()
}

/// In the alphabet of the minder's names.
fn name(plan: &ListenerPlan, number: usize) -> String {
    let address = plan
        .address
        .to_string()
        .replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
    format!("{PREFIX}{}.{address}.{number}", plan.kept_as())
}
