//! Who somebody is: a chain of certificates and the private key of the first, from PEM.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// A chain and its key, which fit together.
#[derive(Clone)]
pub struct Identity {
    pub(crate) key: Arc<CertifiedKey>,
    facts: Facts,
}

/// What a certificate says, as people need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Who it is about, as text: `CN=example.com`.
    pub subject: String,
    /// Who vouches for it.
    pub issuer: String,
    /// The host names it is for, in lower case; one leading `*` label is possible.
    pub names: Vec<String>,
    /// Not valid before this time, Unix seconds.
    pub not_before: i64,
    /// Not valid after this time, Unix seconds.
    pub not_after: i64,
}

/// What is wrong with a certificate, a key, or the two together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The certificate's text.
    #[error("the certificate is not usable: {0}")]
    Certificate(String),
    /// The key's text. What it says is never part of the message.
    #[error("the key is not usable: {0}")]
    Key(String),
    /// Each is fine by itself.
    #[error("the key is not that of the certificate")]
    Mismatch,
}

impl IdentityError {
    /// Whether the key is to blame, and not the certificate.
    pub fn is_of_key(&self) -> bool {
        !matches!(self, Self::Certificate(_))
    }
}

impl Identity {
    /// Reads the chain in `certificate` (the own one first, then those above it) and the `key`: PKCS #8, PKCS #1
    /// or SEC 1, not encrypted.
    ///
    /// # Errors
    /// What cannot be read, or that the two are not of one another. Whether the time is right is not asked: see
    /// [`Facts::is_current`].
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, IdentityError> {
        let chain = chain(certificate)?;
        let facts = chain
            .first()
            .ok_or_else(|| IdentityError::Certificate("it is empty".to_owned()))
            .and_then(Facts::of)?;
        let key = private_key(key)?;
        let provider = crate::provider();
        let signing = provider
            .key_provider
            .load_private_key(key)
            .map_err(|error| IdentityError::Key(error.to_string()))?;
        let key = CertifiedKey::new(chain, signing);
        match key.keys_match() {
            // Unknown: the key does not tell its public half.
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(Self {
                key: Arc::new(key),
                facts,
            }),
            Err(rustls::Error::InconsistentKeys(_)) => Err(IdentityError::Mismatch),
            Err(error) => Err(IdentityError::Certificate(error.to_string())),
        }
    }

    /// What its certificate says.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Whether the key is RSA, which costs the server many times what the others cost.
    pub(crate) fn is_rsa(&self) -> bool {
        self.key.key.algorithm() == rustls::SignatureAlgorithm::RSA
    }
}

/// Without the key.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("facts", &self.facts)
            .finish_non_exhaustive()
    }
}

impl Facts {
    /// What the certificates in `pem` say, the first one first.
    ///
    /// # Errors
    /// When there is none, or one cannot be read.
    pub fn from_pem(pem: &str) -> Result<Vec<Self>, IdentityError> {
        chain(pem)?.iter().map(Self::of).collect()
    }

    /// What a certificate says.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let unreadable = |error: &dyn fmt::Display| {
            IdentityError::Certificate(format!("it is no X.509 certificate ({error})"))
        };
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| unreadable(&error))?;
        let names = parsed
            .subject_alternative_name()
            .map_err(|error| unreadable(&error))?
            .map(|extension| extension.value.general_names.as_slice())
            .unwrap_or_default();
        let host = |name: &GeneralName<'_>| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        };
        Ok(Self {
            subject: parsed.subject().to_string(),
            issuer: parsed.issuer().to_string(),
            names: names.iter().filter_map(host).collect(),
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
        })
    }

    /// Whether `now`, in Unix seconds, is in the certificate's time.
    pub fn is_current(&self, now: i64) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }
}

