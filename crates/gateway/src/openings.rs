//! Opens and closes listeners of the desired state while the gateway runs.
//!
//! What cannot be opened is told and tried again; nothing else waits for it. A listener whose settings
//! change but not its address goes on with the same sockets, so nobody is refused in between. The connections
//! of one that is closed or changed finish what they do and end; those of the others are not touched.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hythe_model::{ClientVerify, Desired, FullName, Listener, Name};
use hythe_spine::{Ending, Latest, Publisher, Shutdown, latest};

use crate::listener::{self, ClientRules, ListenerPlan, Listeners, Listening, OpenListeners};
use crate::snapshot::Problem;
use crate::sockets::Adopted;

/// Time to the next try for an address that could not be opened.
pub(crate) const RETRY: Duration = Duration::from_secs(1);

/// The listeners that are open, and what opens more.
pub(crate) struct Openings {
    workers: usize,
    shutdown: Shutdown,
    /// Sockets of an earlier server that nobody has asked for yet.
    adopted: Adopted,
    /// Those of the node itself.
    fixed: Vec<Arc<Listening>>,
    desired: BTreeMap<FullName, Opened>,
    publisher: Publisher<OpenListeners>,
}

/// A listener of the desired state, open.
struct Opened {
    wanted: ListenerPlan,
    listening: Arc<Listening>,
    _open_while: Ending,
}

impl Openings {
    /// Opens what the node itself listens on; those of the desired state come with [`Openings::follow`].
    pub(crate) fn new(
        listeners: Listeners,
        workers: usize,
        shutdown: Shutdown,
    ) -> (Self, Latest<OpenListeners>) {
        let (fixed, adopted) = listeners.open(&shutdown);
        let (publisher, open) = latest(OpenListeners { list: fixed.clone() });
        let openings = Self {
            workers,
            shutdown,
            adopted,
            fixed,
            desired: BTreeMap::new(),
            publisher,
        };
        (openings, open)
    }

    /// Opens and closes until what is desired is open, as far as it can be; tells what cannot.
    pub(crate) fn follow(&mut self, desired: &Desired) -> Vec<Problem> {
        let before = self.open();
        let wanted: BTreeMap<&FullName, ListenerPlan> = desired
            .listeners
            .iter()
            .map(|(name, entry)| (name, plan(name, &entry.spec)))
            .collect();
        self.desired.retain(|name, opened| {
            wanted
                .get(name)
                .is_some_and(|wanted| opened.has_sockets_of(wanted))
        });
        let mut problems = Vec::new();
        // Whoever had an address before has it again, whatever the others are called.
        let (known, new): (Vec<_>, Vec<_>) = wanted
            .into_iter()
            .partition(|(_, plan)| self.adopted.has(&plan.kept_as(), plan.address));
        for (name, wanted) in known.into_iter().chain(new) {
            if let Err(message) = self.open_one(name, wanted) {
                problems.push(Problem {
                    kind: "listener",
                    name: name.to_string(),
                    message,
                });
            }
        }
        let now = self.open();
        if !is_same(&before, &now) {
            self.publisher.publish(OpenListeners { list: now });
        }
        problems
    }

    /// Lets sockets of an earlier server go that nothing desired listens with.
    pub(crate) fn forget_adopted(&mut self) {
        self.adopted = Adopted::default();
    }

    fn open(&self) -> Vec<Arc<Listening>> {
        let desired = self.desired.values().map(|opened| &opened.listening);
        self.fixed.iter().chain(desired).map(Arc::clone).collect()
    }

    fn open_one(&mut self, name: &FullName, wanted: ListenerPlan) -> Result<(), String> {
        let known = self.desired.get(name);
        if known.is_some_and(|known| known.wanted == wanted) {
            return Ok(());
        }
        let (plan, sockets) = match known {
            Some(known) => known.listening.with_settings_of(&wanted),
            None => listener::bind(&wanted, self.workers, &mut self.adopted)
                .map_err(|error| self.in_words(&wanted, &error))?,
        };
        let (open_while, shutdown) = self.shutdown.of_part();
        let listening = Arc::new(Listening::new(plan, sockets, shutdown));
        tracing::info!(listener = %name, address = %listening.plan.address, "listening");
        let opened = Opened {
            wanted,
            listening,
            _open_while: open_while,
        };
        self.desired.insert(name.clone(), opened);
        Ok(())
    }

    fn in_words(&self, wanted: &ListenerPlan, error: &listener::BindError) -> String {
        let there = self.open().into_iter().find(|other| {
            other.plan.address == wanted.address && other.plan.transport() == wanted.transport()
        });
        let reason = match there {
            Some(other) => format!("the listener `{}` is there", other.plan.name),
            None => error.source.to_string(),
        };
        format!("cannot listen on {}: {reason}", wanted.address)
    }
}

