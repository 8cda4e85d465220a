//! The certificate for names that nobody has one for: self-signed, made once and kept.
//!
//! It lets HTTPS work before anybody thought of certificates (`curl -k`), and stays the same over restarts, so that
//! whoever decided to trust it need not decide again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

use crate::Identity;

/// Why there is no certificate of our own.
#[derive(Debug, thiserror::Error)]
pub enum FallbackError {
    /// The file cannot be read or written.
    #[error("cannot keep the default certificate in {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The library cannot make one.
    #[error("cannot make a default certificate")]
    Make(#[source] rcgen::Error),
    /// What was just made cannot be read.
    #[error("the default certificate cannot be used")]
    Read(#[from] crate::IdentityError),
}

/// The default certificate of this node, kept in `path` with its key, for the owner only. One that is there and
/// cannot be used (damaged, or past its time at `now`, Unix seconds) is replaced.
///
/// # Errors
/// When the file cannot be read or written.
pub fn load_or_make(path: &Path, now: i64) -> Result<Identity, FallbackError> {
    let failed = |source| FallbackError::File {
        path: path.to_owned(),
        source,
    };
    match fs::read_to_string(path) {
        Ok(text) => {
            if let Ok(identity) = Identity::from_pem(&text, &text)
                && identity.facts().is_current(now)
            {
                return Ok(identity);
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let (certificate, key) = make().map_err(FallbackError::Make)?;
    let identity = Identity::from_pem(&certificate, &key)?;
    // For the owner only, and never a part of it.
    hythe_stdx::write_atomically(path, format!("{certificate}{key}").as_bytes()).map_err(failed)?;
    Ok(identity)
}

fn make() -> Result<(String, String), rcgen::Error> {
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let mut params = CertificateParams::new(names)?;
    params
        .distinguished_name
        .push(DnType::CommonName, "hythe default certificate");
    // Clocks of clients may be behind ours, and nobody renews it.
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2049, 1, 1);
    let key = KeyPair::generate()?;
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    #[test]
    fn it_is_made_once_and_for_the_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("default.pem");
        let first = load_or_make(&path, NOW).unwrap();
        assert_eq!(first.facts().names, ["localhost"]);
        let again = load_or_make(&path, NOW).unwrap();
        assert_eq!(first.key.cert, again.key.cert);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_or_old_one_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("default.pem");
        fs::write(&path, "half a certif").unwrap();
        let first = load_or_make(&path, NOW).unwrap();
        let later = load_or_make(&path, first.facts().not_after + 1).unwrap();
        assert_ne!(first.key.cert, later.key.cert);
    }
}
