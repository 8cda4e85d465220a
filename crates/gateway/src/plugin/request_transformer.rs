//! `request-transformer`: other fields, another query, path or method for the service (Kong 3.9).
//!
//! In this order: remove, rename, replace (what is there), add (what is not there), append. Values may hold
//! values of the request; one that comes out empty takes the field away, as nginx's `proxy_set_header` does.
//! `Host` is there always, so `replace` sets it; so are the fields by which the gateway tells of a request's way
//! (`X-Forwarded-For`...). What nginx sets whatever came is `replace` and `add` of the same.
//!
//! Left out: bodies, which are passed on while they come. Fields that frame the message are not to be changed.

use serde_json::{Map, Value};

use super::query::Query;
use super::settings::Settings;
use super::template::{Template, push_path};
use super::{Plugin, PluginKind, SettingProblem, Verdict};
use crate::edits::is_editable;
use crate::exchange::Exchange;
use crate::heads::is_written_by_us;

/// Its entry in the list.
pub const KIND: PluginKind = PluginKind {
    name: "request-transformer",
    priority: 801,
    summary: "changes fields, query, path or method of requests",
    parse,
};

struct RequestTransformer {
    method: Option<Vec<u8>>,
    uri: Option<Template>,
    remove: Names,
    rename: Pairs<String>,
    replace: Pairs<Template>,
    add: Pairs<Template>,
    append: Pairs<Template>,
}

#[derive(Default)]
struct Names {
    headers: Vec<String>,
    query: Vec<String>,
}

struct Pairs<T> {
    headers: Vec<(String, T)>,
    query: Vec<(String, T)>,
}

fn parse(config: &Map<String, Value>) -> Result<Box<dyn Plugin>, Vec<SettingProblem>> {
    let mut settings = Settings::of(config);
    let method = settings.text("http_method");
    if let Some(method) = method {
        check_method(&mut settings, method);
    }
    let remove = settings.record("remove", |part| {
        no_body(part);
        Names {
            headers: part.texts("headers", |name| changeable(name).map(str::to_owned)),
            query: part.texts("querystring", |name| Ok(name.to_owned())),
        }
    });
    let rename = settings.record("rename", |part| {
        no_body(part);
        pairs(
            part,
            |name| changeable(name).map(str::to_owned),
            |name| Ok(name.to_owned()),
        )
    });
    let (replace, uri) = settings.record("replace", |part| (templates(part, true), part.template("uri")));
    let add = settings.record("add", |part| templates(part, false));
    let append = settings.record("append", |part| templates(part, false));
    settings.finish()?;
    Ok(Box::new(RequestTransformer {
        method: method.map(|method| method.as_bytes().to_vec()),
        uri,
        remove,
        rename,
        replace,
        add,
        append,
    }))
}

/// A method that turns an answer's body on or off would leave client and upstream with different ideas of it.
fn check_method(settings: &mut Settings<'_>, method: &str) {
    let is_token =
        !method.is_empty() && method.len() <= 32 && method.bytes().all(|byte| byte.is_ascii_uppercase());
    if !is_token {
        settings.problem("http_method", "not a method; write it in upper case");
    } else if matches!(method, "HEAD" | "CONNECT" | "TRACE") {
        settings.problem("http_method", "requests cannot be made to this method");
    }
}

fn no_body(part: &mut Settings<'_>) {
    if !part.texts("body", |name| Ok(name.to_owned())).is_empty() {
        part.problem("body", "bodies are passed on as they come and cannot be changed");
    }
}

fn templates(part: &mut Settings<'_>, host: bool) -> Pairs<Template> {
    no_body(part);
    let header = |name: &str, text: &str| {
        if !(host && name.eq_ignore_ascii_case("host")) {
            changeable(name)?;
        }
        Template::parse(text)
    };
    Pairs {
        headers: part.texts("headers", |text| pair(text, header)),
        query: part.texts("querystring", |text| pair(text, |_, text| Template::parse(text))),
    }
}

fn pairs<T>(
    part: &mut Settings<'_>,
    header: impl Fn(&str) -> Result<T, String>,
    query: impl Fn(&str) -> Result<T, String>,
) -> Pairs<T> {
    Pairs {
        headers: part.texts("headers", |text| {
            pair(text, |name, value| {
                changeable(name)?;
                header(value)
            })
        }),
        query: part.texts("querystring", |text| pair(text, |_, value| query(value))),
    }
}

/// `name:value`.
pub(super) fn pair<T>(
    text: &str,
    read: impl Fn(&str, &str) -> Result<T, String>,
) -> Result<(String, T), String> {
    let (name, value) = text
        .split_once(':')
        .filter(|(name, _)| !name.trim().is_empty())
        .ok_or_else(|| format!("invalid value: {text}; expected `name:value`"))?;
    let name = name.trim();
    Ok((name.to_owned(), read(name, value.trim())?))
}

