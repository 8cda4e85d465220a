//! Which certificate a client is shown: the one of the name it asks for.
//!
//! A name is looked for as it is, then under the wildcard of its parent (`*.example.com` is for one label, as in
//! certificates), then the default answers. Of several certificates for a name the first that the client can
//! verify is shown; those whose keys are cheap stand before RSA.
//!
//! [`Resolver`] holds the current ones. Replacing them is one swap of a pointer that the next handshake sees; no
//! connection notices.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::Identity;

/// Identities by name.
#[derive(Debug, Default)]
pub struct Certificates {
    exact: HashMap<String, Choice>,
    /// By what stands behind the `*.`.
    wildcard: HashMap<String, Choice>,
    default: Choice,
}

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
        Self {
            default: Choice::of(default),
            ..Self::default()
        }
    }

    /// Shows `identities` (one for each kind of key) to clients that ask for `name`: `example.com`,
    /// `*.example.com`, or `*`, which is the default. `false`: the name has some already, which stay.
    pub fn add(&mut self, name: &str, identities: &[Identity]) -> bool {
        let name = name.to_ascii_lowercase();
        if name == "*" {
            self.default = Choice::of(identities);
            return true;
        }
        let (names, name) = match name.strip_prefix("*.") {
            Some(parent) => (&mut self.wildcard, parent.to_owned()),
            None => (&mut self.exact, name),
        };
        if names.contains_key(&name) {
            return false;
        }
        names.insert(name, Choice::of(identities));
        true
    }

    fn find(&self, name: Option<&str>) -> &Choice {
        let found = name.and_then(|name| {
            // Clients send lower case, as a rule.
            let lower;
            let name = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
                lower = name.to_ascii_lowercase();
                lower.as_str()
            } else {
                name
            };
            let parent = || name.split_once('.').map(|(_, parent)| parent);
            self.exact.get(name).or_else(|| self.wildcard.get(parent()?))
        });
        found.unwrap_or(&self.default)
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
        let choice = current.find(hello.server_name());
        choice.for_client(hello.signature_schemes()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{identity, rsa_identity};

    /// The own name of the certificate shown for each name asked for.
    fn shown(certificates: &Certificates, asked: Option<&str>) -> String {
        let choice = certificates.find(asked);
        let key = choice
            .for_client(&[SignatureScheme::ECDSA_NISTP256_SHA256])
            .unwrap();
        crate::Facts::of(&key.cert[0]).unwrap().names[0].clone()
    }

    #[test]
    fn a_name_is_found_as_it_is_then_by_its_parent_then_by_default() {
        let mut certificates = Certificates::new(&[identity("default.test")]);
        for name in ["a.test", "*.a.test", "B.a.Test"] {
            assert!(certificates.add(name, &[identity(name)]));
        }
        assert!(!certificates.add("A.test", &[identity("late.test")]));
        let rows = [
            (None, "default.test"),
            (Some("a.test"), "a.test"),
            (Some("A.TEST"), "a.test"),
            (Some("x.a.test"), "*.a.test"),
            (Some("b.a.test"), "b.a.test"),
            (Some("y.x.a.test"), "default.test"),
            (Some("test"), "default.test"),
            (Some("other.test"), "default.test"),
        ];
        for (asked, expected) in rows {
            assert_eq!(shown(&certificates, asked), expected, "{asked:?}");
        }
        certificates.add("*", &[identity("star.test")]);
        assert_eq!(shown(&certificates, None), "star.test");
    }

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
