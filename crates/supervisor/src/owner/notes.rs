//! What the supervisor writes into the logs of instances.

use std::time::Duration;

use hythe_model::InstanceId;
use hythe_stdx::format_duration;

use super::Owner;
use crate::plan::Action;
use crate::unit::{Health, Outcome};

impl Owner {
    /// Writes `message` into the log of `id`.
    pub(super) fn note(&self, id: &InstanceId, message: &str) {
        if let Some(unit) = self.observed.units.get(id) {
            self.inputs.logs.note(&unit.service, &unit.id.0, message);
        }
    }

    /// What an action is about to do, as far as people care.
    pub(super) fn note_action(&self, action: &Action) {
        match action {
            Action::Start {
                id,
                warning: Some(warning),
            } => self.note(id, warning),
            Action::Drain { id } => self.note(id, "draining"),
            Action::Stop { id } => {
                let signal = self.observed.units.get(id).map_or(0, |unit| unit.stop_signal);
                self.note(id, &format!("stopping, signal {signal}"));
            }
            Action::Kill { id } => self.note(id, "killed, it did not stop in time"),
            Action::FailUpdate {
                service,
                revision,
                reason,
            } => {
                tracing::warn!(%service, reason, "an update failed");
                let trial =
                    |unit: &&crate::unit::Unit| unit.service == *service && unit.revision == *revision;
                if let Some(unit) = self.observed.units.values().find(trial) {
                    self.note(&unit.id, &format!("update failed: {reason}"));
                }
            }
            _ => {}
        }
    }

    /// How `id` ended and what is next for it.
    pub(super) fn note_end(&self, id: &InstanceId) {
        let Some(unit) = self.observed.units.get(id) else {
            return;
        };
        let now = self.clock.now_ms();
        let next = match unit.outcome(&self.rules.backoff) {
            Some(Outcome::RestartAt(at)) if at <= now => ", restarting".to_owned(),
            Some(Outcome::RestartAt(at)) => format!(", restarting in {}", duration(at - now)),
            Some(Outcome::Failed(_)) => ", not restarted".to_owned(),
            Some(Outcome::Completed) | None => String::new(),
        };
        self.note(id, &format!("ended: {}{next}", unit.end()));
    }

    /// A change of mind of the probes of `id`.
    pub(super) fn note_health(&self, id: &InstanceId, now: u64) {
        let Some(unit) = self.observed.units.get(id) else {
            return;
        };
        let message = unit.message.as_deref().unwrap_or("no reason known");
        match unit.health() {
            Health::Ready if unit.recorded_ready => self.note(id, "ready again"),
            Health::Ready => {
                let after = now.saturating_sub(unit.started_at.unwrap_or(now));
                self.note(id, &format!("ready after {}", duration(after)));
            }
            Health::Unhealthy => self.note(id, &format!("unhealthy: {message}")),
            Health::Pending => {}
        }
    }
}

fn duration(ms: u64) -> String {
    format_duration(Duration::from_millis(ms))
}
