//! Questions to the DNS, and to `/etc/hosts` before it.
//!
//! Order and sources are those of `files dns` in `nsswitch.conf`, which is not read itself: `/etc/hosts` first
//! (each time anew, it is small and may change), then the servers, search domains and options of
//! `/etc/resolv.conf` as they were at the start. Without servers only the file answers. `localhost` is this machine
//! whatever the file says (RFC 6761). Answers that were cut off are asked for again over TCP. Nothing is cached
//! here: who asks knows how long an answer is fresh.
//!
//! Left out on purpose: other sources of `nsswitch.conf` (mDNS, LDAP), DNSSEC, encrypted DNS.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::{Hosts, TokioResolver};

use crate::names::{Found, LookUp, Miss, Place};

/// How long an answer of `/etc/hosts` is believed.
const FILE_IS_FRESH: Duration = Duration::from_secs(10);
/// Time for one server's answer; there are two tries.
const PATIENCE: Duration = Duration::from_secs(2);
/// More records of a name than this are not looked at.
const MOST_RECORDS: usize = 256;

/// Who is asked. Clones are handles on the same.
#[derive(Clone)]
pub(crate) struct Dns {
    /// `None`: there are no servers.
    resolver: Option<TokioResolver>,
}

impl Dns {
    /// With these servers; without any, with those of the system.
    pub(crate) fn new(servers: &[SocketAddr]) -> Self {
        let (config, options) = if servers.is_empty() {
            of_system()
        } else {
            (of_servers(servers), ResolverOpts::default())
        };
        Self {
            resolver: resolver(config, options),
        }
    }

    async fn look_up(self, host: String) -> Result<Found, Miss> {
        if host.starts_with('_') {
            self.services(&host).await
        } else {
            self.addresses(&host).await
        }
    }

    /// IPv4 where a name has both: `localhost` is both nearly everywhere, and most programs listen on the first.
    async fn addresses(&self, host: &str) -> Result<Found, Miss> {
        if is_localhost(host) {
            return Ok(found(vec![Ipv4Addr::LOCALHOST.into()], FILE_IS_FRESH));
        }
        let name = Name::from_utf8(host).map_err(|_| Miss::new("it is no name"))?;
        if let Some(addresses) = in_hosts_file(name).await {
            return Ok(found(addresses, FILE_IS_FRESH));
        }
        let answer = match self.ask(host, RecordType::A).await {
            Err(miss) if miss.there_is_none => self.ask(host, RecordType::AAAA).await,
            answer => answer,
        }?;
        let addresses = answer.iter().filter_map(|record| record.data.ip_addr()).collect();
        Ok(found(addresses, freshness(&answer)))
    }

    /// The members that SRV records name, of the lowest priority only (Kong).
    async fn services(&self, name: &str) -> Result<Found, Miss> {
        let answer = self.ask(name, RecordType::SRV).await?;
        let records = answer.iter().filter_map(|record| match &record.data {
            RData::SRV(record) => Some(record),
            _ => None,
        });
        let first = records.clone().map(|record| record.priority).min();
        let mut all = Found {
            places: Vec::new(),
            fresh_for: freshness(&answer),
        };
        let mut lost = None;
        for record in records.filter(|record| Some(record.priority) == first) {
            match self.addresses(&record.target.to_utf8()).await {
                Ok(found) => all.join(found, record),
                Err(miss) => lost = Some(miss),
            }
        }
        match lost {
            Some(miss) if all.places.is_empty() => Err(miss),
            _ => Ok(all),
        }
    }

    async fn ask(&self, name: &str, of: RecordType) -> Result<Vec<Record>, Miss> {
        let Some(resolver) = &self.resolver else {
            return Err(Miss::new("it is not in /etc/hosts, and there is no DNS server"));
        };
        let answer = resolver.lookup(name, of).await.map_err(|error| miss(&error))?;
        let mut records: Vec<Record> = answer.answers().iter().take(MOST_RECORDS).cloned().collect();
        records.retain(|record| record.record_type() == of || record.record_type() == RecordType::CNAME);
        if records.iter().any(|record| record.record_type() == of) {
            Ok(records)
        } else {
            Err(Miss::none("it has no address", None))
        }
    }
}

impl LookUp for Dns {
    fn look_up(&self, host: String) -> impl Future<Output = Result<Found, Miss>> + Send + 'static {
        self.clone().look_up(host)
    }
}

impl Found {
    fn join(&mut self, found: Found, record: &SRV) {
        self.fresh_for = self.fresh_for.min(found.fresh_for);
        self.places.extend(found.places.into_iter().map(|place| Place {
            // A weight of 0 means hardly any, where nobody else has one (RFC 2782).
            weight: Some(record.weight.max(1)),
            port: Some(record.port).filter(|port| *port != 0),
            ..place
        }));
    }
}

