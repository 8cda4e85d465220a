//! `canary` (ours): a share of a route's requests goes to other services.
//!
//! A header or a cookie with the name of one of them decides by itself (`never` means the route's own service).
//! Otherwise the share does: with `hash_on` the same caller always gets the same, and without it requests are
//! dealt out in turn, exactly by the shares in every 10,000 of the whole node. With `sticky` the choice is kept
//! in the cookie.

use std::sync::atomic::AtomicU64;

use hythe_model::Name;
use hythe_stdx::StableHash;
use serde_json::{Map, Value};

use super::settings::Settings;
use super::shares::{WHOLE, dealt, share};
use super::template::cookie;
use super::{Plugin, PluginKind, SettingProblem, Verdict};
use crate::exchange::Exchange;

/// Its entry in the list.
pub const KIND: PluginKind = PluginKind {
    name: "canary",
    priority: 13,
    summary: "sends a share of the requests to other services",
    parse,
};

struct Canary {
    services: Vec<Name>,
    /// Where the share of each service ends.
    ends: Vec<u64>,
    hash_on: HashOn,
    header: Option<String>,
    cookie: Option<String>,
    sticky: bool,
    dealt: AtomicU64,
}

enum HashOn {
    Nothing,
    Ip,
    Consumer,
    Header(String),
    Cookie(String),
}

fn parse(config: &Map<String, Value>) -> Result<Box<dyn Plugin>, Vec<SettingProblem>> {
    let mut settings = Settings::of(config);
    let splits = settings.records("splits", split);
    if splits.is_empty() {
        settings.problem("splits", "required field missing");
    }
    let header = settings.text("header").map(str::to_owned);
    let cookie = settings.text("cookie").map(str::to_owned);
    let sticky = settings.truth("sticky", false);
    let hash_on = hash_on(&mut settings);
    if sticky && cookie.is_none() {
        settings.problem("sticky", "a choice is kept in a cookie: name it in `cookie`");
    }
    if cookie.as_ref().is_some_and(|name| !is_token(name)) {
        settings.problem("cookie", "not the name of a cookie");
    }
    let (services, shares): (Vec<_>, Vec<_>) = splits.into_iter().flatten().unzip();
    let ends: Vec<u64> = shares
        .iter()
        .scan(0, |end, share| {
            *end += share;
            Some(*end)
        })
        .collect();
    if ends.last().is_some_and(|end| *end > WHOLE) {
        settings.problem("splits", "the percentages are more than 100 together");
    }
    settings.finish()?;
    Ok(Box::new(Canary {
        services,
        ends,
        hash_on,
        header,
        cookie,
        sticky,
        dealt: AtomicU64::new(0),
    }))
}

fn split(part: &mut Settings<'_>) -> Option<(Name, u64)> {
    let service = part.name("service");
    let percentage = part.number("percentage", 0.0, 0.0, 100.0);
    if !part.has("service") {
        part.problem("service", "required field missing");
    }
    Some((service?, share(percentage)))
}

fn hash_on(settings: &mut Settings<'_>) -> HashOn {
    let choices = [
        ("none", 0),
        ("ip", 1),
        ("consumer", 2),
        ("header", 3),
        ("cookie", 4),
    ];
    let choice = settings.choice("hash_on", &choices);
    let header = settings.text("hash_on_header").map(str::to_owned);
    let cookie = settings.text("hash_on_cookie").map(str::to_owned);
    match (choice, header, cookie) {
        (Some(1), ..) => HashOn::Ip,
        (Some(2), ..) => HashOn::Consumer,
        (Some(3), Some(name), _) => HashOn::Header(name),
        (Some(4), _, Some(name)) => HashOn::Cookie(name),
        (Some(3), None, _) => {
            settings.problem("hash_on_header", "required field missing");
            HashOn::Nothing
        }
        (Some(4), _, None) => {
            settings.problem("hash_on_cookie", "required field missing");
            HashOn::Nothing
        }
        _ => HashOn::Nothing,
    }
}

fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

