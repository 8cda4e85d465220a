//! Texts with values of the request in them: `$(headers.x)` as Kong writes them, `$remote_addr` as nginx does.
//!
//! A template is compiled when settings are read; a name that is none is a mistake then. A value that the
//! request does not have is empty. Values are bytes as the request has them, so whoever uses one checks
//! what it may become: fields refuse control characters, paths and queries are escaped.
//!
//! Left out: Kong's templates may be any Lua expression, ours name one value each; nginx's `$uri` is
//! unescaped, ours is the normalised path with its escapes, since an unescaped line break would split a field.

use std::fmt;
use std::io::Write;

use hythe_http1::{Known, Version, path};
use hythe_tls::Presented;

use crate::exchange::Exchange;
use crate::heads::without_port;

/// Most values in one text.
const MOST_VALUES: usize = 64;

/// A text with values to be filled in.
#[derive(Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(Vec<u8>),
    Value(Value),
}

/// A value of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    /// By its name, where `-` and `_` are the same.
    Header(String),
    /// By its name, unescaped.
    Argument(String),
    /// By its name, as sent.
    RawArgument(String),
    /// A named group of the route's path regex.
    Capture(String),
    Cookie(String),
    Host,
    HttpHost,
    RemoteAddress,
    ForwardedFor,
    Scheme,
    ServerAddress,
    ServerPort,
    ServerProtocol,
    Method,
    RequestUri,
    Path,
    Query,
    QuestionMark,
    RequestId,
    Route,
    Service,
    Consumer,
    ClientSubject,
    ClientIssuer,
    ClientSerial,
}

/// nginx's names without a parameter, and ours in the same form.
const NAMES: [(&str, Value); 24] = [
    ("host", Value::Host),
    ("http_host", Value::HttpHost),
    ("remote_addr", Value::RemoteAddress),
    ("realip_remote_addr", Value::RemoteAddress),
    ("proxy_add_x_forwarded_for", Value::ForwardedFor),
    ("scheme", Value::Scheme),
    ("server_addr", Value::ServerAddress),
    ("server_name", Value::Host),
    ("server_port", Value::ServerPort),
    ("server_protocol", Value::ServerProtocol),
    ("request_method", Value::Method),
    ("request_uri", Value::RequestUri),
    ("uri", Value::Path),
    ("document_uri", Value::Path),
    ("args", Value::Query),
    ("query_string", Value::Query),
    ("is_args", Value::QuestionMark),
    ("request_id", Value::RequestId),
    ("route", Value::Route),
    ("service", Value::Service),
    ("consumer", Value::Consumer),
    ("ssl_client_s_dn", Value::ClientSubject),
    ("ssl_client_i_dn", Value::ClientIssuer),
    ("ssl_client_serial", Value::ClientSerial),
];

impl Template {
    /// Reads a text. `$$` stands for a dollar sign, and so does one that no name follows.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            let (before, from_dollar) = rest.split_at(at);
            literal.extend_from_slice(before.as_bytes());
            let (piece, length) = piece(from_dollar)?;
            rest = from_dollar.get(length..).unwrap_or_default();
            match piece {
                Part::Text(text) => literal.extend(text),
                value @ Part::Value(_) => {
                    push_text(&mut parts, &mut literal);
                    parts.push(value);
                }
            }
        }
        literal.extend_from_slice(rest.as_bytes());
        push_text(&mut parts, &mut literal);
        let values = parts.iter().filter(|part| matches!(part, Part::Value(_)));
        if values.count() > MOST_VALUES {
            return Err(format!("more than {MOST_VALUES} values in one text"));
        }
        Ok(Self { parts })
    }

    /// Whether it is the same for every request.
    pub fn is_fixed(&self) -> bool {
        !self.parts.iter().any(|part| matches!(part, Part::Value(_)))
    }

    /// The text for this request.
    pub fn render(&self, exchange: &Exchange<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Value(value) => value.write(exchange, &mut out),
            }
        }
        out
    }

    /// The text for this request where it is to be a text.
    pub fn text(&self, exchange: &Exchange<'_>) -> String {
        String::from_utf8_lossy(&self.render(exchange)).into_owned()
    }
}

fn push_text(parts: &mut Vec<Part>, literal: &mut Vec<u8>) {
    if !literal.is_empty() {
        parts.push(Part::Text(std::mem::take(literal)));
    }
}

