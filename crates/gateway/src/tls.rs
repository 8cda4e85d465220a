//! TLS on listeners: the first step of a connection, and the certificates that clients are shown.
//!
//! Handshakes run on the worker that accepted the connection, within the time for a head, so that a client that
//! hesitates keeps nobody else waiting. What was agreed on stays with the wire (`Wire::negotiated`, `Client::tls`): the name asked
//! for, the application's protocol, the client's certificate.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hythe_model::certificate::Certificate;
use hythe_model::{Desired, ListenerProtocol};
use hythe_tls::{Certificates, ClientCertificates, Identity, IdentityError, Resolver, ServerConfigs};
use hythe_upstream::{Greeting, Wire};

use crate::listener::ListenerPlan;
use crate::respond::Failure;
use crate::snapshot::Problem;
use crate::worker::Worker;

/// What the handshakes of all listeners share.
#[derive(Debug)]
pub(crate) struct ServerTls {
    configs: ServerConfigs,
    resolver: Arc<Resolver>,
    default: Vec<Identity>,
}

impl ServerTls {
    /// Shows `default` to everybody until [`ServerTls::show`]. Without one, handshakes fail that nobody has a
    /// certificate for.
    pub(crate) fn new(default: Option<Identity>) -> Result<Self, rustls::Error> {
        let default: Vec<Identity> = default.into_iter().collect();
        let resolver = Arc::new(Resolver::new(Certificates::new(&default)));
        Ok(Self {
            configs: ServerConfigs::new(resolver.clone(), ClientCertificates::None)?,
            resolver,
            default,
        })
    }

    /// How TLS is spoken on a listener.
    pub(crate) fn config(&self, plan: &ListenerPlan) -> Arc<rustls::ServerConfig> {
        let config = match plan.protocol {
            ListenerProtocol::Https if plan.http2 => &self.configs.http2,
            ListenerProtocol::Https => &self.configs.http1,
            _ => &self.configs.stream,
        };
        Arc::clone(config)
    }

    /// Shows the certificates of `desired` from the next handshake on. One that cannot be used is left out and
    /// told; a name that two have stays with the one whose own name comes first.
    pub(crate) fn show(&self, desired: &Desired) -> Vec<Problem> {
        let mut certificates = Certificates::new(&self.default);
        let mut problems = Vec::new();
        // Names that were given explicitly win over those that merely stand in a certificate.
        let (given, own): (Vec<_>, Vec<_>) = desired
            .certificates
            .iter()
            .partition(|(_, entry)| entry.spec.snis.is_some());
        for (name, entry) in given.into_iter().chain(own) {
            let added = add(&mut certificates, &entry.spec).map_err(|error| error.to_string());
            let complaints = added.unwrap_or_else(|error| vec![error]);
            problems.extend(complaints.into_iter().map(|message| Problem {
                kind: "certificate",
                name: name.to_string(),
                message,
            }));
        }
        self.resolver.replace(certificates);
        problems
    }
}

/// Adds a certificate under its names; what is wrong with them.
fn add(certificates: &mut Certificates, certificate: &Certificate) -> Result<Vec<String>, IdentityError> {
    let identities: Vec<Identity> = certificate
        .pairs()
        .map(|(cert, key)| Identity::from_pem(cert, key))
        .collect::<Result<_, _>>()?;
    let own = || identities.first().map(|identity| identity.facts().names.clone());
    let Some(names) = &certificate.snis else {
        // A name that another certificate was given for explicitly is no mistake of this one.
        for name in own().unwrap_or_default() {
            certificates.add(&name, &identities);
        }
        return Ok(Vec::new());
    };
    let taken = names.iter().filter(|name| !certificates.add(name, &identities));
    Ok(taken
        .map(|name| format!("another certificate is shown for `{name}`"))
        .collect())
}

/// The first step of a connection: TLS where it is spoken.
///
/// # Errors
/// When there is nothing to serve; what to tell the client, if it can be told anything.
pub(crate) async fn greet(
    worker: &Worker,
    wire: &mut Wire,
    plan: &ListenerPlan,
) -> Result<(), Option<Failure>> {
    if !plan.tls() {
        return Ok(());
    }
    let config = worker.shared.tls.config(plan);
    let greeting = wire.accept_tls(config, &[], worker.limits().head_timeout).await;
    let metrics = worker.metrics();
    if let Ok(Greeting::Tls) = greeting {
        metrics.tls_handshakes.fetch_add(1, Ordering::Relaxed);
        return Ok(());
    }
    metrics.tls_failed.fetch_add(1, Ordering::Relaxed);
    match greeting {
        Ok(_) => Err(Some(Failure::PlainHttp)),
        Err(error) => {
            tracing::debug!(error = &error as &dyn std::error::Error, "no TLS handshake");
            Err(None)
        }
    }
}
