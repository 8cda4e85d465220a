//! Whether an endpoint counts as healthy: a state that outcomes move. Pure; the time comes in.
//!
//! Successes and each kind of failure are counted apart, as Kong does, and an outcome of the other side
//! starts the counting anew: only a run without the opposite changes sides (nginx's `fails` and `passes`).
//! What a list of statuses names neither as success nor as failure counts for nothing.

use hythe_model::health::Thresholds;

/// What came of one check or one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// As it should be.
    Success,
    /// An answer that says neither.
    Neither,
    /// Not as it should be, and why.
    Failure(Failure, String),
}

/// Kinds of failures; each has a threshold of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// An answer that is a failure.
    Http,
    /// No connection, or a broken one.
    Tcp,
    /// No answer in time.
    Timeout,
}

/// What is held of one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) healthy: bool,
    /// Why it is what it is; `None` while nothing was concluded.
    pub(crate) reason: Option<String>,
    /// When it became so, Unix milliseconds.
    pub(crate) since: Option<u64>,
    /// Whether the first success is enough: it must prove itself, and has not yet.
    unproven: bool,
    /// Whether clients' requests made it unhealthy.
    by_requests: bool,
    counted: Thresholds,
}

impl Verdict {
    /// An endpoint nobody knows anything of: healthy, unless the first success is `mandatory`.
    pub(crate) fn new(mandatory: bool) -> Self {
        Self {
            healthy: !mandatory,
            reason: mandatory.then(|| "not checked yet".to_owned()),
            since: None,
            unproven: mandatory,
            by_requests: false,
            counted: Thresholds::default(),
        }
    }

    /// Whether it was never found healthy and must be.
    pub(crate) fn is_unproven(&self) -> bool {
        self.unproven
    }

    /// Whether it is unhealthy, and clients' requests have made it so.
    pub(crate) fn is_by_requests(&self) -> bool {
        self.by_requests
    }

    /// What was counted elsewhere decides. Whether the endpoint changed sides by it.
    pub(crate) fn conclude(&mut self, healthy: bool, reason: String, now: u64) -> bool {
        let changes = self.healthy != healthy && !self.unproven;
        if changes {
            self.turn(healthy, reason, now);
            self.by_requests = !healthy;
        }
        changes
    }

    /// Takes an outcome in. Whether the endpoint changed sides by it. `source` says whose outcome it is.
    pub(crate) fn take(
        &mut self,
        outcome: &Outcome,
        thresholds: &Thresholds,
        source: &str,
        now: u64,
    ) -> bool {
        match outcome {
            Outcome::Neither => false,
            Outcome::Success => self.succeed(thresholds, source, now),
            Outcome::Failure(kind, why) => self.fail(*kind, why, thresholds, source, now),
        }
    }

    fn succeed(&mut self, thresholds: &Thresholds, source: &str, now: u64) -> bool {
        if self.healthy {
            self.counted = Thresholds::default();
            return false;
        }
        self.counted = Thresholds {
            successes: self.counted.successes.saturating_add(1),
            ..Thresholds::default()
        };
        let enough = reached(self.counted.successes, thresholds.successes);
        if enough || self.unproven {
            let times = times(self.counted.successes, "success", "successes");
            self.turn(true, format!("{source}: {times}"), now);
        }
        self.healthy
    }

    fn fail(&mut self, kind: Failure, why: &str, thresholds: &Thresholds, source: &str, now: u64) -> bool {
        self.counted.successes = 0;
        if !self.healthy {
            if self.unproven {
                self.reason = Some(format!("{source}: {why}"));
            }
            return false;
        }
        let (count, threshold) = match kind {
            Failure::Http => (&mut self.counted.http_failures, thresholds.http_failures),
            Failure::Tcp => (&mut self.counted.tcp_failures, thresholds.tcp_failures),
            Failure::Timeout => (&mut self.counted.timeouts, thresholds.timeouts),
        };
        *count = count.saturating_add(1);
        let count = *count;
        if reached(count, threshold) {
            let times = times(count, "failure", "failures");
            self.turn(false, format!("{source}: {why}, {times}"), now);
        }
        !self.healthy
    }

    fn turn(&mut self, healthy: bool, reason: String, now: u64) {
        *self = Self {
            healthy,
            reason: Some(reason),
            since: Some(now),
            unproven: false,
            by_requests: false,
            counted: Thresholds::default(),
        };
    }
}

