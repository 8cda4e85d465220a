//! One endpoint of a pool, and why it would not be picked.

use std::fmt;
use std::sync::Arc;

use hythe_model::Endpoint;
use hythe_model::endpoint::EndpointRules;

use crate::conduct::Conduct;
use crate::endpoint_table::EndpointStats;
use crate::lease::{Outcome, Timing};
use crate::outlier::{Outlier, OutlierRules, Roster};
use crate::pace::Pace;
use crate::standing::Standing;
use crate::turn::Turn;

/// One endpoint of a pool.
#[derive(Debug)]
pub struct Member {
    /// Where it is and what it weighs.
    pub endpoint: Endpoint,
    /// What is counted for its address.
    pub stats: Arc<EndpointStats>,
    pub(crate) standing: Arc<Standing>,
    pub(crate) memory: Arc<Memory>,
    /// Names it to clients, without telling what or where it is.
    pub(crate) token: u64,
    /// Whether failures are held against it; nginx: not if it is alone.
    pub(crate) may_fail: bool,
    /// Of pools with passive checks.
    pub(crate) conduct: Option<Arc<Conduct>>,
    /// Of pools that eject.
    pub(crate) outlier: Option<(OutlierRules, Arc<Outlier>)>,
    /// Of pools that pick by it.
    pub(crate) pace: Option<Arc<Pace>>,
    /// In which its weight grows after it came or came back, milliseconds; 0: at once.
    pub(crate) slow_start_ms: u64,
}

/// What a whole weight is, where weights grow.
pub(crate) const WHOLE: u64 = 1_000;

/// What all versions of a pool share.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) turn: Turn,
    pub(crate) clock: Clock,
    /// Of pools that eject.
    pub(crate) roster: Roster,
}

/// Milliseconds since the pool was made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(pub(crate) std::time::Instant);

/// Why a member is not picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// Its configuration says so.
    Down,
    /// Its checks fail.
    Unhealthy,
    /// Requests to it have failed.
    Failed {
        /// How many.
        fails: u32,
        /// Until it is tried again, milliseconds.
        for_ms: u64,
    },
    /// It was ejected for its errors.
    Ejected {
        /// How often in a row.
        times: u32,
        /// Until it comes back, milliseconds.
        for_ms: u64,
    },
    /// It has as many requests as it may have.
    Full,
    /// It is a backup, and others are there.
    Backup,
}

impl Clock {
    pub(crate) fn ms(self, now: std::time::Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.0).as_millis()).unwrap_or(u64::MAX)
    }
}

impl Member {
    /// What names it to clients that are to come back to it. Differs from that of every other member.
    pub fn token(&self) -> u64 {
        self.token
    }

    pub(crate) fn rules(&self) -> &EndpointRules {
        &self.endpoint.rules
    }

    /// What stands against picking it now, apart from its health and from others that go first.
    pub(crate) fn obstacle(&self, now: u64, forgiving: bool) -> Option<Obstacle> {
        let failed = self.may_fail && !forgiving;
        let out = failed.then(|| self.standing.out_for(self.rules(), now)).flatten();
        if let Some(for_ms) = out {
            let fails = self.standing.fails();
            return Some(Obstacle::Failed { fails, for_ms });
        }
        if let Some((_, outlier)) = &self.outlier
            && !forgiving
            && let Some(for_ms) = outlier.out_for(now)
        {
            let times = outlier.ejections();
            return Some(Obstacle::Ejected { times, for_ms });
        }
        let most = u64::from(self.rules().max_conns);
        (most > 0 && self.stats.in_flight() >= most).then_some(Obstacle::Full)
    }

    /// Whether nothing is held against it, so that its turns come by weight alone.
    pub(crate) fn is_clean(&self, now: u64) -> bool {
        let is_in = |(_, outlier): &(_, Arc<Outlier>)| outlier.out_for(now).is_none();
        self.standing.is_clean() && self.outlier.as_ref().is_none_or(is_in) && self.is_warm(now)
    }

