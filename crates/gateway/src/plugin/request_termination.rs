//! `request-termination`: answers by itself, for maintenance and for routes without a service (Kong 3.9).

use serde_json::{Map, Value, json};

use super::settings::Settings;
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
    body: Vec<u8>,
    echo: bool,
    trigger: Option<String>,
}

fn parse(config: &Map<String, Value>) -> Result<Box<dyn Plugin>, Vec<SettingProblem>> {
    let mut settings = Settings::of(config);
    let status = u16::try_from(settings.integer("status_code", 503, 100, 599)).unwrap_or(503);
    let message = settings.text("message");
    let body = settings.text("body");
    let content_type = settings.text("content_type");
    let echo = settings.truth("echo", false);
    let trigger = settings.text("trigger").map(str::to_owned);
    if message.is_some() && (body.is_some() || content_type.is_some()) {
        settings.problem("message", "message cannot be used with content_type or body");
    }
    if content_type.is_some() && body.is_none() {
        settings.problem("content_type", "content_type requires a body");
    }
    if (100..200).contains(&status) {
        settings.problem("status_code", "an informational status cannot end a request");
    }
    settings.finish()?;
    let (content_type, body) = match body {
        Some(body) => (
            content_type
                .unwrap_or("application/json; charset=utf-8")
                .to_owned(),
            body.as_bytes().to_vec(),
        ),
        None => {
            let text = json!({ "message": message.unwrap_or("Service unavailable") });
            (
                "application/json; charset=utf-8".to_owned(),
                text.to_string().into_bytes(),
            )
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
            self.reply()
        };
        Verdict::Respond(reply)
    }
}

impl RequestTermination {
    fn reply(&self) -> Reply {
        Reply::new(self.status, self.content_type.clone(), self.body.clone())
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
    use crate::plugin::chain::tests::{answered, settings};

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
        ] {
            assert!(parse(&settings(config.clone())).is_err(), "{config}");
        }
    }
}
