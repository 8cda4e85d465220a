//! Who the gateway is, to its clients and to upstreams, and whom it believes: Kong's certificates.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A certificate with its key, for clients that ask for one of its names and for upstreams that ask who we are.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The chain in PEM, the own certificate first.
    pub cert: String,
    /// The private key in PEM, not encrypted.
    pub key: String,
    /// Another chain for the same names with a key of another kind (one ECDSA, one RSA).
    #[serde(default)]
    pub cert_alt: Option<String>,
    /// Its private key.
    #[serde(default)]
    pub key_alt: Option<String>,
    /// Names of the server (SNI) it is shown for: exact, `*.example.com` for one label, or `*` when nothing else
    /// fits. `None`: those that stand in the certificate. Empty: it is shown to nobody, and only used towards
    /// upstreams.
    #[serde(default)]
    pub snis: Option<Vec<String>>,
    /// Labels for people and tools.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// Somebody who vouches for others: a certificate of an authority.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaCertificate {
    /// The certificate in PEM.
    pub cert: String,
    /// Labels for people and tools.
    #[serde(default)]
    pub tags: Vec<String>,
}

impl Certificate {
    /// The chains with their keys: one or two.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let second = self.cert_alt.as_deref().zip(self.key_alt.as_deref());
        std::iter::once((self.cert.as_str(), self.key.as_str())).chain(second)
    }
}

/// Without keys.
impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("cert", &self.cert)
            .field("cert_alt", &self.cert_alt)
            .field("snis", &self.snis)
            .field("tags", &self.tags)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_not_shown() {
        let certificate = Certificate {
            cert: "public".to_owned(),
            key: "secret".to_owned(),
            cert_alt: Some("public too".to_owned()),
            key_alt: Some("secret too".to_owned()),
            snis: None,
            tags: Vec::new(),
        };
        let shown = format!("{certificate:?}");
        assert!(
            shown.contains("public too") && !shown.contains("secret"),
            "{shown}"
        );
        assert_eq!(certificate.pairs().count(), 2);
    }
}
