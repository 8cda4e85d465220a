//! Where the gateway listens besides the addresses a node is told itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::name::Name;

/// An address the gateway listens on, opened and closed while it runs. Every node that shares the store
/// listens there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Address and port.
    pub listen: SocketAddr,
    /// What is spoken.
    #[serde(default)]
    pub protocol: ListenerProtocol,
    /// Whether HTTP/2 is spoken beside HTTP/1.1 (for `http`: by prior knowledge).
    #[serde(default = "yes")]
    pub http2: bool,
    /// Whether every connection begins with a header of the PROXY protocol, version 1 or 2.
    #[serde(default)]
    pub proxy_protocol: bool,
    /// The service that everything that comes here goes to, in the same project, whatever routes say. The protocols
    /// below HTTP need one.
    #[serde(default)]
    pub service: Option<Name>,
    /// For `tls` and `tls_passthrough`: the services of connections whose clients ask for these names (SNI):
    /// exact, or `*.example.com` for one label. All others go to `service`, or are ended if there is none.
    #[serde(default)]
    pub snis: BTreeMap<String, Name>,
    /// For `tcp`, `tls` and `tls_passthrough`: tell the service whose connection it is, by a header of the PROXY protocol.
    #[serde(default)]
    pub send_proxy_protocol: Option<ProxyProtocol>,
    /// For `https` and `tls`: the authorities that vouch for clients, in the same project. None: clients are not asked
    /// for a certificate.
    #[serde(default)]
    pub client_ca: Vec<Name>,
    /// Whether a client without a certificate is turned away.
    #[serde(default)]
    pub client_verify: ClientVerify,
    /// The most authorities between a client's certificate and one of `client_ca`. `None`: six, the most there can be.
    #[serde(default)]
    pub client_verify_depth: Option<u8>,
    /// Silence that ends a connection or session below HTTP, in both directions. 10 minutes (nginx:
    /// `proxy_timeout`).
    #[serde(default = "ten_minutes")]
    pub idle_timeout_ms: u64,
    /// For `udp`: datagrams that answer one of the client's; a session that got them ends. `None`: any
    /// number, until it is idle (nginx: `proxy_responses`).
    #[serde(default)]
    pub responses: Option<u32>,
    /// Labels for people and tools.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// Whether clients must show a certificate; one that is shown is verified always (nginx: `ssl_verify_client`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientVerify {
    /// They must.
    #[default]
    Required,
    /// They may.
    Optional,
}

/// A version of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocol {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// What is spoken on a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListenerProtocol {
    /// HTTP in clear.
    #[default]
    Http,
    /// HTTP over TLS.
    Https,
    /// Connections passed on as they are.
    Tcp,
    /// TLS, ended here and passed on in clear.
    Tls,
    /// TLS, passed on as it is to the service of the name that the client asks for.
    #[serde(rename = "tls_passthrough")]
    TlsPassthrough,
    /// Datagrams.
    Udp,
    /// HTTP in clear where a client begins with it, and any other connection passed on as it is.
    Auto,
}

impl Listener {
    /// A listener for HTTP in clear, with the defaults.
    pub fn at(listen: SocketAddr) -> Self {
        Self {
            listen,
            protocol: ListenerProtocol::Http,
            http2: yes(),
            proxy_protocol: false,
            service: None,
            snis: BTreeMap::new(),
            send_proxy_protocol: None,
            client_ca: Vec::new(),
            client_verify: ClientVerify::default(),
            client_verify_depth: None,
            idle_timeout_ms: ten_minutes(),
            responses: None,
            tags: Vec::new(),
        }
    }
}

impl ListenerProtocol {
    /// All there are, in words.
    pub const WORDS: [&'static str; 7] = ["http", "https", "tcp", "tls", "tls_passthrough", "udp", "auto"];

    /// The protocol of a word.
    pub fn of_word(word: &str) -> Option<Self> {
        Some(match word {
            "http" => Self::Http,
            "https" => Self::Https,
            "tcp" => Self::Tcp,
            "tls" => Self::Tls,
            "tls_passthrough" => Self::TlsPassthrough,
            "udp" => Self::Udp,
            "auto" => Self::Auto,
            _ => return None,
        })
    }

    /// Whether requests are routed, rather than connections passed on.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }

    /// Whether TLS ends here.
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::Tls)
    }

    /// Whether connections can be told apart by the name that their clients ask for.
    pub fn has_names(self) -> bool {
        matches!(self, Self::Tls | Self::TlsPassthrough)
    }
}

impl std::fmt::Display for ListenerProtocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::TlsPassthrough => "tls_passthrough",
            Self::Udp => "udp",
            Self::Auto => "auto",
        })
    }
}

fn yes() -> bool {
    true
}

fn ten_minutes() -> u64 {
    600_000
}
