//! `request-size-limiting`: how large a request's body may be (Kong 3.9).
//!
//! A length that is announced is checked before anything is sent. A body without one is counted while it is
//! passed on; beyond the limit the request to the service is broken off and the client gets its 413.

use hythe_http1::Framing;
use serde_json::{Map, Value};

use super::settings::Settings;
use super::{Plugin, PluginKind, SettingProblem, Verdict};
use crate::exchange::Exchange;

/// Its entry in the list.
pub const KIND: PluginKind = PluginKind {
    name: "request-size-limiting",
    priority: 951,
    summary: "limits the size of requests' bodies",
    parse,
};

struct RequestSizeLimiting {
    most: u64,
    require_content_length: bool,
}

fn parse(config: &Map<String, Value>) -> Result<Box<dyn Plugin>, Vec<SettingProblem>> {
    let mut settings = Settings::of(config);
    let size = settings.integer("allowed_payload_size", 128, 0, 1 << 40);
    let units = [("megabytes", 1 << 20), ("kilobytes", 1 << 10), ("bytes", 1)];
    let unit: Option<u64> = settings.choice("size_unit", &units);
    let require_content_length = settings.truth("require_content_length", false);
    settings.finish()?;
    Ok(Box::new(RequestSizeLimiting {
        most: size.saturating_mul(unit.unwrap_or(1)),
        require_content_length,
    }))
}

impl Plugin for RequestSizeLimiting {
    fn before(&self, exchange: &mut Exchange<'_>) -> Verdict {
        match exchange.head.framing {
            Framing::Length(length) if length > self.most => {
                // Kong 3.9: a client that asked first is told that its expectation fails.
                let status = if exchange.head.expect_continue { 417 } else { 413 };
                Verdict::Respond(exchange.page(status, "Request size limit exceeded"))
            }
            Framing::Chunked if self.require_content_length => {
                Verdict::Respond(exchange.page(411, "A valid Content-Length header is required"))
            }
            Framing::Chunked | Framing::UntilClose => {
                exchange.decide().body_limit = Some(self.most);
                Verdict::Continue
            }
            Framing::Length(_) | Framing::None => Verdict::Continue,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plugin::fixture::{Fixture, settings};

    #[test]
    fn sizes() {
        let length = "Content-Length: 1025";
        let chunked = "Transfer-Encoding: chunked";
        let kilobyte = json!({"allowed_payload_size": 1, "size_unit": "kilobytes"});
        let strict =
            json!({"allowed_payload_size": 1, "size_unit": "kilobytes", "require_content_length": true});
        let roomy = json!({"allowed_payload_size": 1025, "size_unit": "bytes"});
        let rows = [
            (&kilobyte, &[length][..], Some(413), None),
            (&kilobyte, &[length, "Expect: 100-continue"][..], Some(417), None),
            (&kilobyte, &["Content-Length: 1024"][..], None, None),
            (&kilobyte, &[chunked][..], None, Some(1024)),
            (&kilobyte, &[][..], None, None),
            (&strict, &[chunked][..], Some(411), None),
            (&strict, &[][..], None, None),
            (&roomy, &[length][..], None, None),
            (&json!({}), &[chunked][..], None, Some(128 << 20)),
        ];
        for (config, lines, status, counted) in rows {
            let plugin = parse(&settings(config.clone())).unwrap();
            let mut fixture = Fixture::get("/", lines);
            let answer = fixture.run(&*plugin).map(|(status, _)| status);
            assert_eq!(answer, status, "{config} {lines:?}");
            let limit = fixture.decisions.and_then(|decisions| decisions.body_limit);
            assert_eq!(limit, counted, "{config} {lines:?}");
        }
    }

    #[test]
    fn the_unit_is_one_of_three() {
        let problems = parse(&settings(json!({"size_unit": "gigabytes"}))).err().unwrap();
        assert_eq!(
            problems[0].to_string(),
            "config.size_unit: expected one of: megabytes, kilobytes, bytes"
        );
    }
}
