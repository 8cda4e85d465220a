//! HAProxy before us and behind us: the PROXY protocol, both versions, both ways.

use std::net::{Ipv4Addr, SocketAddr};

use hythe_testkit::home::Home;
use hythe_testkit::http_client::Connection;
use hythe_testkit::wait::until;

use crate::tls::Authority;
use hythe_testkit::free_address;

/// Where everybody listens.
struct Places {
    /// HAProxy for clients, which announces them in version 1 or 2 to our listener for requests, or to the one for
    /// connections.
    fronts: [SocketAddr; 3],
    /// Our listeners.
    requests: SocketAddr,
    connections: SocketAddr,
    /// HAProxy behind us, which answers with the client that it was told: in clear, and under TLS.
    behind: SocketAddr,
    behind_tls: SocketAddr,
}

impl Places {
    fn free() -> Self {
        Self {
            fronts: [free_address(), free_address(), free_address()],
            requests: free_address(),
            connections: free_address(),
            behind: free_address(),
            behind_tls: free_address(),
        }
    }

    fn haproxy(&self) -> String {
        let Self {
            fronts: [first, second, third],
            requests,
            connections,
            behind,
            behind_tls,
        } = self;
        format!(
            "defaults\n  timeout connect 10s\n  timeout client 60s\n  timeout server 60s\n  mode tcp\n\
             listen first\n  bind {first}\n  server us {requests} send-proxy\n\
             listen second\n  bind {second}\n  server us {requests} send-proxy-v2\n\
             listen third\n  bind {third}\n  server us {connections} send-proxy-v2\n\
             frontend behind\n  mode http\n  bind {behind} accept-proxy\n  \
             bind {behind_tls} accept-proxy ssl crt both.pem\n  \
             http-request return status 200 content-type text/plain lf-string %[src]\n"
        )
    }

    fn manifest(&self) -> String {
        let Self {
            requests,
            connections,
            behind,
            behind_tls,
            ..
        } = self;
        let targets = |name: &str, address: &SocketAddr, more: &str| {
            format!("  {name}:\n    targets: [{{target: '{address}'}}]\n    upstream: {{{more}}}\n")
        };
        format!(
            "services:\n  haproxy: {{command: haproxy -db -f haproxy.cfg}}\n{}{}{}  raw: {{url: 'http://{behind}'}}\n\
             listeners:\n  requests: {{listen: '{requests}', proxy_protocol: true}}\n  \
             connections: {{listen: '{connections}', protocol: tcp, service: raw, proxy_protocol: true, \
             send_proxy_protocol: v1}}\n\
             ca_certificates:\n  - {{name: authority, cert_file: authority.pem}}\n\
             routes:\n  - {{name: v1, service: v1, paths: [/v1]}}\n  - {{name: v2, service: v2, paths: [/v2]}}\n  \
             - {{name: tls, service: tls, paths: [/tls]}}\n",
            targets("v1", behind, "send_proxy_protocol: v1"),
            targets("v2", behind, "send_proxy_protocol: v2"),
            targets(
                "tls",
                behind_tls,
                "send_proxy_protocol: v2, protocol: https, host_header: behind.test, ca_certificates: [authority]"
            ),
        )
    }
}

#[test]
fn the_client_is_known_through_three_proxies() {
    let home = Home::new();
    let places = Places::free();
    let authority = Authority::new(&home, "authority");
    authority.sign(&home, "behind", "behind.test");
    let read = |file: &str| std::fs::read_to_string(home.folder().join(file)).unwrap();
    home.write("both.pem", &(read("behind.pem") + &read("behind.key")));
    home.write("haproxy.cfg", &places.haproxy());
    home.write("hythe.yaml", &places.manifest());
    home.ok(&["up", "-d"]);
    let client = Ipv4Addr::new(127, 0, 0, 77);
    let ask = |front: SocketAddr, path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
        let answer = Connection::open_from(client, front)?.exchange(&request)?;
        Ok::<_, std::io::Error>((answer.status, answer.body))
    };
    until("HAProxy serves", || {
        ask(places.fronts[0], "/v1").is_ok_and(|(status, _)| status == 200)
    });
    for front in &places.fronts[..2] {
        for path in ["/v1", "/v2", "/tls"] {
            let seen = ask(*front, path).unwrap();
            assert_eq!(seen, (200, client.to_string()), "{path} over {front}");
        }
    }
    let seen = ask(places.fronts[2], "/").unwrap();
    assert_eq!(seen, (200, client.to_string()), "below HTTP");
}
