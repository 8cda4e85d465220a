//! TLS towards upstreams.
//!
//! A configuration is made once for each distinct wish and used as long as any service wants it: sessions with
//! upstreams are kept in it, and who compares connections compares its pointer.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::depth::Shallow;
use crate::identity::{Identity, IdentityError, chain};

/// How one is to speak to an upstream.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ClientSettings {
    /// Whether the upstream's certificate must be valid and of the name that is asked for. If not, whoever sits
    /// between can read and change everything.
    pub verify: bool,
    /// The authorities to believe, in PEM; none: those of the system.
    pub authorities: Vec<String>,
    /// The most authorities between the upstream's certificate and one that is believed. `None`: the library's limit of
    /// six.
    pub depth: Option<u8>,
    /// Our own certificate and key, in PEM.
    pub identity: Option<(String, String)>,
    /// The protocols to offer (ALPN).
    pub alpn: Vec<Vec<u8>>,
}

/// Why a wish cannot be met.
#[derive(Debug, thiserror::Error)]
pub enum ClientConfigError {
    /// Our own certificate or key.
    #[error("the client certificate cannot be used")]
    Identity(#[source] IdentityError),
    /// A named authority.
    #[error("a CA certificate cannot be used")]
    Authority(#[source] IdentityError),
    /// The system has none.
    #[error(
        "no CA certificates are on this system; install `ca-certificates`, or name the authority in `ca_certificates`"
    )]
    NoAuthorities,
    /// The library refuses.
    #[error("TLS cannot be set up")]
    Refused(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The configurations in use.
#[derive(Debug, Default)]
pub struct ClientConfigs {
    made: HashMap<ClientSettings, Arc<ClientConfig>>,
    /// Read when first wanted: it takes milliseconds.
    system: Option<Arc<RootCertStore>>,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            verify: true,
            authorities: Vec::new(),
            depth: None,
            identity: None,
            alpn: Vec::new(),
        }
    }
}

/// Without the key.
impl fmt::Debug for ClientSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSettings")
            .field("verify", &self.verify)
            .field("authorities", &self.authorities.len())
            .field("depth", &self.depth)
            .field("identity", &self.identity.is_some())
            .field("alpn", &self.alpn)
            .finish()
    }
}

impl ClientConfigs {
    /// The configuration for `settings`; the same one as long as it is in use. Reads the system's authorities
    /// from disk when it is the first to need them.
    ///
    /// # Errors
    /// When a text in the settings is not what it should be.
    pub fn get(&mut self, settings: &ClientSettings) -> Result<Arc<ClientConfig>, ClientConfigError> {
        if let Some(made) = self.made.get(settings) {
            return Ok(Arc::clone(made));
        }
        let config = Arc::new(self.make(settings)?);
        self.made.insert(settings.clone(), Arc::clone(&config));
        Ok(config)
    }

    /// Drops what nobody uses.
    pub fn prune(&mut self) {
        self.made.retain(|_, config| Arc::strong_count(config) > 1);
    }

    fn make(&mut self, settings: &ClientSettings) -> Result<ClientConfig, ClientConfigError> {
        let provider = crate::provider();
        let verifier = self.verifier(settings)?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .map_err(|error| ClientConfigError::Refused(error.into()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &settings.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let identity = Identity::from_pem(certificate, key).map_err(ClientConfigError::Identity)?;
                let key = SingleCertAndKey::from(identity.key);
                builder.with_client_cert_resolver(Arc::new(key))
            }
        };
        config.alpn_protocols.clone_from(&settings.alpn);
        Ok(config)
    }

    fn verifier(
        &mut self,
        settings: &ClientSettings,
    ) -> Result<Arc<dyn ServerCertVerifier>, ClientConfigError> {
        if !settings.verify {
            return Ok(Arc::new(Anybody(crate::provider())));
        }
        let roots = self.authorities(&settings.authorities)?;
        let inner: Arc<dyn ServerCertVerifier> =
            WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), crate::provider())
                .build()
                .map_err(|error| ClientConfigError::Refused(error.into()))?;
        Ok(match settings.depth {
            None => inner,
            Some(depth) => Arc::new(Shallow { inner, roots, depth }),
        })
    }

    fn authorities(&mut self, named: &[String]) -> Result<Arc<RootCertStore>, ClientConfigError> {
        if !named.is_empty() {
            return Ok(Arc::new(
                authorities(named).map_err(ClientConfigError::Authority)?,
            ));
        }
        if let Some(system) = &self.system {
            return Ok(Arc::clone(system));
        }
        let mut system = RootCertStore::empty();
        system.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if system.is_empty() {
            return Err(ClientConfigError::NoAuthorities);
        }
        Ok(Arc::clone(self.system.insert(Arc::new(system))))
    }
}

/// The authorities in several PEM texts.
///
/// # Errors
/// When a text holds none, or one that cannot vouch for anybody.
pub fn authorities(texts: &[String]) -> Result<RootCertStore, IdentityError> {
    let mut roots = RootCertStore::empty();
    for text in texts {
        for certificate in chain(text)? {
            roots
                .add(certificate)
                .map_err(|error| IdentityError::Certificate(error.to_string()))?;
        }
    }
    Ok(roots)
}

/// Believes whoever answers. That they hold the key of the certificate they show is still checked.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _own: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, own, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, own, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::made;

    #[test]
    fn the_same_wish_is_met_once_as_long_as_somebody_has_it() {
        let mut configs = ClientConfigs::default();
        let lenient = ClientSettings {
            verify: false,
            ..ClientSettings::default()
        };
        let own = made(&["authority.test"]);
        let strict = ClientSettings {
            authorities: vec![own.certificate.clone()],
            identity: Some((own.certificate, own.key)),
            ..ClientSettings::default()
        };
        let first = configs.get(&lenient).unwrap();
        assert!(Arc::ptr_eq(&first, &configs.get(&lenient).unwrap()));
        assert!(
            configs
                .get(&strict)
                .unwrap()
                .client_auth_cert_resolver
                .has_certs()
        );
        configs.prune();
        assert_eq!(configs.made.len(), 1);
    }

    #[test]
    fn what_cannot_be_used_is_told() {
        let mut configs = ClientConfigs::default();
        let no_authority = ClientSettings {
            authorities: vec!["nothing".to_owned()],
            ..ClientSettings::default()
        };
        let error = configs.get(&no_authority).unwrap_err();
        assert_eq!(error.to_string(), "a CA certificate cannot be used");
        let (one, other) = (made(&["a.test"]), made(&["a.test"]));
        let no_identity = ClientSettings {
            identity: Some((one.certificate, other.key)),
            ..ClientSettings::default()
        };
        assert!(!format!("{no_identity:?}").contains("PRIVATE"));
        let error = configs.get(&no_identity).unwrap_err();
        assert!(matches!(
            error,
            ClientConfigError::Identity(IdentityError::Mismatch)
        ));
    }
}
