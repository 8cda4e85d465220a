//! Times in the form that a user wrote down, in the tokens of Day.js: `YYYY-MM-DD HH:mm:ss.SSS Z`.
//!
//! What stands in brackets is text, and so is everything that is no token. Left out: the tokens that need a language
//! (`ddd`, `MMMM`) are English, those of plugins (`Do`, `X`) are text.

use jiff::Zoned;

/// Longer ones first, so that the first that fits is meant.
const TOKENS: [&str; 26] = [
    "YYYY", "YY", "MMMM", "MMM", "MM", "M", "DD", "D", "dddd", "ddd", "HH", "H", "hh", "h", "A", "a", "mm",
    "m", "ss", "s", "SSS", "ZZ", "Z", "dd", "d", "",
];

/// A time of this machine as `format` says.
pub(crate) fn render(format: &str, time: &Zoned) -> String {
    let mut text = String::new();
    let mut rest = format;
    while !rest.is_empty() {
        if let Some((literal, after)) = rest.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
            text.push_str(literal);
            rest = after;
            continue;
        }
        let token = TOKENS
            .iter()
            .find(|token| rest.starts_with(**token))
            .unwrap_or(&"");
        if token.is_empty() {
            let mut characters = rest.chars();
            text.extend(characters.next());
            rest = characters.as_str();
        } else {
            text.push_str(&value(token, time));
            rest = &rest[token.len()..];
        }
    }
    text
}

fn value(token: &str, time: &Zoned) -> String {
    let strftime = |format: &str| time.strftime(format).to_string();
    let hour = (time.hour() + 11) % 12 + 1;
    match token {
        "YYYY" => format!("{:04}", time.year()),
        "YY" => format!("{:02}", time.year().rem_euclid(100)),
        "MMMM" => strftime("%B"),
        "MMM" => strftime("%b"),
        "MM" => format!("{:02}", time.month()),
        "M" => time.month().to_string(),
        "DD" => format!("{:02}", time.day()),
        "D" => time.day().to_string(),
        "dddd" => strftime("%A"),
        "ddd" => strftime("%a"),
        "dd" => strftime("%a").chars().take(2).collect(),
        "d" => strftime("%w"),
        "HH" => format!("{:02}", time.hour()),
        "H" => time.hour().to_string(),
        "hh" => format!("{hour:02}"),
        "h" => hour.to_string(),
        "A" => strftime("%p").to_uppercase(),
        "a" => strftime("%p").to_lowercase(),
        "mm" => format!("{:02}", time.minute()),
        "m" => time.minute().to_string(),
        "ss" => format!("{:02}", time.second()),
        "s" => time.second().to_string(),
        "SSS" => format!("{:03}", time.millisecond()),
        "ZZ" => strftime("%z"),
        "Z" => strftime("%:z"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens() {
        let time: Zoned = "2026-11-02T15:04:05.067+01:00[+01:00]".parse().unwrap();
        for (format, text) in [
            ("YYYY-MM-DD HH:mm:ss", "2026-11-02 15:04:05"),
            ("YYYY-MM-DD HH:mm:ss.SSS Z", "2026-11-02 15:04:05.067 +01:00"),
            ("YYYY-MM-DDTHH:mm:ss", "2026-11-02T15:04:05"),
            ("D.M.YY h:m:s a ZZ", "2.11.26 3:4:5 pm +0100"),
            ("dddd ddd dd d, MMMM MMM", "Monday Mon Mo 1, November Nov"),
            ("[YYYY at] hh A ü", "YYYY at 03 PM ü"),
            ("[open", "[open"),
            ("", ""),
        ] {
            assert_eq!(render(format, &time), text, "{format}");
        }
    }
}
