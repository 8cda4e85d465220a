//! Where host names lead, looked up off the request path and kept fresh.
//!
//! A host that is an address needs nobody. Others are asked for when they are first wanted and again when their
//! answer's time is over, each once however many targets bear the name. After a failure the last answer stays
//! and the question is repeated, later each time; where the DNS says for how long there is no such name, after
//! that. Times vary by a tenth, so that names wanted together are not asked for together for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use hythe_spine::until;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::pools::Resolved;

/// Bounds of how long an answer is believed, whatever the records say.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(3600);
/// Time to the second question after a failure; it doubles with each further one.
const RETRY: Duration = Duration::from_secs(2);
const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// Time for one answer, however many servers are asked for it.
const PATIENCE: Duration = Duration::from_secs(15);

/// Asks where a host is.
pub(crate) trait LookUp: Send + 'static {
    fn look_up(&self, host: String) -> impl Future<Output = Result<Found, Miss>> + Send + 'static;
}

/// Where a name leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// In any order; doubles do no harm.
    pub(crate) places: Vec<Place>,
    /// For how long this holds.
    pub(crate) fresh_for: Duration,
}

/// One of the places a name leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Where it is.
    pub address: IpAddr,
    /// The port, if the name tells it (SRV).
    pub port: Option<u16>,
    /// The weight, if the name tells it (SRV).
    pub weight: Option<u16>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Miss {
    /// In words.
    pub(crate) why: String,
    /// Whether it is certain that there is nothing, rather than unknown.
    pub(crate) there_is_none: bool,
    /// When it may be otherwise, if that was told.
    pub(crate) ask_again: Option<Duration>,
}

impl Place {
    /// A place of which only the address is told.
    pub const fn at(address: IpAddr) -> Self {
        Self {
            address,
            port: None,
            weight: None,
        }
    }
}

impl Miss {
    pub(crate) fn new(why: &str) -> Self {
        Self {
            why: why.to_owned(),
            there_is_none: false,
            ask_again: None,
        }
    }

    pub(crate) fn none(why: &str, ask_again: Option<Duration>) -> Self {
        Self {
            there_is_none: true,
            ask_again,
            ..Self::new(why)
        }
    }
}

/// Every host that is wanted, with what is known of it.
pub(crate) struct Names<L> {
    lookup: L,
    known: BTreeMap<String, Known>,
    asking: JoinSet<(String, Result<Found, Miss>)>,
}

#[derive(Default)]
struct Known {
    places: Vec<Place>,
    failure: Option<String>,
    /// Failures since the last answer.
    failures: u32,
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
                        places: vec![Place::at(address)],
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
    pub(crate) fn places(&self, host: &str) -> Resolved<'_> {
        match self.known.get(host) {
            Some(known) if !known.places.is_empty() => Resolved::To(&known.places),
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
            tokio::select! {
                () = until(next) => {}
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
                        Ok(Ok(found)) if found.places.is_empty() => Err(Miss::new("it has no address")),
                        Ok(answer) => answer,
                        Err(_) => Err(Miss::new("the DNS did not answer in time")),
                    };
                    (host, answer)
                });
            }
        }
    }

    /// Whether anything came of it that others should know.
    fn take_answer(&mut self, host: &str, answer: Result<Found, Miss>) -> bool {
        let Some(known) = self.known.get_mut(host) else {
            return false;
        };
        let wait = match &answer {
            Ok(found) => found.fresh_for.clamp(SHORTEST, LONGEST),
            Err(miss) => known.wait_after(miss),
        };
        known.due = Some(Instant::now() + wait + wait.mul_f64(fastrand::f64() / 10.0));
        match answer {
            Ok(found) => known.take(found.places),
            Err(miss) => {
                let is_news = known.fail(miss.why.clone());
                if is_news {
                    tracing::warn!(host, failure = miss.why, "a name could not be resolved");
                }
                is_news && known.places.is_empty()
            }
        }
    }
}

impl Known {
    fn wait_after(&self, miss: &Miss) -> Duration {
        let doubled = RETRY.saturating_mul(1 << self.failures.min(8));
        miss.ask_again.unwrap_or(doubled).clamp(SHORTEST, LONGEST_RETRY)
    }

    /// Whether it is another answer than before.
    fn take(&mut self, mut places: Vec<Place>) -> bool {
        places.sort_unstable();
        places.dedup_by_key(|place| (place.address, place.port));
        (self.failure, self.failures) = (None, 0);
        std::mem::replace(&mut self.places, places.clone()) != places
    }

