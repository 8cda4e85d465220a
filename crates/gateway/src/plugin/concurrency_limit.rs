//! `concurrency-limit` (ours): how many requests may be in the works at once, for each route, caller or
//! address, exactly and for the whole node. Beyond: an answer at once, with `Retry-After`.
//!
//! A place is taken before the request goes on and given back when it is over, however it ends. Keys live as
//! long as they have requests, so there are never more of them than requests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value};

use super::settings::Settings;
use super::{Plugin, PluginKind, SettingProblem, Verdict};
use crate::exchange::Exchange;

/// Its entry in the list.
pub const KIND: PluginKind = PluginKind {
    name: "concurrency-limit",
    priority: 905,
    summary: "limits how many requests are in the works at once",
    parse,
};

struct ConcurrencyLimit {
    most: usize,
    by: By,
    status: u16,
    message: String,
    retry_after: u64,
    running: Arc<Running>,
}

#[derive(Clone, Copy)]
enum By {
    Route,
    Consumer,
    Ip,
}

/// Requests in the works by key. The lock is held for a look into the table and nothing else.
#[derive(Default)]
struct Running(Mutex<HashMap<String, usize>>);

/// One request's place.
struct Place {
    running: Arc<Running>,
    key: String,
}

fn parse(config: &Map<String, Value>) -> Result<Box<dyn Plugin>, Vec<SettingProblem>> {
    let mut settings = Settings::of(config);
    if !settings.has("limit") {
        settings.problem("limit", "required field missing");
    }
    let most = settings.integer("limit", 1, 1, 1_000_000);
    let by = settings.choice(
        "limit_by",
        &[("route", By::Route), ("consumer", By::Consumer), ("ip", By::Ip)],
    );
    let status = settings.integer("status", 503, 400, 599);
    let message = settings.text("message").unwrap_or("Too many concurrent requests");
    let retry_after = settings.integer("retry_after", 1, 0, 86_400);
    settings.finish()?;
    Ok(Box::new(ConcurrencyLimit {
        most: usize::try_from(most).unwrap_or(usize::MAX),
        by: by.unwrap_or(By::Route),
        status: u16::try_from(status).unwrap_or(503),
        message: message.to_owned(),
        retry_after,
        running: Arc::default(),
    }))
}

impl ConcurrencyLimit {
    /// Whom a request counts for. Nobody known: the address.
    fn key(&self, exchange: &Exchange<'_>) -> String {
        let caller = exchange
            .decisions()
            .and_then(|decisions| decisions.caller.as_ref());
        match (self.by, caller) {
            (By::Route, _) => format!("route {}", exchange.route),
            (By::Consumer, Some(caller)) => format!("consumer {}", caller.name),
            (By::Consumer, None) | (By::Ip, _) => exchange.peer.to_string(),
        }
    }
}

impl Running {
    /// Takes a place for `key`, if fewer than `most` are taken.
    fn enter(self: &Arc<Self>, key: String, most: usize) -> Option<Place> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = table.entry(key.clone()).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        drop(table);
        let running = Arc::clone(self);
        Some(Place { running, key })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.running.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = table.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                table.remove(&self.key);
            }
        }
    }
}

impl Plugin for ConcurrencyLimit {
    fn before(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let key = self.key(exchange);
        if let Some(place) = self.running.enter(key, self.most) {
            exchange.decide().hold(place);
            return Verdict::Continue;
        }
        let page = exchange.page(self.status, &self.message);
        Verdict::Respond(page.with("Retry-After", self.retry_after.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::json;

    use super::*;
    use crate::plugin::fixture::{Fixture, settings};

    fn status(plugin: &dyn Plugin, fixture: &mut Fixture) -> Option<u16> {
        fixture.run(plugin).map(|(status, _)| status)
    }

    #[test]
    fn a_place_is_free_again_when_its_request_is_over() {
        let plugin = parse(&settings(json!({"limit": 2}))).unwrap();
        let mut requests: Vec<_> = (0..3).map(|_| Fixture::get("/", &[])).collect();
        let answers: Vec<_> = requests
            .iter_mut()
            .map(|request| status(&*plugin, request))
            .collect();
        assert_eq!(answers, [None, None, Some(503)]);
        requests.remove(0);
        assert_eq!(status(&*plugin, &mut requests[1]), None);
    }

    #[test]
    fn keys_do_not_share_places() {
        let plugin = parse(&settings(json!({"limit": 1, "limit_by": "ip", "status": 429}))).unwrap();
        let mut requests = ["1.1.1.1", "1.1.1.2", "1.1.1.1"].map(|peer| Fixture::get("/", &[]).from(peer));
        let answers = requests.each_mut().map(|request| status(&*plugin, request));
        assert_eq!(answers, [None, None, Some(429)]);
    }

    #[test]
    fn never_more_than_the_limit_whatever_the_threads_do() {
        let running = Arc::new(Running::default());
        let (inside, most_inside) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        if let Some(place) = running.enter("key".to_owned(), 3) {
                            let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
                            most_inside.fetch_max(now, Ordering::SeqCst);
                            inside.fetch_sub(1, Ordering::SeqCst);
                            drop(place);
                        }
                    }
                });
            }
        });
        assert!((1..=3).contains(&most_inside.into_inner()));
        assert!(
            running.0.lock().unwrap().is_empty(),
            "a key without requests stays"
        );
    }

    #[test]
    fn mistakes_are_placed() {
        let rows = [
            (json!({}), "config.limit: required field missing"),
            (
                json!({"limit": 0}),
                "config.limit: value should be between 1 and 1000000",
            ),
            (
                json!({"limit": 1, "limit_by": "x"}),
                "config.limit_by: expected one of: route, consumer, ip",
            ),
        ];
        for (config, message) in rows {
            let problems = parse(&settings(config.clone())).err().unwrap();
            assert_eq!(problems[0].to_string(), message, "{config}");
        }
    }
}
