//! Which certificate a client is shown: the one of the name it asks for.
//!
//! Names are found as [`ServerNames`] says. Of several certificates for a name the first that the client can verify is
//! shown; those whose keys are cheap stand before RSA.
//!
//! [`Resolver`] holds the current ones. Replacing them is one swap of a pointer that the next handshake sees; no
//! connection notices.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::{Identity, ServerNames};

/// Identities by name.
#[derive(Debug, Default)]
pub struct Certificates(ServerNames<Choice>);

/// The identities of one name, in the order in which they are tried.
#[derive(Debug, Clone, Default)]
struct Choice(Vec<Arc<CertifiedKey>>);

/// The certificates that are shown now.
#[derive(Debug)]
pub struct Resolver {
    current: ArcSwap<Certificates>,
}

impl Certificates {
    /// Shows `default` to clients that ask for no name, or for one that nobody has.
    pub fn new(default: &[Identity]) -> Self {
        Self(ServerNames::all(Some(Choice::of(default))))
    }

    /// Shows `identities` (one for each kind of key) to clients that ask for `name`: `example.com`,
    /// `*.example.com`, or `*`, which is the default. `false`: the name has some already, which stay.
    pub fn add(&mut self, name: &str, identities: &[Identity]) -> bool {
        self.0.add(name, Choice::of(identities))
    }
}

impl Choice {
    fn of(identities: &[Identity]) -> Self {
        let mut sorted: Vec<&Identity> = identities.iter().collect();
        sorted.sort_by_key(|identity| identity.is_rsa());
        Self(sorted.iter().map(|identity| Arc::clone(&identity.key)).collect())
    }

    fn for_client(&self, schemes: &[SignatureScheme]) -> Option<&Arc<CertifiedKey>> {
        let fits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
        self.0.iter().find(fits).or_else(|| self.0.first())
    }
}

impl Resolver {
    /// Shows `certificates`.
    pub fn new(certificates: Certificates) -> Self {
        Self {
            current: ArcSwap::from_pointee(certificates),
        }
    }

    /// Shows `certificates` from now on.
    pub fn replace(&self, certificates: Certificates) {
        self.current.store(Arc::new(certificates));
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.current.load();
        let choice = current.0.find(hello.server_name())?;
        choice.for_client(hello.signature_schemes()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{identity, rsa_identity};

    #[test]
    fn the_client_gets_a_key_it_can_verify_and_the_cheap_one_if_it_can() {
        let both = Choice::of(&[rsa_identity(), identity("a.test")]);
        let algorithm = |schemes: &[SignatureScheme]| both.for_client(schemes).unwrap().key.algorithm();
        use SignatureScheme as S;
        use rustls::SignatureAlgorithm as A;
        assert_eq!(algorithm(&[S::RSA_PSS_SHA256]), A::RSA);
        assert_eq!(
            algorithm(&[S::RSA_PSS_SHA256, S::ECDSA_NISTP256_SHA256]),
            A::ECDSA
        );
    }
}
