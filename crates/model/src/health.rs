//! When an endpoint of an upstream counts as healthy: Kong's `healthchecks`, with what nginx's
//! `health_check` adds to it (`port`, `jitter`, `match`, `mandatory`).
//!
//! Names, units (seconds) and defaults are Kong's (contract: upstream of the Admin API, 3.9), so that a
//! document says what a Kong file says. With the defaults nothing is checked: an interval of 0 is no active
//! check, a threshold of 0 marks nobody.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The longest interval and the longest time-out, Kong's.
pub const LONGEST: Duration = Duration::from_secs(65_535);
/// The largest number of outcomes that a threshold may ask for, Kong's.
pub const MOST_OUTCOMES: u32 = 255;

/// The checks of one upstream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthChecks {
    /// Checks that Hythe makes by itself.
    #[serde(default)]
    pub active: ActiveChecks,
    /// What is concluded from the answers to clients' requests.
    #[serde(default)]
    pub passive: PassiveChecks,
    /// The least share of weight, in percent, that must be healthy; with less the whole pool counts as
    /// unavailable. 0: never.
    #[serde(default)]
    pub threshold: f64,
}

/// Checks that Hythe makes by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActiveChecks {
    /// What is tried.
    #[serde(rename = "type", default)]
    pub kind: CheckType,
    /// Time for one check, connecting included; seconds in JSON.
    #[serde(with = "seconds", default = "one_second")]
    pub timeout: Duration,
    /// Checks of this pool at the same time, at least 1.
    #[serde(default = "ten")]
    pub concurrency: u32,
    /// Path and query of the GET.
    #[serde(default = "root")]
    pub http_path: String,
    /// Whether the certificate must be valid.
    #[serde(default = "yes")]
    pub https_verify_certificate: bool,
    /// Name in the TLS handshake instead of the target's host.
    #[serde(default)]
    pub https_sni: Option<String>,
    /// Further headers of the GET.
    #[serde(default)]
    pub headers: Option<BTreeMap<String, Vec<String>>>,
    /// Of endpoints that are healthy, and how others become so.
    #[serde(default)]
    pub healthy: ActiveHealthy,
    /// Of endpoints that are not healthy, and how others become so.
    #[serde(default)]
    pub unhealthy: ActiveUnhealthy,
    /// nginx: each wait is longer by a random part of this; seconds in JSON.
    #[serde(with = "seconds", default)]
    pub jitter: Duration,
    /// nginx: the port to check instead of the endpoint's own.
    #[serde(default)]
    pub port: Option<u16>,
    /// nginx: what an answer must be; decides alone then, not the lists of statuses.
    #[serde(rename = "match", default)]
    pub expected: Option<Expected>,
    /// nginx: an endpoint that was never checked is not healthy.
    #[serde(default)]
    pub mandatory: bool,
}

/// Kinds of active checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckType {
    /// A connection is accepted.
    Tcp,
    /// GET over HTTP/1.1.
    #[default]
    Http,
    /// The same over TLS.
    Https,
    /// `grpc.health.v1.Health/Check` of the whole server answers `SERVING`.
    Grpc,
    /// The same over TLS.
    Grpcs,
}

/// Active checks of healthy endpoints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActiveHealthy {
    /// Time from one check of a healthy endpoint to the next; 0: none. Seconds in JSON.
    #[serde(with = "seconds", default)]
    pub interval: Duration,
    /// Statuses that are a success.
    #[serde(default = "active_successes")]
    pub http_statuses: Vec<u16>,
    /// Successes in a row that make an endpoint healthy (nginx: `passes`); 0: none do.
    #[serde(default)]
    pub successes: u32,
}

/// Active checks of unhealthy endpoints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActiveUnhealthy {
    /// Time from one check of an unhealthy endpoint to the next; 0: none. Seconds in JSON.
    #[serde(with = "seconds", default)]
    pub interval: Duration,
    /// Statuses that are a failure.
    #[serde(default = "active_failures")]
    pub http_statuses: Vec<u16>,
    /// Connections refused or broken, without a success between, that make an endpoint unhealthy; 0: none do.
    #[serde(default)]
    pub tcp_failures: u32,
    /// The same for checks that took too long.
    #[serde(default)]
    pub timeouts: u32,
    /// The same for answers that are a failure (nginx: `fails`).
    #[serde(default)]
    pub http_failures: u32,
}

