//! Authorities that sign what tests need.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;

/// An authority, and the folder with the files by which others know it.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    folder: TempDir,
}

impl Authority {
    /// One that vouches for itself.
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let params = params("authority");
        let pem = params.self_signed(&key).unwrap().pem();
        Self::of(params, key, pem)
    }

    /// One that this one vouches for.
    pub(crate) fn below(&self) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = params("authority below");
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        Self::of(params, key, pem)
    }

    fn of(params: CertificateParams, key: KeyPair, pem: String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), &pem).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            pem,
            folder,
        }
    }

    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder().join("ca.pem")
    }

    /// A certificate and its key.
    pub(crate) fn signed(&self, names: &[&str], key: &KeyPair) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names).unwrap();
        let certificate = params.signed_by(key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// A document.
    pub(crate) fn certificate(&self, names: &[&str]) -> Value {
        let (cert, key) = self.signed(names, &KeyPair::generate().unwrap());
        json!({"cert": cert, "key": key})
    }

    /// The files of a client by this name: its certificate with `chain` behind it, and its key.
    pub(crate) fn client(&self, name: &str, chain: &str) -> (String, String) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let file = |suffix: &str, text: &str| {
            let path = self.folder().join(format!("{name}.{suffix}"));
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let cert = file("pem", &(certificate.pem() + chain));
        (cert, file("key", &key.serialize_pem()))
    }
}

/// With another name than those it signs for, or they would seem to have signed themselves.
fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}