    /// Whether it is another failure than before.
    fn fail(&mut self, why: String) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.failure.replace(why.clone()) != Some(why)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Answers from a script, one entry a question and the last for ever; remembers when it was asked.
    #[derive(Clone)]
    struct Script {
        answers: Arc<Mutex<Vec<Result<Found, Miss>>>>,
        asked: Arc<Mutex<Vec<Instant>>>,
    }

    impl Script {
        fn new(mut answers: Vec<Result<Found, Miss>>) -> Self {
            answers.reverse();
            Self {
                answers: Arc::new(Mutex::new(answers)),
                asked: Arc::default(),
            }
        }

        /// Holds the seconds between the questions against those expected, a tenth more allowed.
        fn waited(&self, expected: &[u64]) {
            let asked = self.asked.lock().unwrap();
            let waits = asked.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64());
            let waits: Vec<_> = waits.take(expected.len()).collect();
            let fits = |(wait, expected): (&f64, &u64)| {
                let expected = *expected as f64;
                (expected..=expected * 1.1 + 0.01).contains(wait)
            };
            assert_eq!(waits.len(), expected.len());
            assert!(waits.iter().zip(expected).all(fits), "{waits:?} {expected:?}");
        }
    }

    impl LookUp for Script {
        fn look_up(&self, _: String) -> impl Future<Output = Result<Found, Miss>> + Send + 'static {
            self.asked.lock().unwrap().push(Instant::now());
            let mut answers = self.answers.lock().unwrap();
            let last = answers.last().cloned();
            if answers.len() > 1 {
                answers.pop();
            }
            std::future::ready(last.unwrap_or_else(|| Err(Miss::new("there is no script"))))
        }
    }

    fn found(last: &[u8], seconds: u64) -> Result<Found, Miss> {
        let place = |last: &u8| Place::at(IpAddr::from([10, 0, 0, *last]));
        Ok(Found {
            places: last.iter().map(place).collect(),
            fresh_for: Duration::from_secs(seconds),
        })
    }

    fn shown(names: &Names<Script>) -> String {
        match names.places("a.test") {
            Resolved::To(places) => {
                let addresses: Vec<_> = places.iter().map(|place| place.address.to_string()).collect();
                addresses.join(" ")
            }
            Resolved::NotYet => "not yet".to_owned(),
            Resolved::Failed(why) => why.to_owned(),
        }
    }

    /// What was known one after another, until nothing new comes; the script tells when it was asked.
    async fn play(script: Vec<Result<Found, Miss>>) -> (Vec<String>, Script) {
        let script = Script::new(script);
        let mut names = Names::new(script.clone());
        names.want(BTreeSet::from(["a.test".to_owned()]));
        let mut seen = vec![shown(&names)];
        let hours = Duration::from_secs(10_000);
        while tokio::time::timeout(hours, names.changed()).await.is_ok() {
            seen.push(shown(&names));
        }
        (seen, script)
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_holds_for_its_time_and_a_failure_keeps_the_last() {
        let (seen, script) = play(vec![
            Err(Miss::new("first failure")),
            found(&[2, 1, 2], 30),
            Err(Miss::new("passing failure")),
            Err(Miss::new("passing failure")),
            found(&[1, 2], 0),
            found(&[3], 90_000),
            found(&[3], 5),
        ])
        .await;
        assert_eq!(
            seen,
            ["not yet", "first failure", "10.0.0.1 10.0.0.2", "10.0.0.3"]
        );
        script.waited(&[2, 30, 2, 4, 1, 3600, 5]);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_asked_again_ever_later() {
        let (seen, script) = play(vec![Err(Miss::new("no"))]).await;
        assert_eq!(seen, ["not yet", "no"]);
        script.waited(&[2, 4, 8, 16, 32, 60, 60]);
        let told = |seconds| Err(Miss::none("none", Some(Duration::from_secs(seconds))));
        let (_, script) = play(vec![told(0), told(30), told(900)]).await;
        script.waited(&[1, 30, 60]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_of_many_targets_is_asked_once() {
        let script = Script::new(vec![found(&[1], 60)]);
        let mut names = Names::new(script.clone());
        for _ in 0..1_000 {
            names.want(BTreeSet::from(["a.test".to_owned()]));
        }
        names.changed().await;
        assert_eq!(script.asked.lock().unwrap().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_need_nobody() {
        let mut names = Names::new(Script::new(Vec::new()));
        let address = IpAddr::from([10, 0, 0, 7]);
        names.want(BTreeSet::from(["10.0.0.7".to_owned()]));
        assert!(matches!(names.places("10.0.0.7"), Resolved::To([place]) if *place == Place::at(address)));
        names.want(BTreeSet::new());
        assert!(matches!(names.places("10.0.0.7"), Resolved::NotYet));
    }
}
