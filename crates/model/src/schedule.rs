//! When a cron expression comes due.
//!
//! The dialect is that of croner, which PM2 uses too: five fields, or six with seconds in front, names of days and
//! months, `L`, `W`, `#`, and words such as `@daily`. If both a day of the month and a day of the week are given,
//! either will do.

use std::str::FromStr;

use croner::Cron;
use croner::errors::CronError;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A cron expression that comes due at some time.
#[derive(Debug, Clone)]
pub struct Schedule(Cron);

/// Why a text is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// It cannot be read.
    #[error("`{text}` is not a cron expression: {why}")]
    Unreadable {
        /// As it was given.
        text: String,
        /// What the parser says.
        why: String,
    },
    /// Such as the 30th of February.
    #[error("`{0}` never comes due")]
    Never(String),
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let unreadable = |error: CronError| ScheduleError::Unreadable {
            text: text.to_owned(),
            why: in_our_words(error),
        };
        let schedule = text.parse().map(Self).map_err(unreadable)?;
        match schedule.next_after(0, &TimeZone::UTC) {
            Some(_) => Ok(schedule),
            None => Err(ScheduleError::Never(text.to_owned())),
        }
    }
}

impl Schedule {
    /// The first time after `unix_ms` at which it comes due where `zone` is the time of the place.
    pub fn next_after(&self, unix_ms: u64, zone: &TimeZone) -> Option<u64> {
        let now = Timestamp::from_millisecond(i64::try_from(unix_ms).ok()?).ok()?;
        let next = self
            .0
            .find_next_occurrence(&now.to_zoned(zone.clone()), false)
            .ok()?;
        u64::try_from(next.timestamp().as_millisecond()).ok()
    }
}

fn in_our_words(error: CronError) -> String {
    let message = match error {
        CronError::InvalidPattern(why)
        | CronError::IllegalCharacters(why)
        | CronError::ComponentError(why) => why,
        CronError::EmptyPattern => "it is empty".to_owned(),
        other => other.to_string(),
    };
    message.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes due after a time, in UTC.
    fn next(expression: &str, after: &str) -> String {
        let after: Timestamp = after.parse().unwrap();
        let schedule: Schedule = expression.parse().unwrap();
        let after_ms = u64::try_from(after.as_millisecond()).unwrap();
        let next = schedule.next_after(after_ms, &TimeZone::UTC).unwrap();
        Timestamp::from_millisecond(i64::try_from(next).unwrap())
            .unwrap()
            .to_string()
    }

    #[test]
    fn the_next_time_is_always_later() {
        let rows = [
            ("0 4 * * *", "2026-01-31T03:59:59.999Z", "2026-01-31T04:00:00Z"),
            ("0 4 * * *", "2026-01-31T04:00:00Z", "2026-02-01T04:00:00Z"),
            ("0 4 * * *", "2026-01-31T04:00:00.001Z", "2026-02-01T04:00:00Z"),
            ("* * * * * *", "2026-01-31T04:00:00Z", "2026-01-31T04:00:01Z"),
            ("* * * * * *", "2026-01-31T04:00:00.999Z", "2026-01-31T04:00:01Z"),
            ("*/15 * * * *", "2026-01-31T04:50:00Z", "2026-01-31T05:00:00Z"),
            ("0 0 L * *", "2026-02-02T00:00:00Z", "2026-02-28T00:00:00Z"),
            ("0 0 * * MON#1", "2026-01-31T00:00:00Z", "2026-02-02T00:00:00Z"),
            ("@daily", "2026-01-31T04:50:00Z", "2026-02-01T00:00:00Z"),
            ("0 0 13 * FRI", "2026-01-31T00:00:00Z", "2026-02-06T00:00:00Z"),
        ];
        for (expression, after, expected) in rows {
            assert_eq!(next(expression, after), expected, "{expression} after {after}");
        }
    }

    #[test]
    fn it_is_the_time_of_the_place() {
        let schedule: Schedule = "0 4 * * *".parse().unwrap();
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(schedule.next_after(0, &zone), Some(2 * 3_600_000));
    }

    #[test]
    fn what_is_no_schedule_is_told() {
        for text in ["", "often", "* * *", "61 * * * *", "* * * * * * * *"] {
            let error = text.parse::<Schedule>().unwrap_err();
            assert!(
                matches!(error, ScheduleError::Unreadable { .. }),
                "{text}: {error}"
            );
        }
        let never = "0 0 30 2 *".parse::<Schedule>().unwrap_err();
        assert_eq!(never.to_string(), "`0 0 30 2 *` never comes due");
    }
}