/// The certificates in a text, at least one.
pub(crate) fn chain(pem: &str) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let found = found.map_err(|error| IdentityError::Certificate(in_words(&error)))?;
    if found.is_empty() {
        let missing = "it has no part that begins with -----BEGIN CERTIFICATE-----";
        return Err(IdentityError::Certificate(missing.to_owned()));
    }
    Ok(found)
}

fn private_key(pem: &str) -> Result<PrivateKeyDer<'static>, IdentityError> {
    let refuse = |why: &str| Err(IdentityError::Key(why.to_owned()));
    if pem.contains("BEGIN ENCRYPTED PRIVATE KEY") || pem.contains("Proc-Type: 4,ENCRYPTED") {
        return refuse("it is encrypted; decrypt it with `openssl pkey -in KEY -out PLAIN`");
    }
    let mut found = PrivateKeyDer::pem_slice_iter(pem.as_bytes());
    match (found.next(), found.next()) {
        (Some(Ok(key)), None) => Ok(key),
        (Some(Err(error)), _) => refuse(&in_words(&error)),
        (Some(Ok(_)), Some(_)) => refuse("there is more than one in the text"),
        (None, _) => refuse("it has no part that begins with -----BEGIN PRIVATE KEY-----"),
    }
}

/// The library's own words show bytes of the text, which may be those of a key.
fn in_words(error: &PemError) -> String {
    match error {
        PemError::MissingSectionEnd { .. } => "the line -----END ...----- is missing",
        PemError::IllegalSectionStart { .. } => "a line -----BEGIN ...----- is malformed",
        PemError::Base64Decode(_) => "it is not base64 between its first and last line",
        PemError::SectionTooLarge => "it is too large",
        _ => "it is not PEM",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Made, made};

    #[test]
    fn what_a_certificate_says_is_told() {
        let Made { certificate, key } = made(&["Example.test", "*.example.test"]);
        let identity = Identity::from_pem(&certificate, &key).unwrap();
        let facts = identity.facts();
        assert_eq!(facts.names, ["example.test", "*.example.test"]);
        assert_eq!(facts.subject, "CN=rcgen self signed cert");
        assert!(facts.not_before < facts.not_after);
        assert!(facts.is_current(facts.not_after) && !facts.is_current(facts.not_after + 1));
        assert!(!format!("{identity:?}").contains("key"));
    }

    #[test]
    fn what_is_wrong_is_told_without_showing_it() {
        let good = made(&["a.test"]);
        let other = made(&["a.test"]);
        let cut = |text: &str| text.lines().take(3).collect::<Vec<_>>().join("\n");
        let spoiled = |text: &str| text.replacen("\nM", "\n*", 1);
        let twice = format!("{}{}", good.key, other.key);
        let locked = good.key.replace("BEGIN PRIVATE", "BEGIN ENCRYPTED PRIVATE");
        let rows = [
            (
                "",
                good.key.as_str(),
                "the certificate is not usable: it has no part that begins with",
            ),
            (
                &good.key,
                &good.key,
                "the certificate is not usable: it has no part that begins with",
            ),
            (
                &cut(&good.certificate),
                &good.key,
                "the certificate is not usable: the line -----END",
            ),
            (
                &spoiled(&good.certificate),
                &good.key,
                "the certificate is not usable: it is not base64",
            ),
            (
                &good.certificate,
                "",
                "the key is not usable: it has no part that begins with",
            ),
            (
                &good.certificate,
                &cut(&good.key),
                "the key is not usable: the line -----END",
            ),
            (
                &good.certificate,
                &spoiled(&good.key),
                "the key is not usable: it is not base64",
            ),
            (
                &good.certificate,
                &twice,
                "the key is not usable: there is more than one",
            ),
            (
                &good.certificate,
                &locked,
                "the key is not usable: it is encrypted; decrypt it",
            ),
            (
                &good.certificate,
                &other.key,
                "the key is not that of the certificate",
            ),
        ];
        for (certificate, key, expected) in rows {
            let error = Identity::from_pem(certificate, key).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
