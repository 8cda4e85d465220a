//! `correlation-id`: gives every request an id that all who handle it see.
//!
//! An id that the client sent is kept. Generators: `uuid`; `uuid#counter`, one uuid for each start of the
//! gateway and a number; `tracker`, address, port and time (Kong 3.9).

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value};
use uuid::Uuid;

use super::settings::Settings;
use super::{Plugin, PluginKind, SettingProblem, Verdict};
use crate::edits::is_editable;
use crate::exchange::Exchange;

/// Its entry in the list.
pub const KIND: PluginKind = PluginKind {
    name: "correlation-id",
    priority: 100_001,
    summary: "gives every request an id, and shows it to the service and on demand to the client",
    parse,
};

struct CorrelationId {
    header: String,
    generator: Generator,
    echo: bool,
    start: Uuid,
    count: AtomicU64,
}

#[derive(Clone, Copy)]
enum Generator {
    UuidCounter,
    Uuid,
    Tracker,
}

fn parse(config: &Map<String, Value>) -> Result<Box<dyn Plugin>, Vec<SettingProblem>> {
    let mut settings = Settings::of(config);
    let header = settings.text("header_name").unwrap_or("Kong-Request-ID");
    if !is_editable(header) {
        settings.problem("header_name", "not the name of a header that may be set");
    }
    let choices = [
        ("uuid#counter", Generator::UuidCounter),
        ("uuid", Generator::Uuid),
        ("tracker", Generator::Tracker),
    ];
    let generator = settings.choice("generator", &choices).unwrap_or(Generator::Uuid);
    let echo = settings.truth("echo_downstream", false);
    settings.finish()?;
    let (start, count) = (Uuid::new_v4(), AtomicU64::new(0));
    Ok(Box::new(CorrelationId {
        header: header.to_owned(),
        generator,
        echo,
        start,
        count,
    }))
}

impl Plugin for CorrelationId {
    fn before(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let sent = exchange
            .header(&self.header)
            .filter(|value| !value.is_empty())
            .map(<[u8]>::to_vec);
        let id = sent.unwrap_or_else(|| self.generate(exchange).into_bytes());
        if self.echo {
            exchange.answer_edits.set(self.header.clone(), id.clone());
        }
        exchange.request_edits.set(self.header.clone(), id);
        Verdict::Continue
    }
}

impl CorrelationId {
    fn generate(&self, exchange: &Exchange<'_>) -> String {
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        match self.generator {
            Generator::Uuid => Uuid::new_v4().to_string(),
            Generator::UuidCounter => format!("{}#{count}", self.start),
            Generator::Tracker => format!("{}-{}-{count}", exchange.peer, exchange.request_id),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plugin::fixture::{ran, settings};

    #[test]
    fn an_id_is_made_or_kept() {
        let plugin = parse(&settings(
            json!({"header_name": "X-Trace", "generator": "uuid#counter"}),
        ))
        .unwrap();
        let (request, answer) = ran(&*plugin, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(
            request.starts_with("X-Trace: ") && request.ends_with("#1\n"),
            "{request}"
        );
        assert_eq!(answer, "");
        let (request, _) = ran(&*plugin, "GET / HTTP/1.1\r\nHost: a\r\nx-trace: mine\r\n\r\n");
        assert_eq!(request, "X-Trace: mine\n");
    }

    #[test]
    fn it_is_echoed_when_asked() {
        let plugin = parse(&settings(json!({"echo_downstream": true, "generator": "uuid"}))).unwrap();
        let (request, answer) = ran(&*plugin, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(request.starts_with("Kong-Request-ID: "));
        assert_eq!(request, answer);
    }

    #[test]
    fn a_header_that_frames_the_message_is_a_mistake() {
        for header in [
            "Content-Length",
            "transfer-encoding",
            "Connection",
            "Host",
            "Upgrade",
        ] {
            let problems = parse(&settings(json!({"header_name": header}))).err().unwrap();
            assert_eq!(
                problems[0].to_string(),
                "config.header_name: not the name of a header that may be set",
                "{header}"
            );
        }
    }

    #[test]
    fn mistakes_are_named_together() {
        let config = settings(json!({"header_name": "a b", "generator": "dice", "echo": true}));
        let problems = parse(&config).err().unwrap();
        let texts: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "config.header_name: not the name of a header that may be set",
                "config.generator: expected one of: uuid#counter, uuid, tracker",
                "config.echo: unknown field",
            ]
        );
    }
}