impl Opened {
    /// Whether its sockets are those that `wanted` needs.
    fn has_sockets_of(&self, wanted: &ListenerPlan) -> bool {
        self.wanted.address == wanted.address && self.wanted.transport() == wanted.transport()
    }
}

pub(crate) fn plan(name: &FullName, spec: &Listener) -> ListenerPlan {
    let authority = |authority: &Name| FullName::new(name.project.clone(), authority.clone());
    let clients = || ClientRules {
        authorities: spec.client_ca.iter().map(authority).collect(),
        required: spec.client_verify == ClientVerify::Required,
        depth: spec.client_verify_depth,
    };
    ListenerPlan {
        name: name.to_string(),
        address: spec.listen,
        protocol: spec.protocol,
        http2: spec.http2,
        proxy_protocol: spec.proxy_protocol,
        clients: (!spec.client_ca.is_empty()).then(clients),
    }
}

fn is_same(left: &[Arc<Listening>], right: &[Arc<Listening>]) -> bool {
    left.len() == right.len()
        && left
            .iter()
            .zip(right)
            .all(|(left, right)| Arc::ptr_eq(left, right))
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};

    use hythe_model::Entry;
    use hythe_spine::Spine;

    use super::*;

    struct Fixture {
        openings: Openings,
        open: Latest<OpenListeners>,
        desired: Desired,
    }

    impl Fixture {
        fn new() -> Self {
            let (openings, open) = Openings::new(Listeners::default(), 2, Spine::default().shutdown());
            Self {
                openings,
                open,
                desired: Desired::default(),
            }
        }

        fn want(&mut self, name: &str, change: impl FnOnce(&mut Listener)) {
            let name: FullName = name.parse().unwrap();
            let map = Arc::make_mut(&mut self.desired.listeners);
            let mut spec = map.get(&name).map_or_else(
                || Listener::at(SocketAddr::from(([127, 0, 0, 1], 0))),
                |entry| entry.spec.clone(),
            );
            change(&mut spec);
            let entry = Entry {
                uid: String::new(),
                generation: 1,
                created_at: 0,
                spec,
            };
            map.insert(name, Arc::new(entry));
        }

        fn follow(&mut self) -> Vec<String> {
            let problems = self.openings.follow(&self.desired);
            problems.iter().map(ToString::to_string).collect()
        }

        fn listening(&self, name: &str) -> Arc<Listening> {
            let open = self.open.get();
            let found = open.list.iter().find(|listening| listening.plan.name == name);
            Arc::clone(found.unwrap())
        }
    }

    #[test]
    fn a_listener_opens_changes_in_place_and_closes() {
        let mut fixture = Fixture::new();
        fixture.want("a", |_| ());
        fixture.want("b", |_| ());
        assert_eq!(fixture.follow(), [""; 0]);
        let (first, other) = (fixture.listening("a"), fixture.listening("b"));

        fixture.want("a", |spec| spec.http2 = false);
        assert_eq!(fixture.follow(), [""; 0]);
        let second = fixture.listening("a");
        assert_eq!(second.plan.address, first.plan.address);
        assert!(first.plan.http2 && !second.plan.http2);
        assert!(first.shutdown.is_requested() && !second.shutdown.is_requested());
        assert!(Arc::ptr_eq(&other, &fixture.listening("b")));

        let address = second.plan.address;
        Arc::make_mut(&mut fixture.desired.listeners).remove(&"a".parse().unwrap());
        assert_eq!(fixture.follow(), [""; 0]);
        assert!(second.shutdown.is_requested() && !other.shutdown.is_requested());
        assert_eq!(fixture.open.get().list.len(), 1);
        drop((first, second));
        TcpListener::bind(address).unwrap();
    }

    #[test]
    fn what_is_taken_is_told_and_opened_later() {
        let mut fixture = Fixture::new();
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        fixture.want("a", |spec| spec.listen = address);
        fixture.want("b", |_| ());
        let problems = fixture.follow();
        let expected = format!("listener `a`: cannot listen on {address}: ");
        assert!(
            problems.len() == 1 && problems[0].starts_with(&expected),
            "{problems:?}"
        );
        assert_eq!(fixture.open.get().list.len(), 1);
        drop(taken);
        assert_eq!(fixture.follow(), [""; 0]);
        assert_eq!(fixture.listening("a").plan.address, address);

        fixture.want("c", |spec| spec.listen = address);
        let expected = format!("listener `c`: cannot listen on {address}: the listener `a` is there");
        assert_eq!(fixture.follow(), [expected]);
    }

    #[test]
    fn nothing_is_published_when_nothing_changed() {
        let mut fixture = Fixture::new();
        fixture.want("a", |_| ());
        fixture.follow();
        let before = fixture.open.get();
        fixture.follow();
        assert!(Arc::ptr_eq(&before, &fixture.open.get()));
    }
}
