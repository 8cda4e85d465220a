//! The time of day as text, made once a second.

use std::time::{SystemTime, UNIX_EPOCH};

/// The texts of the current second. One for each worker.
#[derive(Debug)]
pub(crate) struct Clock {
    second: Option<u64>,
    http: [u8; 29],
    iso: String,
    common: String,
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            second: None,
            http: [b' '; 29],
            iso: String::new(),
            common: String::new(),
        }
    }
}

impl Clock {
    /// Brings the texts up to date; returns the milliseconds within the second.
    pub(crate) fn tick(&mut self) -> u32 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.second != Some(now.as_secs()) {
            self.set(now.as_secs());
        }
        now.subsec_millis()
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

    fn set(&mut self, second: u64) {
        self.second = Some(second);
        self.http = hythe_http1::imf_fixdate(second);
        let stamp =
            jiff::Timestamp::from_second(i64::try_from(second).unwrap_or(i64::MAX)).unwrap_or_default();
        let time = stamp.to_zoned(jiff::tz::TimeZone::UTC);
        self.iso = time.strftime("%Y-%m-%dT%H:%M:%S").to_string();
        self.common = time.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string();
    }
}