    /// Whether all of its weight counts.
    pub(crate) fn is_warm(&self, now: u64) -> bool {
        self.slow_start_ms == 0 || self.warmth(now) == WHOLE
    }

    /// How much of its weight counts, of [`WHOLE`]: it grows evenly from nearly nothing.
    pub(crate) fn warmth(&self, now: u64) -> u64 {
        let Some(since) = self.standing.warming_since() else {
            return WHOLE;
        };
        let elapsed = now.saturating_sub(since);
        let part = elapsed.saturating_mul(WHOLE).checked_div(self.slow_start_ms);
        part.unwrap_or(WHOLE).clamp(1, WHOLE)
    }

    /// What one more request has to expect of it; less is better.
    pub(crate) fn cost(&self, now: u64) -> f32 {
        let weight = u64::from(self.endpoint.weight);
        let pace = self.pace.as_ref();
        pace.map_or(0.0, |pace| pace.cost(self.stats.in_flight(), weight, now))
    }

    /// Whether it matters when it answered.
    pub(crate) fn is_timed(&self) -> bool {
        self.outlier.is_some() || self.pace.is_some() || self.slow_start_ms > 0
    }

    /// What came of a request, for those who conclude something from it.
    pub(crate) fn observe(&self, outcome: &Outcome) {
        if let Some(conduct) = &self.conduct {
            conduct.take(outcome);
        }
        if let (Some(pace), Outcome::Answered(_, Some(timing))) = (&self.pace, outcome) {
            pace.observe(timing.took_us, self.memory.clock.ms(timing.at));
        }
        if let Some((rules, outlier)) = &self.outlier
            && outlier.take(outcome, rules)
            && let Outcome::Answered(_, Some(Timing { at, .. })) | Outcome::Failed(_, at) = *outcome
        {
            self.eject(rules, outlier, at);
        }
    }

    fn eject(&self, rules: &OutlierRules, outlier: &Outlier, at: std::time::Instant) {
        let mut uneven = self.memory.turn.lock();
        let now = self.memory.clock.ms(at);
        if outlier.eject(rules, &self.memory.roster.load(), now) {
            self.memory.turn.make_uneven(&mut uneven);
            let back_at = now + outlier.out_for(now).unwrap_or_default();
            self.standing.warm_from(back_at);
        }
        outlier.forget_errors();
    }

    /// A request is sent to it, by one that does not hold the lock.
    pub(crate) fn note_pick(&self, now: u64) {
        if self.standing.fails() > 0 {
            let _held = self.memory.turn.lock();
            self.standing.picked(self.rules(), now);
        }
    }

    /// A request to it failed.
    pub(crate) fn count_failure(&self, now: std::time::Instant) {
        if !self.may_fail {
            return;
        }
        let mut uneven = self.memory.turn.lock();
        self.memory.turn.make_uneven(&mut uneven);
        let now = self.memory.clock.ms(now);
        self.standing.failed(self.endpoint.weight, self.rules(), now);
    }

    /// It answered.
    pub(crate) fn count_answer(&self, timing: Option<Timing>) {
        if self.standing.fails() > 0 {
            let _held = self.memory.turn.lock();
            let was_out = self.may_fail && self.standing.is_on_trial(self.rules());
            if self.standing.answered()
                && was_out
                && let Some(timing) = timing
            {
                self.standing.warm_from(self.memory.clock.ms(timing.at));
            }
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Down => f.write_str("down"),
            Self::Unhealthy => f.write_str("unhealthy"),
            Self::Failed { fails, for_ms } => {
                let times = if *fails == 1 { "time" } else { "times" };
                let seconds = for_ms.div_ceil(1000);
                write!(f, "failed {fails} {times}, tried again in {seconds}s")
            }
            Self::Ejected { times, for_ms } => {
                let times = if *times == 1 {
                    "once".to_owned()
                } else {
                    format!("{times} times")
                };
                let seconds = for_ms.div_ceil(1000);
                write!(f, "ejected {times} for its errors, comes back in {seconds}s")
            }
            Self::Full => f.write_str("at its max_conns"),
            Self::Backup => f.write_str("a backup, and others are available"),
        }
    }
}
