//! `mirror` (ours): a share of the requests is copied to another service, whose answers nobody waits for.
//!
//! What is copied, and when, is told in `mirror` of the gateway; here is decided which requests are.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use hythe_http1::Framing;
use hythe_model::Name;
use serde_json::{Map, Value};

use super::settings::Settings;
use super::shares::{dealt, share};
use super::{Plugin, PluginKind, SettingProblem, Verdict};
use crate::exchange::Exchange;
use crate::mirror::{Mirroring, Places, count_dropped};

/// Its entry in the list. After everything that changes or refuses a request.
pub const KIND: PluginKind = PluginKind {
    name: "mirror",
    priority: 12,
    summary: "copies a share of the requests to another service",
    parse,
};

struct Mirror {
    service: [Name; 1],
    share: u64,
    max_body: usize,
    concurrency: usize,
    timeout: Duration,
    dealt: AtomicU64,
    places: Arc<Places>,
}

fn parse(config: &Map<String, Value>) -> Result<Box<dyn Plugin>, Vec<SettingProblem>> {
    let mut settings = Settings::of(config);
    let service = settings.name("service");
    if !settings.has("service") {
        settings.problem("service", "required field missing");
    }
    let percentage = settings.number("percentage", 100.0, 0.0, 100.0);
    let max_body = settings.integer("max_body", 64 << 10, 0, 16 << 20);
    let concurrency = settings.integer("concurrency", 64, 1, 10_000);
    let timeout = settings.integer("timeout", 60_000, 1, 3_600_000);
    settings.finish()?;
    let Some(service) = service else {
        return Err(Vec::new());
    };
    Ok(Box::new(Mirror {
        service: [service],
        share: share(percentage),
        max_body: usize::try_from(max_body).unwrap_or(usize::MAX),
        concurrency: usize::try_from(concurrency).unwrap_or(usize::MAX),
        timeout: Duration::from_millis(timeout),
        dealt: AtomicU64::new(0),
        places: Arc::default(),
    }))
}

impl Plugin for Mirror {
    fn before(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let is_tunnel = exchange.head.upgrade.is_some();
        if !is_tunnel && dealt(&self.dealt) < self.share && !self.copy(exchange) {
            count_dropped(exchange.metrics);
        }
        Verdict::Continue
    }

    fn destinations(&self) -> &[Name] {
        &self.service
    }
}

impl Mirror {
    /// Has the request copied; whether there is room for that, and a service.
    fn copy(&self, exchange: &mut Exchange<'_>) -> bool {
        let is_too_large =
            matches!(exchange.head.framing, Framing::Length(length) if length > self.max_body as u64);
        let Some(service) = exchange.destination(0).filter(|_| !is_too_large) else {
            return false;
        };
        let Some(place) = self.places.enter(self.concurrency) else {
            return false;
        };
        exchange.decide().mirroring = Some(Mirroring {
            service,
            max_body: self.max_body,
            timeout: self.timeout,
            place,
        });
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use serde_json::json;

    use super::*;
    use crate::plugin::fixture::{Fixture, settings};

    fn plugin(config: Value) -> Box<dyn Plugin> {
        parse(&settings(config)).unwrap()
    }

    /// Copies that were wanted. In these tests no service is there, so each of them is dropped.
    fn wanted(plugin: &dyn Plugin, request: &str) -> u64 {
        let mut fixture = Fixture::new(request);
        assert!(fixture.run(plugin).is_none());
        fixture.metrics.copies_dropped.load(Ordering::Relaxed)
    }

    #[test]
    fn shares_are_exact_and_the_original_goes_on() {
        for (percentage, expected) in [(0.0, 0), (12.5, 1_250), (100.0, 10_000)] {
            let plugin = plugin(json!({"service": "b", "percentage": percentage}));
            let copies = (0..10_000).map(|_| wanted(&*plugin, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
            assert_eq!(copies.sum::<u64>(), expected);
        }
    }

    #[test]
    fn what_may_become_a_tunnel_is_not_copied() {
        let plugin = plugin(json!({"service": "b"}));
        let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        assert_eq!(wanted(&*plugin, request), 0);
    }

    #[test]
    fn mistakes_are_placed() {
        let rows = [
            (json!({}), "config.service: required field missing"),
            (
                json!({"service": "b", "max_body": 1 << 30}),
                "config.max_body: value should be between 0 and 16777216",
            ),
            (
                json!({"service": "b", "concurrency": 0}),
                "config.concurrency: value should be between 1 and 10000",
            ),
        ];
        for (config, message) in rows {
            let problems = parse(&settings(config.clone())).err().unwrap();
            assert_eq!(problems[0].to_string(), message, "{config}");
        }
    }
}
