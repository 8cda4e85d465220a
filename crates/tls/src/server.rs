//! TLS towards clients.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, ResolvesServerCert, ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};

/// What is offered to clients by ALPN where HTTP/2 is spoken, in our order of preference.
pub(crate) const ALPN_WITH_HTTP2: &[&[u8]] = &[b"h2", b"http/1.1"];
/// What is offered where it is not.
pub(crate) const ALPN: &[&[u8]] = &[b"http/1.1"];

/// Sessions kept for clients that know no tickets.
const SESSIONS: usize = 10_240;

/// Whether clients must say who they are.
#[derive(Debug, Clone, Default)]
pub enum ClientCertificates {
    /// They are not asked.
    #[default]
    None,
    /// They are asked; a certificate that is sent must be signed by one of these.
    Optional(Arc<RootCertStore>),
    /// They must send one.
    Required(Arc<RootCertStore>),
}

/// How TLS is spoken on listeners, by what is spoken inside. They share certificates and ticket keys, so that a
/// session begun on one is taken up on another.
#[derive(Debug, Clone)]
pub struct ServerConfigs {
    /// HTTP with HTTP/2.
    pub http2: Arc<ServerConfig>,
    /// HTTP/1.1 only.
    pub http1: Arc<ServerConfig>,
    /// Anything else: no protocol is offered.
    pub stream: Arc<ServerConfig>,
}

impl ServerConfigs {
    /// TLS 1.2 and 1.3 with the certificates of `resolver`. Sessions are resumed by tickets, whose key changes every
    /// six hours and is never written anywhere.
    ///
    /// # Errors
    /// When the system has no randomness, or the authorities of `clients` cannot be used.
    pub fn new(
        resolver: Arc<dyn ResolvesServerCert>,
        clients: ClientCertificates,
    ) -> Result<Self, rustls::Error> {
        let provider = crate::provider();
        let verifier = client_verifier(clients)?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(rustls::ALL_VERSIONS)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(resolver);
        config.ticketer = Ticketer::new()?;
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

fn client_verifier(clients: ClientCertificates) -> Result<Arc<dyn ClientCertVerifier>, rustls::Error> {
    let builder = |roots| WebPkiClientVerifier::builder_with_provider(roots, crate::provider());
    let built = match clients {
        ClientCertificates::None => return Ok(Arc::new(NoClientAuth)),
        ClientCertificates::Optional(roots) => builder(roots).allow_unauthenticated().build(),
        ClientCertificates::Required(roots) => builder(roots).build(),
    };
    built.map_err(|error| rustls::Error::General(error.to_string()))
}
