//! Turns results of single tries into a state.

use super::Verdict;
use crate::unit::Health;

/// Counts failures in a row.
#[derive(Debug)]
pub(super) struct Judge {
    retries: u32,
    failures: u32,
    said: Verdict,
}

impl Judge {
    pub(super) fn new(retries: u32, health: Health) -> Self {
        Self {
            retries: retries.max(1),
            failures: 0,
            said: Verdict {
                health,
                message: None,
            },
        }
    }

    /// Whether it was ready once.
    pub(super) fn was_ready(&self) -> bool {
        self.said.health != Health::Pending
    }

    /// Takes one result in; the new verdict, if it is a new one. A failure that is `excused` does not
    /// count.
    pub(super) fn judge(&mut self, result: Result<(), String>, excused: bool) -> Option<Verdict> {
        let verdict = match result {
            Ok(()) => {
                self.failures = 0;
                Verdict {
                    health: Health::Ready,
                    message: None,
                }
            }
            Err(reason) => {
                self.failures += u32::from(!excused);
                let health = match self.said.health {
                    Health::Ready if self.failures >= self.retries => Health::Unhealthy,
                    health => health,
                };
                Verdict {
                    health,
                    message: Some(reason),
                }
            }
        };
        let news = verdict != self.said;
        self.said = verdict.clone();
        news.then_some(verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `+` a success, `-` a failure, `(` an excused failure; out: the state after each.
    fn states(retries: u32, health: Health, results: &str) -> String {
        let mut judge = Judge::new(retries, health);
        let mut states = String::new();
        for result in results.chars() {
            let outcome = if result == '+' {
                Ok(())
            } else {
                Err("no".to_owned())
            };
            judge.judge(outcome, result == '(');
            states.push(match judge.said.health {
                Health::Pending => 'p',
                Health::Ready => 'r',
                Health::Unhealthy => 'u',
            });
        }
        states
    }

    #[test]
    fn retries_failures_in_a_row_make_unhealthy_and_one_success_ready() {
        let rows = [
            (3, Health::Pending, "---+", "pppr"),
            (3, Health::Ready, "--+---+", "rrrrrur"),
            (1, Health::Ready, "-+", "ur"),
            (0, Health::Ready, "-", "u"),
            (2, Health::Unhealthy, "-+", "ur"),
            (2, Health::Pending, "(+((-(-", "prrrrru"),
        ];
        for (retries, health, results, expected) in rows {
            assert_eq!(states(retries, health, results), expected, "{retries} {results}");
        }
    }

    #[test]
    fn only_news_is_said() {
        let mut judge = Judge::new(3, Health::Pending);
        let refused = || Err("refused".to_owned());
        assert!(judge.judge(refused(), false).is_some());
        assert!(judge.judge(refused(), false).is_none());
        assert!(judge.judge(Err("answered 503".to_owned()), false).is_some());
        assert!(judge.judge(Ok(()), false).is_some());
        assert!(judge.judge(Ok(()), false).is_none());
    }
}
