//! Listeners: where the gateway listens besides the node's own addresses.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use hythe_model::{Listener, ListenerProtocol, ProxyProtocol};

use crate::address;
use crate::context::Context;
use crate::draft::{Draft, Kind};
use crate::keys::{Shape, TAGS_DOC, TEXTS, Table, key};
use crate::node::{Entry, Node};
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
            "What is spoken; `tcp`, `tls` (ended here) and `udp` go to the `service` as they are. Default: `http`.",
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
            "Where connections or datagrams go. Required for `tcp`, `tls` and `udp`, and only for these.",
        ),
        key(
            "send_proxy_protocol",
            Shape::OneOf(&["v1", "v2"]),
            "For `tcp` and `tls`: tell the service whose connection it is, by a header of the PROXY protocol.",
        ),
        key(
            "idle_timeout",
            Shape::Duration,
            "For `tcp`, `tls` and `udp`: silence that ends a connection or session. Default: `10m`.",
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
            send_proxy_protocol: block.choice("send_proxy_protocol").map(|version| match version {
                "v1" => ProxyProtocol::V1,
                _ => ProxyProtocol::V2,
            }),
            idle_timeout_ms: block.duration("idle_timeout").unwrap_or(defaults.idle_timeout_ms),
            responses: block.integer("responses"),
            tags: block.tags(),
        },
    );
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

/// What is said must mean something for the protocol.
fn check_fit(block: &Block<'_>, protocol: ListenerProtocol) {
    let refuse = |node: &Node, message: String| block.cx.report(node.error(message));
    if !protocol.is_http() && !block.has("service") {
        refuse(
            block.node,
            format!("a listener for `{protocol}` needs a `service` to pass on to"),
        );
    }
    let datagrams = protocol == ListenerProtocol::Udp;
    let only: [(&str, bool, &str); 6] = [
        (
            "service",
            !protocol.is_http(),
            "requests go where routes say; bind them by their `listeners`",
        ),
        (
            "http2",
            protocol.is_http(),
            "only `http` and `https` speak HTTP/2",
        ),
        (
            "idle_timeout",
            !protocol.is_http(),
            "it is for `tcp`, `tls` and `udp`",
        ),
        (
            "send_proxy_protocol",
            !protocol.is_http() && !datagrams,
            "it is for `tcp` and `tls`",
        ),
        ("responses", datagrams, "it is for `udp`"),
        ("proxy_protocol", !datagrams, "datagrams have none"),
    ];
    for (key, fits, reason) in only {
        if let Some(node) = block.get(key).filter(|_| !fits) {
            refuse(node, format!("`{key}` is not for `{protocol}`: {reason}"));
        }
    }
}
