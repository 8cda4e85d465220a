//! From a unit to what the runtime is asked to start.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use hythe_model::Workload;

use crate::runtime::{Record, StartSpec};
use crate::unit::Unit;

/// Everything a start needs but its address, which is asked for when it is started.
#[derive(Debug)]
pub(crate) struct Launch {
    /// Whether an ended process of the same instance has to be forgotten first.
    pub(crate) again: bool,
    /// Whether it listens.
    pub(crate) needs_address: bool,
    spec: StartSpec,
}

impl Launch {
    /// How to start `unit`; `None` if it is not known what it is made of.
    pub(crate) fn new(unit: &Unit, gateway_url: &str) -> Option<Self> {
        let workload = &unit.workload.as_ref()?.spec;
        let record = Record {
            ready: false,
            stopping: false,
            address: None,
            ..unit.record()
        };
        let spec = StartSpec {
            command: workload.command.clone(),
            working_dir: workload.working_dir.clone(),
            environment: environment(unit, workload, None, gateway_url),
            rebind: workload.port.filter(|_| workload.rebind),
            record,
        };
        Some(Self {
            again: unit.restarts > 0,
            needs_address: workload.port.is_some(),
            spec,
        })
    }

    /// Whose start it is.
    pub(crate) fn id(&self) -> &hythe_model::InstanceId {
        &self.spec.record.id
    }

    /// The port that its program may listen on whatever it is told.
    pub(crate) fn rebind(&self) -> Option<u16> {
        self.spec.rebind
    }

    /// With the address it is told to listen on.
    pub(crate) fn at(mut self, address: Option<SocketAddr>) -> StartSpec {
        self.spec.environment.extend(of_address(address));
        self.spec.record.address = address;
        self.spec
    }
}

/// Where to listen, and where that can be reached.
fn of_address(address: Option<SocketAddr>) -> impl Iterator<Item = (String, String)> {
    let variables = |address: SocketAddr| {
        [
            ("PORT".to_owned(), address.port().to_string()),
            ("HYTHE_ADDRESS".to_owned(), address.to_string()),
        ]
    };
    address.into_iter().flat_map(variables)
}

/// The workload's environment with what Hythe adds. Without an address `PORT` stays what the workload says.
pub(crate) fn environment(
    unit: &Unit,
    workload: &Workload,
    address: Option<SocketAddr>,
    gateway_url: &str,
) -> BTreeMap<String, String> {
    let mut environment = workload.environment.clone();
    let added = [
        ("HYTHE_INSTANCE", unit.id.to_string()),
        ("HYTHE_SERVICE", unit.service.to_string()),
        ("HYTHE_GATEWAY_URL", gateway_url.to_owned()),
        ("NODE_APP_INSTANCE", unit.slot.to_string()),
    ];
    environment.extend(added.map(|(name, value)| (name.to_owned(), value)));
    environment.extend(of_address(address));
    environment
}
