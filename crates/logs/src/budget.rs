//! Which files go when all logs together are larger than they may be.
//!
//! The oldest of all goes first. The file that is written stays: it is rotated first if there is nothing else, which
//! happens when a budget became smaller, since no file that is written may grow beyond its log's [`share`].

/// A log as the budget sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Log {
    /// Newest first; the first is the written one.
    pub(crate) files: Vec<Size>,
    /// Somebody writes to it.
    pub(crate) running: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) bytes: u64,
    /// When the last line came.
    pub(crate) written_at: u64,
}

/// What is to be done with a log, by its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Delete its oldest file.
    RemoveOldest(usize),
    /// Begin a new file.
    Rotate(usize),
}

/// The most that a written file may have, so that the written ones alone are never too much.
pub(crate) fn share(budget: u64, logs: usize) -> u64 {
    budget / 2 / (logs.max(1) as u64)
}

/// What brings the logs back under the budget, in this order.
pub(crate) fn plan(mut logs: Vec<Log>, budget: u64) -> Vec<Step> {
    let mut steps = Vec::new();
    while total(&logs) > budget {
        let Some(step) = next(&logs) else { break };
        match step {
            Step::RemoveOldest(index) => {
                logs[index].files.pop();
            }
            Step::Rotate(index) => logs[index].files.insert(
                0,
                Size {
                    bytes: 0,
                    written_at: u64::MAX,
                },
            ),
        }
        steps.push(step);
    }
    steps
}

fn total(logs: &[Log]) -> u64 {
    logs.iter()
        .flat_map(|log| &log.files)
        .map(|file| file.bytes)
        .sum()
}

fn next(logs: &[Log]) -> Option<Step> {
    let numbered = || logs.iter().enumerate();
    let removable = numbered().filter_map(|(index, log)| Some((log.removable()?, index)));
    let oldest = removable.min_by_key(|(file, index)| (file.written_at, *index));
    let largest = numbered()
        .filter_map(|(index, log)| Some((log.files.first()?.bytes, index)))
        .filter(|(bytes, _)| *bytes > 0)
        .max_by_key(|(bytes, _)| *bytes);
    oldest
        .map(|(_, index)| Step::RemoveOldest(index))
        .or(largest.map(|(_, index)| Step::Rotate(index)))
}

impl Log {
    /// Its oldest file, if that may go.
    fn removable(&self) -> Option<Size> {
        let spared = usize::from(self.running);
        let oldest = self.files.get(spared..)?.last()?;
        (oldest.bytes > 0 || self.files.len() > 1).then_some(*oldest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn log(running: bool, files: &[(u64, u64)]) -> Log {
        let size = |&(bytes, written_at): &(u64, u64)| Size { bytes, written_at };
        Log {
            files: files.iter().map(size).collect(),
            running,
        }
    }

    #[test]
    fn the_oldest_goes_first_and_what_is_written_last() {
        use Step::{RemoveOldest, Rotate};
        let two = || {
            vec![
                log(true, &[(10, 90), (10, 50), (10, 20)]),
                log(true, &[(10, 80), (10, 10)]),
            ]
        };
        let gone = vec![log(true, &[(10, 90)]), log(false, &[(10, 30)])];
        let only_written = vec![log(true, &[(10, 90)]), log(true, &[(30, 80)])];
        for (logs, budget, steps) in [
            (two(), 50, vec![]),
            (two(), 49, vec![RemoveOldest(1)]),
            (two(), 30, vec![RemoveOldest(1), RemoveOldest(0)]),
            (two(), 20, vec![RemoveOldest(1), RemoveOldest(0), RemoveOldest(0)]),
            (gone, 15, vec![RemoveOldest(1)]),
            (only_written, 20, vec![Rotate(1), RemoveOldest(1)]),
            (vec![], 0, vec![]),
        ] {
            assert_eq!(plan(logs.clone(), budget), steps, "{logs:?}, {budget}");
        }
    }

    proptest! {
        #[test]
        fn never_above_the_budget(
            logs in prop::collection::vec((any::<bool>(), prop::collection::vec((0u64..100, 0u64..1000), 1..6)), 0..6),
            budget in 0u64..400,
        ) {
            let mut logs: Vec<Log> = logs.iter().map(|(running, files)| log(*running, files)).collect();
            let planned = plan(logs.clone(), budget);
            for step in planned {
                prop_assert!(total(&logs) > budget, "nothing goes without need");
                match step {
                    Step::Rotate(index) => logs[index].files.insert(0, Size { bytes: 0, written_at: u64::MAX }),
                    Step::RemoveOldest(index) => {
                        prop_assert!(!logs[index].running || logs[index].files.len() > 1, "not what is written");
                        logs[index].files.pop();
                    }
                }
            }
            prop_assert!(total(&logs) <= budget);
        }

        /// Logs that grow, each turn followed by the plan.
        #[test]
        fn never_above_the_budget_by_more_than_one_write(
            writes in prop::collection::vec((0usize..4, 1u64..50), 1..200),
            budget in 100u64..1000,
        ) {
            let mut logs = vec![log(true, &[(0, 0)]); 4];
            let most = share(budget, logs.len());
            for (time, (index, bytes)) in writes.into_iter().enumerate() {
                let files = &mut logs[index].files;
                if files[0].bytes > 0 && files[0].bytes + bytes > most {
                    files.insert(0, Size { bytes: 0, written_at: 0 });
                }
                files[0].bytes += bytes;
                files[0].written_at = time as u64;
                prop_assert!(total(&logs) <= budget + bytes);
                for step in plan(logs.clone(), budget) {
                    match step {
                        Step::RemoveOldest(index) => drop(logs[index].files.pop()),
                        Step::Rotate(index) => logs[index].files.insert(0, Size { bytes: 0, written_at: 0 }),
                    }
                }
                prop_assert!(total(&logs) <= budget);
            }
        }
    }
}
