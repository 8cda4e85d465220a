//! `ssl_verify_client` and its like: which clients are let in by their certificate.
//!
//! nginx asks once it knows the server, by the name that the client asks for. Here a listener asks everybody the same.
//! So what a server asks for is translated where all servers of its addresses ask for it too. Whom an authority has
//! revoked is not known here: with `ssl_crl` or `ssl_ocsp` nobody is let in.

use super::Draft;
use super::scope::Scope;
use super::servers::Server;
use crate::report::Effect;
use crate::tree::Directive;
use crate::value;
use crate::yaml::{MapOf, Yaml};

/// What a block asks of clients.
#[derive(Clone)]
pub(super) struct Asked<'a> {
    verify: &'a Directive,
    optional: bool,
    depth: u64,
    /// Files of the certificates of those who vouch for clients.
    authorities: Vec<&'a Directive>,
}

impl<'a> Asked<'a> {
    /// What holds in `scope`; `None`: nothing, or nothing that can be said.
    pub(super) fn of(scope: &Scope<'a>) -> Option<Self> {
        let verify = scope.get("ssl_verify_client")?;
        let optional = match verify.arg(0) {
            "on" => false,
            "optional" => true,
            _ => return None,
        };
        let looks_up = |name: &str| scope.get(name).is_some_and(|setting| setting.arg(0) != "off");
        if looks_up("ssl_crl") || looks_up("ssl_ocsp") {
            return None;
        }
        let files = ["ssl_client_certificate", "ssl_trusted_certificate"];
        let authorities: Vec<_> = files.into_iter().filter_map(|name| scope.get(name)).collect();
        let depth = scope
            .get("ssl_verify_depth")
            .and_then(|depth| value::number(depth.arg(0)));
        (!authorities.is_empty()).then(|| Self {
            verify,
            optional,
            // nginx: one authority between a client and those who vouch for it.
            depth: depth.unwrap_or(1).min(MOST_DEPTH),
            authorities,
        })
    }

    /// Whether `other` asks for the same.
    fn is_as(&self, other: &Self) -> bool {
        let files = |asked: &Self| -> Vec<String> {
            let authorities = asked.authorities.iter();
            authorities.map(|file| file.arg(0).to_owned()).collect()
        };
        self.optional == other.optional && self.depth == other.depth && files(self) == files(other)
    }
}

/// The most that a manifest takes.
const MOST_DEPTH: u64 = 64;

/// What the servers of an address ask for, if all ask for the same.
pub(super) fn agreed<'s, 'a: 's>(mut servers: impl Iterator<Item = &'s Scope<'a>>) -> Option<Asked<'a>> {
    let first = Asked::of(servers.next()?)?;
    let agrees = |scope| Asked::of(scope).is_some_and(|other| other.is_as(&first));
    servers.all(agrees).then_some(first)
}

impl<'a> Draft<'a> {
    /// What a listener is told of the clients it asks.
    pub(super) fn asking(&mut self, asked: Option<&Asked<'a>>) -> MapOf {
        let Some(asked) = asked else {
            return MapOf::default();
        };
        if !asked.optional {
            self.note(
                asked.verify,
                Effect::Differs,
                "a client without a certificate is turned away when it shakes hands, and not with a 400",
            );
        }
        let files = asked.authorities.iter();
        let names: Vec<String> = files.map(|file| self.authority(file)).collect();
        MapOf::default()
            .with("client_ca", Yaml::texts(names))
            .with_some("client_verify", asked.optional.then(|| Yaml::text("optional")))
            .with("client_verify_depth", super::number(asked.depth))
    }

    /// The directive by which only clients with a certificate are let in, where that cannot be translated.
    pub(super) fn unknown_clients(&mut self, server: &Server<'a>) -> Option<&'a Directive> {
        let verify = server
            .scope
            .get("ssl_verify_client")
            .filter(|_| server.speaks_tls && server.is_unguarded)?;
        match verify.arg(0) {
            "off" => None,
            "on" => {
                self.not_applied(
                    verify,
                    "other servers of the address ask for something else, nobody is said to vouch for clients, or what \
                     was revoked is to be looked up; requests get a 501",
                );
                Some(verify)
            }
            _ => {
                self.not_applied(verify, "clients are not asked for certificates");
                None
            }
        }
    }
}
