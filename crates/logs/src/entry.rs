//! One line of output: in memory, and as a line of JSON in a file.
//!
//! ```text
//! {"t":1795219200000,"i":"users-1","r":"users-1.1795219100000","s":"out","o":4711,"m":"listening"}
//! ```
//!
//! `t`: Unix milliseconds when it was read. `i`: instance. `r`: the run of the instance whose raw stream this
//! is from. `s`: `out`, `err`, or `hythe` for notes (which have neither `r` nor `o`). `o`: address in the raw
//! stream after this line, from which reading goes on after a crash. `p`: true when the line was too long and
//! goes on in the next entry. `m`: text.

use std::borrow::Cow;
use std::sync::Arc;

use hythe_minder::protocol::Stream;
use hythe_model::view::LogLine;
use serde::{Deserialize, Serialize};

/// Where a line comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Source {
    Out,
    Err,
    Hythe,
}

/// A line in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// Unix milliseconds.
    pub(crate) at: u64,
    pub(crate) service: Arc<str>,
    pub(crate) instance: Arc<str>,
    pub(crate) source: Source,
    pub(crate) message: Box<str>,
}

/// A line in a file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Entry<'a> {
    #[serde(rename = "t")]
    pub(crate) at: u64,
    #[serde(rename = "i", borrow)]
    pub(crate) instance: Cow<'a, str>,
    #[serde(rename = "r", borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) run: Option<Cow<'a, str>>,
    #[serde(rename = "s")]
    pub(crate) source: Source,
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub(crate) end: Option<u64>,
    #[serde(rename = "p", default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) partial: bool,
    #[serde(rename = "m", borrow)]
    pub(crate) message: Cow<'a, str>,
}

impl From<Stream> for Source {
    fn from(stream: Stream) -> Self {
        match stream {
            Stream::Out => Self::Out,
            Stream::Err => Self::Err,
        }
    }
}

impl Line {
    /// What it costs to keep, bytes.
    pub(crate) fn weight(&self) -> usize {
        size_of::<Self>() + 2 * size_of::<usize>() + self.message.len()
    }

    /// As others see it.
    pub(crate) fn view(&self) -> LogLine {
        let stream = match self.source {
            Source::Out => "stdout",
            Source::Err => "stderr",
            Source::Hythe => "hythe",
        };
        LogLine {
            at: self.at,
            service: self.service.as_ref().to_owned(),
            instance: self.instance.as_ref().to_owned(),
            stream: stream.to_owned(),
            message: self.message.as_ref().to_owned(),
        }
    }
}

impl<'a> Entry<'a> {
    /// Reads a line of a file; nothing if it is not an entry.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// Appends it, with its line end.
    pub(crate) fn write_to(&self, bytes: &mut Vec<u8>) -> serde_json::Result<()> {
        serde_json::to_writer(&mut *bytes, self)?;
        bytes.push(b'\n');
        Ok(())
    }

    /// As a line of `service`.
    pub(crate) fn into_line(self, service: &Arc<str>) -> Line {
        Line {
            at: self.at,
            service: Arc::clone(service),
            instance: self.instance.as_ref().into(),
            source: self.source,
            message: self.message.into_owned().into_boxed_str(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_form() {
        let line = r#"{"t":1,"i":"users-1","r":"users-1.7","s":"out","o":12,"p":true,"m":"a \"b\""}"#;
        let note = r#"{"t":1,"i":"users-1","s":"hythe","m":"started"}"#;
        for text in [line, note] {
            let mut bytes = Vec::new();
            Entry::parse(text.as_bytes())
                .unwrap()
                .write_to(&mut bytes)
                .unwrap();
            assert_eq!(String::from_utf8(bytes).unwrap(), format!("{text}\n"));
        }
        let parsed = Entry::parse(line.as_bytes()).unwrap();
        assert_eq!(
            (parsed.end, parsed.partial, parsed.message.as_ref()),
            (Some(12), true, "a \"b\"")
        );
        assert!(Entry::parse(b"{\"t\":1").is_none());
    }
}
