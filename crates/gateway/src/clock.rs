//! The time of day as text, made once a second.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// The texts of the current second. One for each worker.
#[derive(Debug)]
pub(crate) struct Clock {
    /// When the current second began; `None` before the first one.
    began: Option<Instant>,
    http: [u8; 29],
    iso: String,
    common: String,
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            began: None,
            http: [b' '; 29],
            iso: String::new(),
            common: String::new(),
        }
    }
}

impl Clock {
    /// Brings the texts up to `now`; returns the milliseconds within the second. The time of day is asked for once a
    /// second.
    pub(crate) fn tick(&mut self, now: Instant) -> u32 {
        let elapsed = self.began.map(|began| now.saturating_duration_since(began));
        match elapsed.filter(|elapsed| elapsed.as_secs() == 0) {
            Some(elapsed) => elapsed.subsec_millis(),
            None => self.begin_second(now),
        }
    }

    /// `Sun, 06 Nov 1994 08:49:37 GMT`, for the Date header.
    pub(crate) fn http(&self) -> &[u8] {
        &self.http
    }

    /// `1994-11-06T08:49:37`, to be followed by milliseconds and `Z`.
    pub(crate) fn iso(&self) -> &str {
        &self.iso
    }

    /// `06/Nov/1994:08:49:37 +0000`, for the combined log format.
    pub(crate) fn common(&self) -> &str {
        &self.common
    }

    fn begin_second(&mut self, now: Instant) -> u32 {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = time.subsec_millis();
        self.began = now.checked_sub(Duration::from_nanos(time.subsec_nanos().into()));
        self.set(time.as_secs());
        millis
    }

    fn set(&mut self, second: u64) {
        self.http = hythe_http1::imf_fixdate(second);
        let stamp =
            jiff::Timestamp::from_second(i64::try_from(second).unwrap_or(i64::MAX)).unwrap_or_default();
        let time = stamp.to_zoned(jiff::tz::TimeZone::UTC);
        self.iso = time.strftime("%Y-%m-%dT%H:%M:%S").to_string();
        self.common = time.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string();
    }
}
