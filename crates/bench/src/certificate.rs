//! The certificate all candidates serve: ECDSA P-256, self-signed, made for the run.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;

/// A certificate in files, as servers want it.
pub(crate) struct Certificate {
    /// The certificate, PEM.
    pub(crate) cert: PathBuf,
    /// Its key, PEM.
    pub(crate) key: PathBuf,
    /// Both in one file, as HAProxy wants them.
    pub(crate) both: PathBuf,
    _folder: TempDir,
}

impl Certificate {
    /// Makes one for the loopback address.
    pub(crate) fn make() -> Result<Self> {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])
                .context("cannot make a certificate")?;
        let folder = tempfile::Builder::new().prefix("hythe-bench-").tempdir()?;
        let (cert, key) = (cert.pem(), signing_key.serialize_pem());
        let write = |name: &str, text: &str| -> Result<PathBuf> {
            let path = folder.path().join(name);
            fs::write(&path, text)?;
            Ok(path)
        };
        Ok(Self {
            both: write("both.pem", &format!("{cert}{key}"))?,
            cert: write("cert.pem", &cert)?,
            key: write("key.pem", &key)?,
            _folder: folder,
        })
    }
}
