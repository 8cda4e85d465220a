//! Listeners: where the gateway listens besides the node's own addresses.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use hythe_model::{ClientVerify, Listener, ListenerProtocol, Name, ProxyProtocol};

use crate::address;
use crate::context::Context;
use crate::draft::{Draft, Kind};
use crate::keys::{Shape, TAGS_DOC, TEXTS, Table, key};
use crate::node::{Entry, Node};
use crate::problem::Finding;
use crate::reader::Block;
use crate::reference::{self, REFERENCE};

pub(crate) static LISTENER: Table = Table {
    name: "listener",
    title: "a listener",
    doc: "An address that the gateway listens on, opened and closed while it runs.",
    interpolated: false,
    keys: &[
        key(
            "listen",
            Shape::Text,
            "`address:port`, or a port on every address. Required.",
        ),
        key(
            "protocol",
            Shape::OneOf(&ListenerProtocol::WORDS),
            "What is spoken; `tcp`, `tls` (ended here), `tls_passthrough` (ended by the service) and `udp` go to the `service` as they are. Default: `http`.",
        ),
        key(
            "http2",
            Shape::Boolean,
            "Whether `http` and `https` also speak HTTP/2. Default: `true`.",
        ),
        key(
            "proxy_protocol",
            Shape::Boolean,
            "Whether every connection begins with a header of the PROXY protocol, from a proxy in front. Default: `false`.",
        ),
        key(
            "service",
            REFERENCE,
            "Where connections or datagrams go. Required below HTTP unless there are `snis`, and only there.",
        ),
        key(
            "snis",
            Shape::Map(&REFERENCE),
            "For `tls` and `tls_passthrough`: services by the name that the client asks for: `db.example.com`, or `*.example.com` for one label. Others go to the `service`; without one, they are ended.",
        ),
        key(
            "send_proxy_protocol",
            PROXY_PROTOCOLS,
            "For `tcp`, `tls` and `tls_passthrough`: tell the service whose connection it is, by a header of the PROXY protocol.",
        ),
        key(
            "client_ca",
            TEXTS,
            "For `https` and `tls`: the CA certificates that vouch for clients, by name. Default: clients are not asked for a certificate.",
        ),
        key(
            "client_verify",
            Shape::OneOf(&["required", "optional"]),
            "Whether a client must show a certificate that one of `client_ca` vouches for, or may. Default: `required`.",
        ),
        key(
            "client_verify_depth",
            Shape::Integer(0, 64),
            "The most CA certificates between a client's and one of `client_ca`; more than 6 are never followed. Default: 6.",
        ),
        key(
            "idle_timeout",
            Shape::Duration,
            "Below HTTP: silence that ends a connection or session. Default: `10m`.",
        ),
        key(
            "responses",
            Shape::Integer(0, 4_294_967_295),
            "For `udp`: after how many answers a client's session ends. Default: when it is idle.",
        ),
        key("tags", TEXTS, TAGS_DOC),
    ],
};

/// Reads one entry of the top-level `listeners`.
pub(crate) fn read(cx: &Context<'_>, entry: &Entry, draft: &mut Draft) {
    let Some(name) = cx.accept(entry.key_span, entry.key.parse()) else {
        return;
    };
    draft.define(cx, Kind::Listener, &name, entry.key_span);
    let Some(block) = Block::open(cx, &entry.value, &LISTENER) else {
        return;
    };
    let listen = listen(&block);
    let protocol = block
        .choice("protocol")
        .and_then(ListenerProtocol::of_word)
        .unwrap_or_default();
    check_fit(&block, protocol);
    let service = reference::read(&block, "service");
    if let Some((service, span)) = &service {
        draft.refer(
            (Kind::Listener, name.clone()),
            (Kind::Service, service.clone()),
            *span,
        );
    }
    let snis = snis(&block, &name, draft);
    let client_ca = reference::list(&block, "client_ca", |authority, span| {
        let owner = (Kind::Listener, name.clone());
        draft.refer(owner, (Kind::CaCertificate, authority.clone()), span);
    });
    if let Some(node) = block.get("client_ca").filter(|_| client_ca.is_empty()) {
        let nobody =
            node.error("nobody vouches for clients: name a CA certificate, or leave `client_ca` out");
        cx.report(nobody);
    }
    let Some(listen) = listen else { return };
    if !draft.claim(format!("{listen} {}", protocol == ListenerProtocol::Udp)) {
        cx.report(
            block
                .node
                .error(format!("another listener listens on {listen} already")),
        );
    }
    let defaults = Listener::at(listen);
    draft.spec.listeners.insert(
        name,
        Listener {
            listen,
            protocol,
            http2: block.boolean("http2").unwrap_or(defaults.http2),
            proxy_protocol: block.boolean("proxy_protocol").unwrap_or(defaults.proxy_protocol),
            service: service.map(|(name, _)| name),
            snis,
            send_proxy_protocol: send_proxy_protocol(&block),
            client_ca,
            client_verify: match block.choice("client_verify") {
                Some("optional") => ClientVerify::Optional,
                _ => ClientVerify::Required,
            },
            client_verify_depth: block.integer("client_verify_depth"),
            idle_timeout_ms: block.duration("idle_timeout").unwrap_or(defaults.idle_timeout_ms),
            responses: block.integer("responses"),
            tags: block.tags(),
        },
    );
}

