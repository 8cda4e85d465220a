//! `request-termination`: answers by itself, for maintenance and for routes without a service (Kong 3.9).
//!
//! `template` is ours: a body with values of the request in it.

use serde_json::{Map, Value, json};

use super::settings::Settings;
use super::template::Template;
use super::{Plugin, PluginKind, SettingProblem, Verdict};
use crate::exchange::Exchange;
use crate::respond::Reply;

/// Its entry in the list.
pub const KIND: PluginKind = PluginKind {
    name: "request-termination",
    priority: 2,
    summary: "answers with a status and a text of your choice instead of the service",
    parse,
};

struct RequestTermination {
    status: u16,
    content_type: String,
    body: Body,
    echo: bool,
    trigger: Option<String>,
}

/// What is answered.
enum Body {
    Fixed(Vec<u8>),
    Filled(Template),
}

fn parse(config: &Map<String, Value>) -> Result<Box<dyn Plugin>, Vec<SettingProblem>> {
    let mut settings = Settings::of(config);
    let status = u16::try_from(settings.integer("status_code", 503, 100, 599)).unwrap_or(503);
    let message = settings.text("message");
    let body = settings.text("body");
    let template = settings.template("template");
    let content_type = settings.text("content_type");
    let echo = settings.truth("echo", false);
    let trigger = settings.text("trigger").map(str::to_owned);
    if message.is_some() && (body.is_some() || content_type.is_some() || template.is_some()) {
        settings.problem("message", "message cannot be used with content_type or body");
    }
    if content_type.is_some() && body.is_none() && template.is_none() {
        settings.problem("content_type", "content_type requires a body");
    }
    if template.is_some() && body.is_some() {
        settings.problem("template", "template cannot be used with body");
    }
    if content_type.is_some_and(|text| text.bytes().any(|byte| byte.is_ascii_control())) {
        settings.problem("content_type", "a content type is one line");
    }
    if (100..200).contains(&status) {
        settings.problem("status_code", "an informational status cannot end a request");
    }
    settings.finish()?;
    let content_type = content_type
        .unwrap_or("application/json; charset=utf-8")
        .to_owned();
    let body = match (template, body) {
        (Some(template), _) => Body::Filled(template),
        (None, Some(body)) => Body::Fixed(body.as_bytes().to_vec()),
        (None, None) => {
            let text = json!({ "message": message.unwrap_or("Service unavailable") });
            Body::Fixed(text.to_string().into_bytes())
        }
    };
    Ok(Box::new(RequestTermination {
        status,
        content_type,
        body,
        echo,
        trigger,
    }))
}

impl Plugin for RequestTermination {
    fn before(&self, exchange: &mut Exchange<'_>) -> Verdict {
        if self
            .trigger
            .as_ref()
            .is_some_and(|name| !is_triggered(exchange, name))
        {
            return Verdict::Continue;
        }
        let reply = if self.echo {
            echo(self.status, exchange)
        } else {
            self.reply(exchange)
        };
        Verdict::Respond(reply)
    }
}

impl RequestTermination {
    fn reply(&self, exchange: &Exchange<'_>) -> Reply {
        let body = match &self.body {
            Body::Fixed(body) => body.clone(),
            Body::Filled(template) => template.render(exchange),
        };
        Reply::new(self.status, self.content_type.clone(), body)
    }
}

/// A trigger is a header or a query argument of this name.
fn is_triggered(exchange: &Exchange<'_>, name: &str) -> bool {
    exchange.header(name).is_some()
        || exchange.query().is_some_and(|query| {
            query.split(|byte| *byte == b'&').any(|pair| {
                pair.split(|byte| *byte == b'=')
                    .next()
                    .is_some_and(|key| key == name.as_bytes())
            })
        })
}

/// Tells the caller what arrived; for debugging routes.
fn echo(status: u16, exchange: &Exchange<'_>) -> Reply {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers: Map<String, Value> = exchange
        .head
        .fields
        .iter()
        .map(|field| {
            let value = Value::String(text(field.value.of(exchange.bytes)));
            (text(field.name.of(exchange.bytes)).to_ascii_lowercase(), value)
        })
        .collect();
    let body = json!({
        "message": "request-termination",
        "matched_route": exchange.route,
        "request": {
            "method": text(exchange.method()),
            "path": text(exchange.path()),
            "query": exchange.query().map(text),
            "headers": headers,
        },
    });
    Reply::new(
        status,
        "application/json; charset=utf-8".to_owned(),
        body.to_string().into_bytes(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::fixture::{answered, settings};

    const PLAIN: &str = "GET /x?stop=1 HTTP/1.1\r\nHost: a\r\n\r\n";

    #[test]
    fn answers() {
        let rows = [
            (json!({}), Some((503, r#"{"message":"Service unavailable"}"#))),
            (
                json!({"status_code": 410, "message": "gone"}),
                Some((410, r#"{"message":"gone"}"#)),
            ),
            (
                json!({"status_code": 200, "body": "hi", "content_type": "text/plain"}),
                Some((200, "hi")),
            ),
            (
                json!({"trigger": "stop"}),
                Some((503, r#"{"message":"Service unavailable"}"#)),
            ),
            (json!({"trigger": "other"}), None),
            (
                json!({"status_code": 200, "template": "$request_method $uri of $remote_addr", "content_type": "text/plain"}),
                Some((200, "GET /x of 127.0.0.1")),
            ),
        ];
        for (config, expected) in rows {
            let plugin = parse(&settings(config.clone())).unwrap();
            let answer = answered(&*plugin, PLAIN);
            let expected = expected.map(|(status, body)| (status, body.to_owned()));
            assert_eq!(answer, expected, "{config}");
        }
    }

    #[test]
    fn refuses() {
        for config in [
            json!({"status_code": 99}),
            json!({"status_code": 101}),
            json!({"message": "a", "body": "b"}),
            json!({"content_type": "text/plain"}),
            json!({"trigger": 1}),
            json!({"massage": "a"}),
            json!({"template": "$nonsense"}),
            json!({"template": "a", "body": "b"}),
            json!({"body": "a", "content_type": "text/plain\r\nX: y"}),
        ] {
            assert!(parse(&settings(config.clone())).is_err(), "{config}");
        }
    }
}
