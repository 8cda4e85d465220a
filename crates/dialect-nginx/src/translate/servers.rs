//! `server`: which requests it takes, by address and name, before its locations are asked.
//!
//! nginx decides on a server first, and a request that finds no location there gets a 404. Here the routes of all
//! servers of a listener stand in one order, in which a host beats every path. So a server with names is bound to them,
//! the default server of an address to none; and where one of several servers has no location for everything, it gets
//! a route that answers 404, as otherwise the default server's would take the request.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::clients::{self, Asked};
use super::scope::Scope;
use super::{Draft, free, name_of};
use crate::tree::Directive;
use crate::value;
use crate::yaml::{MapOf, Yaml};

/// A server and where it answers.
pub(super) struct Server<'a> {
    pub(super) directive: &'a Directive,
    pub(super) scope: Scope<'a>,
    /// For names of routes.
    pub(super) label: String,
    addresses: Vec<Spot<'a>>,
    exact: Vec<&'a str>,
    wildcards: Vec<String>,
    /// Whether TLS is spoken on one of its addresses.
    pub(super) speaks_tls: bool,
    /// Whether on one of them clients are not asked for certificates.
    pub(super) is_unguarded: bool,
}

/// An address of a server.
struct Spot<'a> {
    address: SocketAddr,
    role: Role,
    /// What says so, if anything does.
    listen: Option<&'a Directive>,
}

/// An address with what its servers say of it together. nginx: what one `listen` says of an address holds for all.
struct Door<'a> {
    address: SocketAddr,
    tls: bool,
    proxy_protocol: bool,
    /// What clients are asked for, where all servers agree on it.
    asks: Option<Asked<'a>>,
}

/// What a server is on one of its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Nobody else is there.
    Alone,
    /// It takes the requests that name no other.
    Default,
    /// It takes requests for its names.
    Named,
}

/// What the routes of a server are bound to.
#[derive(Clone)]
pub(super) struct Binding {
    pub(super) hosts: Vec<String>,
    pub(super) listeners: Vec<String>,
}

impl<'a> Draft<'a> {
    pub(super) fn servers(&mut self, http: &'a Directive) {
        let mut servers: Vec<Server<'a>> = http
            .all("server")
            .map(|server| self.server(http, server))
            .collect();
        choose_defaults(&mut servers);
        let doors = doors(&servers);
        for server in &mut servers {
            server.stand_behind(&doors);
        }
        for server in &servers {
            if server.speaks_tls {
                self.certificates_of(server, server.answers_for_others());
                self.versions(server);
            }
            let listeners = self.listen(server, &doors);
            let bindings = server.bindings(&listeners);
            self.locations(server, &bindings);
        }
    }

