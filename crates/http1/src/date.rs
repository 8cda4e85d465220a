//! The date of a `Date` field.

const LAST_SECOND: u64 = 253_402_300_799;
const DAYS: &[u8; 21] = b"ThuFriSatSunMonTueWed";
const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";

/// `unix_seconds` as HTTP writes it, like `Sun, 06 Nov 1994 08:49:37 GMT`; the end of the year 9999 at the latest.
pub fn imf_fixdate(unix_seconds: u64) -> [u8; 29] {
    let seconds = unix_seconds.min(LAST_SECOND);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let mut text = *b"Thu, 00 Jan 0000 00:00:00 GMT";
    text[..3].copy_from_slice(three(DAYS, days % 7));
    two_digits(&mut text[5..], day);
    text[8..11].copy_from_slice(three(MONTHS, month));
    two_digits(&mut text[12..], year / 100);
    two_digits(&mut text[14..], year % 100);
    two_digits(&mut text[17..], second / 3600);
    two_digits(&mut text[20..], second / 60 % 60);
    two_digits(&mut text[23..], second % 60);
    text
}

/// Year, month from 0 and day of the month from 1, of a day counted from 1970.
///
/// Counts years from March, so that the leap day is the last of its year and months have a regular pattern.
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_PER_ERA: u64 = 146_097;
    const TO_MARCH_OF_YEAR_0: u64 = 719_468;
    let days = days + TO_MARCH_OF_YEAR_0;
    let (era, of_era) = (days / DAYS_PER_ERA, days % DAYS_PER_ERA);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12;
    let year = era * 400 + year_of_era + u64::from(month < 2);
    (year, month, day)
}

fn three(names: &[u8], index: u64) -> &[u8] {
    &names[index as usize * 3..][..3]
}

fn two_digits(to: &mut [u8], value: u64) {
    to[0] = b'0' + (value / 10) as u8;
    to[1] = b'0' + (value % 10) as u8;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let cases = [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (68_169_599, "Mon, 28 Feb 1972 23:59:59 GMT"),
            (68_169_600, "Tue, 29 Feb 1972 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_798_761_599, "Thu, 31 Dec 2026 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ];
        for (seconds, text) in cases {
            assert_eq!(std::str::from_utf8(&imf_fixdate(seconds)), Ok(text));
        }
    }
}
