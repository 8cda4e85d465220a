use std::time::Duration;

/// Why a duration or a size could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseQuantityError {
    /// Not a duration such as `1m30s`.
    #[error("`{0}` is not a duration; write it like `500ms`, `10s`, `1m30s` or `2h`")]
    Duration(String),
    /// Not a size such as `128M`.
    #[error("`{0}` is not a size; write it like `64k`, `128M` or `1.5G`")]
    Size(String),
}

/// Compose's durations: `us`, `ms`, `s`, `m`, `h`, `d` in sequence (`1m30s`); a bare number means seconds.
///
/// # Errors
/// When the text is anything else, or too large for a [`Duration`].
pub fn parse_duration(text: &str) -> Result<Duration, ParseQuantityError> {
    let refuse = || ParseQuantityError::Duration(text.to_owned());
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(refuse());
    }
    if let Ok(seconds) = rest.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    let mut seconds = 0.0_f64;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(refuse)?;
        let amount: f64 = rest[..digits].parse().map_err(|_| refuse())?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return Err(refuse()),
        };
        seconds += amount * unit;
        rest = &rest[end..];
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| refuse())
}

/// Compose's sizes: a number with `b`, `k`, `m`, `g`, `t` (also `kb`, `MiB`...), powers of 1024; a bare
/// number means bytes.
///
/// # Errors
/// When the text is anything else, negative, or above 2^63.
pub fn parse_size(text: &str) -> Result<u64, ParseQuantityError> {
    let refuse = || ParseQuantityError::Size(text.to_owned());
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let amount: f64 = text[..digits].parse().map_err(|_| refuse())?;
    let power = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "ki" | "kib" => 1,
        "m" | "mb" | "mi" | "mib" => 2,
        "g" | "gb" | "gi" | "gib" => 3,
        "t" | "tb" | "ti" | "tib" => 4,
        _ => return Err(refuse()),
    };
    let bytes = amount * 1024_f64.powi(power);
    if !(0.0..=9.2e18).contains(&bytes) {
        return Err(refuse());
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked just above"
    )]
    Ok(bytes as u64)
}

/// Short for people: `850ms`, `12s`, `3m20s`, `5h12m`, `3d4h`.
pub fn format_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{}ms", duration.as_millis()),
        1..60 => format!("{seconds}s"),
        60..3600 => pair(seconds / 60, 'm', seconds % 60, 's'),
        3600..86_400 => pair(seconds / 3600, 'h', seconds % 3600 / 60, 'm'),
        _ => pair(seconds / 86_400, 'd', seconds % 86_400 / 3600, 'h'),
    }
}

fn pair(large: u64, large_unit: char, small: u64, small_unit: char) -> String {
    if small == 0 {
        format!("{large}{large_unit}")
    } else {
        format!("{large}{large_unit}{small}{small_unit}")
    }
}

/// As people write sizes: in the largest unit that says it exactly, `64M`, `1536K`, `100B`.
pub fn format_exact_size(bytes: u64) -> String {
    let units = [(1 << 40, 'T'), (1 << 30, 'G'), (1 << 20, 'M'), (1 << 10, 'K')];
    let exact = |(size, _): &&(u64, char)| bytes >= *size && bytes.is_multiple_of(*size);
    match units.iter().find(exact) {
        Some((size, unit)) => format!("{}{unit}", bytes / size),
        None => format!("{bytes}B"),
    }
}

/// Short for people: `512B`, `40.5K`, `12.0M`, `1.5G`.
pub fn format_size(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let mut amount = bytes as f64;
    let mut unit = ' ';
    for next in ['K', 'M', 'G', 'T'] {
        if amount < 1024.0 {
            break;
        }
        amount /= 1024.0;
        unit = next;
    }
    format!("{amount:.1}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let rows = [
            ("10", 10_000),
            ("500ms", 500),
            ("1m30s", 90_000),
            ("1.5s", 1_500),
            ("2h", 7_200_000),
            ("1d", 86_400_000),
        ];
        for (text, milliseconds) in rows {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        for text in ["", "s", "10x", "-1s", "1s2", "ten"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        let shown = [
            (850, "850ms"),
            (12_000, "12s"),
            (200_000, "3m20s"),
            (7_200_000, "2h"),
            (270_000_000, "3d3h"),
        ];
        for (milliseconds, text) in shown {
            assert_eq!(format_duration(Duration::from_millis(milliseconds)), text);
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("100", 100),
            ("64k", 65_536),
            ("128M", 134_217_728),
            ("1.5GiB", 1_610_612_736),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "M", "-1", "1x", "1e99", "99999999999T"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        for (bytes, text) in [(5, "5B"), (41_472, "40.5K"), (12_582_912, "12.0M")] {
            assert_eq!(format_size(bytes), text);
        }
        for (text, bytes) in [
            ("0B", 0),
            ("1025B", 1025),
            ("1536K", 1536 << 10),
            ("64M", 64 << 20),
            ("1G", 1 << 30),
            ("3T", 3 << 40),
        ] {
            assert_eq!(format_exact_size(bytes), text);
        }
    }
}