fn of_system() -> (ResolverConfig, ResolverOpts) {
    hickory_resolver::system_conf::read_system_conf().unwrap_or_else(|error| {
        tracing::info!(%error, "no DNS server is known; names are looked for in /etc/hosts");
        (ResolverConfig::default(), ResolverOpts::default())
    })
}

fn of_servers(servers: &[SocketAddr]) -> ResolverConfig {
    let server = |address: &SocketAddr| {
        let mut server = NameServerConfig::udp_and_tcp(address.ip());
        for connection in &mut server.connections {
            connection.port = address.port();
        }
        server
    };
    ResolverConfig::from_parts(None, Vec::new(), servers.iter().map(server).collect())
}

fn resolver(config: ResolverConfig, mut options: ResolverOpts) -> Option<TokioResolver> {
    if config.name_servers().is_empty() {
        return None;
    }
    options.use_hosts_file = ResolveHosts::Never;
    options.cache_size = 0;
    options.timeout = PATIENCE;
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    *builder.options_mut() = options;
    builder
        .build()
        .inspect_err(|error| tracing::error!(%error, "the DNS cannot be asked"))
        .ok()
}

/// Reading the file takes little, and never a thread that others need.
async fn in_hosts_file(mut name: Name) -> Option<Vec<IpAddr>> {
    name.set_fqdn(true);
    let read = || Hosts::from_system().unwrap_or_default();
    let hosts = tokio::task::spawn_blocking(read).await.ok()?;
    let of = |of| {
        let found = hosts.lookup_static_host(&Query::query(name.to_lowercase(), of))?;
        let addresses = found.answers().iter().filter_map(|record| record.data.ip_addr());
        Some(addresses.collect::<Vec<_>>()).filter(|addresses| !addresses.is_empty())
    };
    of(RecordType::A).or_else(|| of(RecordType::AAAA))
}

