//! How lines of `logs` look: for people, as they are, or for programs.

use hythe_model::view::LogLine;

use crate::terminal::Tone;

/// The stream of the server's own notes.
const NOTES: &str = "hythe";

/// How a line looks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Form {
    pub(crate) raw: bool,
    pub(crate) json: bool,
    pub(crate) format: bool,
    pub(crate) timestamp: Option<String>,
    pub(crate) highlight: Option<String>,
    /// Of what stands before the bar.
    pub(crate) width: usize,
}

/// Whose line it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) id: u32,
    pub(crate) name: String,
}

impl Origin {
    /// `0|app`.
    pub(crate) fn label(&self) -> String {
        format!("{}|{}", self.id, self.name)
    }
}

impl Form {
    /// Whether programs read it: nothing but lines then.
    pub(crate) fn is_for_programs(&self) -> bool {
        self.json || self.format
    }

    /// The line without its end.
    pub(crate) fn render(&self, line: &LogLine, origin: &Origin) -> String {
        let kind = match line.stream.as_str() {
            "stdout" => "out",
            "stderr" => "err",
            _ => "PM2",
        };
        let form = self.timestamp.as_deref().unwrap_or("YYYY-MM-DDTHH:mm:ss.SSSZ");
        if self.json {
            let message = format!("{}\n", line.message);
            let value = serde_json::json!({
                "message": message, "timestamp": time(line.at, form), "type": kind, "process_id": origin.id,
                "app_name": origin.name,
            });
            return value.to_string();
        }
        if self.format {
            let (at, Origin { id, name }) = (time(line.at, form), origin);
            return format!(
                "timestamp={at} app={name} id={id} type={kind} message={}",
                line.message
            );
        }
        if self.raw {
            return line.message.clone();
        }
        let (label, tone) = match line.stream.as_str() {
            NOTES => ("PM2".to_owned(), Tone::Faint),
            "stderr" => (origin.label(), Tone::Bad),
            _ => (origin.label(), Tone::Good),
        };
        let at = match &self.timestamp {
            Some(form) => format!("{}: ", time(line.at, form)),
            None => String::new(),
        };
        let width = self.width;
        let prefix = tone.paint(&format!("{label:width$}| "));
        format!("{prefix}{at}{}", self.marked(&line.message))
    }

    fn marked(&self, message: &str) -> String {
        match self.highlight.as_deref().filter(|mark| !mark.is_empty()) {
            Some(mark) => {
                let inverted = anstyle::Style::new().invert();
                message.replace(mark, &format!("{inverted}{mark}{inverted:#}"))
            }
            None => message.to_owned(),
        }
    }
}

/// A time of this machine, in the letters of dayjs.
fn time(unix_ms: u64, form: &str) -> String {
    let milliseconds = i64::try_from(unix_ms).unwrap_or(i64::MAX);
    let Ok(time) = jiff::Timestamp::from_millisecond(milliseconds) else {
        return String::new();
    };
    write_time(&time.to_zoned(jiff::tz::TimeZone::system()), form)
}

fn write_time(time: &jiff::Zoned, form: &str) -> String {
    const LETTERS: [(&str, &str); 10] = [
        ("YYYY", "%Y"),
        ("SSS", "%3f"),
        ("YY", "%y"),
        ("MM", "%m"),
        ("DD", "%d"),
        ("HH", "%H"),
        ("hh", "%I"),
        ("mm", "%M"),
        ("ss", "%S"),
        ("Z", "%:z"),
    ];
    let (mut text, mut rest) = (String::new(), form);
    while let Some(letter) = rest.chars().next() {
        match LETTERS.iter().find(|(letters, _)| rest.starts_with(letters)) {
            Some((letters, directive)) => {
                text.push_str(&time.strftime(directive).to_string());
                rest = rest.strip_prefix(letters).unwrap_or_default();
            }
            None => {
                text.push(letter);
                rest = rest.strip_prefix(letter).unwrap_or_default();
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(stream: &str) -> LogLine {
        LogLine {
            at: 1_000,
            service: "api".to_owned(),
            instance: "api-1".to_owned(),
            stream: stream.to_owned(),
            message: "hi there".to_owned(),
        }
    }

    #[test]
    fn lines_look_as_pm2_shows_them() {
        let origin = Origin {
            id: 0,
            name: "two".to_owned(),
        };
        let base = Form {
            width: 7,
            timestamp: None,
            ..Form::default()
        };
        let plain = |form: &Form, stream: &str| {
            let text = form.render(&line(stream), &origin);
            anstream::adapter::strip_str(&text).to_string()
        };
        assert_eq!(plain(&base, "stdout"), "0|two  | hi there");
        assert_eq!(plain(&base, "hythe"), "PM2    | hi there");
        let form = |change: fn(&mut Form)| {
            let mut form = base.clone();
            form.timestamp = Some("[T]".to_owned());
            change(&mut form);
            form
        };
        assert_eq!(plain(&form(|_| {}), "stderr"), "0|two  | [T]: hi there");
        assert_eq!(plain(&form(|form| form.raw = true), "stderr"), "hi there");
        assert_eq!(
            plain(&form(|form| form.format = true), "stderr"),
            "timestamp=[T] app=two id=0 type=err message=hi there"
        );
        assert_eq!(
            plain(&form(|form| form.json = true), "stdout"),
            r#"{"app_name":"two","message":"hi there\n","process_id":0,"timestamp":"[T]","type":"out"}"#
        );
        let marked = form(|form| form.highlight = Some("there".to_owned())).render(&line("stdout"), &origin);
        assert!(marked.contains("\u{1b}[7mthere"), "{marked:?}");
    }

    #[test]
    fn times_are_written_in_dayjs_letters() {
        let time: jiff::Zoned = "2026-11-22T03:04:05.678+01:00[+01:00]".parse().unwrap();
        for (form, expected) in [
            ("YYYY-MM-DDTHH:mm:ss", "2026-11-22T03:04:05"),
            ("DD/MM/YY HH:mm:ss.SSS Z", "22/11/26 03:04:05.678 +01:00"),
            ("at hh", "at 03"),
        ] {
            assert_eq!(write_time(&time, form), expected);
        }
    }
}
