//! TLS for clients and for upstreams: who we are, whom we believe, how it is spoken.
//!
//! - [`Identity`]: a chain of certificates and its key, from PEM, with words for what is wrong with them.
//! - [`Certificates`], [`Resolver`]: which identity a client is shown, and its replacement while connections go on.
//! - [`ServerNames`]: what belongs to which name of a server.
//! - [`ServerConfigs`]: how TLS is spoken on listeners, and which certificates clients must or may show there.
//! - [`Presented`]: what such a certificate says.
//! - [`ClientConfigs`]: how it is spoken to upstreams, one configuration for each distinct wish.
//! - [`fallback`]: the certificate that is there before anybody gave us one.
//!
//! The protocol is rustls' with the cryptography of AWS-LC; versions 1.2 and 1.3 only. Nothing here reads a socket:
//! that is `hythe-upstream`'s. Left out on purpose: revocation lists and OCSP (short-lived certificates have
//! replaced them), early data (it can be replayed).

mod certificates;
mod client;
mod complaint;
mod depth;
pub mod fallback;
mod identity;
mod names;
mod presented;
mod server;
#[cfg(test)]
mod testing;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;

pub use certificates::{Certificates, Resolver};
pub use client::{ClientConfigError, ClientConfigs, ClientSettings, authorities};
pub use complaint::{Complaint, complaints};
pub use identity::{Facts, Identity, IdentityError};
pub use names::ServerNames;
pub use presented::Presented;
pub use server::{ClientCertificates, ServerConfigError, ServerConfigs};

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// The name to ask for and to verify, from the value of a `Host` field: a port does not belong to it. An address
/// is one as well, and is verified as such.
pub fn server_name(host: &str) -> Option<ServerName<'static>> {
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => host.rsplit_once(':').map_or(host, |(host, _)| host),
    };
    ServerName::try_from(host.to_owned()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_names_whom_to_verify() {
        let rows = [
            ("a.test", Some("a.test")),
            ("a.test:8443", Some("a.test")),
            ("10.0.0.1:443", Some("10.0.0.1")),
            ("[::1]:443", Some("::1")),
            ("[::1", None),
            ("a b", None),
            ("", None),
        ];
        for (host, expected) in rows {
            let name = server_name(host).map(|name| name.to_str().into_owned());
            assert_eq!(name.as_deref(), expected, "{host}");
        }
    }
}
