//! Who may ask, and what is changed on the way: plugins of a route.

use super::locations::Handling;
use super::scope::Scope;
use super::{Draft, number};
use crate::report::Effect;
use crate::tree::Directive;
use crate::value;
use crate::yaml::{MapOf, Yaml};

/// Largest body that nginx takes where nothing is said.
const LARGEST_BODY: u64 = 1 << 20;

/// Fields that the gateway sends by itself as these variables say.
const SENT_ANYWAY: [(&str, &[&str]); 6] = [
    ("x-real-ip", &["$remote_addr"]),
    ("x-forwarded-for", &["$remote_addr"]),
    ("x-forwarded-proto", &["$scheme"]),
    ("x-forwarded-host", &["$host", "$http_host"]),
    ("x-forwarded-port", &["$server_port"]),
    ("upgrade", &["$http_upgrade"]),
];

impl<'a> Draft<'a> {
    /// What a request has to pass before it is answered.
    ///
    /// # Errors
    /// The directive that cannot be translated: what it guards must not stand open.
    pub(super) fn guards(&mut self, scope: &Scope<'a>) -> Result<Vec<Yaml>, &'a Directive> {
        for name in ["auth_request", "auth_jwt"] {
            if let Some(guard) = scope.get(name).filter(|guard| guard.arg(0) != "off") {
                return Err(guard);
            }
        }
        if let Some(limit) = scope.own().and_then(|own| own.last("limit_except")) {
            self.not_applied(
                limit,
                "write a route with `methods` for what is allowed; requests get a 501",
            );
            return Err(limit);
        }
        let guards = [self.addresses(scope)?, self.users(scope)?];
        Ok(guards.into_iter().flatten().collect())
    }

    /// What is changed in a request that is passed on, and in its answer.
    pub(super) fn edits(&mut self, scope: &Scope<'a>, handling: &mut Handling) -> Vec<Yaml> {
        let mut plugins = Vec::new();
        plugins.extend(self.body_size(scope));
        plugins.extend(self.request_fields(scope, handling));
        plugins.extend(self.answer_edits(scope));
        plugins
    }

    /// What is changed in an answer, whoever gives it.
    pub(super) fn answer_edits(&mut self, scope: &Scope<'a>) -> Vec<Yaml> {
        let mut plugins = Vec::new();
        plugins.extend(self.answer_fields(scope));
        plugins.extend(self.compression(scope));
        plugins
    }

    fn addresses(&mut self, scope: &Scope<'a>) -> Result<Option<Yaml>, &'a Directive> {
        let rules = scope.any_of(&["allow", "deny"]);
        let Some(first) = rules.first().copied() else {
            return Ok(None);
        };
        let rules = rules.iter().map(|rule| format!("{} {}", rule.name, rule.arg(0)));
        let config = MapOf::default().with("rules", Yaml::texts(rules));
        let plugin = self.plugin("ip-restriction", config.done(), first);
        plugin.map(Some).ok_or(first)
    }

    fn users(&mut self, scope: &Scope<'a>) -> Result<Option<Yaml>, &'a Directive> {
        let realm = scope.get("auth_basic").filter(|realm| realm.arg(0) != "off");
        let (Some(realm), Some(file)) = (realm, scope.get("auth_basic_user_file")) else {
            return Ok(None);
        };
        let path = self.configuration.folder.join(file.arg(0));
        let config = MapOf::default()
            .with("realm", Yaml::text(realm.arg(0)))
            .with("users_file", Yaml::text(path.to_string_lossy()));
        let plugin = self.plugin("basic-auth", config.done(), realm);
        plugin.map(Some).ok_or(realm)
    }

    fn body_size(&mut self, scope: &Scope<'a>) -> Option<Yaml> {
        let written = scope.get("client_max_body_size");
        let largest = written
            .and_then(|size| value::bytes(size.arg(0)))
            .unwrap_or(LARGEST_BODY);
        let because = written.or(scope.own())?;
        if largest == 0 {
            return None;
        }
        let config = MapOf::default()
            .with("allowed_payload_size", number(largest))
            .with("size_unit", Yaml::text("bytes"));
        self.plugin("request-size-limiting", config.done(), because)
    }

    fn request_fields(&mut self, scope: &Scope<'a>, handling: &mut Handling) -> Option<Yaml> {
        let mut removed = Vec::new();
        let mut set = Vec::new();
        let mut host = Vec::new();
        let mut because = None;
        for field in scope.all("proxy_set_header") {
            let (name, value) = (field.arg(0), field.arg(1));
            match name.to_ascii_lowercase().as_str() {
                "host"
                    if [
                        "$host",
                        "$http_host",
                        "$http_host:$server_port",
                        "$host:$server_port",
                    ]
                    .contains(&value) =>
                {
                    handling.preserve_host = true;
                    continue;
                }
                "host" if value == "$proxy_host" => continue,
                "host" => {
                    because = Some(field);
                    host.push(format!("Host:{value}"));
                    continue;
                }
                "connection" if self.says_what_connections_do(value) => continue,
                lower
                    if SENT_ANYWAY
                        .iter()
                        .any(|(known, values)| *known == lower && values.contains(&value)) =>
                {
                    continue;
                }
                _ => {}
            }
            because = Some(field);
            removed.push(name.to_owned());
            if !value.is_empty() {
                set.push(format!("{name}:{value}"));
            }
        }
        let headers = |names: Vec<String>| MapOf::default().with("headers", Yaml::texts(names)).done();
        let config = MapOf::default()
            .with("remove", headers(removed))
            .with("replace", headers(host))
            .with("add", headers(set));
        self.plugin("request-transformer", config.done(), because?)
    }

    /// Connections are kept and upgraded without being told.
    fn says_what_connections_do(&self, value: &str) -> bool {
        self.upgrades.contains(&value)
            || ["", "keep-alive", "$http_connection"].contains(&value)
            || value.eq_ignore_ascii_case("upgrade")
    }

    pub(super) fn answer_fields(&mut self, scope: &Scope<'a>) -> Option<Yaml> {
        let added = scope.all("add_header");
        let hidden = scope.all("proxy_hide_header");
        let because: &Directive = added.first().or(hidden.first())?;
        for field in added.iter().filter(|field| field.arg(2) != "always") {
            self.note(
                field,
                Effect::Differs,
                "it is added to errors too, as with `always`",
            );
        }
        let names = hidden.iter().map(|field| field.arg(0).to_owned());
        let fields = added
            .iter()
            .map(|field| format!("{}:{}", field.arg(0), field.arg(1)));
        let headers = |names: Vec<String>| MapOf::default().with("headers", Yaml::texts(names)).done();
        let config = MapOf::default()
            .with("remove", headers(names.collect()))
            .with("append", headers(fields.collect()));
        self.plugin("response-transformer", config.done(), because)
    }

    fn compression(&mut self, scope: &Scope<'a>) -> Option<Yaml> {
        let gzip = scope.get("gzip").filter(|gzip| gzip.arg(0) == "on")?;
        let least = scope
            .get("gzip_min_length")
            .and_then(|size| value::bytes(size.arg(0)));
        let types = scope.get("gzip_types").map(|types| {
            let always = std::iter::once("text/html");
            let named = types.args.iter().map(String::as_str);
            match types.args.iter().any(|name| name == "*") {
                true => Yaml::texts(["text/*", "application/*", "font/*", "image/*"]),
                false => Yaml::texts(always.chain(named)),
            }
        });
        let config = MapOf::default()
            .with("algorithms", Yaml::texts(["gzip"]))
            .with("min_length", number(least.unwrap_or(20)))
            .with("types", types.unwrap_or(Yaml::texts(["text/html"])));
        self.plugin("compression", config.done(), gzip)
    }
}