impl Plugin for Canary {
    fn before(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let asked = self.asked_for(exchange);
        let choice = asked.unwrap_or_else(|| self.choose(self.place(exchange)));
        if self.sticky && asked.is_none() {
            self.remember(exchange, choice);
        }
        match choice {
            Some(place) if !exchange.send_to(place) => {
                Verdict::Respond(exchange.page(503, "no Service found with those values"))
            }
            _ => Verdict::Continue,
        }
    }

    fn destinations(&self) -> &[Name] {
        &self.services
    }
}

impl Canary {
    /// What header or cookie say: a place in the list, or (`Some(None)`) the route's own service.
    fn asked_for(&self, exchange: &Exchange<'_>) -> Option<Option<usize>> {
        let header = self.header.as_ref().and_then(|name| exchange.header(name));
        let by_cookie = || self.cookie.as_ref().and_then(|name| cookie(exchange, name));
        let read = |value: &[u8]| match value {
            b"never" => Some(None),
            b"always" => Some(Some(0)),
            name => {
                let found = self
                    .services
                    .iter()
                    .position(|service| service.as_str().as_bytes() == name);
                found.map(Some)
            }
        };
        header.and_then(read).or_else(|| by_cookie().and_then(read))
    }

    /// Where among the shares a request falls.
    fn place(&self, exchange: &Exchange<'_>) -> u64 {
        let key = match &self.hash_on {
            HashOn::Nothing => None,
            HashOn::Ip => Some(exchange.peer.to_string().into_bytes()),
            HashOn::Consumer => exchange
                .decisions()
                .and_then(|decisions| decisions.caller.as_ref())
                .map(|caller| caller.name.to_string().into_bytes()),
            HashOn::Header(name) => exchange.header(name).map(<[u8]>::to_vec),
            HashOn::Cookie(name) => cookie(exchange, name).map(<[u8]>::to_vec),
        };
        match key {
            Some(key) => spread(StableHash::default().with(&key).finish()) % WHOLE,
            None => dealt(&self.dealt),
        }
    }

    /// Whose share the place is in; `None`: the route's own service's.
    fn choose(&self, place: u64) -> Option<usize> {
        self.ends.iter().position(|end| place < *end)
    }

    fn remember(&self, exchange: &mut Exchange<'_>, choice: Option<usize>) {
        let service = choice.and_then(|place| self.services.get(place));
        let value = service.map_or("never", Name::as_str);
        if let Some(name) = &self.cookie {
            let cookie = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax");
            exchange.answer_edits.append("Set-Cookie", cookie);
        }
    }
}

