//! The checks of one pool, ready to be made: regular expressions compiled, the request written.

use std::ops::RangeInclusive;

use hythe_model::HealthChecks;
use hythe_model::health::{ActiveChecks, Expected, status_range};
use regex::bytes::Regex;

use crate::health::verdict::{Failure, Outcome};

/// The checks of one pool.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) checks: HealthChecks,
    /// The `Host` of every check instead of the member's own.
    pub(super) host: Option<String>,
    expected: Option<Match>,
}

/// What an answer must be, compiled.
#[derive(Debug)]
struct Match {
    statuses: Vec<RangeInclusive<u16>>,
    headers: Vec<(String, Value)>,
    body: Option<Regex>,
}

#[derive(Debug)]
enum Value {
    Exactly(String),
    Like(Regex),
}

impl Settings {
    /// # Errors
    /// A `match` that cannot be compiled; whoever writes it is told before, so this is for documents that
    /// others wrote.
    pub(super) fn new(checks: HealthChecks, host: Option<String>) -> Result<Self, String> {
        let expected = checks.active.expected.as_ref().map(Match::new).transpose()?;
        Ok(Self {
            checks,
            host,
            expected,
        })
    }

    pub(super) fn active(&self) -> &ActiveChecks {
        &self.checks.active
    }

    /// Whether the body must be read to know.
    pub(super) fn asks_for_body(&self) -> bool {
        self.expected
            .as_ref()
            .is_some_and(|expected| expected.body.is_some())
    }

    /// What an answer means, its body apart.
    pub(super) fn judge_head<'a>(
        &self,
        status: u16,
        headers: &(impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone),
    ) -> Outcome {
        let failure = |why: String| Outcome::Failure(Failure::Http, why);
        let Some(expected) = &self.expected else {
            let active = self.active();
            return if active.healthy.http_statuses.contains(&status) {
                Outcome::Success
            } else if active.unhealthy.http_statuses.contains(&status) {
                failure(format!("status {status}"))
            } else {
                Outcome::Neither
            };
        };
        if !expected.takes_status(status) {
            return failure(format!("status {status}"));
        }
        let missing = expected.headers.iter().find(|(name, value)| {
            let same = |(given, _): &(&[u8], &[u8])| given.eq_ignore_ascii_case(name.as_bytes());
            !headers.clone().filter(same).any(|(_, given)| value.takes(given))
        });
        match missing {
            Some((name, _)) => failure(format!("header {name} is not as expected")),
            None => Outcome::Success,
        }
    }

    /// Whether `body`, as far as it was read, is as expected.
    pub(super) fn takes_body(&self, body: &[u8]) -> bool {
        let regex = self.expected.as_ref().and_then(|expected| expected.body.as_ref());
        regex.is_none_or(|regex| regex.is_match(body))
    }
}

impl Match {
    fn new(expected: &Expected) -> Result<Self, String> {
        let range = |text: &String| status_range(text).ok_or_else(|| format!("`{text}` is no status"));
        let header = |(name, value): (&String, &String)| Ok((name.clone(), Value::new(value)?));
        Ok(Self {
            statuses: expected.status.iter().map(range).collect::<Result<_, _>>()?,
            headers: expected
                .headers
                .iter()
                .map(header)
                .collect::<Result<_, String>>()?,
            body: expected.body.as_deref().map(regex).transpose()?,
        })
    }

    fn takes_status(&self, status: u16) -> bool {
        self.statuses.is_empty() || self.statuses.iter().any(|range| range.contains(&status))
    }
}

impl Value {
    fn new(text: &str) -> Result<Self, String> {
        match text.strip_prefix('~') {
            Some(pattern) => regex(pattern).map(Self::Like),
            None => Ok(Self::Exactly(text.to_owned())),
        }
    }

    fn takes(&self, given: &[u8]) -> bool {
        match self {
            Self::Exactly(text) => text.as_bytes() == given,
            Self::Like(regex) => regex.is_match(given),
        }
    }
}

fn regex(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(active: &str) -> Settings {
        let checks = format!("{{\"active\": {active}}}");
        Settings::new(serde_json::from_str(&checks).unwrap(), None).unwrap()
    }

    #[test]
    fn answers_are_judged_by_kongs_lists_or_by_the_match() {
        let kong = r"{}";
        let by_status = r#"{"match": {"status": ["200-299", "418"]}}"#;
        let by_header = r#"{"match": {"headers": {"X-State": "~^(ready|idle)$", "server": "a"}}}"#;
        let rows = [
            (kong, 200, "success"),
            (kong, 302, "success"),
            (kong, 204, "neither"),
            (kong, 503, "status 503"),
            (by_status, 204, "success"),
            (by_status, 418, "success"),
            (by_status, 302, "status 302"),
            (by_header, 500, "success"),
            (
                r#"{"match": {"headers": {"x-state": "read"}}}"#,
                200,
                "header x-state is not as expected",
            ),
            (
                r#"{"match": {"headers": {"x-none": "~."}}}"#,
                200,
                "header x-none is not as expected",
            ),
        ];
        let headers: [(&[u8], &[u8]); 3] = [(b"x-state", b"busy"), (b"X-State", b"ready"), (b"Server", b"a")];
        for (active, status, expected) in rows {
            let shown = match settings(active).judge_head(status, &headers.into_iter()) {
                Outcome::Success => "success".to_owned(),
                Outcome::Neither => "neither".to_owned(),
                Outcome::Failure(_, why) => why,
            };
            assert_eq!(shown, expected, "{active} {status}");
        }
    }

    #[test]
    fn a_body_is_searched() {
        let settings = settings(r#"{"match": {"body": "\"up\": *true"}}"#);
        assert!(settings.asks_for_body());
        assert!(settings.takes_body(b"{\"up\":  true}") && !settings.takes_body(b"\xff down"));
    }

    #[test]
    fn what_cannot_be_compiled_is_an_error() {
        for active in [
            r#"{"match": {"body": "("}}"#,
            r#"{"match": {"status": ["ok"]}}"#,
            r#"{"match": {"headers": {"a": "~["}}}"#,
        ] {
            let checks = serde_json::from_str(&format!("{{\"active\": {active}}}")).unwrap();
            assert!(Settings::new(checks, None).is_err(), "{active}");
        }
    }
}