    fn server(&mut self, http: &'a Directive, server: &'a Directive) -> Server<'a> {
        let mut addresses = Vec::new();
        for listen in server.all("listen") {
            match value::listen(listen.arg(0)) {
                Ok(Some(address)) => addresses.push(Spot::new(address, Some(listen))),
                Ok(None) => self.not_applied(listen, "requests come in by TCP"),
                Err(why) => self.not_applied(listen, why),
            }
        }
        if server.all("listen").next().is_none() {
            addresses.push(Spot::new(SocketAddr::from(([0, 0, 0, 0], 80)), None));
        }
        let mut exact = Vec::new();
        let mut wildcards = Vec::new();
        for names in server.all("server_name") {
            for name in names.args.iter().map(String::as_str) {
                if name.starts_with('~') {
                    self.not_applied(names, "hosts are matched by name or wildcard, not by regex");
                } else if let Some(rest) = name.strip_prefix('.') {
                    exact.push(rest);
                    wildcards.push(format!("*.{rest}"));
                } else if name.contains('*') {
                    wildcards.push(name.to_owned());
                } else if is_host(name) {
                    exact.push(name);
                }
            }
        }
        let first = exact.first().copied().or(wildcards.first().map(String::as_str));
        Server {
            label: name_of(first.unwrap_or("default")),
            directive: server,
            scope: Scope::of(http).inside(server),
            addresses,
            exact,
            wildcards,
            speaks_tls: false,
            is_unguarded: false,
        }
    }

    /// Which versions of TLS are spoken is not chosen here.
    fn versions(&mut self, server: &Server<'a>) {
        if let Some(protocols) = server.scope.get("ssl_protocols") {
            let both = ["TLSv1.2", "TLSv1.3"];
            if both
                .iter()
                .any(|version| !protocols.args.iter().any(|given| given == version))
            {
                self.not_applied(protocols, "TLS 1.2 and 1.3 are spoken, and nothing older");
            }
        }
    }

    /// The names of the listeners of a server's addresses.
    fn listen(&mut self, server: &Server<'a>, doors: &[Door<'a>]) -> Vec<String> {
        let mut names = Vec::new();
        for spot in &server.addresses {
            if let Some(listen) = spot.listen.filter(|listen| listen.says("quic")) {
                self.not_applied(listen, "HTTP/3 is not spoken");
            }
            let door = doors.iter().find(|door| door.address == spot.address);
            names.extend(door.map(|door| self.listener(door)));
        }
        names
    }

    fn listener(&mut self, door: &Door<'a>) -> String {
        let address = door.address;
        let text = address.to_string();
        let known = self
            .listeners
            .iter()
            .find(|(_, listener)| listens_on(listener, &text));
        if let Some((name, _)) = known {
            return name.clone();
        }
        let protocol = if door.tls { "https" } else { "http" };
        let asking = self.asking(door.asks.as_ref());
        let listener = MapOf::default()
            .with("listen", Yaml::Text(text))
            .with_some("protocol", door.tls.then(|| Yaml::text("https")))
            .with_some("proxy_protocol", door.proxy_protocol.then_some(Yaml::Flag(true)))
            .with_all(asking);
        let wanted = match address.ip() {
            ip if ip.is_unspecified() => format!("{protocol}-{}", address.port()),
            ip => name_of(&format!("{protocol}-{ip}-{}", address.port())),
        };
        let taken: Vec<&str> = self.listeners.iter().map(|(name, _)| name.as_str()).collect();
        let name = free(&wanted, &taken);
        self.listeners.push((name.clone(), listener.done()));
        name
    }
}

fn listens_on(listener: &Yaml, address: &str) -> bool {
    match listener {
        Yaml::Map(entries) => entries
            .iter()
            .any(|(key, value)| key == "listen" && *value == Yaml::text(address)),
        _ => false,
    }
}

/// Names such as `_` and the empty one are written to match nothing.
fn is_host(name: &str) -> bool {
    !name.is_empty() && name != "_" && !name.contains(['!', '@', '#', '$', '/'])
}

fn addresses(servers: &[Server<'_>]) -> BTreeSet<SocketAddr> {
    let spots = servers.iter().flat_map(|server| &server.addresses);
    spots.map(|spot| spot.address).collect()
}

/// What the servers of each address say of it.
fn doors<'a>(servers: &[Server<'a>]) -> Vec<Door<'a>> {
    let door = |address| {
        let here = servers.iter().filter(|server| server.is_at(address));
        let here: Vec<&Server<'a>> = here.collect();
        let tls = here.iter().any(|server| server.says_tls(address));
        let of_all = clients::agreed(here.iter().map(|server| &server.scope));
        Door {
            address,
            tls,
            proxy_protocol: here
                .iter()
                .any(|server| server.says_at(address, "proxy_protocol")),
            asks: of_all.filter(|_| tls),
        }
    };
    addresses(servers).into_iter().map(door).collect()
}

