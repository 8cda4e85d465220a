//! Addresses of host names, looked up off the request path and kept fresh.
//!
//! A host that is an address needs nobody. Others are asked for when they are first wanted and again every
//! [`FRESH`]; after a failure every [`RETRY`], and the addresses known before stay. Where a name has both,
//! IPv4 is used: `localhost` is both nearly everywhere, and most programs listen on the first only.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::pools::Resolved;

/// How long an answer is believed. The system's resolver does not tell the record's own time.
const FRESH: Duration = Duration::from_secs(30);
/// Time to the next try after a failure.
const RETRY: Duration = Duration::from_secs(2);
/// Time for one answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks for the addresses of a host.
pub(crate) trait LookUp: Send + 'static {
    fn look_up(&self, host: String) -> impl Future<Output = std::io::Result<Vec<IpAddr>>> + Send + 'static;
}

/// The system's resolver.
pub(crate) fn system() -> impl LookUp {
    System
}

struct System;

impl LookUp for System {
    fn look_up(&self, host: String) -> impl Future<Output = std::io::Result<Vec<IpAddr>>> + Send + 'static {
        ask_system(host)
    }
}

async fn ask_system(host: String) -> std::io::Result<Vec<IpAddr>> {
    let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
    Ok(found.map(|address| address.ip()).collect())
}

/// Every host that is wanted, with what is known of it.
pub(crate) struct Names<L> {
    lookup: L,
    known: BTreeMap<String, Known>,
    asking: JoinSet<(String, Result<Vec<IpAddr>, String>)>,
}

#[derive(Default)]
struct Known {
    addresses: Vec<IpAddr>,
    failure: Option<String>,
    /// When to ask again; `None` while an answer is awaited, and for addresses.
    due: Option<Instant>,
}

impl<L: LookUp> Names<L> {
    pub(crate) fn new(lookup: L) -> Self {
        Self {
            lookup,
            known: BTreeMap::new(),
            asking: JoinSet::new(),
        }
    }

    /// Keeps exactly these hosts fresh.
    pub(crate) fn want(&mut self, hosts: BTreeSet<String>) {
        self.known.retain(|host, _| hosts.contains(host));
        for host in hosts {
            self.known
                .entry(host)
                .or_insert_with_key(|host| match host.parse() {
                    Ok(address) => Known {
                        addresses: vec![address],
                        ..Known::default()
                    },
                    Err(_) => Known {
                        due: Some(Instant::now()),
                        ..Known::default()
                    },
                });
        }
    }

    /// What is known of a host.
    pub(crate) fn addresses(&self, host: &str) -> Resolved<'_> {
        match self.known.get(host) {
            Some(known) if !known.addresses.is_empty() => Resolved::To(&known.addresses),
            Some(Known {
                failure: Some(failure),
                ..
            }) => Resolved::Failed(failure),
            _ => Resolved::NotYet,
        }
    }

    /// Asks what is due, and waits until anything is known that was not known before. Cancel-safe.
    pub(crate) async fn changed(&mut self) {
        loop {
            self.ask_what_is_due();
            let next = self.known.values().filter_map(|known| known.due).min();
            let timer = async {
                match next {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = timer => {}
                Some(answered) = self.asking.join_next() => {
                    if answered.is_ok_and(|(host, answer)| self.take_answer(&host, answer)) {
                        return;
                    }
                }
            }
        }
    }

    fn ask_what_is_due(&mut self) {
        let now = Instant::now();
        for (host, known) in &mut self.known {
            if known.due.is_some_and(|due| due <= now) {
                known.due = None;
                let host = host.clone();
                let asked = tokio::time::timeout(PATIENCE, self.lookup.look_up(host.clone()));
                self.asking.spawn(async move {
                    let answer = match asked.await {
                        Ok(Ok(addresses)) if addresses.is_empty() => Err("it has no address".to_owned()),
                        Ok(answer) => answer.map_err(|error| error.to_string()),
                        Err(_) => Err("the resolver did not answer in time".to_owned()),
                    };
                    (host, answer)
                });
            }
        }
    }

    /// Whether anything came of it that others should know.
    fn take_answer(&mut self, host: &str, answer: Result<Vec<IpAddr>, String>) -> bool {
        let Some(known) = self.known.get_mut(host) else {
            return false;
        };
        known.due = Some(Instant::now() + if answer.is_ok() { FRESH } else { RETRY });
        match answer {
            Ok(found) => {
                let addresses = preferred(found);
                known.failure = None;
                std::mem::replace(&mut known.addresses, addresses.clone()) != addresses
            }
            Err(failure) => {
                tracing::warn!(host, %failure, "a name could not be resolved");
                known.failure.replace(failure.clone()) != Some(failure) && known.addresses.is_empty()
            }
        }
    }
}

fn preferred(mut found: Vec<IpAddr>) -> Vec<IpAddr> {
    found.sort_unstable();
    found.dedup();
    if found.iter().any(IpAddr::is_ipv4) {
        found.retain(IpAddr::is_ipv4);
    }
    found
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    type Answer = Result<Vec<IpAddr>, &'static str>;

    /// Answers from a script, one entry a question.
    #[derive(Clone)]
    struct Script(Arc<Mutex<Vec<Answer>>>);

    impl LookUp for Script {
        fn look_up(&self, _: String) -> impl Future<Output = std::io::Result<Vec<IpAddr>>> + Send + 'static {
            let mut script = self.0.lock().unwrap();
            let answer = if script.is_empty() {
                Err("the script is over")
            } else {
                script.remove(0)
            };
            std::future::ready(answer.map_err(std::io::Error::other))
        }
    }

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn shown(names: &Names<Script>) -> String {
        match names.addresses("a.test") {
            Resolved::To(addresses) => format!("{addresses:?}"),
            Resolved::NotYet => "not yet".to_owned(),
            Resolved::Failed(why) => why.to_owned(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_refreshed_and_a_failure_keeps_the_last() {
        let script = vec![
            Err("first failure"),
            Ok(vec![IpAddr::V6(std::net::Ipv6Addr::LOCALHOST), ip(1)]),
            Err("passing failure"),
            Ok(vec![ip(1)]),
            Ok(vec![ip(2), ip(3)]),
        ];
        let mut names = Names::new(Script(Arc::new(Mutex::new(script))));
        names.want(BTreeSet::from(["a.test".to_owned()]));
        assert_eq!(shown(&names), "not yet");
        let start = Instant::now();
        let mut seen = Vec::new();
        for _ in 0..3 {
            names.changed().await;
            seen.push((start.elapsed().as_secs(), shown(&names)));
        }
        let expected = [
            (0, "first failure"),
            (2, "[10.0.0.1]"),
            (64, "[10.0.0.2, 10.0.0.3]"),
        ];
        assert_eq!(seen, expected.map(|(at, text)| (at, text.to_owned())));
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_need_nobody() {
        let mut names = Names::new(Script(Arc::default()));
        names.want(BTreeSet::from(["10.0.0.7".to_owned()]));
        assert!(matches!(names.addresses("10.0.0.7"), Resolved::To([address]) if *address == ip(7)));
        names.want(BTreeSet::new());
        assert!(matches!(names.addresses("10.0.0.7"), Resolved::NotYet));
    }
}
