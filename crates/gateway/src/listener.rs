//! Listeners: what each one is, and the sockets it has.
//!
//! Those that the node is told itself are bound eagerly, before anything else happens, and stay until the
//! end ([`Listeners::bind`]). A listener has a socket for each worker, and the kernel spreads connections
//! over them. Sockets are kept over the server's life by somebody who lives longer, so that connections wait
//! in them and are served by the next server.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use hythe_model::{FullName, ListenerProtocol};
use hythe_spine::Shutdown;
use socket2::Socket;

use crate::sockets::{self, Adopted, KeptSocket, Neighbours, Transport};

/// What a listener is, as everybody needs to know who serves its connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerPlan {
    /// What routes call it: `http`, or `shop.internal` for one of the project `shop`.
    pub name: String,
    /// Where it listens. Port 0: any free one, which stands here once it is bound.
    pub address: SocketAddr,
    /// What is spoken.
    pub protocol: ListenerProtocol,
    /// Whether HTTP/2 is spoken beside HTTP/1.1.
    pub http2: bool,
    /// Whether every connection begins with a header of the PROXY protocol.
    pub proxy_protocol: bool,
    /// Which certificates clients show, where TLS ends here; `None`: they are not asked.
    pub clients: Option<ClientRules>,
}

/// Which certificates the clients of a listener show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientRules {
    /// The authorities that vouch for them.
    pub authorities: Vec<FullName>,
    /// Whether a client that shows none is turned away.
    pub required: bool,
    /// The most authorities between a certificate and one of these.
    pub depth: Option<u8>,
}

/// A listener that is open, with its sockets.
#[derive(Debug)]
pub struct Listening {
    /// What it is.
    pub plan: ListenerPlan,
    /// Fires when it is closed or the server stops: its connections finish what they do and end.
    pub(crate) shutdown: Shutdown,
    sockets: Arc<[Socket]>,
}

/// A listener as the connections of one worker hold it: counted on that thread only.
pub(crate) type LocalListening = Rc<Arc<Listening>>;

/// The listeners that are bound from the beginning to the end, and sockets of an earlier server that none of
/// them uses.
#[derive(Debug, Default)]
pub struct Listeners {
    bound: Vec<(ListenerPlan, Arc<[Socket]>)>,
    adopted: Adopted,
}

/// Every listener that is open.
#[derive(Debug, Default)]
pub struct OpenListeners {
    /// In no particular order; one that did not change is the same `Arc` in the next state.
    pub list: Vec<Arc<Listening>>,
}

/// An address that could not be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} (gateway)")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// Why; `AddrInUse` when somebody else has it.
    #[source]
    pub source: io::Error,
}

impl ListenerPlan {
    /// A listener for HTTP in clear with the defaults.
    pub fn http(address: SocketAddr) -> Self {
        Self {
            name: "http".to_owned(),
            address,
            protocol: ListenerProtocol::Http,
            http2: true,
            proxy_protocol: false,
            clients: None,
        }
    }

    /// Whether TLS ends here.
    pub fn tls(&self) -> bool {
        self.protocol.is_tls()
    }

    /// What its kept sockets are called: letters, digits and `-`, 64 at most.
    pub fn kept_as(&self) -> String {
        let transport = match self.transport() {
            Transport::Tcp => "",
            Transport::Udp => "udp-",
        };
        let plain = |letter: char| {
            if letter.is_ascii_alphanumeric() {
                letter
            } else {
                '-'
            }
        };
        transport
            .chars()
            .chain(self.name.chars().map(plain))
            .take(64)
            .collect()
    }

    /// Who else may listen at its port. The instances of a service that is served at the port it was written for have it
    /// at loopback addresses of their own.
    fn neighbours(&self) -> Neighbours {
        match self.protocol {
            ListenerProtocol::Auto => Neighbours::OwnAddresses,
            _ => Neighbours::None,
        }
    }

    pub(crate) fn transport(&self) -> Transport {
        match self.protocol {
            ListenerProtocol::Udp => Transport::Udp,
            _ => Transport::Tcp,
        }
    }
}

impl Listeners {
    /// Binds `plans` with `workers` sockets each. Sockets in `adopted` that an earlier server listened with are
    /// used first: connections may wait in them.
    ///
    /// # Errors
    /// The first address that is taken or may not be used; nothing stays bound then.
    pub fn bind(plans: &[ListenerPlan], workers: usize, adopted: Vec<KeptSocket>) -> Result<Self, BindError> {
        let mut listeners = Self {
            bound: Vec::new(),
            adopted: Adopted::new(adopted),
        };
        for plan in plans {
            let bound = bind(plan, workers, &mut listeners.adopted)?;
            listeners.bound.push(bound);
        }
        Ok(listeners)
    }

    /// What is bound.
    pub fn plans(&self) -> impl Iterator<Item = &ListenerPlan> {
        self.bound.iter().map(|(plan, _)| plan)
    }

