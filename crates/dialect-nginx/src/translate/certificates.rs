//! `ssl_certificate` and its like: who the gateway is to clients, who it is to services, and who vouches for these.
//!
//! nginx chooses a certificate as it chooses a server: by the name that a client asks for, and that of the address's
//! default server otherwise. Here a certificate has names, whatever the address; `*` stands for any other.

use super::scope::Scope;
use super::servers::Server;
use super::{Draft, free, name_of};
use crate::report::Effect;
use crate::tree::Directive;
use crate::yaml::{MapOf, Yaml};

/// A certificate that clients are shown.
pub(super) struct Certificate {
    /// Chain and key, and those of another kind of key.
    files: Vec<(String, String)>,
    names: Vec<String>,
}

impl<'a> Draft<'a> {
    /// The certificates of a server for its names. `otherwise`: also for clients that ask for no name of anybody's.
    pub(super) fn certificates_of(&mut self, server: &Server<'a>, otherwise: bool) {
        let mut names: Vec<String> = server.names_of_certificate().collect();
        if otherwise {
            names.push("*".to_owned());
        }
        self.shown(&server.scope, names);
    }

    /// The certificates of a block, shown for these names.
    pub(super) fn shown(&mut self, scope: &Scope<'a>, names: Vec<String>) {
        let chains = scope.all("ssl_certificate");
        let keys = scope.all("ssl_certificate_key");
        let Some(first) = chains.first().copied() else {
            return;
        };
        if let Some(odd) = chains.iter().chain(&keys).find(|file| !is_file(file.arg(0))) {
            self.not_applied(odd, "write the path of a file that holds PEM");
            return;
        }
        if let Some(third) = chains.get(2) {
            self.not_applied(third, "there are two certificates for a name at most");
        }
        let pairs = chains.iter().zip(&keys).take(2);
        let files: Vec<_> = pairs
            .map(|(chain, key)| (self.file(chain), self.file(key)))
            .collect();
        let names = self.free_names(first, &files, names);
        match self.certificates.iter_mut().find(|known| known.files == files) {
            Some(known) => known.names.extend(names),
            None => self.certificates.push(Certificate { files, names }),
        }
    }

    /// The names that no other certificate is shown for.
    fn free_names(
        &mut self,
        because: &'a Directive,
        files: &[(String, String)],
        names: Vec<String>,
    ) -> Vec<String> {
        let mut free = Vec::new();
        for name in names {
            match self.certificates.iter().find(|known| known.names.contains(&name)) {
                None => free.push(name),
                Some(other) if other.files != files && name != "*" => {
                    let why = format!("another certificate is shown for `{name}` on every address");
                    self.note(because, Effect::Differs, why);
                }
                Some(_) => {}
            }
        }
        free
    }

    /// How TLS is spoken to an `https` target.
    pub(super) fn tls_settings(&mut self, scope: &Scope<'a>, pass: &'a Directive) -> MapOf {
        let verify = scope.get("proxy_ssl_verify").map(|verify| verify.arg(0) == "on");
        if verify.is_none() {
            self.note(
                pass,
                Effect::Differs,
                "the certificate is verified unless `proxy_ssl_verify off` is written",
            );
        }
        if let Some(name) = scope.get("proxy_ssl_name") {
            self.note(
                name,
                Effect::Differs,
                "the certificate must be of the `Host` that is sent",
            );
        }
        let authority = scope
            .get("proxy_ssl_trusted_certificate")
            .filter(|_| verify != Some(false));
        let authority = authority.map(|file| Yaml::texts([self.authority(file)]));
        let own = scope
            .get("proxy_ssl_certificate")
            .zip(scope.get("proxy_ssl_certificate_key"));
        let own = own.map(|(chain, key)| Yaml::Text(self.own_certificate(chain, key)));
        MapOf::default()
            .with_some("client_certificate", own)
            .with_some("ca_certificates", authority)
            .with_some("tls_verify", (verify == Some(false)).then_some(Yaml::Flag(false)))
    }

    pub(super) fn authority(&mut self, file: &Directive) -> String {
        let entry = MapOf::default().with("cert_file", Yaml::Text(self.file(file)));
        named(&mut self.authorities, &name_of_file(file.arg(0)), entry)
    }

    /// A certificate by which services know us; it is shown to no client.
    fn own_certificate(&mut self, chain: &Directive, key: &Directive) -> String {
        let entry = MapOf::default()
            .with("cert_file", Yaml::Text(self.file(chain)))
            .with("key_file", Yaml::Text(self.file(key)))
            .with_list("snis", Vec::new());
        named(&mut self.own_certificates, &name_of_file(chain.arg(0)), entry)
    }

    /// The path of a file that a directive names.
    pub(super) fn file(&self, directive: &Directive) -> String {
        let path = self.configuration.folder.join(directive.arg(0));
        path.to_string_lossy().into_owned()
    }
}

impl Certificate {
    pub(super) fn written(self) -> Yaml {
        let mut entry = MapOf::default();
        let keys = [("cert_file", "key_file"), ("cert_alt_file", "key_alt_file")];
        for ((cert, key), (chain, secret)) in keys.into_iter().zip(self.files) {
            entry = entry.with(cert, Yaml::Text(chain)).with(key, Yaml::Text(secret));
        }
        entry
            .with_list("snis", self.names.into_iter().map(Yaml::Text).collect())
            .done()
    }
}

/// The name of an entry that is as `entry` says; `wanted` if that is free.
fn named(entries: &mut Vec<(String, Yaml)>, wanted: &str, entry: MapOf) -> String {
    let entry = entry.done();
    if let Some((name, _)) = entries.iter().find(|(_, known)| *known == entry) {
        return name.clone();
    }
    let taken: Vec<&str> = entries.iter().map(|(name, _)| name.as_str()).collect();
    let name = free(wanted, &taken);
    entries.push((name.clone(), entry));
    name
}

/// Entries with their names in them.
pub(super) fn with_names(entries: Vec<(String, Yaml)>) -> impl Iterator<Item = Yaml> {
    entries.into_iter().map(|(name, entry)| {
        let named = MapOf::default().with("name", Yaml::Text(name));
        match entry {
            Yaml::Map(rest) => named.with_all(MapOf::from(rest)).done(),
            other => other,
        }
    })
}

fn name_of_file(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or_default();
    name_of(file.split('.').next().unwrap_or_default())
}

/// Whether it names a file, and no engine, text or value of a request.
fn is_file(path: &str) -> bool {
    !path.contains('$') && !path.starts_with("data:") && !path.starts_with("engine:")
}
