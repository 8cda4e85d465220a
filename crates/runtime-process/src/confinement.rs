//! What a run is held in: the control group that is made for it, its limits, its user.

use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;

use hythe_cgroup::{Controller, Group};
use hythe_minder::protocol::{self, ControlGroups};
use hythe_model::workload::Limits;
use hythe_stdx::format_exact_size;
use hythe_supervisor::runtime::StartSpec;

use crate::shared::Shared;
use crate::user::Identity;

pub(crate) const OLDER_MINDER: &str =
    "the minder is an older one, which cannot do that; `hythe server stop --all` ends it";

/// Of a run that is about to be started. Its group is removed again unless it is kept.
pub(crate) struct Confinement {
    group: Group,
    limits: Limits,
    user: Option<protocol::User>,
}

impl Confinement {
    pub(crate) fn new(
        shared: &Shared,
        run: &str,
        spec: &StartSpec,
        identity: Option<&Identity>,
    ) -> io::Result<Self> {
        let confines = shared.confines.load(Ordering::Relaxed);
        if identity.is_some() && !confines {
            return Err(io::Error::new(io::ErrorKind::Unsupported, OLDER_MINDER));
        }
        let group = if confines {
            let made = shared.cgroups().create(run, &group_limits(&spec.limits));
            made.map_err(io::Error::other)?
        } else {
            Group::default()
        };
        Ok(Self {
            group,
            limits: spec.limits.clone(),
            user: identity.map(|identity| protocol::User {
                uid: identity.uid,
                gid: identity.gid,
                groups: identity.groups.clone(),
            }),
        })
    }

    /// What the minder is told of the group.
    pub(crate) fn groups(&self) -> ControlGroups {
        ControlGroups {
            birthplace: self.group.birthplace().map(Path::to_owned),
            joined: self.group.joined().map(Path::to_owned).collect(),
        }
    }

    pub(crate) fn limits(&self) -> protocol::Limits {
        let bounds = |bounds: &hythe_model::workload::Bounds| protocol::Bounds {
            soft: bounds.soft,
            hard: bounds.hard,
        };
        let ulimits = self.limits.ulimits.iter();
        protocol::Limits {
            resources: ulimits
                .map(|(ulimit, both)| (ulimit.as_str().to_owned(), bounds(both)))
                .collect(),
            ..protocol::Limits::default()
        }
    }

    pub(crate) fn user(&self) -> Option<protocol::User> {
        self.user.clone()
    }

    /// The run was started: its group stays until that is forgotten.
    pub(crate) fn keep(mut self) -> Group {
        std::mem::take(&mut self.group)
    }
}

impl Drop for Confinement {
    fn drop(&mut self) {
        self.group.remove();
    }
}

/// Which limits nobody enforces here, and why.
pub(crate) fn unenforced(shared: &Shared, limits: &Limits) -> Vec<String> {
    if *limits == Limits::default() {
        return Vec::new();
    }
    if !shared.confines.load(Ordering::Relaxed) {
        return vec![format!("its limits are not enforced: {OLDER_MINDER}")];
    }
    let missing = shared.cgroups().unenforced(&group_limits(limits));
    missing
        .into_iter()
        .map(|controller| {
            format!(
                "its limit of {} is not enforced: there is no control group with `{}` that this user may use here",
                named(controller, limits),
                controller.as_str()
            )
        })
        .collect()
}

fn named(controller: Controller, limits: &Limits) -> String {
    match controller {
        Controller::Memory => {
            let bytes = limits.memory_bytes.unwrap_or_default();
            format!("{} memory", format_exact_size(bytes))
        }
        #[expect(clippy::cast_precision_loss, reason = "far fewer cores than that")]
        Controller::Cpu => format!("{} cores", limits.cpu_millis.unwrap_or_default() as f64 / 1_000.0),
        Controller::Pids => format!("{} processes", limits.pids.unwrap_or_default()),
    }
}

fn group_limits(limits: &Limits) -> hythe_cgroup::Limits {
    hythe_cgroup::Limits {
        cpu_millis: limits.cpu_millis,
        memory_bytes: limits.memory_bytes,
        pids: limits.pids,
    }
}
