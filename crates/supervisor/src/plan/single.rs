//! What is next for one unit, once it is decided whether it stays.

use hythe_model::workload::UpdatePolicy;
use hythe_stdx::format_duration;

use super::{Action, Plan};
use crate::Rules;
use crate::backoff::millis;
use crate::dependency::Readiness;
use crate::observed::StopAll;
use crate::unit::{Health, Outcome, Phase, Unit};

/// Takes `unit` one step towards its end.
pub(super) fn retire(plan: &mut Plan, unit: &Unit, rules: &Rules, stop_all: Option<StopAll>, now: u64) {
    if unit.busy {
        return;
    }
    let id = unit.id.clone();
    let drain_ms = millis(rules.drain_timeout);
    let drain_until = |since: u64| (since + drain_ms).min(stop_all.map_or(u64::MAX, |all| all.drain_until));
    let kill_at = |since: u64| (since + unit.stop_grace_ms).min(stop_all.map_or(u64::MAX, |all| all.kill_at));
    let action = match unit.phase {
        Phase::Waiting | Phase::Ended { .. } => Action::Forget { id },
        Phase::Up { .. } if unit.is_serving() && unit.address.is_some() => Action::Drain { id },
        Phase::Up { .. } => Action::Stop { id },
        Phase::Draining { since, drained } if drained || plan.due(drain_until(since), now) => {
            Action::Stop { id }
        }
        Phase::Stopping {
            since, killed: false, ..
        } if plan.due(kill_at(since), now) => Action::Kill { id },
        Phase::Stopping { sent: false, .. } => Action::Stop { id },
        Phase::Launching { .. } | Phase::Draining { .. } | Phase::Stopping { .. } => return,
    };
    plan.actions.push(action);
}

/// Starts a unit that waits, if what it needs is there.
pub(super) fn start_waiting(plan: &mut Plan, unit: &Unit, readiness: Readiness) {
    if unit.busy {
        return;
    }
    let warning = match readiness {
        Readiness::Free => None,
        Readiness::Without(what) => Some(what),
        Readiness::Waits(_) | Readiness::Broken(_) => return,
    };
    plan.actions.push(Action::Start {
        id: unit.id.clone(),
        warning,
    });
}

/// Keeps a unit that stays going.
pub(super) fn keep(plan: &mut Plan, unit: &Unit, rules: &Rules, now: u64) {
    if unit.busy {
        return;
    }
    let id = unit.id.clone();
    match unit.phase {
        Phase::Up { .. } if unit.hung.is_some() => plan.actions.push(Action::Restart { id }),
        Phase::Stopping {
            since, killed: false, ..
        } if plan.due(since + unit.stop_grace_ms, now) => plan.actions.push(Action::Kill { id }),
        Phase::Stopping { sent: false, .. } => plan.actions.push(Action::Restart { id }),
        Phase::Up {
            health: Health::Ready,
            ..
        } if !unit.recorded_ready => {
            plan.actions.push(Action::Record { id });
        }
        Phase::Up {
            health: Health::Pending,
            ..
        } => {
            if let Some(at) = unit.ready_at(&rules.backoff) {
                plan.due(at, now);
            }
        }
        Phase::Ended { swept, .. } => match unit.outcome(&rules.backoff) {
            Some(Outcome::RestartAt(at)) if plan.due(at, now) => {
                plan.actions.push(Action::Start { id, warning: None });
            }
            _ if !swept => plan.actions.push(Action::Sweep { id }),
            _ => {}
        },
        _ => {}
    }
}

/// Why the trial that `unit` is has failed, if it has.
pub(super) fn trial_failure(
    plan: &mut Plan,
    unit: &Unit,
    update: &UpdatePolicy,
    rules: &Rules,
    now: u64,
) -> Option<String> {
    match unit.phase {
        Phase::Ended { .. } if !unit.is_completed(&rules.backoff) => {
            Some(format!("{} ended before it was ready: {}", unit.id, unit.end()))
        }
        Phase::Up {
            health: Health::Pending,
            ..
        } if plan.due(unit.unready_since + update.ready_timeout_ms, now) => Some(late(unit, update)),
        _ => None,
    }
}

/// Since when a unit that is neither ready nor waiting for another service has been late; at the latest
/// then its service reports a failure, so that nobody waits for ever.
pub(crate) fn late_at(unit: &Unit, update: &UpdatePolicy) -> Option<u64> {
    let late = !unit.is_ready() && !unit.is_retiring() && unit.phase != Phase::Waiting;
    late.then_some(unit.unready_since + update.ready_timeout_ms)
}

/// Says that `unit` is late.
pub(crate) fn late(unit: &Unit, update: &UpdatePolicy) -> String {
    let timeout = format_duration(std::time::Duration::from_millis(update.ready_timeout_ms));
    let last = unit
        .message
        .as_ref()
        .map(|message| format!(": {message}"))
        .unwrap_or_default();
    format!("{} is not ready after {timeout}{last}", unit.id)
}
