//! TLS on listeners: the first step of a connection, and the certificates that clients are shown.
//!
//! Handshakes run on the worker that accepted the connection, within the time for a head, so that a client that
//! hesitates keeps nobody else waiting. What was agreed on stays with the wire (`Wire::negotiated`, `Client::tls`): the name asked
//! for, the application's protocol, the client's certificate.
//!
//! Where clients are asked for certificates, the listener has a configuration of its own ([`ServerTls::ask`]): new
//! authorities count from the next handshake on. One whose authorities cannot be read stays as it was, and a new one
//! refuses all handshakes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::ArcSwap;
use hythe_model::certificate::Certificate;
use hythe_model::{Desired, FullName, ListenerProtocol};
use hythe_tls::{
    Certificates, ClientCertificates, Identity, IdentityError, Resolver, ServerConfigError, ServerConfigs,
};
use hythe_upstream::{Greeting, Wire, WireError};

use crate::listener::{ClientRules, ListenerPlan};
use crate::openings;
use crate::respond::Failure;
use crate::snapshot::Problem;
use crate::upstream_tls::in_words;
use crate::worker::Worker;

/// What the handshakes of all listeners share.
#[derive(Debug)]
pub(crate) struct ServerTls {
    /// Where clients are not asked for certificates.
    configs: ServerConfigs,
    /// Where they are, by the listener's name.
    asking: ArcSwap<BTreeMap<String, Asking>>,
    resolver: Arc<Resolver>,
    default: Vec<Identity>,
}

/// How TLS is spoken where clients are asked for certificates.
#[derive(Debug, Clone)]
struct Asking {
    clients: ClientCertificates,
    configs: ServerConfigs,
}

impl ServerTls {
    /// Shows `default` to everybody until [`ServerTls::show`]. Without one, handshakes fail that nobody has a
    /// certificate for.
    pub(crate) fn new(default: Option<Identity>) -> Result<Self, ServerConfigError> {
        let default: Vec<Identity> = default.into_iter().collect();
        let resolver = Arc::new(Resolver::new(Certificates::new(&default)));
        Ok(Self {
            configs: ServerConfigs::new(resolver.clone(), None)?,
            asking: ArcSwap::default(),
            resolver,
            default,
        })
    }

    /// How TLS is spoken on a listener. `None`: not at all, since nobody knows whose certificates count.
    pub(crate) fn config(&self, plan: &ListenerPlan) -> Option<Arc<rustls::ServerConfig>> {
        if plan.clients.is_none() {
            return Some(config_for(&self.configs, plan));
        }
        let asking = self.asking.load();
        Some(config_for(&asking.get(&plan.name)?.configs, plan))
    }

    /// Asks the clients of the listeners of `desired` for certificates from the next handshake on. To be called before
    /// the listeners change; one that asks no more is remembered until then.
    pub(crate) fn ask(&self, desired: &Desired) -> Vec<Problem> {
        let before = self.asking.load();
        let mut problems = Vec::new();
        let mut now = BTreeMap::new();
        for (name, entry) in desired.listeners.iter() {
            let plan = openings::plan(name, &entry.spec);
            let known = before.get(&plan.name).cloned();
            let asking = match plan.clients {
                None => known,
                Some(rules) => self.asking(desired, &rules, known.as_ref()).map_or_else(
                    |message| {
                        problems.push(Problem {
                            kind: "listener",
                            name: plan.name.clone(),
                            message,
                        });
                        // What was asked before, unless that was less.
                        known.filter(|known| known.clients.required || !rules.required)
                    },
                    Some,
                ),
            };
            now.extend(asking.map(|asking| (plan.name, asking)));
        }
        self.asking.store(Arc::new(now));
        problems
    }

    /// What is there already if it says the same, so that sessions go on.
    fn asking(
        &self,
        desired: &Desired,
        rules: &ClientRules,
        known: Option<&Asking>,
    ) -> Result<Asking, String> {
        let authority = |name: &FullName| {
            let entry = desired.ca_certificates.get(name);
            let entry = entry.ok_or_else(|| format!("there is no CA certificate `{name}`"))?;
            Ok(entry.spec.cert.clone())
        };
        let clients = ClientCertificates {
            authorities: rules
                .authorities
                .iter()
                .map(authority)
                .collect::<Result<_, String>>()?,
            required: rules.required,
            depth: rules.depth,
        };
        if let Some(known) = known.filter(|known| known.clients == clients) {
            return Ok(known.clone());
        }
        let configs =
            ServerConfigs::new(self.resolver.clone(), Some(&clients)).map_err(|error| in_words(&error))?;
        Ok(Asking { clients, configs })
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

fn config_for(configs: &ServerConfigs, plan: &ListenerPlan) -> Arc<rustls::ServerConfig> {
    Arc::clone(match plan.protocol {
        ListenerProtocol::Https if plan.http2 => &configs.http2,
        ListenerProtocol::Https => &configs.http1,
        _ => &configs.stream,
    })
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
    let metrics = worker.metrics();
    let Some(config) = worker.shared.tls.config(plan) else {
        metrics.tls_failed.fetch_add(1, Ordering::Relaxed);
        return Err(None);
    };
    let greeting = wire.accept_tls(config, worker.limits().head_timeout).await;
    if let Ok(Greeting::Tls) = greeting {
        metrics.tls_handshakes.fetch_add(1, Ordering::Relaxed);
        return Ok(());
    }
    metrics.tls_failed.fetch_add(1, Ordering::Relaxed);
    match greeting {
        Ok(_) => Err(Some(Failure::PlainHttp)),
        Err(error) => {
            let of_client = u64::from(is_about_certificate(&error));
            metrics
                .client_certificates_refused
                .fetch_add(of_client, Ordering::Relaxed);
            tracing::debug!(error = &error as &dyn std::error::Error, "no TLS handshake");
            Err(None)
        }
    }
}

/// Whether the client's certificate is to blame, or that it has none.
fn is_about_certificate(error: &WireError) -> bool {
    let WireError::Broken(error) = error else {
        return false;
    };
    let source = error.get_ref().and_then(|source| source.downcast_ref());
    matches!(
        source,
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented)
    )
}
