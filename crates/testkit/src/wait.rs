//! Waiting in tests that drive other processes: for a condition, looked at again and again, never for a time.

use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take before a test fails instead of hanging. Far more than is ever needed, as
/// other tests run on the same cores.
pub const PATIENCE: Duration = Duration::from_secs(60);

const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// What `look` finds, as soon as it finds something.
///
/// # Panics
/// When it has found nothing after [`PATIENCE`].
#[track_caller]
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    let mut wait = FIRST_PAUSE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        pause(wait);
        wait = (wait * 2).min(LONGEST_PAUSE);
    }
}

/// Returns as soon as `holds` does.
///
/// # Panics
/// When it does not hold after [`PATIENCE`].
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    eventually(what, || holds().then_some(()));
}

/// Between two looks, and between two requests of a client with a pace.
#[expect(clippy::disallowed_methods, reason = "a test's thread has nothing else to do")]
pub fn pause(time: Duration) {
    thread::sleep(time);
}