fn is_localhost(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

fn found(addresses: Vec<IpAddr>, fresh_for: Duration) -> Found {
    Found {
        places: addresses.into_iter().map(Place::at).collect(),
        fresh_for,
    }
}

/// As long as the shortest of the records.
fn freshness(records: &[Record]) -> Duration {
    let shortest = records.iter().map(|record| record.ttl).min();
    Duration::from_secs(shortest.unwrap_or_default().into())
}

fn miss(error: &NetError) -> Miss {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => {
            let asked_again = none.negative_ttl.map(|ttl| Duration::from_secs(ttl.into()));
            Miss::none("no such name", asked_again)
        }
        NetError::Timeout => Miss::new("the DNS did not answer in time"),
        other => Miss::new(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use hickory_resolver::proto::op::{Message, Metadata, ResponseCode};
    use hickory_resolver::proto::rr::rdata::{A, AAAA, SOA};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, UdpSocket};

    use super::*;

    /// Sockets of both kinds at one address: that a port is free for one does not mean that it is for the other.
    async fn both_sockets() -> (UdpSocket, TcpListener) {
        loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                return (udp, tcp);
            }
        }
    }

    /// A DNS server.
    struct Server {
        address: SocketAddr,
        records: Arc<Mutex<Vec<Record>>>,
    }

    impl Server {
        /// With these records; names that begin with `cut` are only answered whole over TCP.
        async fn start(cut: &'static str, records: Vec<Record>) -> (Self, tokio::task::JoinSet<()>) {
            let (udp, tcp) = both_sockets().await;
            let address = udp.local_addr().unwrap();
            let records = Arc::new(Mutex::new(records));
            let mut tasks = tokio::task::JoinSet::new();
            let known = Arc::clone(&records);
            tasks.spawn(async move {
                let mut buffer = [0; 4096];
                loop {
                    let (length, peer) = udp.recv_from(&mut buffer).await.unwrap();
                    let answer = answer(&buffer[..length], &known, cut);
                    udp.send_to(&answer, peer).await.unwrap();
                }
            });
            let known = Arc::clone(&records);
            tasks.spawn(async move {
                loop {
                    let (mut stream, _) = tcp.accept().await.unwrap();
                    let length = stream.read_u16().await.unwrap();
                    let mut question = vec![0; length.into()];
                    stream.read_exact(&mut question).await.unwrap();
                    let answer = answer(&question, &known, "");
                    stream
                        .write_u16(u16::try_from(answer.len()).unwrap())
                        .await
                        .unwrap();
                    stream.write_all(&answer).await.unwrap();
                }
            });
            (Self { address, records }, tasks)
        }

        async fn look_up(&self, host: &str) -> String {
            shown(Dns::new(&[self.address]).look_up(host.to_owned()).await)
        }
    }

    fn answer(question: &[u8], records: &Mutex<Vec<Record>>, cut: &str) -> Vec<u8> {
        let question = Message::from_vec(question).unwrap();
        let query = question.queries[0].clone();
        let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
        answer.metadata = Metadata::response_from_request(&question.metadata);
        let name = query.name().to_string().to_lowercase();
        let records = records.lock().unwrap();
        let fits =
            |record: &&Record| record.name.to_string() == name && record.record_type() == query.query_type();
        let found: Vec<Record> = records.iter().filter(fits).cloned().collect();
        if !cut.is_empty() && name.starts_with(cut) {
            answer.metadata.truncation = true;
        } else if found.is_empty() {
            answer.metadata.response_code = ResponseCode::NXDomain;
            let root = Name::from_ascii("test.").unwrap();
            let soa = SOA::new(root.clone(), root.clone(), 1, 2, 3, 4, 7);
            answer.add_authority(Record::from_rdata(root, 7, RData::SOA(soa)));
        } else {
            answer.add_answers(found);
        }
        answer.add_query(query);
        answer.to_vec().unwrap()
    }

    fn record(name: &str, ttl: u32, data: RData) -> Record {
        Record::from_rdata(Name::from_ascii(name).unwrap(), ttl, data)
    }

    fn a(name: &str, ttl: u32, last: u8) -> Record {
        record(name, ttl, RData::A(A::new(10, 0, 0, last)))
    }

    fn srv(name: &str, priority: u16, weight: u16, port: u16, target: &str) -> Record {
        let target = Name::from_ascii(target).unwrap();
        record(name, 60, RData::SRV(SRV::new(priority, weight, port, target)))
    }

    fn shown(answer: Result<Found, Miss>) -> String {
        let place = |place: &Place| match (place.port, place.weight) {
            (None, None) => place.address.to_string(),
            (port, weight) => format!("{}:{}*{}", place.address, port.unwrap_or(0), weight.unwrap_or(0)),
        };
        match answer {
            Ok(found) => {
                let mut places: Vec<_> = found.places.iter().map(place).collect();
                places.sort();
                format!("{} for {:?}", places.join(" "), found.fresh_for)
            }
            Err(miss) => format!("{}, again {:?}", miss.why, miss.ask_again),
        }
    }

    #[tokio::test]
    async fn answers() {
        let v6 = RData::AAAA(AAAA::new(0xfd00, 0, 0, 0, 0, 0, 0, 1));
        let records = vec![
            a("two.test.", 30, 1),
            a("two.test.", 20, 2),
            record("two.test.", 5, v6.clone()),
            record("six.test.", 40, v6),
            a("cut.test.", 9, 3),
            srv("_http._tcp.test.", 1, 10, 8081, "two.test."),
            srv("_http._tcp.test.", 1, 0, 0, "cut.test."),
            srv("_http._tcp.test.", 2, 99, 1, "six.test."),
            srv("_lost._tcp.test.", 1, 1, 1, "none.test."),
        ];
        let (server, _tasks) = Server::start("cut", records).await;
        let rows = [
            ("two.test", "10.0.0.1 10.0.0.2 for 20s"),
            ("TWO.test.", "10.0.0.1 10.0.0.2 for 20s"),
            ("six.test", "fd00::1 for 40s"),
            ("cut.test", "10.0.0.3 for 9s"),
            ("none.test", "no such name, again Some(7s)"),
            (
                "_http._tcp.test",
                "10.0.0.1:8081*10 10.0.0.2:8081*10 10.0.0.3:0*1 for 9s",
            ),
            ("_lost._tcp.test", "no such name, again Some(7s)"),
            ("localhost", "127.0.0.1 for 10s"),
            ("a.localhost.", "127.0.0.1 for 10s"),
        ];
        for (host, expected) in rows {
            assert_eq!(server.look_up(host).await, expected, "{host}");
        }
        server.records.lock().unwrap()[0] = a("two.test.", 30, 9);
        assert_eq!(server.look_up("two.test").await, "10.0.0.2 10.0.0.9 for 20s");
    }

    #[tokio::test]
    async fn a_server_that_is_gone_is_a_failure() {
        let (server, mut tasks) = Server::start("", Vec::new()).await;
        tasks.shutdown().await;
        let answer = Dns::new(&[server.address]).look_up("a.test".to_owned()).await;
        assert!(answer.is_err_and(|miss| !miss.there_is_none));
    }

    #[tokio::test]
    async fn without_servers_the_hosts_file_still_answers() {
        let dns = Dns { resolver: None };
        let missing = shown(dns.clone().look_up("a.test".to_owned()).await);
        assert_eq!(
            missing,
            "it is not in /etc/hosts, and there is no DNS server, again None"
        );
        assert_eq!(
            shown(dns.look_up("localhost".to_owned()).await),
            "127.0.0.1 for 10s"
        );
    }
}