    /// Opens what is bound, until `shutdown`.
    pub(crate) fn open(self, shutdown: &Shutdown) -> (Vec<Arc<Listening>>, Adopted) {
        let open = |(plan, sockets)| Arc::new(Listening::new(plan, sockets, shutdown.clone()));
        (self.bound.into_iter().map(open).collect(), self.adopted)
    }
}

impl Listening {
    pub(crate) fn new(plan: ListenerPlan, sockets: Arc<[Socket]>, shutdown: Shutdown) -> Self {
        Self {
            plan,
            shutdown,
            sockets,
        }
    }

    /// The same sockets for other settings.
    pub(crate) fn with_settings_of(&self, wanted: &ListenerPlan) -> (ListenerPlan, Arc<[Socket]>) {
        let plan = ListenerPlan {
            address: self.plan.address,
            ..wanted.clone()
        };
        (plan, Arc::clone(&self.sockets))
    }

    /// Every socket with its number, to be kept by somebody who lives longer.
    pub fn sockets(&self) -> impl Iterator<Item = (usize, &Socket)> {
        self.sockets.iter().enumerate()
    }

    /// The sockets of one worker: every socket has one, also when there are more sockets than workers.
    pub(crate) fn share(&self, worker: usize, workers: usize) -> impl Iterator<Item = (usize, &Socket)> {
        self.sockets()
            .filter(move |(number, _)| number % workers.max(1) == worker)
    }
}

/// Binds one listener, which has the address it got.
pub(crate) fn bind(
    plan: &ListenerPlan,
    workers: usize,
    adopted: &mut Adopted,
) -> Result<(ListenerPlan, Arc<[Socket]>), BindError> {
    let refuse = |source| BindError {
        address: plan.address,
        source,
    };
    let (address, sockets) = sockets::bind(
        &plan.kept_as(),
        plan.address,
        plan.transport(),
        plan.neighbours(),
        workers.max(1),
        adopted,
    )
    .map_err(refuse)?;
    let plan = ListenerPlan {
        address,
        ..plan.clone()
    };
    Ok((plan, sockets.into()))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use hythe_spine::Spine;

    use super::*;

    fn any() -> ListenerPlan {
        ListenerPlan::http("127.0.0.1:0".parse().unwrap())
    }

    fn opened(plans: &[ListenerPlan], workers: usize, adopted: Vec<KeptSocket>) -> Arc<Listening> {
        let listeners = Listeners::bind(plans, workers, adopted).unwrap();
        listeners.open(&Spine::default().shutdown()).0.remove(0)
    }

    fn kept(listening: &Listening) -> Vec<KeptSocket> {
        let kept = |(_, socket): (usize, &Socket)| KeptSocket {
            listener: listening.plan.kept_as(),
            socket: socket.try_clone().unwrap().into(),
        };
        listening.sockets().map(kept).collect()
    }

    #[test]
    fn each_worker_gets_a_socket_of_the_same_port() {
        let listening = opened(&[any()], 3, Vec::new());
        assert_ne!(listening.plan.address.port(), 0);
        for worker in 0..3 {
            let share: Vec<_> = listening.share(worker, 3).collect();
            let [(_, socket)] = share[..] else {
                panic!("{share:?}")
            };
            let address = socket.local_addr().unwrap().as_socket().unwrap();
            assert_eq!(address, listening.plan.address);
        }
    }

    #[test]
    fn a_taken_port_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = Listeners::bind(&[ListenerPlan::http(address)], 2, Vec::new()).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&address.to_string()));
    }

    #[test]
    fn adopted_sockets_are_all_used() {
        let first = opened(&[any()], 4, Vec::new());
        let plan = first.plan.clone();
        let kept = kept(&first);
        drop(first);
        let again = opened(&[plan], 2, kept);
        let shares = [again.share(0, 2).count(), again.share(1, 2).count()];
        assert_eq!(shares, [2, 2]);
    }

    #[test]
    fn any_port_is_the_one_the_listener_had() {
        let named = |name: &str| ListenerPlan {
            name: name.to_owned(),
            ..any()
        };
        let (first, second) = (
            opened(&[named("shop.a")], 1, Vec::new()),
            opened(&[named("b")], 1, Vec::new()),
        );
        let kept = kept(&first).into_iter().chain(kept(&second)).collect();
        let listeners = Listeners::bind(&[named("b"), named("shop.a")], 1, kept).unwrap();
        let addresses: Vec<_> = listeners.plans().map(|plan| plan.address).collect();
        assert_eq!(addresses, [second.plan.address, first.plan.address]);
    }

    #[test]
    fn a_tcp_socket_is_not_adopted_for_udp() {
        let first = opened(&[any()], 1, Vec::new());
        let kept = kept(&first);
        let udp = ListenerPlan {
            protocol: ListenerProtocol::Udp,
            ..first.plan.clone()
        };
        let again = opened(&[udp], 1, kept);
        let (_, socket) = again.sockets().next().unwrap();
        assert_eq!(socket.r#type().unwrap(), socket2::Type::DGRAM);
    }
}
