//! Passwords as `htpasswd` and nginx write them: `$2y$` (bcrypt), `$apr1$`, `{SSHA}`, `{SHA}`, `{PLAIN}`.
//!
//! Only bcrypt resists guessing; the others are read because files with them are there. Comparing takes the
//! same time wherever two hashes differ.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::Md5;
use sha1::{Digest, Sha1};

/// A password, or what tells it from others.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Password {
    Plain(Vec<u8>),
    Sha1(Vec<u8>),
    SaltedSha1 { hash: Vec<u8>, salt: Vec<u8> },
    Apr1 { hash: String, salt: String },
    Bcrypt(String),
}

/// More rounds than this (as a power of two) would keep a thread for seconds.
const MOST_COST: u32 = 15;
const FORMS: &str = "expected `$2y$...` (htpasswd -B), `$apr1$...`, `{SSHA}...`, `{SHA}...` or `{PLAIN}...`";

impl Password {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let decoded = |base64: &str, least: usize| {
            let bytes = STANDARD.decode(base64).ok().filter(|bytes| bytes.len() >= least);
            bytes.ok_or_else(|| "not base64 of a SHA-1 hash".to_owned())
        };
        if let Some(plain) = text.strip_prefix("{PLAIN}") {
            return Ok(Self::Plain(plain.as_bytes().to_vec()));
        }
        if let Some(base64) = text.strip_prefix("{SHA}") {
            return decoded(base64, 20).map(Self::Sha1);
        }
        if let Some(base64) = text.strip_prefix("{SSHA}") {
            let mut hash = decoded(base64, 20)?;
            let salt = hash.split_off(20);
            return Ok(Self::SaltedSha1 { hash, salt });
        }
        if let Some(rest) = text.strip_prefix("$apr1$") {
            let (salt, hash) = rest.split_once('$').ok_or(FORMS)?;
            let (hash, salt) = (hash.to_owned(), salt.chars().take(8).collect());
            return Ok(Self::Apr1 { hash, salt });
        }
        if text.starts_with("$2") {
            let parts = bcrypt::HashParts::from_str(text).map_err(|_| "not a bcrypt hash".to_owned())?;
            if parts.get_cost() > MOST_COST {
                return Err(format!("a bcrypt cost above {MOST_COST} takes too long"));
            }
            return Ok(Self::Bcrypt(text.to_owned()));
        }
        Err(FORMS.to_owned())
    }

    /// Whether checking takes so long that it must not be done on a worker.
    pub(super) fn is_slow(&self) -> bool {
        matches!(self, Self::Apr1 { .. } | Self::Bcrypt(_))
    }

    pub(super) fn fits(&self, given: &[u8]) -> bool {
        match self {
            Self::Plain(password) => {
                // Hashes of the two, so that not even the length shows.
                same(&Sha1::digest(password), &Sha1::digest(given))
            }
            Self::Sha1(hash) => same(hash, &Sha1::digest(given)),
            Self::SaltedSha1 { hash, salt } => same(
                hash,
                &Sha1::new().chain_update(given).chain_update(salt).finalize(),
            ),
            Self::Apr1 { hash, salt } => same(hash.as_bytes(), apr1(given, salt.as_bytes()).as_bytes()),
            Self::Bcrypt(hash) => bcrypt::verify(given, hash).unwrap_or(false),
        }
    }
}

/// Equal, in the same time for all of one length.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

/// Apache's variant of the MD5 crypt of FreeBSD.
fn apr1(password: &[u8], salt: &[u8]) -> String {
    let twice = Md5::new()
        .chain_update(password)
        .chain_update(salt)
        .chain_update(password)
        .finalize();
    let mut start = Md5::new()
        .chain_update(password)
        .chain_update(b"$apr1$")
        .chain_update(salt);
    for piece in password.chunks(16) {
        start.update(twice.get(..piece.len()).unwrap_or_default());
    }
    let mut bits = password.len();
    while bits > 0 {
        let byte = if bits & 1 == 1 {
            0
        } else {
            password.first().copied().unwrap_or_default()
        };
        start.update([byte]);
        bits >>= 1;
    }
    let mut hash = start.finalize();
    for round in 0..1000 {
        let odd = round % 2 == 1;
        let mut next = Md5::new();
        next.update(if odd { password } else { &hash[..] });
        if round % 3 != 0 {
            next.update(salt);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        next.update(if odd { &hash[..] } else { password });
        hash = next.finalize();
    }
    encode(&hash.into())
}

/// The hash's bytes in Apache's order, six bits a character.
fn encode(hash: &[u8; 16]) -> String {
    const DIGITS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    const ORDER: [[usize; 3]; 5] = [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]];
    let mut out = String::with_capacity(22);
    let mut push = |mut value: u32, digits: usize| {
        for _ in 0..digits {
            out.push(char::from(DIGITS[(value & 63) as usize]));
            value >>= 6;
        }
    };
    for [high, middle, low] in ORDER {
        let byte = |at: usize| u32::from(hash[at]);
        push(byte(high) << 16 | byte(middle) << 8 | byte(low), 4);
    }
    push(u32::from(hash[11]), 2);
    out
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_fit_their_hashes() {
        // Made by `openssl passwd -apr1`, crypt(3) and a SHA-1 of Python's.
        let rows = [
            ("{PLAIN}secret", "secret"),
            ("{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "secret"),
            ("{SSHA}gVK8WC9YyFT1gMsQHTGCgT3sSv5zYWx0", "secret"),
            ("$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/", "secret"),
            ("$apr1$r31$VhYBNuSclDwcMVhdpOx.I0", ""),
            (
                "$apr1$abcdefgh$AaK/FVm2z4lOI9DSq69901",
                "a password that is longer than sixteen bytes",
            ),
            (
                "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW",
                "secret",
            ),
            (
                "$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW",
                "secret",
            ),
        ];
        for (text, password) in rows {
            let parsed = Password::parse(text).unwrap();
            assert!(parsed.fits(password.as_bytes()), "{text}");
            for wrong in ["Secret", "secret ", "secre", "\0"] {
                assert!(!parsed.fits(wrong.as_bytes()), "{text} {wrong}");
            }
        }
    }

    #[test]
    fn what_is_no_hash_is_refused() {
        for text in [
            "secret",
            "",
            "{SHA}x",
            "{SHA}YQ==",
            "{SSHA}YQ==",
            "$apr1$",
            "$2y$04$short",
            "$1$a$b",
        ] {
            assert!(Password::parse(text).is_err(), "{text}");
        }
        let slow = "$2b$31$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";
        assert!(Password::parse(slow).unwrap_err().contains("too long"));
    }
}
