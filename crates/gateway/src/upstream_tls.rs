//! TLS towards upstreams: what a service wants, compiled.
//!
//! Who must be there is whoever the request's `Host` names, as it is sent to the upstream: that name is asked for
//! (SNI) and verified. With the client's own `Host` (`preserve_host`) it is another one for each.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use hythe_model::traffic::{Protocol, Service};
use hythe_model::{Desired, FullName, Name};
use hythe_tls::{ClientConfigs, ClientSettings, server_name};
use hythe_upstream::Peer;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

/// How TLS is spoken to one service.
#[derive(Debug)]
pub(crate) struct UpstreamTls {
    host: String,
    peer: Arc<Peer>,
}

/// The configurations that services share.
#[derive(Debug, Default)]
pub(crate) struct UpstreamConfigs {
    configs: ClientConfigs,
}

impl UpstreamTls {
    /// For a service that is sent `host` unless a route says otherwise.
    pub(crate) fn new(host: &str, config: Arc<ClientConfig>) -> Self {
        Self {
            host: host.to_owned(),
            peer: peer(host, config),
        }
    }

    /// Who must be there for a request with this `Host`.
    pub(crate) fn peer(&self, host: &[u8]) -> Arc<Peer> {
        if host == self.host.as_bytes() {
            return Arc::clone(&self.peer);
        }
        peer(&String::from_utf8_lossy(host), Arc::clone(&self.peer.config))
    }
}

/// A host that no certificate can be for becomes an address that no server has, so that it is verified as nobody.
fn peer(host: &str, config: Arc<ClientConfig>) -> Arc<Peer> {
    let nobody = || ServerName::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    Arc::new(Peer {
        name: server_name(host).unwrap_or_else(nobody),
        config,
    })
}

impl UpstreamConfigs {
    /// What a service wants; `None`: no TLS.
    pub(crate) fn of(
        &mut self,
        desired: &Desired,
        name: &FullName,
        spec: &Service,
    ) -> Result<Option<Arc<ClientConfig>>, String> {
        let alpn: &[u8] = match spec.protocol {
            Protocol::Http | Protocol::Grpc => return Ok(None),
            Protocol::Https => b"http/1.1",
            Protocol::Grpcs => b"h2",
        };
        let settings = settings(desired, name, spec, alpn)?;
        let config = self.configs.get(&settings).map_err(|error| in_words(&error))?;
        Ok(Some(config))
    }

    /// Forgets what no service wants any more.
    pub(crate) fn prune(&mut self) {
        self.configs.prune();
    }
}

fn settings(
    desired: &Desired,
    name: &FullName,
    spec: &Service,
    alpn: &[u8],
) -> Result<ClientSettings, String> {
    let full = |other: &Name| FullName::new(name.project.clone(), other.clone());
    let authority = |name: &Name| -> Result<String, String> {
        let entry = desired.ca_certificates.get(&full(name));
        let entry = entry.ok_or_else(|| format!("there is no CA certificate `{name}`"))?;
        Ok(entry.spec.cert.clone())
    };
    let identity = |name: &Name| -> Result<(String, String), String> {
        let entry = desired.certificates.get(&full(name));
        let entry = entry.ok_or_else(|| format!("there is no certificate `{name}`"))?;
        Ok((entry.spec.cert.clone(), entry.spec.key.clone()))
    };
    Ok(ClientSettings {
        verify: spec.tls_verify.unwrap_or(true),
        authorities: spec
            .ca_certificates
            .iter()
            .map(authority)
            .collect::<Result<_, String>>()?,
        depth: spec.tls_verify_depth,
        identity: spec.client_certificate.as_ref().map(identity).transpose()?,
        alpn: vec![alpn.to_vec()],
    })
}

/// An error with everything that led to it.
pub(crate) fn in_words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
