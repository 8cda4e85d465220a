//! A place in a commit where a test can hold it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Open unless a test closes it, and then closed for one commit only: those behind it may overtake, if the
/// backend lets them.
#[derive(Default)]
pub struct Gate {
    state: Mutex<State>,
    opened: Condvar,
    reached: Notify,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    Closed,
    Holding,
}

impl Gate {
    /// Called by a backend from within a commit, on a thread that may block.
    pub fn pass(&self) {
        let mut state = self.state();
        if *state != State::Closed {
            return;
        }
        *state = State::Holding;
        self.reached.notify_one();
        while *state == State::Holding {
            state = self.opened.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Closes the gate for the next commit, until what it returns is dropped.
    pub fn close(&self) -> Held<'_> {
        *self.state() = State::Closed;
        Held { gate: self }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a gate closed.
pub struct Held<'a> {
    gate: &'a Gate,
}

impl Held<'_> {
    /// Returns once a commit stands before the gate.
    pub async fn reached(&self) {
        self.gate.reached.notified().await;
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        *self.gate.state() = State::Open;
        self.gate.opened.notify_all();
    }
}
