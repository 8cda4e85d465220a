//! What the supervisor writes into the logs of instances.

use std::time::Duration;

use hythe_model::{FullName, InstanceId};
use hythe_stdx::format_duration;

use super::Owner;
use crate::observed::Renewal;
use crate::plan::Action;
use crate::unit::{Health, Outcome, Unit};

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
            Action::Restart { id } => {
                let signal = self.observed.units.get(id).map_or(0, |unit| unit.stop_signal);
                self.note(id, &format!("stopping to be started again, signal {signal}"));
            }
            Action::Renew { service, reason } => self.note_renewal(service, Renewal::Cron, reason),
            Action::Kill { id } => self.note(id, "killed, it did not stop in time"),
            Action::FailUpdate {
                service,
                revision,
                reason,
            } => {
                tracing::warn!(%service, reason, "an update failed");
                let trial = |unit: &&Unit| {
                    unit.service == *service && unit.revision == *revision && unit.replace.is_none()
                };
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

    /// That every unit of `service` which `renewal` concerns will be replaced.
    pub(super) fn note_renewal(&self, service: &FullName, renewal: Renewal, reason: &str) {
        let units = self.observed.units.values();
        for unit in units.filter(|unit| unit.service == *service && renewal.concerns(unit)) {
            self.note(&unit.id, &format!("{reason}: replaced"));
        }
    }

    /// That `id` will be replaced, and why.
    pub(super) fn note_replaced(&self, id: &InstanceId) {
        if let Some(reason) = self.observed.units.get(id).and_then(|unit| unit.replace.as_ref()) {
            self.note(id, &format!("{reason}: replaced"));
        }
    }

    /// That `id` is started again, and why.
    pub(super) fn note_hung(&self, id: &InstanceId) {
        if let Some(reason) = self.observed.units.get(id).and_then(|unit| unit.hung.as_ref()) {
            self.note(id, &format!("{reason}: started again"));
        }
    }

    /// Writes `message` into the logs of every unit of `service`.
    pub(super) fn note_all(&self, service: &FullName, message: &str) {
        tracing::warn!(%service, message);
        let units = self.observed.units.values();
        for unit in units.filter(|unit| unit.service == *service && !unit.is_retiring()) {
            self.note(&unit.id, message);
        }
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
