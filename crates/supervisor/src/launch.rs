//! From a unit to what the runtime is asked to start.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use hythe_model::Workload;
use hythe_model::workload::ListensBy;

use crate::runtime::{Listens, Record, StartSpec};
use crate::unit::Unit;

/// Everything a start needs but its address, which is asked for when it is started.
#[derive(Debug)]
pub(crate) struct Launch {
    /// Whether an ended process of the same instance has to be forgotten first.
    pub(crate) again: bool,
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
            publish: workload.publish,
            ..unit.record()
        };
        let spec = StartSpec {
            command: workload.command.clone(),
            working_dir: workload.working_dir.clone(),
            environment: environment(unit, workload, None, gateway_url),
            listens: listens(workload),
            channel: workload.channel,
            limits: workload.limits.clone(),
            user: workload.user.clone(),
            record,
        };
        Some(Self {
            again: unit.restarts > 0,
            spec,
        })
    }

    /// Whose start it is.
    pub(crate) fn id(&self) -> &hythe_model::InstanceId {
        &self.spec.record.id
    }

    /// Where its program listens, as far as that is known.
    pub(crate) fn listens(&self) -> Listens {
        self.spec.listens
    }

    /// With the address it is told to listen on.
    pub(crate) fn at(mut self, address: Option<SocketAddr>) -> StartSpec {
        self.spec.environment.extend(of_address(address));
        self.spec.record.address = address;
        self.spec
    }
}

fn listens(workload: &Workload) -> Listens {
    match (workload.port, workload.listens) {
        (Some(port), ListensBy::Auto) => Listens::On {
            port,
            shared: workload.publish,
        },
        (Some(_), ListensBy::Port) => Listens::AsTold,
        (Some(port), ListensBy::Socket) => Listens::Given { port },
        (None, ListensBy::Auto) if workload.publish => Listens::Somewhere,
        (None, _) => Listens::Nowhere,
    }
}

/// What a program that inherits sockets may know them by; one service is one name.
fn of_socket(unit: &Unit, workload: &Workload) -> Option<(String, String)> {
    let is_given = matches!(listens(workload), Listens::Given { .. });
    is_given.then(|| ("LISTEN_FDNAMES".to_owned(), unit.service.to_string()))
}

/// Where to listen, and where that can be reached, if that is known.
fn of_address(address: Option<SocketAddr>) -> impl Iterator<Item = (String, String)> {
    let address = address.filter(|address| address.port() != 0);
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
    let numbered = workload.numbered.iter();
    environment
        .extend(numbered.map(|(name, first)| (name.clone(), (first + u64::from(unit.slot)).to_string())));
    environment.extend(of_socket(unit, workload));
    environment.extend(of_address(address));
    environment
}