/// The versions of the PROXY protocol.
pub(crate) const PROXY_PROTOCOLS: Shape = Shape::OneOf(&["v1", "v2"]);

/// The one that is to be sent.
pub(crate) fn send_proxy_protocol(block: &Block<'_>) -> Option<ProxyProtocol> {
    block.choice("send_proxy_protocol").map(|version| match version {
        "v1" => ProxyProtocol::V1,
        _ => ProxyProtocol::V2,
    })
}

fn listen(block: &Block<'_>) -> Option<SocketAddr> {
    let Some(node) = block.get("listen") else {
        block.cx.report(
            block
                .node
                .error("a listener needs a `listen`: its `address:port` or port"),
        );
        return None;
    };
    let text = block.cx.text(node)?;
    let address = address::parse_listen(text, IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    block.cx.accept(node.span, address)
}

/// Services by the names that clients ask for.
fn snis(block: &Block<'_>, listener: &Name, draft: &mut Draft) -> BTreeMap<String, Name> {
    let cx = block.cx;
    let entries = block.get("snis").and_then(|node| cx.entries(node));
    let mut services = BTreeMap::new();
    for entry in entries.unwrap_or_default() {
        let name = entry.key.to_ascii_lowercase();
        if !address::is_host(name.strip_prefix("*.").unwrap_or(&name)) {
            let message = format!("`{}` is not the name of a server", entry.key);
            let finding = Finding::error(entry.key_span, message);
            cx.report(
                finding.help("write `db.example.com` or `*.example.com`; all others go to the `service`"),
            );
        }
        let Some((service, span)) = reference::of(cx, &entry.value, "service") else {
            continue;
        };
        draft.refer(
            (Kind::Listener, listener.clone()),
            (Kind::Service, service.clone()),
            span,
        );
        if services.insert(name, service).is_some() {
            let message = format!("`{}` stands here twice, but for its case", entry.key);
            cx.report(Finding::error(entry.key_span, message));
        }
    }
    services
}

/// What is said must mean something for the protocol.
fn check_fit(block: &Block<'_>, protocol: ListenerProtocol) {
    let refuse = |node: &Node, message: String| block.cx.report(node.error(message));
    let leads = block.has("service") || block.has("snis");
    if !protocol.is_http() && !leads {
        refuse(
            block.node,
            format!("a listener for `{protocol}` needs a `service` to pass on to"),
        );
    }
    let datagrams = protocol == ListenerProtocol::Udp;
    let asks = protocol.is_tls() && block.has("client_ca");
    let only: [(&str, bool, &str); 10] = [
        (
            "service",
            !protocol.is_http(),
            "requests go where routes say; bind them by their `listeners`",
        ),
        (
            "snis",
            protocol.has_names(),
            "only clients of `tls` and `tls_passthrough` ask for a name here",
        ),
        (
            "http2",
            protocol.is_http(),
            "only `http` and `https` speak HTTP/2",
        ),
        (
            "idle_timeout",
            !protocol.is_http(),
            "it is for the protocols below HTTP",
        ),
        (
            "send_proxy_protocol",
            !protocol.is_http() && !datagrams,
            "it is for `tcp`, `tls` and `tls_passthrough`",
        ),
        (
            "client_ca",
            protocol.is_tls(),
            "clients show certificates where TLS ends here (`https`, `tls`)",
        ),
        ("client_verify", asks, "it goes with `client_ca`"),
        ("client_verify_depth", asks, "it goes with `client_ca`"),
        ("responses", datagrams, "it is for `udp`"),
        ("proxy_protocol", !datagrams, "datagrams have none"),
    ];
    for (key, fits, reason) in only {
        if let Some(node) = block.get(key).filter(|_| !fits) {
            refuse(node, format!("`{key}` is not for `{protocol}`: {reason}"));
        }
    }
}