/// Mixes a hash whose low bits differ too little between keys that are alike (the finaliser of MurmurHash3).
fn spread(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::plugin::fixture::{Fixture, lines, settings};

    /// Where requests would go: the place in the list, or none for the route's own service. In these tests no
    /// service is there, so that being sent to one is a 503.
    fn goes_elsewhere(plugin: &dyn Plugin, fixture: &mut Fixture) -> bool {
        fixture.run(plugin).is_some()
    }

    fn plugin(config: Value) -> Box<dyn Plugin> {
        parse(&settings(config)).unwrap()
    }

    fn shares(config: Value, requests: u32, lines: impl Fn(u32) -> String) -> usize {
        let plugin = plugin(config);
        let elsewhere = |number: &u32| goes_elsewhere(&*plugin, &mut Fixture::get("/", &[&lines(*number)]));
        (0..requests).filter(elsewhere).count()
    }

    #[test]
    fn shares_are_exact_in_ten_thousand_requests() {
        for (percentage, expected) in [
            (0.0, 0),
            (0.01, 1),
            (5.0, 500),
            (33.33, 3_333),
            (99.99, 9_999),
            (100.0, 10_000),
        ] {
            let config = json!({"splits": [{"service": "b", "percentage": percentage}]});
            assert_eq!(
                shares(config, 10_000, |_| "X-A: 1".to_owned()),
                expected,
                "{percentage}"
            );
        }
    }

    #[test]
    fn shares_are_spread_and_not_in_a_row() {
        let config = json!({"splits": [{"service": "b", "percentage": 10}]});
        let first_hundred = shares(config, 100, |_| "X-A: 1".to_owned());
        assert!((8..=12).contains(&first_hundred), "{first_hundred}");
    }

    #[test]
    fn every_split_gets_its_share() {
        let canary = Canary {
            services: Vec::new(),
            ends: vec![500, 2_500, 2_501],
            hash_on: HashOn::Nothing,
            header: None,
            cookie: None,
            sticky: false,
            dealt: AtomicU64::new(0),
        };
        let mut counts = BTreeMap::new();
        for _ in 0..10_000 {
            let place = canary.place(&Fixture::get("/", &[]).exchange());
            *counts.entry(canary.choose(place)).or_insert(0) += 1;
        }
        let expected = [(None, 7_499), (Some(0), 500), (Some(1), 2_000), (Some(2), 1)];
        assert_eq!(counts, BTreeMap::from(expected));
    }

    #[test]
    fn the_same_caller_gets_the_same() {
        let config = json!({
            "splits": [{"service": "b", "percentage": 20}], "hash_on": "header", "hash_on_header": "X-User"
        });
        let plugin = plugin(config.clone());
        for user in 0..200 {
            let line = format!("X-User: user-{user}");
            let mut answers = (0..3).map(|_| goes_elsewhere(&*plugin, &mut Fixture::get("/", &[&line])));
            let first = answers.next().unwrap();
            assert!(answers.all(|answer| answer == first), "{line}");
        }
        // The hash does not change from release to release, so neither does this number.
        let elsewhere = shares(config, 10_000, |number| format!("X-User: user-{number}"));
        assert!((1_900..=2_100).contains(&elsewhere), "{elsewhere}");
    }

    #[test]
    fn header_and_cookie_decide_by_themselves() {
        let config = json!({
            "splits": [{"service": "b", "percentage": 0}], "header": "X-Canary", "cookie": "canary", "sticky": true
        });
        let plugin = plugin(config);
        let rows = [
            ("X-Canary: b", true, ""),
            ("X-Canary: always", true, ""),
            ("X-Canary: never", false, ""),
            ("Cookie: canary=b", true, ""),
            ("Cookie: canary=never", false, ""),
            // What is asked for and is none of the services decides nothing.
            (
                "X-Canary: c",
                false,
                "Set-Cookie: canary=never; Path=/; HttpOnly; SameSite=Lax\n",
            ),
            (
                "X-Other: b",
                false,
                "Set-Cookie: canary=never; Path=/; HttpOnly; SameSite=Lax\n",
            ),
        ];
        for (line, elsewhere, cookie) in rows {
            let mut fixture = Fixture::get("/", &[line]);
            assert_eq!(goes_elsewhere(&*plugin, &mut fixture), elsewhere, "{line}");
            assert_eq!(lines(&fixture.answer), cookie, "{line}");
        }
    }

    #[test]
    fn mistakes_are_placed() {
        let rows = [
            (json!({}), "config.splits: required field missing"),
            (
                json!({"splits": [{"service": "b", "percentage": 60}, {"service": "c", "percentage": 41}]}),
                "config.splits: the percentages are more than 100 together",
            ),
            (
                json!({"splits": [{"percentage": 1}]}),
                "config.splits.0.service: required field missing",
            ),
            (
                json!({"splits": [{"service": "b", "percentage": 101}]}),
                "config.splits.0.percentage: value should be between 0 and 100",
            ),
            (
                json!({"splits": [{"service": "b", "percentage": 1}], "sticky": true}),
                "config.sticky: a choice is kept in a cookie: name it in `cookie`",
            ),
            (
                json!({"splits": [{"service": "b", "percentage": 1}], "hash_on": "header"}),
                "config.hash_on_header: required field missing",
            ),
        ];
        for (config, message) in rows {
            let problems = parse(&settings(config.clone())).err().unwrap();
            assert_eq!(problems[0].to_string(), message, "{config}");
        }
    }
}