/// What the text's start, a `$`, stands for, and how long that is.
fn piece(text: &str) -> Result<(Part, usize), String> {
    let after = text.get(1..).unwrap_or_default();
    if after.starts_with('$') {
        return Ok((Part::Text(b"$".to_vec()), 2));
    }
    if let Some(inner) = after.strip_prefix('(') {
        let end = inner
            .find(')')
            .ok_or_else(|| format!("`{text}`: `$(` without a `)`"))?;
        return Ok((Part::Value(of_kong(&inner[..end])?), end + 3));
    }
    if let Some(inner) = after.strip_prefix('{') {
        let end = inner
            .find('}')
            .ok_or_else(|| format!("`{text}`: `${{` without a `}}`"))?;
        return Ok((Part::Value(of_nginx(&inner[..end])?), end + 3));
    }
    let end = after
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .unwrap_or(after.len());
    let name = &after[..end];
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return Ok((Part::Text(b"$".to_vec()), 1));
    }
    Ok((Part::Value(of_nginx(name)?), end + 1))
}

/// `headers.x`, `headers["x-y"]`.
fn of_kong(text: &str) -> Result<Value, String> {
    let text = text.trim();
    let unknown = || {
        format!(
            "`$({text})`: expected `headers.NAME`, `query_params.NAME`, `uri_captures.NAME` or `cookies.NAME`"
        )
    };
    let split = text.find(['.', '[']).ok_or_else(unknown)?;
    let (table, index) = text.split_at(split);
    let name = match index.strip_prefix('.') {
        Some(name) => name,
        None => index
            .strip_prefix("[\"")
            .and_then(|index| index.strip_suffix("\"]"))
            .or_else(|| {
                index
                    .strip_prefix("['")
                    .and_then(|index| index.strip_suffix("']"))
            })
            .ok_or_else(unknown)?,
    };
    let plain = |c: char| c.is_ascii_graphic() && !"()[]\"'".contains(c);
    if name.is_empty() || !name.chars().all(plain) {
        return Err(unknown());
    }
    match table {
        "headers" => Ok(header(name)),
        "query_params" => Ok(Value::Argument(name.to_owned())),
        "uri_captures" => Ok(Value::Capture(name.to_owned())),
        "cookies" => Ok(Value::Cookie(name.to_owned())),
        _ => Err(unknown()),
    }
}

fn of_nginx(name: &str) -> Result<Value, String> {
    if matches!(name, "content_type" | "content_length") {
        return Ok(header(name));
    }
    if let Some((_, value)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Ok(value.clone());
    }
    let parameter = |prefix: &str| name.strip_prefix(prefix).filter(|rest| !rest.is_empty());
    if let Some(name) = parameter("http_") {
        return Ok(header(name));
    }
    if let Some(name) = parameter("arg_") {
        return Ok(Value::RawArgument(name.to_owned()));
    }
    if let Some(name) = parameter("cookie_") {
        return Ok(Value::Cookie(name.to_owned()));
    }
    Err(format!(
        "unknown variable `${name}`; write `$$` for a dollar sign"
    ))
}

fn header(name: &str) -> Value {
    Value::Header(name.replace('_', "-").to_ascii_lowercase())
}

