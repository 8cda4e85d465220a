//! TLS towards clients.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, ResolvesServerCert, ServerSessionMemoryCache, WebPkiClientVerifier};

use crate::client::authorities;
use crate::depth::Shallow;
use crate::identity::IdentityError;

/// What is offered to clients by ALPN where HTTP/2 is spoken, in our order of preference.
pub(crate) const ALPN_WITH_HTTP2: &[&[u8]] = &[b"h2", b"http/1.1"];
/// What is offered where it is not.
pub(crate) const ALPN: &[&[u8]] = &[b"http/1.1"];

/// Sessions kept for clients that know no tickets.
const SESSIONS: usize = 10_240;

/// Which certificates clients show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificates {
    /// The authorities that vouch for them, in PEM. What they do not vouch for is refused.
    pub authorities: Vec<String>,
    /// Whether a client that shows none is turned away (nginx: `ssl_verify_client on`, not `optional`).
    pub required: bool,
    /// The most authorities between a certificate and one of `authorities`. `None`: the library's limit of six.
    pub depth: Option<u8>,
}

/// How TLS is spoken on listeners, by what is spoken inside. They share certificates and ticket keys, so that a
/// session begun on one is taken up on another. Those made apart share nothing: a session that was begun without a
/// certificate must not be taken up where one is required.
#[derive(Debug, Clone)]
pub struct ServerConfigs {
    /// HTTP with HTTP/2.
    pub http2: Arc<ServerConfig>,
    /// HTTP/1.1 only.
    pub http1: Arc<ServerConfig>,
    /// Anything else: no protocol is offered.
    pub stream: Arc<ServerConfig>,
}

/// Why TLS cannot be spoken so.
#[derive(Debug, thiserror::Error)]
pub enum ServerConfigError {
    /// An authority that is to vouch for clients.
    #[error("a CA certificate cannot be used")]
    Authority(#[source] IdentityError),
    /// The library refuses, or the system has no randomness.
    #[error("TLS cannot be set up")]
    Refused(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl ServerConfigs {
    /// TLS 1.2 and 1.3 with the certificates of `resolver`; `clients`: what they are asked for, if anything. Sessions are
    /// resumed by tickets, whose key changes every six hours and is never written anywhere.
    ///
    /// # Errors
    /// When the system has no randomness, or the authorities of `clients` cannot be used.
    pub fn new(
        resolver: Arc<dyn ResolvesServerCert>,
        clients: Option<&ClientCertificates>,
    ) -> Result<Self, ServerConfigError> {
        let refused = |error: rustls::Error| ServerConfigError::Refused(error.into());
        let verifier = match clients {
            None => Arc::new(NoClientAuth),
            Some(clients) => client_verifier(clients)?,
        };
        let mut config = ServerConfig::builder_with_provider(crate::provider())
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .map_err(refused)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(resolver);
        config.ticketer = Ticketer::new().map_err(refused)?;
        config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
        let offering = |protocols: &[&[u8]]| {
            let mut config = config.clone();
            config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
            Arc::new(config)
        };
        Ok(Self {
            http2: offering(ALPN_WITH_HTTP2),
            http1: offering(ALPN),
            stream: offering(&[]),
        })
    }
}

fn client_verifier(clients: &ClientCertificates) -> Result<Arc<dyn ClientCertVerifier>, ServerConfigError> {
    let roots = authorities(&clients.authorities).map_err(ServerConfigError::Authority)?;
    let roots = Arc::new(roots);
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), crate::provider());
    let builder = if clients.required {
        builder
    } else {
        builder.allow_unauthenticated()
    };
    let inner = builder
        .build()
        .map_err(|error| ServerConfigError::Refused(error.into()))?;
    Ok(match clients.depth {
        None => inner,
        Some(depth) => Arc::new(Shallow { inner, roots, depth }),
    })
}