/// What is concluded from the answers to clients' requests.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PassiveChecks {
    /// Whether statuses count at all: not for `tcp`.
    #[serde(rename = "type", default)]
    pub kind: CheckType,
    /// How endpoints become healthy.
    #[serde(default)]
    pub healthy: PassiveHealthy,
    /// How endpoints become unhealthy.
    #[serde(default)]
    pub unhealthy: PassiveUnhealthy,
}

/// How answers make an endpoint healthy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PassiveHealthy {
    /// Statuses that are a success.
    #[serde(default = "passive_successes")]
    pub http_statuses: Vec<u16>,
    /// Successes in a row that make an endpoint healthy; 0: none do.
    #[serde(default)]
    pub successes: u32,
    /// Ours: after how long an endpoint that passive checks made unhealthy is healthy again where no active check can
    /// say so; 0: never, as with Kong. Seconds in JSON.
    #[serde(with = "seconds", default = "half_a_minute")]
    pub recovery_time: Duration,
}

/// How answers make an endpoint unhealthy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PassiveUnhealthy {
    /// Statuses that are a failure.
    #[serde(default = "passive_failures")]
    pub http_statuses: Vec<u16>,
    /// Connections refused or broken, without a success between, that make an endpoint unhealthy; 0: none do.
    #[serde(default)]
    pub tcp_failures: u32,
    /// The same for requests that took too long.
    #[serde(default)]
    pub timeouts: u32,
    /// The same for answers that are a failure.
    #[serde(default)]
    pub http_failures: u32,
}

/// What an answer must be: nginx's `match`. What is empty is not asked.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// Statuses, `200` or `200-399`; one of them.
    #[serde(default)]
    pub status: Vec<String>,
    /// Header to its value, or to a regular expression after `~`; all of them.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// A regular expression that must be found in the first 256 KiB of the body.
    #[serde(default)]
    pub body: Option<String>,
}

/// How many outcomes of a kind, in a row, make an endpoint healthy or unhealthy; 0: no number does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Thresholds {
    /// Successes.
    pub successes: u32,
    /// Answers that are a failure.
    pub http_failures: u32,
    /// Connections refused or broken.
    pub tcp_failures: u32,
    /// Waits that took too long.
    pub timeouts: u32,
}

impl ActiveChecks {
    /// Whether anything is ever checked.
    pub fn is_on(&self) -> bool {
        !self.healthy.interval.is_zero() || !self.unhealthy.interval.is_zero()
    }

    /// Whether they ever find an endpoint healthy that was not.
    pub fn can_heal(&self) -> bool {
        !self.unhealthy.interval.is_zero() && self.healthy.successes > 0
    }

    /// When an endpoint changes sides.
    pub fn thresholds(&self) -> Thresholds {
        Thresholds {
            successes: self.healthy.successes,
            http_failures: self.unhealthy.http_failures,
            tcp_failures: self.unhealthy.tcp_failures,
            timeouts: self.unhealthy.timeouts,
        }
    }
}

impl PassiveChecks {
    /// Whether they ever find an endpoint unhealthy.
    pub fn is_on(&self) -> bool {
        self.thresholds().can_fail()
    }

    /// When an endpoint changes sides.
    pub fn thresholds(&self) -> Thresholds {
        Thresholds {
            successes: self.healthy.successes,
            http_failures: self.unhealthy.http_failures,
            tcp_failures: self.unhealthy.tcp_failures,
            timeouts: self.unhealthy.timeouts,
        }
    }
}

impl Thresholds {
    /// Whether any number of failures makes an endpoint unhealthy.
    pub fn can_fail(&self) -> bool {
        self.http_failures > 0 || self.tcp_failures > 0 || self.timeouts > 0
    }
}

impl Default for ActiveChecks {
    fn default() -> Self {
        Self {
            kind: CheckType::Http,
            timeout: one_second(),
            concurrency: ten(),
            http_path: root(),
            https_verify_certificate: yes(),
            https_sni: None,
            headers: None,
            healthy: ActiveHealthy::default(),
            unhealthy: ActiveUnhealthy::default(),
            jitter: Duration::ZERO,
            port: None,
            expected: None,
            mandatory: false,
        }
    }
}