/// Which server of each address takes the requests that name no other.
fn choose_defaults(servers: &mut [Server<'_>]) {
    for address in addresses(servers) {
        let here = |server: &Server<'_>| server.is_at(address);
        let says_so = |server: &Server<'_>| {
            let mut listens = server.directive.all("listen");
            listens.any(|listen| {
                crate::check::is_default(listen) && value::listen(listen.arg(0)) == Ok(Some(address))
            })
        };
        if servers.iter().filter(|server| here(server)).count() < 2 {
            continue;
        }
        let default = servers.iter().position(says_so).or(servers.iter().position(here));
        for (index, server) in servers.iter_mut().enumerate() {
            let role = if Some(index) == default {
                Role::Default
            } else {
                Role::Named
            };
            let spots = server.addresses.iter_mut();
            for spot in spots.filter(|spot| spot.address == address) {
                spot.role = role;
            }
        }
    }
}

impl<'a> Spot<'a> {
    fn new(address: SocketAddr, listen: Option<&'a Directive>) -> Self {
        Self {
            address,
            role: Role::Alone,
            listen,
        }
    }
}

impl Server<'_> {
    fn is_at(&self, address: SocketAddr) -> bool {
        self.addresses.iter().any(|spot| spot.address == address)
    }

    /// Whether its `listen` for this address has this word.
    fn says_at(&self, address: SocketAddr, word: &str) -> bool {
        let mut here = self.addresses.iter().filter(|spot| spot.address == address);
        here.any(|spot| spot.listen.is_some_and(|listen| listen.says(word)))
    }

    fn says_tls(&self, address: SocketAddr) -> bool {
        self.says_at(address, "ssl") || self.directive.last("ssl").is_some_and(|ssl| ssl.arg(0) == "on")
    }

    /// Learns what holds at its addresses.
    fn stand_behind(&mut self, doors: &[Door<'_>]) {
        let own = doors.iter().filter(|door| door.tls && self.is_at(door.address));
        let own: Vec<&Door<'_>> = own.collect();
        self.speaks_tls = !own.is_empty();
        self.is_unguarded = own.iter().any(|door| door.asks.is_none());
    }

    /// Whether it takes the requests of an address that name nobody.
    fn answers_for_others(&self) -> bool {
        self.addresses.iter().any(|spot| spot.role != Role::Named)
    }

    /// What a certificate is shown for: names, and wildcards for what stands before.
    pub(super) fn names_of_certificate(&self) -> impl Iterator<Item = String> {
        let exact = self.exact.iter().map(|name| name.to_ascii_lowercase());
        let wildcards = self.wildcards.iter().filter(|name| name.starts_with("*."));
        exact.chain(wildcards.map(|name| name.to_ascii_lowercase()))
    }

    /// Whether there are others on one of its addresses.
    pub(super) fn has_neighbours(&self) -> bool {
        self.addresses.iter().any(|spot| spot.role != Role::Alone)
    }

    /// What its routes are bound to, by the names of its listeners in the order of its addresses: routes with a
    /// wildcard host come after those without, so both kinds are kept apart.
    fn bindings(&self, listeners: &[String]) -> Vec<Binding> {
        let on = |wanted: fn(Role) -> bool| -> Vec<String> {
            let roles = self.addresses.iter().map(|spot| spot.role);
            let all = listeners.iter().zip(roles);
            all.filter(|(_, role)| wanted(*role))
                .map(|(name, _)| name.clone())
                .collect()
        };
        let exact: Vec<String> = self.exact.iter().map(|name| (*name).to_owned()).collect();
        let by_name = on(|role| role != Role::Alone);
        let by_default = on(|role| role != Role::Named);
        let of = |hosts, listeners: &[String]| Binding {
            hosts,
            listeners: listeners.to_vec(),
        };
        [of(exact, &by_name), of(self.wildcards.clone(), &by_name)]
            .into_iter()
            .filter(|binding| !binding.hosts.is_empty())
            .chain([of(Vec::new(), &by_default)])
            .filter(|binding| !binding.listeners.is_empty())
            .collect()
    }
}
