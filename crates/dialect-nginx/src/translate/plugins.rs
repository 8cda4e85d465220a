//! Who may ask, and what is changed on the way: plugins of a route.

use super::locations::Handling;
use super::rules::rule;
use super::scope::{Scope, replaced};
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
        let guards = [
            self.addresses(scope)?,
            self.users(scope)?,
            self.concurrency(scope),
        ];
        Ok(guards.into_iter().flatten().collect())
    }

    /// What is changed in a request that is passed on.
    pub(super) fn request_edits(&mut self, scope: &Scope<'a>, handling: &mut Handling) {
        if let Some(redirect) = scope
            .get("proxy_redirect")
            .filter(|redirect| redirect.arg(0) != "off")
        {
            self.not_applied(redirect, "the service's `Location` is passed on as it is");
        }
        let size = self.body_size(scope);
        handling.plugins.extend(size);
        let fields = self.request_fields(scope, handling);
        handling.plugins.extend(fields);
    }

    /// What is changed in an answer, whoever gives it.
    pub(super) fn answer_edits(&mut self, scope: &Scope<'a>, handling: &mut Handling) {
        self.answer_fields(scope, handling);
        let compression = self.compression(scope);
        handling.plugins.extend(compression);
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
            let (name, value) = (field.arg(0), scope.text(field.arg(1)));
            let value = value.as_str();
            if self.field_by_table(scope, field, "headers", handling) {
                continue;
            }
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

    /// A field whose value a table says becomes rules; `false`: no table is asked.
    fn field_by_table(
        &mut self,
        scope: &Scope<'a>,
        field: &'a Directive,
        key: &str,
        handling: &mut Handling,
    ) -> bool {
        let text = scope.text(field.arg(1));
        if self.upgrades.contains(&field.arg(1)) {
            return false;
        }
        let Some((variable, table)) = self.table_in(&text) else {
            return false;
        };
        let Some(cases) = self.cases(table, scope) else {
            self.not_applied(field, format!("what `${variable}` is cannot be said by rules"));
            return true;
        };
        for case in cases {
            let value = replaced(&text, |name| (name == variable).then(|| case.value.clone()));
            if value.is_empty() && key == "answer_headers" {
                continue;
            }
            let action = MapOf::default().with(key, Yaml::texts([format!("{}: {value}", field.arg(0))]));
            let rule = rule(&case.conditions, action);
            match self.rule_complaint(&rule) {
                None => handling.rules.push(rule),
                Some(problem) => self.not_applied(field, problem),
            }
        }
        true
    }

    /// `add_header` and `proxy_hide_header`. Values of the request are filled in by rules.
    pub(super) fn answer_fields(&mut self, scope: &Scope<'a>, handling: &mut Handling) {
        let added = scope.all("add_header");
        let hidden = scope.all("proxy_hide_header");
        let Some(because) = added.first().or(hidden.first()).copied() else {
            return;
        };
        let mut fields = Vec::new();
        for field in &added {
            if field.arg(2) != "always" {
                self.note(
                    field,
                    Effect::Differs,
                    "it is added to errors too, as with `always`",
                );
            }
            let text = format!("{}:{}", field.arg(0), scope.text(field.arg(1)));
            if self.field_by_table(scope, field, "answer_headers", handling) {
                continue;
            }
            if text.contains('$') {
                let action = MapOf::default().with("answer_headers", Yaml::texts([text]));
                let rule = rule(&[], action);
                match self.rule_complaint(&rule) {
                    None => handling.rules.push(rule),
                    Some(problem) => self.not_applied(field, problem),
                }
            } else {
                fields.push(text);
            }
        }
        let names = hidden.iter().map(|field| field.arg(0).to_owned());
        let headers = |names: Vec<String>| MapOf::default().with("headers", Yaml::texts(names)).done();
        let config = MapOf::default()
            .with("remove", headers(names.collect()))
            .with("append", headers(fields));
        if !config.is_empty() {
            let plugin = self.plugin("response-transformer", config.done(), because);
            handling.plugins.extend(plugin);
        }
    }

    /// `limit_conn`: how many requests of an address are in the works at once.
    fn concurrency(&mut self, scope: &Scope<'a>) -> Option<Yaml> {
        let limits = scope.all("limit_conn");
        for limit in limits.iter().skip(1) {
            self.not_applied(limit, "a location has one such limit: the first that is written");
        }
        let limit = limits.first()?;
        let zones = self.http?.all("limit_conn_zone").collect::<Vec<_>>();
        let named = |zone: &&&'a Directive| {
            let size = zone.args.iter().find_map(|word| word.strip_prefix("zone="));
            size.and_then(|size| size.split(':').next()) == Some(limit.arg(0))
        };
        let by = match zones.iter().find(named)?.arg(0) {
            "$binary_remote_addr" | "$remote_addr" => "ip",
            "$server_name" | "$host" => "route",
            _ => {
                self.not_applied(
                    limit,
                    "requests are counted by the client's address or by the route",
                );
                return None;
            }
        };
        self.note(limit, Effect::Differs, "each location counts for itself");
        let status = scope
            .get("limit_conn_status")
            .and_then(|code| value::number(code.arg(0)));
        let config = MapOf::default()
            .with("limit", number(value::number(limit.arg(1)).unwrap_or(1)))
            .with("limit_by", Yaml::text(by))
            .with_some("status", status.map(number));
        self.plugin("concurrency-limit", config.done(), limit)
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