impl Default for ActiveHealthy {
    fn default() -> Self {
        Self {
            interval: Duration::ZERO,
            http_statuses: active_successes(),
            successes: 0,
        }
    }
}

impl Default for ActiveUnhealthy {
    fn default() -> Self {
        Self {
            interval: Duration::ZERO,
            http_statuses: active_failures(),
            tcp_failures: 0,
            timeouts: 0,
            http_failures: 0,
        }
    }
}

impl Default for PassiveHealthy {
    fn default() -> Self {
        Self {
            http_statuses: passive_successes(),
            successes: 0,
            recovery_time: half_a_minute(),
        }
    }
}

impl Default for PassiveUnhealthy {
    fn default() -> Self {
        Self {
            http_statuses: passive_failures(),
            tcp_failures: 0,
            timeouts: 0,
            http_failures: 0,
        }
    }
}

/// The statuses that `text` means: `200`, or `200-399`. `None` if it is neither.
pub fn status_range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let status = |text: &str| {
        let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|status| digits && *status >= 100)
    };
    let range = status(first)?..=status(last)?;
    (!range.is_empty()).then_some(range)
}

impl std::fmt::Display for CheckType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Tcp => "tcp",
            Self::Http => "http",
            Self::Https => "https",
            Self::Grpc => "grpc",
            Self::Grpcs => "grpcs",
        })
    }
}

/// Kong's durations: seconds, fractions allowed.
mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(duration.as_secs_f64())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        let duration = Duration::try_from_secs_f64(seconds).ok();
        let short = duration.filter(|duration| *duration <= super::LONGEST);
        short
            .ok_or_else(|| D::Error::custom(format_args!("{seconds} is not a number of seconds, 0 to 65535")))
    }
}

fn one_second() -> Duration {
    Duration::from_secs(1)
}

fn half_a_minute() -> Duration {
    Duration::from_secs(30)
}

fn ten() -> u32 {
    10
}

fn root() -> String {
    "/".to_owned()
}

fn yes() -> bool {
    true
}

fn active_successes() -> Vec<u16> {
    vec![200, 302]
}

fn active_failures() -> Vec<u16> {
    vec![429, 404, 500, 501, 502, 503, 504, 505]
}

fn passive_successes() -> Vec<u16> {
    let fine = (200..=208).chain([226]);
    fine.chain(300..=308).collect()
}

fn passive_failures() -> Vec<u16> {
    vec![429, 500, 503]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_says_what_kong_says() {
        let kong = r#"{"active": {"type": "https", "timeout": 0.5, "headers": null, "https_sni": null,
            "healthy": {"interval": 5, "successes": 2}, "unhealthy": {"http_failures": 3}}, "threshold": 50}"#;
        let checks: HealthChecks = serde_json::from_str(kong).unwrap();
        assert_eq!(checks.active.kind, CheckType::Https);
        assert_eq!(checks.active.timeout, Duration::from_millis(500));
        assert_eq!(checks.active.unhealthy.http_statuses, active_failures());
        let written = serde_json::to_value(&checks).unwrap();
        assert_eq!(written["active"]["healthy"]["interval"], 5.0);
        assert_eq!(serde_json::from_value::<HealthChecks>(written).unwrap(), checks);
    }

    #[test]
    fn nothing_is_checked_unless_it_is_asked_for() {
        let checks: HealthChecks = serde_json::from_str("{}").unwrap();
        assert_eq!(checks, HealthChecks::default());
        assert!(!checks.active.is_on() && !checks.active.thresholds().can_fail());
        assert!(!checks.passive.thresholds().can_fail());
    }

    #[test]
    fn statuses_alone_and_in_ranges() {
        let rows = [
            ("200", Some(200..=200)),
            ("200-399", Some(200..=399)),
            ("399-200", None),
            ("99", None),
            ("+20", None),
            ("2xx", None),
            ("200-", None),
            ("", None),
        ];
        for (text, expected) in rows {
            assert_eq!(status_range(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_check_is_refused() {
        for text in [
            r#"{"activ": {}}"#,
            r#"{"active": {"timeout": -1}}"#,
            r#"{"active": {"healthy": {"interval": 65536}}}"#,
            r#"{"active": {"type": "icmp"}}"#,
        ] {
            assert!(serde_json::from_str::<HealthChecks>(text).is_err(), "{text}");
        }
    }
}