fn reached(count: u32, threshold: u32) -> bool {
    threshold > 0 && count >= threshold
}

fn times(count: u32, one: &str, many: &str) -> String {
    if count == 1 {
        format!("1 {one}")
    } else {
        format!("{count} {many}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const THRESHOLDS: Thresholds = Thresholds {
        successes: 2,
        http_failures: 3,
        tcp_failures: 2,
        timeouts: 0,
    };

    /// `s` success, `h` `t` `o` failures of HTTP, TCP and time, `-` neither.
    fn outcome(letter: char) -> Outcome {
        let failure = |kind| Outcome::Failure(kind, "why".to_owned());
        match letter {
            's' => Outcome::Success,
            'h' => failure(Failure::Http),
            't' => failure(Failure::Tcp),
            'o' => failure(Failure::Timeout),
            _ => Outcome::Neither,
        }
    }

    /// The side after each outcome: `+` healthy, `.` not.
    fn sides(mandatory: bool, outcomes: &str, thresholds: &Thresholds) -> String {
        let mut verdict = Verdict::new(mandatory);
        let mut side = |letter| {
            let before = verdict.healthy;
            let changed = verdict.take(&outcome(letter), thresholds, "check", 7);
            assert_eq!(changed, before != verdict.healthy, "{outcomes}");
            if verdict.healthy { '+' } else { '.' }
        };
        outcomes.chars().map(&mut side).collect()
    }

    #[test]
    fn runs_of_outcomes_change_sides() {
        let rows = [
            ("ss", "++"),
            ("hhh", "++."),
            ("hhshhh", "+++++."),
            ("hh-h", "+++."),
            ("tt", "+."),
            ("htht", "+++."),
            ("ooooo", "+++++"),
            ("ttss", "+..+"),
            ("ttshss", "+....+"),
            ("tts-s", "+...+"),
            ("ttstss", "+....+"),
        ];
        for (outcomes, expected) in rows {
            assert_eq!(sides(false, outcomes, &THRESHOLDS), expected, "{outcomes}");
        }
    }

    #[test]
    fn who_must_prove_itself_does_so_by_one_success() {
        for (outcomes, expected) in [
            ("s", "+"),
            ("hts", "..+"),
            ("-s", ".+"),
            ("stt", "++."),
            ("stts", "++.."),
        ] {
            assert_eq!(sides(true, outcomes, &THRESHOLDS), expected, "{outcomes}");
        }
    }

    #[test]
    fn a_verdict_says_why_and_since_when() {
        let mut verdict = Verdict::new(false);
        assert_eq!((verdict.reason.clone(), verdict.since), (None, None));
        let refused = Outcome::Failure(Failure::Tcp, "connection refused".to_owned());
        verdict.take(&refused, &THRESHOLDS, "active check", 5);
        verdict.take(&refused, &THRESHOLDS, "active check", 6);
        assert_eq!(
            verdict.reason.as_deref(),
            Some("active check: connection refused, 2 failures")
        );
        assert_eq!(verdict.since, Some(6));
    }

    proptest! {
        /// However outcomes flap, sides change at most once in as many outcomes as a threshold asks for.
        #[test]
        fn flapping_is_bounded(outcomes in "[sht-]{0,60}", rise in 1u32..5, fall in 1u32..5) {
            let thresholds = Thresholds { successes: rise, http_failures: fall, tcp_failures: fall, timeouts: 0 };
            let sides = format!("+{}", sides(false, &outcomes, &thresholds));
            let mut run = 0;
            for (pair, letter) in sides.as_bytes().windows(2).zip(outcomes.chars()) {
                run += u32::from(letter != '-');
                match (pair[0], pair[1]) {
                    (b'+', b'.') => { prop_assert!(run >= fall); run = 0; }
                    (b'.', b'+') => { prop_assert!(run >= rise); run = 0; }
                    _ => {}
                }
            }
        }

        /// Without a threshold nothing ever changes.
        #[test]
        fn zero_thresholds_change_nothing(outcomes in "[shto-]{0,30}") {
            prop_assert!(!sides(false, &outcomes, &Thresholds::default()).contains('.'));
        }
    }
}
