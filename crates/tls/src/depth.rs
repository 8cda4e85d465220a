//! How long a chain may be: nginx's `ssl_verify_depth`, Kong's `tls_verify_depth`.
//!
//! Counted as OpenSSL does: the authorities between a certificate and one that is believed, so that 0 means signed by
//! a believed one itself. What the library accepts is looked at once more; where no depth is set, it follows six
//! authorities by itself.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, RootCertStore, SignatureScheme,
};
use webpki::{EndEntityCert, KeyUsage};

/// A verifier that also accepts no chain that is too long.
#[derive(Debug)]
pub(crate) struct Shallow<V: ?Sized> {
    pub(crate) inner: Arc<V>,
    pub(crate) roots: Arc<RootCertStore>,
    /// The most authorities between.
    pub(crate) depth: u8,
}

/// No chain to a believed authority is short enough.
#[derive(Debug, thiserror::Error)]
#[error("no chain with at most {depth} authorities between leads to one that is believed")]
struct TooDeep {
    depth: u8,
    #[source]
    source: webpki::Error,
}

impl<V: ?Sized> Shallow<V> {
    fn check(
        &self,
        own: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<(), rustls::Error> {
        let most = usize::from(self.depth);
        let is_shallow = |path: &webpki::VerifiedPath<'_>| {
            if path.intermediate_certificates().count() <= most {
                Ok(())
            } else {
                Err(webpki::Error::MaximumPathDepthExceeded)
            }
        };
        let checked = EndEntityCert::try_from(own).and_then(|own| {
            let algorithms = crate::provider().signature_verification_algorithms.all;
            own.verify_for_usage(
                algorithms,
                &self.roots.roots,
                chain,
                now,
                usage,
                None,
                Some(&is_shallow),
            )
            .map(drop)
        });
        checked.map_err(|source| {
            let depth = self.depth;
            let error = OtherError(Arc::new(TooDeep { depth, source }));
            rustls::Error::InvalidCertificate(CertificateError::Other(error))
        })
    }
}

impl ServerCertVerifier for Shallow<dyn ServerCertVerifier> {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.inner.verify_server_cert(own, chain, name, ocsp, now)?;
        self.check(own, chain, now, KeyUsage::server_auth())?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, own, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, own, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

impl ClientCertVerifier for Shallow<dyn ClientCertVerifier> {
    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        own: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.inner.verify_client_cert(own, chain, now)?;
        self.check(own, chain, now, KeyUsage::client_auth())?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, own, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, own, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rustls::client::WebPkiServerVerifier;
    use rustls::server::WebPkiClientVerifier;

    use super::*;
    use crate::testing::Lineage;

    #[test]
    fn authorities_between_are_counted() {
        let now = UnixTime::now();
        let name = ServerName::try_from("a.test").unwrap();
        for between in 0..3_u8 {
            let line = Lineage::new(between, "a.test");
            let roots = Arc::new(line.roots());
            let (own, chain) = line.chain.split_first().unwrap();
            for depth in 0..3_u8 {
                let server: Arc<dyn ServerCertVerifier> =
                    WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), crate::provider())
                        .build()
                        .unwrap();
                let server = Shallow {
                    inner: server,
                    roots: Arc::clone(&roots),
                    depth,
                };
                let client =
                    WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), crate::provider())
                        .build()
                        .unwrap();
                let client = Shallow {
                    inner: client,
                    roots: Arc::clone(&roots),
                    depth,
                };
                let fits = between <= depth;
                let verified = server.verify_server_cert(own, chain, &name, &[], now);
                assert_eq!(verified.is_ok(), fits, "server: {between} between, depth {depth}");
                let verified = client.verify_client_cert(own, chain, now);
                assert_eq!(verified.is_ok(), fits, "client: {between} between, depth {depth}");
            }
        }
    }
}
