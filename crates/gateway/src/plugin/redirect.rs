//! `redirect`: sends the caller elsewhere (Kong 3.9). Ours: `location` may be a path, and may have values of
//! the request in it.

use std::io::Write;

use serde_json::{Map, Value};

use super::settings::Settings;
use super::template::Template;
use super::{Plugin, PluginKind, SettingProblem, Verdict};
use crate::exchange::Exchange;
use crate::respond::Reply;

/// Its entry in the list.
pub const KIND: PluginKind = PluginKind {
    name: "redirect",
    priority: 779,
    summary: "sends the caller to another place",
    parse,
};

struct Redirect {
    status: u16,
    location: Template,
    /// Path and query of the request go on behind the location's host.
    keep_incoming_path: bool,
}

fn parse(config: &Map<String, Value>) -> Result<Box<dyn Plugin>, Vec<SettingProblem>> {
    let mut settings = Settings::of(config);
    let status = u16::try_from(settings.integer("status_code", 301, 300, 399)).unwrap_or(301);
    let keep_incoming_path = settings.truth("keep_incoming_path", false);
    let text = settings.text("location").unwrap_or_default();
    let location = settings.template("location");
    if !settings.has("location") {
        settings.problem("location", "required field missing");
    } else if !text.starts_with(['/', '$']) && !text.starts_with("http://") && !text.starts_with("https://") {
        settings.problem("location", "missing host in url");
    }
    if keep_incoming_path && text.starts_with('/') {
        settings.problem("keep_incoming_path", "the location must be a whole URL");
    }
    settings.finish()?;
    let location = location.ok_or_else(Vec::new)?;
    Ok(Box::new(Redirect {
        status,
        location,
        keep_incoming_path,
    }))
}

impl Plugin for Redirect {
    fn before(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let mut location = self.location.render(exchange);
        if self.keep_incoming_path {
            location.truncate(origin(&location).len());
            location.extend_from_slice(exchange.path());
            if let Some(query) = exchange.query() {
                location.push(b'?');
                location.extend_from_slice(query);
            }
        }
        let reply = Reply::new(
            self.status,
            "text/plain; charset=utf-8".to_owned(),
            b"redirecting".to_vec(),
        );
        Verdict::Respond(reply.with("Location", one_line(&location)))
    }
}

/// Scheme and authority of a URL.
fn origin(url: &[u8]) -> &[u8] {
    let authority = memchr::memmem::find(url, b"://").map_or(0, |at| at + 3);
    let rest = url.get(authority..).unwrap_or_default();
    let length = rest
        .iter()
        .position(|byte| b"/?#".contains(byte))
        .unwrap_or(rest.len());
    url.get(..authority + length).unwrap_or_default()
}

/// What may not stand in a URL is escaped: a value of the request must not end the field.
pub(super) fn one_line(url: &[u8]) -> String {
    let mut out = Vec::with_capacity(url.len());
    for byte in url {
        if byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(byte) {
            out.push(*byte);
        } else {
            // Writing to a Vec cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plugin::fixture::{Fixture, settings};

    #[test]
    fn callers_are_sent_elsewhere() {
        let rows = [
            (
                json!({"location": "https://b.test/x?y"}),
                301,
                "https://b.test/x?y",
            ),
            (json!({"location": "/new", "status_code": 308}), 308, "/new"),
            (
                json!({"location": "https://b.test:81/x?y", "keep_incoming_path": true, "status_code": 302}),
                302,
                "https://b.test:81/old/%41?q=1%0D%0AX:y&r=%22",
            ),
            (
                json!({"location": "https://$host$request_uri"}),
                301,
                "https://a/old/%41?q=1%0D%0AX:y&r=%22",
            ),
            (
                json!({"location": "/$(query_params.q)$(query_params.r)"}),
                301,
                "/1%0D%0AX:y%22",
            ),
        ];
        for (config, status, location) in rows {
            let plugin = parse(&settings(config.clone())).unwrap();
            let mut fixture = Fixture::get("/old/%41?q=1%0D%0AX:y&r=%22", &[]);
            let Verdict::Respond(reply) = plugin.before(&mut fixture.exchange()) else {
                panic!("{config}");
            };
            assert_eq!(reply.status, status);
            assert_eq!(
                reply.fields,
                [("Location".to_owned(), location.to_owned())],
                "{config}"
            );
        }
    }

    #[test]
    fn mistakes_are_placed() {
        let rows = [
            (json!({}), "config.location: required field missing"),
            (
                json!({"location": "b.test"}),
                "config.location: missing host in url",
            ),
            (
                json!({"location": "/x", "keep_incoming_path": true}),
                "config.keep_incoming_path: the location must be a whole URL",
            ),
            (
                json!({"location": "/$x"}),
                "config.location: unknown variable `$x`; write `$$` for a dollar sign",
            ),
            (
                json!({"location": "/", "status_code": 200}),
                "config.status_code: value should be between 300 and 399",
            ),
        ];
        for (config, message) in rows {
            let problems = parse(&settings(config.clone())).err().unwrap();
            assert_eq!(problems[0].to_string(), message, "{config}");
        }
    }
}
