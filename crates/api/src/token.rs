//! The secret that changes over TCP need.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// 256 random bits, as 64 hex digits.
#[derive(Clone)]
pub(crate) struct Token(String);

impl Token {
    /// Reads the token from `path`, or makes one there (mode 0600) if there is none.
    pub(crate) fn load_or_create(path: &Path) -> io::Result<Self> {
        match std::fs::read_to_string(path) {
            Ok(text) => {
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
                Self::parse(&text)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Self::create(path),
            Err(error) => Err(error),
        }
    }

    fn parse(text: &str) -> io::Result<Self> {
        let token = text.trim();
        if token.len() < 32 {
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                "shorter than 32 characters; remove the file",
            ));
        }
        Ok(Self(token.to_owned()))
    }

    fn create(path: &Path) -> io::Result<Self> {
        let mut random = [0_u8; 32];
        File::open("/dev/urandom")?.read_exact(&mut random)?;
        let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        hythe_stdx::write_atomically(path, format!("{token}\n").as_bytes())?;
        Ok(Self(token))
    }

    /// Whether `given` is the token; takes as long for a near miss as for a far one.
    pub(crate) fn is(&self, given: &str) -> bool {
        let (own, given) = (self.0.as_bytes(), given.as_bytes());
        let differing = own
            .iter()
            .zip(given)
            .fold(0, |differing, (a, b)| differing | (a ^ b));
        own.len() == given.len() && std::hint::black_box(differing) == 0
    }

    #[cfg(test)]
    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let first = Token::load_or_create(&path).unwrap();
        assert_eq!(first.text().len(), 64);
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let second = Token::load_or_create(&path).unwrap();
        assert!(second.is(first.text()));
        assert!(!second.is(&first.text()[1..]));
        assert!(!second.is(&"0".repeat(64)));
        std::fs::write(&path, "short").unwrap();
        assert!(Token::load_or_create(&path).is_err());
    }
}
