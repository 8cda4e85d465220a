//! What the other side's certificate says of it, for those who decide by it or pass it on.
//!
//! Distinguished names are written as RFC 4514 says, the most specific part first (nginx: `$ssl_client_s_dn`),
//! and in printable ASCII only: whoever signed them, they end up in header fields and logs.

use std::fmt::Write;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::prelude::FromDer;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// A certificate that its holder has proved to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presented {
    /// Who it is about: `CN=ann,O=Example`.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// Its number, in upper-case hex.
    pub serial: String,
    /// SHA-256 of the whole certificate, in lower-case hex.
    pub fingerprint: String,
    /// The host names it is for.
    pub names: Vec<String>,
    /// The URIs it is for.
    pub uris: Vec<String>,
}

impl Presented {
    /// What a certificate says; nothing but its fingerprint if it cannot be read.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        let mut presented = Self {
            subject: String::new(),
            issuer: String::new(),
            serial: String::new(),
            fingerprint: hex(digest(&SHA256, certificate).as_ref()).to_ascii_lowercase(),
            names: Vec::new(),
            uris: Vec::new(),
        };
        if let Ok((_, parsed)) = X509Certificate::from_der(certificate) {
            presented.subject = distinguished(parsed.subject());
            presented.issuer = distinguished(parsed.issuer());
            presented.serial = hex(parsed.raw_serial());
            presented.take_names(&parsed);
        }
        presented
    }

    fn take_names(&mut self, parsed: &X509Certificate<'_>) {
        let Ok(Some(extension)) = parsed.subject_alternative_name() else {
            return;
        };
        for name in &extension.value.general_names {
            match name {
                GeneralName::DNSName(name) => self.names.extend(printable(name)),
                GeneralName::URI(uri) => self.uris.extend(printable(uri)),
                _ => {}
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02X}");
        text
    })
}

/// A name in which something cannot be shown is left out: without that it would be another one's.
fn printable(text: &str) -> Option<String> {
    let is_shown = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_shown.then(|| text.to_owned())
}

fn distinguished(name: &X509Name<'_>) -> String {
    let mut parts: Vec<String> = name
        .iter()
        .map(|part| {
            let attributes: Vec<String> = part.iter().map(attribute).collect();
            attributes.join("+")
        })
        .collect();
    parts.reverse();
    parts.join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let id = attribute.attr_type();
    let mut text = match oid2abbrev(id, oid_registry()) {
        Ok(short) => short.to_owned(),
        Err(_) => id.to_id_string(),
    };
    text.push('=');
    match attribute.as_str() {
        Ok(value) => escape(value, &mut text),
        // A value of another kind is its bytes (RFC 4514 2.4).
        Err(_) => {
            text.push('#');
            text.push_str(&hex(attribute.as_slice()));
        }
    }
    text
}

/// RFC 4514 2.4.
fn escape(value: &str, out: &mut String) {
    let last = value.len().saturating_sub(1);
    for (at, byte) in value.bytes().enumerate() {
        let at_end = byte == b' ' && (at == 0 || at == last);
        match byte {
            b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' => {
                out.push('\\');
                out.push(char::from(byte));
            }
            b'#' if at == 0 => out.push_str("\\#"),
            b' ' if !at_end => out.push(' '),
            0x21..=0x7e => out.push(char::from(byte)),
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\{byte:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType, SerialNumber};

    use super::*;

    #[test]
    fn a_certificate_is_told_in_words_that_fit_into_a_field() {
        let mut params = CertificateParams::new(vec!["ann.test".to_owned()]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "A, \"B\"\r\nX-Evil: 1");
        params.distinguished_name.push(DnType::CommonName, " ann é ");
        params.serial_number = Some(SerialNumber::from(vec![0x0a, 0xff]));
        let uri = "spiffe://a.test/ann".try_into().unwrap();
        params.subject_alt_names.push(SanType::URI(uri));
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let presented = Presented::of(certificate.der());
        let subject = r#"CN=\20ann \C3\A9\20,O=A\, \"B\"\0D\0AX-Evil: 1"#;
        assert_eq!(presented.subject, subject);
        assert_eq!(presented.issuer, subject);
        assert_eq!(presented.serial, "0AFF");
        assert_eq!(presented.names, ["ann.test"]);
        assert_eq!(presented.uris, ["spiffe://a.test/ann"]);
        assert_eq!(presented.fingerprint.len(), 64);
    }

    #[test]
    fn what_is_no_certificate_has_a_fingerprint() {
        let presented = Presented::of(&CertificateDer::from(Vec::new()));
        let of_nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(presented.fingerprint, of_nothing);
        assert_eq!(presented.subject, "");
    }
}
