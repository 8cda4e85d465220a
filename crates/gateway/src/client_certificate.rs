//! What a client proved to be by its certificate, and how upstreams are told of it.
//!
//! Two fields, which nobody but the gateway writes: `X-Forwarded-Client-Cert` in Envoy's form, for those who want to
//! know who it is (`Hash=...;Subject="...";URI=...;DNS=...`), and `Client-Cert` of RFC 9440, for those who want the
//! certificate itself. They are made once for each connection.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hythe_tls::Presented;
use rustls::pki_types::CertificateDer;

/// A client's certificate, verified.
#[derive(Debug)]
pub(crate) struct ClientCertificate {
    /// What it says.
    pub(crate) presented: Presented,
    fields: [(&'static [u8], Vec<u8>); 2],
}

impl ClientCertificate {
    pub(crate) fn new(certificate: &CertificateDer<'_>) -> Self {
        let presented = Presented::of(certificate);
        let fields = [
            (
                &b"X-Forwarded-Client-Cert"[..],
                forwarded(&presented).into_bytes(),
            ),
            (
                &b"Client-Cert"[..],
                format!(":{}:", STANDARD.encode(certificate)).into_bytes(),
            ),
        ];
        Self { presented, fields }
    }

    /// The fields that tell of it.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&'static [u8], &[u8])> {
        self.fields.iter().map(|(name, value)| (*name, value.as_slice()))
    }
}

/// One element, since what stood there before is not passed on.
fn forwarded(presented: &Presented) -> String {
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let mut value = format!(
        "Hash={};Subject=\"{}\"",
        presented.fingerprint,
        quoted(&presented.subject)
    );
    for (key, texts) in [("URI", &presented.uris), ("DNS", &presented.names)] {
        for text in texts {
            let is_plain = !text.contains([',', ';', '=', '"', '\\']);
            let text = if is_plain {
                text.clone()
            } else {
                format!("\"{}\"", quoted(text))
            };
            value = format!("{value};{key}={text}");
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_part_is_quoted() {
        let presented = Presented {
            subject: r#"CN=ann,O=\"A\""#.to_owned(),
            issuer: String::new(),
            serial: String::new(),
            fingerprint: "ab".to_owned(),
            names: vec!["ann.test".to_owned()],
            uris: vec!["spiffe://a.test/x;y".to_owned()],
        };
        assert_eq!(
            forwarded(&presented),
            r#"Hash=ab;Subject="CN=ann,O=\\\"A\\\"";URI="spiffe://a.test/x;y";DNS=ann.test"#
        );
    }
}
