//! Whether a program whose port nobody knows will listen, and whether it is still on its way there.
//!
//! Such a program is ready when it listens; one that never does, a worker, when it has run for a while. Which of the two
//! it is nobody says, so it is concluded: from what ran in its place before and what runs beside it, and where that is
//! no help, from how it works. A program that starts wants a core nearly all the time, also where many start at once and
//! each waits for its turn; one that waits for work wants none. Left out: a program that sleeps, or waits for somebody
//! else, before it listens. It is taken for a worker until it does.

/// What is known of a process that is about to be started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Prospect {
    /// It will listen, so it is not ready before.
    Listens,
    /// It may.
    #[default]
    Unknown,
    /// Those before it did their work without.
    Works,
}

/// Between two looks at the processes of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Work {
    /// What they used, and for how long they had to wait for a core, between the two.
    pub(crate) wanted_us: u64,
    /// The time between the two.
    pub(crate) during_ms: u64,
    /// CPU time that they have used since their start.
    pub(crate) in_all_us: u64,
}

/// CPU time is counted in steps of some milliseconds.
const SHORTEST_LOOK_MS: u64 = 200;

/// Who has used so much CPU without having bound a port is at work.
const LONGEST_START_US: u64 = 5_000_000;

impl Prospect {
    /// By what served in the same place before (`before`: whether it listened) and by its service: whether some of it
    /// listen, and whether some serve without.
    pub(crate) fn new(before: Option<bool>, some_listen: bool, some_do_not: bool) -> Self {
        match (before, some_listen, some_do_not) {
            (Some(true), _, _) | (None, true, false) => Self::Listens,
            (Some(false), _, _) | (None, false, true) => Self::Works,
            (None, _, _) => Self::Unknown,
        }
    }
}

impl Work {
    /// Whether it looks like that of a program that starts: it wanted a core for a quarter of the time, whether it got one
    /// or not. `None`: the time was too short to tell.
    pub(crate) fn is_of_a_start(self) -> Option<bool> {
        let wants = self.wanted_us / 1_000 >= self.during_ms / 4;
        (self.during_ms >= SHORTEST_LOOK_MS).then_some(wants && self.in_all_us < LONGEST_START_US)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_services_tell() {
        let rows = [
            (None, false, false, Prospect::Unknown),
            (None, true, false, Prospect::Listens),
            (None, false, true, Prospect::Works),
            // One place has a port, others have none.
            (None, true, true, Prospect::Unknown),
            (Some(true), true, true, Prospect::Listens),
            (Some(false), true, true, Prospect::Works),
            (Some(true), false, true, Prospect::Listens),
            (Some(false), true, false, Prospect::Works),
        ];
        for (before, some_listen, some_do_not, expected) in rows {
            let prospect = Prospect::new(before, some_listen, some_do_not);
            assert_eq!(prospect, expected, "{before:?} {some_listen} {some_do_not}");
        }
    }

    #[test]
    fn who_starts_wants_a_core() {
        let rows = [
            (480, 500, 480, Some(true)),
            (125, 500, 480, Some(true)),
            (120, 500, 480, Some(false)),
            (0, 500, 480, Some(false)),
            // It has waited for a core nearly all the time.
            (500, 500, 10, Some(true)),
            (10, 20, 10, None),
            (0, 199, 10, None),
            (0, 200, 10, Some(false)),
            // It works, and has for seconds.
            (500, 500, 4_900, Some(true)),
            (500, 500, 5_000, Some(false)),
        ];
        for (wanted, during_ms, in_all, expected) in rows {
            let work = Work {
                wanted_us: wanted * 1_000,
                during_ms,
                in_all_us: in_all * 1_000,
            };
            assert_eq!(work.is_of_a_start(), expected, "{work:?}");
        }
    }
}