/// A field that may be changed.
pub(super) fn changeable(name: &str) -> Result<&str, String> {
    if is_editable(name) {
        Ok(name)
    } else {
        Err(format!("'{name}' is not the name of a header that may be set"))
    }
}

impl Plugin for RequestTransformer {
    fn before(&self, exchange: &mut Exchange<'_>) -> Verdict {
        if let Some(method) = &self.method
            && exchange.method() != b"HEAD"
        {
            exchange.decide().method = Some(method.clone());
        }
        self.change_headers(exchange);
        self.change_query(exchange);
        if let Some(uri) = &self.uri {
            let mut path = Vec::new();
            push_path(&mut path, &uri.render(exchange));
            if path.first() != Some(&b'/') {
                path.insert(0, b'/');
            }
            exchange.decide().path = Some(path);
        }
        Verdict::Continue
    }
}

impl RequestTransformer {
    fn change_headers(&self, exchange: &mut Exchange<'_>) {
        for name in &self.remove.headers {
            exchange.request_edits.remove(name.clone());
        }
        for (old, new) in &self.rename.headers {
            rename_header(exchange, old, new);
        }
        for (name, template) in &self.replace.headers {
            if name.eq_ignore_ascii_case("host") {
                set_host(exchange, template);
            } else if is_there(exchange, name) {
                set_header(exchange, name, template);
            }
        }
        for (name, template) in &self.add.headers {
            if !is_there(exchange, name) {
                set_header(exchange, name, template);
            }
        }
        for (name, template) in &self.append.headers {
            let value = template.render(exchange);
            exchange.request_edits.append(name.clone(), value);
        }
    }

    fn change_query(&self, exchange: &mut Exchange<'_>) {
        let nothing = self.remove.query.is_empty()
            && self.rename.query.is_empty()
            && self.replace.query.is_empty()
            && self.add.query.is_empty()
            && self.append.query.is_empty();
        if nothing {
            return;
        }
        let decided = exchange.decisions().and_then(|decisions| decisions.query.clone());
        let mut query = Query::parse(decided.as_deref().or(exchange.query()).unwrap_or_default());
        for name in &self.remove.query {
            query.remove(name);
        }
        for (old, new) in &self.rename.query {
            query.rename(old, new);
        }
        for (name, template) in &self.replace.query {
            if query.has(name) {
                query.set(name, &template.render(exchange));
            }
        }
        for (name, template) in &self.add.query {
            if !query.has(name) {
                query.append(name, &template.render(exchange));
            }
        }
        for (name, template) in &self.append.query {
            query.append(name, &template.render(exchange));
        }
        exchange.decide().query = Some(query.written());
    }
}

/// Whether the upstream would get such a field as things stand.
fn is_there(exchange: &Exchange<'_>, name: &str) -> bool {
    let edits = &exchange.request_edits;
    let sent = (exchange.header(name).is_some() || is_written_by_us(name)) && !edits.drops(name.as_bytes());
    sent || edits.added().any(|(added, _)| added.eq_ignore_ascii_case(name))
}

fn set_header(exchange: &mut Exchange<'_>, name: &str, template: &Template) {
    let value = template.render(exchange);
    if value.is_empty() && !template.is_fixed() {
        exchange.request_edits.remove(name.to_owned());
    } else {
        exchange.request_edits.set(name.to_owned(), value);
    }
}

/// A `Host` that comes out as none leaves the one that is sent without this plugin.
fn set_host(exchange: &mut Exchange<'_>, template: &Template) {
    let host = template.render(exchange);
    if !host.is_empty() && host.iter().all(u8::is_ascii_graphic) {
        exchange.decide().host = Some(host);
    }
}

