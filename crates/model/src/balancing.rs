//! By what requests are told apart, and what becomes of those that fail.

use serde::{Deserialize, Serialize};

/// By what a pool tells requests apart: Kong's `hash_on` and `hash_fallback`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HashOn {
    /// By nothing: they take turns.
    #[default]
    None,
    /// The consumer.
    Consumer,
    /// The client's address.
    Ip,
    /// A header.
    Header,
    /// A cookie, which is set if it is missing.
    Cookie,
    /// The path.
    Path,
    /// An argument of the query.
    QueryArg,
    /// A named group of the route's regular expression.
    UriCapture,
}

/// A failure after which another target is asked: nginx's words of `proxy_next_upstream`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryOn {
    /// No connection, or it broke before an answer.
    Error,
    /// No connection or no answer in time.
    Timeout,
    /// The answer is not HTTP as it should be.
    InvalidHeader,
    /// An answer 403.
    #[serde(rename = "http_403")]
    Http403,
    /// An answer 404.
    #[serde(rename = "http_404")]
    Http404,
    /// An answer 429.
    #[serde(rename = "http_429")]
    Http429,
    /// An answer 500.
    #[serde(rename = "http_500")]
    Http500,
    /// An answer 502.
    #[serde(rename = "http_502")]
    Http502,
    /// An answer 503.
    #[serde(rename = "http_503")]
    Http503,
    /// An answer 504.
    #[serde(rename = "http_504")]
    Http504,
    /// Also requests that may not be sent twice by their method.
    NonIdempotent,
}

/// How many retries a pool takes; the larger of the two counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryBudget {
    /// Retries for every hundred requests.
    #[serde(default = "twenty")]
    pub percent: u32,
    /// Retries a second that are allowed whatever the share.
    #[serde(default = "ten")]
    pub per_second: u32,
}

/// When requests to a pool are refused at once with a 503.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CircuitBreaker {
    /// Most requests in flight from this node; 0: any number.
    #[serde(default)]
    pub max_requests: u32,
    /// Percent of requests in a window whose failure opens it; 0: none does.
    #[serde(default)]
    pub error_percent: u32,
    /// Requests of a window below which the share says nothing.
    #[serde(default = "twenty")]
    pub min_requests: u32,
    /// How long a window is.
    #[serde(default = "ten_seconds")]
    pub window_ms: u64,
    /// How long it stays open before one request at a time tries.
    #[serde(default = "five_seconds")]
    pub open_ms: u64,
}

/// Which members errors eject for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outlier {
    /// Errors in a row after which a member is ejected: no connection, no answer in time or a status from 500 on.
    #[serde(default = "five")]
    pub consecutive_errors: u32,
    /// How long the first ejection lasts, and by how much each that follows is longer.
    #[serde(default = "half_a_minute")]
    pub ejection_time_ms: u64,
    /// How long one lasts at most.
    #[serde(default = "five_minutes")]
    pub max_ejection_time_ms: u64,
    /// Percent of the members that may be ejected at a time; one always may be, the last one never.
    #[serde(default = "fifty")]
    pub max_ejection_percent: u8,
}

/// By which cookie a client comes back to the member it had: nginx's `sticky cookie`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sticky {
    /// Its name.
    pub cookie: String,
    /// `None`: `/`.
    #[serde(default)]
    pub path: Option<String>,
    /// How long clients keep it, milliseconds, to the second. `None`: as long as they run.
    #[serde(default)]
    pub max_age_ms: Option<u64>,
    /// Whether it is kept from scripts.
    #[serde(default = "yes")]
    pub http_only: bool,
    /// Whether it is only sent over TLS.
    #[serde(default)]
    pub secure: bool,
    /// Whether it is sent with requests that other sites cause. `None`: the client decides.
    #[serde(default)]
    pub same_site: Option<SameSite>,
}

/// `SameSite` of a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SameSite {
    /// Not sent.
    Strict,
    /// Sent when a link is followed.
    Lax,
    /// Sent.
    None,
}

impl Outlier {
    /// What makes no sense about it, in words.
    pub fn problem(&self) -> Option<&'static str> {
        if self.consecutive_errors == 0 {
            Some("`consecutive_errors` must be at least 1")
        } else if self.ejection_time_ms == 0 {
            Some("`ejection_time` must not be 0")
        } else if self.max_ejection_time_ms < self.ejection_time_ms {
            Some("`max_ejection_time` is less than `ejection_time`")
        } else if self.max_ejection_percent > 100 {
            Some("`max_ejection_percent` is above 100")
        } else {
            None
        }
    }
}

impl Sticky {
    /// Why no client would take such a cookie, in words.
    pub fn problem(&self) -> Option<&'static str> {
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let is_in_path = |byte: u8| matches!(byte, b' '..=b'~') && byte != b';';
        let path = self.path.as_deref().unwrap_or("/");
        if self.cookie.is_empty() || !self.cookie.bytes().all(is_token) {
            Some("`cookie` is not the name of a cookie")
        } else if !path.starts_with('/') || !path.bytes().all(is_in_path) {
            Some("`path` must begin with `/` and have no `;`")
        } else if self.same_site == Some(SameSite::None) && !self.secure {
            Some("`same_site: none` needs `secure: true`, or browsers refuse the cookie")
        } else {
            None
        }
    }
}

impl RetryOn {
    /// The status it is about.
    pub fn status(self) -> Option<u16> {
        Some(match self {
            Self::Http403 => 403,
            Self::Http404 => 404,
            Self::Http429 => 429,
            Self::Http500 => 500,
            Self::Http502 => 502,
            Self::Http503 => 503,
            Self::Http504 => 504,
            Self::Error | Self::Timeout | Self::InvalidHeader | Self::NonIdempotent => return None,
        })
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self {
            percent: twenty(),
            per_second: ten(),
        }
    }
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self {
            max_requests: 0,
            error_percent: 0,
            min_requests: twenty(),
            window_ms: ten_seconds(),
            open_ms: five_seconds(),
        }
    }
}

impl Default for Outlier {
    fn default() -> Self {
        Self {
            consecutive_errors: five(),
            ejection_time_ms: half_a_minute(),
            max_ejection_time_ms: five_minutes(),
            max_ejection_percent: fifty(),
        }
    }
}

fn yes() -> bool {
    true
}

fn five() -> u32 {
    5
}

fn fifty() -> u8 {
    50
}

fn half_a_minute() -> u64 {
    30_000
}

fn five_minutes() -> u64 {
    300_000
}

fn ten() -> u32 {
    10
}

fn twenty() -> u32 {
    20
}

fn five_seconds() -> u64 {
    5_000
}

fn ten_seconds() -> u64 {
    10_000
}