impl Value {
    fn write(&self, exchange: &Exchange<'_>, out: &mut Vec<u8>) {
        let head = exchange.head;
        // Writing to a Vec cannot fail.
        match self {
            Self::Header(name) => out.extend_from_slice(header_value(exchange, name).unwrap_or_default()),
            Self::Argument(name) => out.extend(argument(exchange, name).map(unescape).unwrap_or_default()),
            Self::RawArgument(name) => out.extend_from_slice(argument(exchange, name).unwrap_or_default()),
            Self::Capture(name) => {
                let captures = exchange.captures();
                let found = captures.into_iter().find(|(known, _)| known == name);
                out.extend(found.map(|(_, value)| value).unwrap_or_default());
            }
            Self::Cookie(name) => out.extend_from_slice(cookie(exchange, name).unwrap_or_default()),
            Self::Host => {
                out.extend(without_port(head.host.of(exchange.bytes)).to_ascii_lowercase());
            }
            Self::HttpHost => out.extend_from_slice(head.host.of(exchange.bytes)),
            Self::RemoteAddress => drop(write!(out, "{}", exchange.peer)),
            Self::ForwardedFor => {
                if let Some(before) = exchange.known(Known::XForwardedFor) {
                    out.extend_from_slice(before);
                    out.extend_from_slice(b", ");
                }
                let _ = write!(out, "{}", exchange.peer);
            }
            Self::Scheme => out.extend_from_slice(if exchange.https { b"https" } else { b"http" }),
            Self::ServerAddress => drop(write!(out, "{}", exchange.local.ip())),
            Self::ServerPort => drop(write!(out, "{}", exchange.local.port())),
            Self::ServerProtocol => out.extend_from_slice(match head.version {
                Version::Http10 => b"HTTP/1.0",
                Version::Http11 => b"HTTP/1.1",
            }),
            Self::Method => out.extend_from_slice(exchange.method()),
            Self::RequestUri => {
                out.extend_from_slice(exchange.path());
                if let Some(query) = exchange.query() {
                    out.push(b'?');
                    out.extend_from_slice(query);
                }
            }
            Self::Path => out.extend_from_slice(&path::normalize(exchange.path())),
            Self::Query => out.extend_from_slice(exchange.query().unwrap_or_default()),
            Self::QuestionMark if exchange.query().is_some_and(|query| !query.is_empty()) => out.push(b'?'),
            Self::QuestionMark => {}
            Self::RequestId => out.extend_from_slice(exchange.request_id.as_bytes()),
            Self::Route => out.extend_from_slice(exchange.route.as_bytes()),
            Self::Service => out.extend_from_slice(exchange.service.unwrap_or_default().as_bytes()),
            Self::Consumer => {
                let caller = exchange
                    .decisions()
                    .and_then(|decisions| decisions.caller.as_ref());
                let name = caller.and_then(|caller| caller.username.as_deref());
                out.extend_from_slice(name.unwrap_or_default().as_bytes());
            }
            Self::ClientSubject => push_of_client(out, exchange, |shown| &shown.subject),
            Self::ClientIssuer => push_of_client(out, exchange, |shown| &shown.issuer),
            Self::ClientSerial => push_of_client(out, exchange, |shown| &shown.serial),
        }
    }
}

/// What the certificate says that the client showed, if it did.
fn push_of_client(out: &mut Vec<u8>, exchange: &Exchange<'_>, part: fn(&Presented) -> &String) {
    if let Some(shown) = exchange.client_certificate {
        out.extend_from_slice(part(shown).as_bytes());
    }
}

/// The first value of a header, by a lower-case name where `_` is written `-`.
fn header_value<'a>(exchange: &Exchange<'a>, name: &str) -> Option<&'a [u8]> {
    let same = |sent: &[u8]| {
        let plain = |byte: &u8| match byte {
            b'_' => b'-',
            other => other.to_ascii_lowercase(),
        };
        sent.len() == name.len() && sent.iter().map(plain).eq(name.bytes())
    };
    let bytes = exchange.bytes;
    let field = exchange
        .head
        .fields
        .iter()
        .find(|field| same(field.name.of(bytes)))?;
    Some(field.value.of(bytes))
}

/// The first value of a query argument, as sent.
pub(crate) fn argument<'a>(exchange: &Exchange<'a>, name: &str) -> Option<&'a [u8]> {
    let mut pairs = exchange.query()?.split(|byte| *byte == b'&');
    pairs.find_map(|pair| {
        let at = memchr::memchr(b'=', pair).unwrap_or(pair.len());
        let (key, value) = pair.split_at(at);
        (unescape(key) == name.as_bytes()).then(|| value.get(1..).unwrap_or_default())
    })
}

/// The first value of a cookie.
pub(crate) fn cookie<'a>(exchange: &Exchange<'a>, name: &str) -> Option<&'a [u8]> {
    let fields = exchange.head.fields.iter();
    let mut cookies = fields
        .filter(|field| field.known == Some(Known::Cookie))
        .flat_map(|field| field.value.of(exchange.bytes).split(|byte| *byte == b';'));
    cookies.find_map(|pair| {
        let at = memchr::memchr(b'=', pair)?;
        let (key, value) = pair.split_at(at);
        (key.trim_ascii() == name.as_bytes()).then(|| value.get(1..).unwrap_or_default().trim_ascii())
    })
}

/// A part of a query without its escapes; what is no escape stays.
pub(crate) fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match (first, hex_pair(after)) {
            (b'+', _) => out.push(b' '),
            (b'%', Some(byte)) => {
                out.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => out.push(first),
        }
    }
    out
}

/// Appends a value of a query, escaped.
pub(crate) fn push_escaped(out: &mut Vec<u8>, value: &[u8]) {
    for byte in value {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(byte) {
            out.push(*byte);
        } else {
            push_escape(out, *byte);
        }
    }
}