fn rename_header(exchange: &mut Exchange<'_>, old: &str, new: &str) {
    let values: Vec<Vec<u8>> = exchange.headers(old).map(<[u8]>::to_vec).collect();
    if values.is_empty() || exchange.request_edits.drops(old.as_bytes()) {
        return;
    }
    exchange.request_edits.remove(old.to_owned());
    exchange.request_edits.remove(new.to_owned());
    for value in values {
        exchange.request_edits.append(new.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plugin::fixture::{Fixture, lines, settings};

    fn fixture() -> Fixture {
        Fixture::new(
            "POST /x?a=1&b=2&a=3 HTTP/1.1\r\nHost: shop.test\r\nX-Old: 1\r\nX-Old: 2\r\nX-Own: 3\r\nContent-Length: 0\r\n\r\n",
        )
    }

    /// What the upstream gets added, and which of the client's fields it does not get.
    #[test]
    fn headers() {
        let rows = [
            (json!({"remove": {"headers": ["x-own"]}}), "", "x-own"),
            (
                json!({"rename": {"headers": ["x-old:X-New", "x-none:X-Other"]}}),
                "X-New: 1\nX-New: 2\n",
                "x-old",
            ),
            (
                json!({"replace": {"headers": ["X-Own:$host", "X-None:1"]}}),
                "X-Own: shop.test\n",
                "x-own",
            ),
            (
                json!({"replace": {"headers": ["X-Real-IP: 1.2.3.4"]}}),
                "X-Real-IP: 1.2.3.4\n",
                "x-real-ip",
            ),
            (
                json!({"add": {"headers": ["X-Own:1", "X-None:$(headers.x-own)b"]}}),
                "X-None: 3b\n",
                "",
            ),
            (json!({"append": {"headers": ["X-Own:4"]}}), "X-Own: 4\n", ""),
            (json!({"replace": {"headers": ["X-Own:$http_none"]}}), "", "x-own"),
            (
                json!({"remove": {"headers": ["X-Own"]}, "add": {"headers": ["X-Own: new"]}}),
                "X-Own: new\n",
                "x-own",
            ),
            (
                json!({"append": {"headers": ["X-Evil:$(query_params.e)"]}}),
                "X-Evil: \n",
                "",
            ),
        ];
        for (config, added, dropped) in rows {
            let plugin = parse(&settings(config.clone())).unwrap();
            let mut fixture = fixture();
            assert_eq!(fixture.run(&*plugin), None);
            assert_eq!(lines(&fixture.request), added, "{config}");
            for name in ["x-old", "x-own", "x-real-ip"] {
                assert_eq!(
                    fixture.request.drops(name.as_bytes()),
                    name == dropped,
                    "{config} {name}"
                );
            }
        }
    }

    #[test]
    fn a_value_cannot_break_out_of_its_field() {
        let plugin = parse(&settings(
            json!({"add": {"headers": ["X-Evil:$(query_params.e)"]}}),
        ))
        .unwrap();
        let mut fixture = Fixture::get("/?e=1%0d%0aX-Admin:1", &[]);
        assert_eq!(fixture.run(&*plugin), None);
        assert_eq!(lines(&fixture.request), "");
    }

    #[test]
    fn query_path_host_and_method() {
        let rows = [
            (json!({"remove": {"querystring": ["a"]}}), "query b=2"),
            (json!({"rename": {"querystring": ["b:c"]}}), "query a=1&c=2&a=3"),
            (
                json!({"replace": {"querystring": ["b:$host/x", "z:1"]}}),
                "query a=1&b=shop.test%2Fx&a=3",
            ),
            (
                json!({"add": {"querystring": ["b:3", "z:1 2"]}}),
                "query a=1&b=2&a=3&z=1%202",
            ),
            (
                json!({"append": {"querystring": ["b:3"]}}),
                "query a=1&b=2&a=3&b=3",
            ),
            (json!({"replace": {"uri": "/new$uri"}}), "path /new/x"),
            (json!({"replace": {"uri": "$(query_params.a)"}}), "path /1"),
            (
                json!({"replace": {"headers": ["Host:$http_host:81"]}}),
                "host shop.test:81",
            ),
            (json!({"http_method": "PUT"}), "method PUT"),
        ];
        for (config, expected) in rows {
            let plugin = parse(&settings(config.clone())).unwrap();
            let mut fixture = fixture();
            assert_eq!(fixture.run(&*plugin), None);
            let decided = fixture.decisions.unwrap_or_default();
            let parts = [
                ("query", decided.query),
                ("path", decided.path),
                ("host", decided.host),
                ("method", decided.method),
            ];
            let told: Vec<_> = parts
                .into_iter()
                .filter_map(|(what, value)| Some(format!("{what} {}", String::from_utf8(value?).unwrap())))
                .collect();
            assert_eq!(told, [expected], "{config}");
        }
    }

    #[test]
    fn mistakes_are_placed() {
        let rows = [
            (
                json!({"http_method": "head"}),
                "config.http_method: not a method; write it in upper case",
            ),
            (
                json!({"http_method": "HEAD"}),
                "config.http_method: requests cannot be made to this method",
            ),
            (
                json!({"add": {"headers": ["X"]}}),
                "config.add.headers.0: invalid value: X; expected `name:value`",
            ),
            (
                json!({"add": {"headers": ["X:1", "Host:x"]}}),
                "config.add.headers.1: 'Host' is not the name of a header that may be set",
            ),
            (
                json!({"replace": {"headers": ["Content-Length:1"]}}),
                "config.replace.headers.0: 'Content-Length' is not the name of a header that may be set",
            ),
            (
                json!({"remove": {"headers": ["Transfer-Encoding"]}}),
                "config.remove.headers.0: 'Transfer-Encoding' is not the name of a header that may be set",
            ),
            (
                json!({"add": {"body": ["a:1"]}}),
                "config.add.body: bodies are passed on as they come and cannot be changed",
            ),
            (
                json!({"add": {"headers": ["X:$x"]}}),
                "config.add.headers.0: unknown variable `$x`; write `$$` for a dollar sign",
            ),
            (json!({"add": {"uri": "/"}}), "config.add.uri: unknown field"),
        ];
        for (config, message) in rows {
            let problems = parse(&settings(config.clone())).err().unwrap();
            assert_eq!(problems[0].to_string(), message, "{config}");
        }
    }
}