/// Appends a path; what may not stand in one is escaped, escapes that are there already stay.
pub(crate) fn push_path(out: &mut Vec<u8>, path: &[u8]) {
    for (at, byte) in path.iter().enumerate() {
        let is_escape = *byte == b'%' && hex_pair(path.get(at + 1..).unwrap_or_default()).is_some();
        if is_escape || byte.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:@/".contains(byte) {
            out.push(*byte);
        } else {
            push_escape(out, *byte);
        }
    }
}

fn push_escape(out: &mut Vec<u8>, byte: u8) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "%{byte:02X}");
}

fn hex_pair(text: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*text.get(at)?).to_digit(16);
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.parts).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plugin::fixture::Fixture;

    fn fixture() -> Fixture {
        Fixture::new(
            "GET /a%2Fb/../c?x=1%202&y=z+z&x=3 HTTP/1.1\r\nHost: Shop.test:81\r\nX-One: 1\r\nUser-Agent: curl\r\n\
             Cookie: a=1; b = 2\r\nX-Forwarded-For: 10.0.0.1\r\nContent-Type: text/plain\r\n\r\n",
        )
    }

    #[test]
    fn values_are_filled_in() {
        let rows = [
            ("plain", "plain"),
            ("", ""),
            ("$host|$http_host", "shop.test|Shop.test:81"),
            ("$remote_addr", "127.0.0.1"),
            ("$proxy_add_x_forwarded_for", "10.0.0.1, 127.0.0.1"),
            ("$scheme://$server_addr:$server_port", "http://127.0.0.1:8000"),
            (
                "$request_method $request_uri $server_protocol",
                "GET /a%2Fb/../c?x=1%202&y=z+z&x=3 HTTP/1.1",
            ),
            ("$uri$is_args$args", "/c?x=1%202&y=z+z&x=3"),
            ("$http_x_one $http_user_agent$http_none.", "1 curl."),
            ("$arg_x $arg_y $arg_q.", "1%202 z+z ."),
            ("$cookie_a$cookie_b$cookie_c", "12"),
            ("$request_id $route", "0123 r"),
            ("${host}x$content_type", "shop.testxtext/plain"),
            (
                "$(headers.x-one)$(headers[\"X_One\"])$(headers['user-agent'])",
                "11curl",
            ),
            ("$(query_params.x)|$(query_params.y)", "1 2|z z"),
            ("$(uri_captures.none)$(cookies.b)", "2"),
            ("5$ $$host $1 100$", "5$ $host $1 100$"),
            ("grüße $host", "grüße shop.test"),
        ];
        let mut fixture = fixture();
        let exchange = fixture.exchange();
        for (text, expected) in rows {
            assert_eq!(Template::parse(text).unwrap().text(&exchange), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_value_is_a_mistake() {
        for text in [
            "$nonsense",
            "$http_",
            "${host",
            "${}",
            "$(headers.x",
            "$(headers)",
            "$(headers.)",
            "$(headers[x])",
            "$(os.getenv('A'))",
            "$(headers.x or 'y')",
        ] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
        assert!(Template::parse(&"$host".repeat(65)).is_err());
    }

    #[test]
    fn paths_and_queries_are_escaped() {
        let path = |text: &str| {
            let mut out = Vec::new();
            push_path(&mut out, text.as_bytes());
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            path("/a b/%2F/%zz?x#\r\nü"),
            "/a%20b/%2F/%25zz%3Fx%23%0D%0A%C3%BC"
        );
        let mut out = Vec::new();
        push_escaped(&mut out, b"a b&c=d/%2F");
        assert_eq!(out, b"a%20b%26c%3Dd%2F%252F");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*", pieces in "[$(){}a-z_.\\[\\]\"]{0,30}") {
            let mut fixture = fixture();
            let exchange = fixture.exchange();
            for text in [&text, &pieces] {
                if let Ok(template) = Template::parse(text) {
                    template.render(&exchange);
                }
            }
        }

        #[test]
        fn a_text_without_dollars_is_itself(text in "[^$]*") {
            let template = Template::parse(&text).unwrap();
            prop_assert!(template.is_fixed());
            prop_assert_eq!(template.render(&fixture().exchange()), text.as_bytes());
        }

        #[test]
        fn what_is_escaped_comes_back(value in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut out = Vec::new();
            push_escaped(&mut out, &value);
            prop_assert_eq!(unescape(&out), value);
        }
    }
}
