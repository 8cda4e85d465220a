//! `compression` (ours): smaller bodies for clients that take them: Brotli, Zstandard or gzip, whichever the
//! client likes best (`Accept-Encoding` with its weights; of equals, the first in `algorithms`).
//!
//! Left as they are: answers that are encoded already, parts of files, answers marked `no-transform`, answers
//! without a body, other types than those listed, and what is known to be smaller than `min_length`. Whatever
//! comes from the service in one read goes out at once, so that streams stay streams; event streams are
//! compressed only where their type is listed by its name.
//!
//! An encoder keeps 256 KiB to 2 MiB while its answer lasts, since windows are kept at 256 KiB. Do not compress
//! answers that hold a secret beside text of the caller's choice: the length would tell about the secret.

use std::io::{self, Write};

use serde_json::{Map, Value};

use super::answer::{AnswerBody, AnswerView, BodyFilter};
use super::settings::Settings;
use super::{Plugin, PluginKind, SettingProblem};

/// Its entry in the list.
pub const KIND: PluginKind = PluginKind {
    name: "compression",
    priority: 90,
    summary: "compresses answers for clients that take them so",
    parse,
};

/// Types that are worth it.
const TYPES: [&str; 17] = [
    "text/html",
    "text/css",
    "text/plain",
    "text/xml",
    "text/csv",
    "text/markdown",
    "text/javascript",
    "application/javascript",
    "application/json",
    "application/ld+json",
    "application/manifest+json",
    "application/problem+json",
    "application/xml",
    "application/xhtml+xml",
    "application/rss+xml",
    "application/wasm",
    "image/svg+xml",
];
/// log2 of the largest window.
const WINDOW: u32 = 18;

struct Compression {
    algorithms: Vec<Algorithm>,
    types: Vec<String>,
    min_length: u64,
    level: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Brotli,
    Zstd,
    Gzip,
}

fn parse(config: &Map<String, Value>) -> Result<Box<dyn Plugin>, Vec<SettingProblem>> {
    let mut settings = Settings::of(config);
    let mut algorithms = settings.texts("algorithms", |name| {
        Algorithm::named(name.as_bytes()).ok_or_else(|| "expected one of: br, zstd, gzip".to_owned())
    });
    if !settings.has("algorithms") {
        algorithms = vec![Algorithm::Brotli, Algorithm::Zstd, Algorithm::Gzip];
    }
    let mut types = settings.texts("types", media_type);
    if !settings.has("types") {
        types = TYPES.map(str::to_owned).to_vec();
    }
    let min_length = settings.integer("min_length", 256, 0, 1 << 30);
    let level = settings.has("level").then_some(());
    let wanted = u32::try_from(settings.integer("level", 5, 1, 11)).unwrap_or(5);
    settings.finish()?;
    Ok(Box::new(Compression {
        algorithms,
        types,
        min_length,
        level: level.map(|()| wanted),
    }))
}

fn media_type(text: &str) -> Result<String, String> {
    match text.split_once('/') {
        Some((kind, name)) if !kind.is_empty() && !name.is_empty() && !text.contains([';', ' ']) => {
            Ok(text.to_ascii_lowercase())
        }
        _ => Err("expected a media type, like `text/html` or `text/*`".to_owned()),
    }
}

impl Plugin for Compression {
    fn sees_answers(&self) -> bool {
        true
    }

    fn after(&self, answer: &mut AnswerView<'_>) {
        if !self.is_for(answer) {
            return;
        }
        // The answer depends on what was asked for, also where it stays as it is.
        if !names(answer.header("Vary"), "accept-encoding") {
            answer.edits.append("Vary", &b"Accept-Encoding"[..]);
        }
        let Some(algorithm) = self.best(answer.asked("Accept-Encoding")) else {
            return;
        };
        let Ok(encoder) = algorithm.encoder(self.level) else {
            return;
        };
        if !answer.filter_body(encoder) {
            return;
        }
        answer.edits.set("Content-Encoding", algorithm.name().as_bytes());
        answer.edits.remove("Accept-Ranges");
        // Another sequence of bytes is another representation: only weakly the same.
        if let Some(tag) = answer.header("ETag").filter(|tag| tag.starts_with(b"\"")) {
            answer.edits.set("ETag", [b"W/", tag].concat());
        }
    }
}

impl Compression {
    fn is_for(&self, answer: &AnswerView<'_>) -> bool {
        let large = match answer.body() {
            AnswerBody::Fixed => false,
            AnswerBody::Length(length) => length >= self.min_length.max(1),
            AnswerBody::Unknown => true,
        };
        large
            && answer.status != 206
            && answer.header("Content-Encoding").is_none()
            && answer.header("Content-Range").is_none()
            && !names(answer.header("Cache-Control"), "no-transform")
            && answer.header("Content-Type").is_some_and(|sent| self.lists(sent))
    }

    fn lists(&self, content_type: &[u8]) -> bool {
        let media = content_type
            .split(|byte| *byte == b';')
            .next()
            .unwrap_or_default();
        let media = media.trim_ascii().to_ascii_lowercase();
        self.types.iter().any(|listed| match listed.strip_suffix('*') {
            Some(prefix) => media.starts_with(prefix.as_bytes()) && media != b"text/event-stream",
            None => media == listed.as_bytes(),
        })
    }

    /// What the client likes best of what there is; `None`: the body as it is.
    fn best(&self, accepted: Option<&[u8]>) -> Option<Algorithm> {
        let accepted = String::from_utf8_lossy(accepted?);
        let weights = self.algorithms.iter().map(|algorithm| {
            let named = weight(&accepted, algorithm.name()).or_else(|| weight(&accepted, "*"));
            (*algorithm, named.unwrap_or(0))
        });
        let mut best = None;
        for (algorithm, weight) in weights {
            if weight > best.map_or(0, |(_, highest)| highest) {
                best = Some((algorithm, weight));
            }
        }
        best.map(|(algorithm, _)| algorithm)
    }
}

/// Thousandths of the weight that a coding is given (RFC 9110 12.5.3); `None` if it is not named.
fn weight(accepted: &str, coding: &str) -> Option<u16> {
    let item = accepted.split(',').find(|item| {
        let name = item.split(';').next().unwrap_or_default();
        name.trim().eq_ignore_ascii_case(coding)
    })?;
    let weight = item.split(';').skip(1).find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| value.trim())
    });
    Some(weight.map_or(1000, crate::respond::quality))
}

/// Whether a list of words, as in `Cache-Control`, has this one or `*`.
fn names(list: Option<&[u8]>, word: &str) -> bool {
    let list = list.unwrap_or_default();
    list.split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .any(|item| item.eq_ignore_ascii_case(word.as_bytes()) || item == b"*")
}

impl Algorithm {
    fn named(name: &[u8]) -> Option<Self> {
        match name {
            b"br" => Some(Self::Brotli),
            b"zstd" => Some(Self::Zstd),
            b"gzip" => Some(Self::Gzip),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// Levels mean what each algorithm means by them; beyond its highest: its highest.
    fn encoder(self, level: Option<u32>) -> io::Result<Box<dyn BodyFilter>> {
        Ok(match self {
            Self::Brotli => {
                let quality = level.unwrap_or(4).min(11);
                Box::new(Encoding(brotli::CompressorWriter::new(
                    Vec::new(),
                    4096,
                    quality,
                    WINDOW,
                )))
            }
            Self::Zstd => {
                let level = i32::try_from(level.unwrap_or(3)).unwrap_or(3);
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), level)?;
                encoder.window_log(WINDOW)?;
                Box::new(Encoding(encoder))
            }
            Self::Gzip => {
                let level = flate2::Compression::new(level.unwrap_or(5).min(9));
                Box::new(Encoding(flate2::write::GzEncoder::new(Vec::new(), level)))
            }
        })
    }
}

/// An encoder that writes into a vector of its own.
trait Encoder: Write {
    /// What it has written and nobody has taken.
    fn written(&mut self) -> &mut Vec<u8>;

    /// Writes the end.
    fn end(&mut self) -> io::Result<()>;
}

/// An encoder as a filter of bodies.
struct Encoding<E>(E);

impl<E: Encoder> BodyFilter for Encoding<E> {
    fn push(&mut self, data: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        self.0.write_all(data)?;
        out.append(self.0.written());
        Ok(())
    }

    fn flush(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        self.0.flush()?;
        out.append(self.0.written());
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        self.0.end()?;
        out.append(self.0.written());
        Ok(())
    }
}

impl Encoder for brotli::CompressorWriter<Vec<u8>> {
    fn written(&mut self) -> &mut Vec<u8> {
        self.get_mut()
    }

    fn end(&mut self) -> io::Result<()> {
        // The end is written when the writer is taken apart.
        let fresh = Self::new(Vec::new(), 4096, 0, 10);
        *self.get_mut() = std::mem::replace(self, fresh).into_inner();
        Ok(())
    }
}

impl Encoder for zstd::stream::write::Encoder<'static, Vec<u8>> {
    fn written(&mut self) -> &mut Vec<u8> {
        self.get_mut()
    }

    fn end(&mut self) -> io::Result<()> {
        self.do_finish()
    }
}

impl Encoder for flate2::write::GzEncoder<Vec<u8>> {
    fn written(&mut self) -> &mut Vec<u8> {
        self.get_mut()
    }

    fn end(&mut self) -> io::Result<()> {
        self.try_finish()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::plugin::fixture::{AnswerFixture, lines, settings};

    fn plugin(config: Value) -> Box<dyn Plugin> {
        parse(&settings(config)).unwrap()
    }

    /// The edits of an answer with these further lines, and whether its body is filtered.
    fn after(config: Value, answer: &str, accepted: &str) -> (String, bool) {
        let plugin = plugin(config);
        let answer = format!("HTTP/1.1 {answer}\r\n\r\n");
        let mut fixture = AnswerFixture::new(&answer, &format!("Accept-Encoding: {accepted}"));
        let mut view = fixture.view();
        plugin.after(&mut view);
        let filtered = view.filter.is_some();
        (lines(&fixture.edits), filtered)
    }

    const HTML: &str = "200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: 1000";

    #[test]
    fn the_client_chooses() {
        let rows = [
            ("gzip", Some("gzip")),
            ("gzip, deflate, br, zstd", Some("br")),
            ("br;q=0.5, gzip", Some("gzip")),
            ("br;q=0.5, gzip;q=0.5, zstd;q=0.1", Some("br")),
            ("*", Some("br")),
            ("*;q=0.1, br;q=0", Some("zstd")),
            ("gzip;q=0", None),
            ("identity", None),
            ("", None),
            ("GZIP ; Q=1", Some("gzip")),
            ("gzip;q=nonsense", Some("gzip")),
        ];
        for (accepted, expected) in rows {
            let (edits, filtered) = after(json!({}), HTML, accepted);
            let encoded = expected
                .map(|name| format!("Content-Encoding: {name}\n"))
                .unwrap_or_default();
            assert_eq!(edits, format!("Vary: Accept-Encoding\n{encoded}"), "{accepted}");
            assert_eq!(filtered, expected.is_some(), "{accepted}");
        }
        assert_eq!(
            after(json!({"algorithms": ["gzip"]}), HTML, "br, gzip").0,
            "Vary: Accept-Encoding\nContent-Encoding: gzip\n"
        );
    }

    #[test]
    fn some_answers_stay_as_they_are() {
        let rows = [
            "200 OK\r\nContent-Type: image/png\r\nContent-Length: 1000",
            "200 OK\r\nContent-Length: 1000",
            "200 OK\r\nContent-Type: text/html\r\nContent-Length: 255",
            "200 OK\r\nContent-Type: text/html\r\nContent-Length: 0",
            "200 OK\r\nContent-Type: text/html\r\nContent-Length: 1000\r\nContent-Encoding: br",
            "200 OK\r\nContent-Type: text/html\r\nContent-Length: 1000\r\nCache-Control: private, no-transform",
            "206 Partial Content\r\nContent-Type: text/html\r\nContent-Length: 1000\r\nContent-Range: bytes 0-999/2000",
            "204 No Content\r\nContent-Type: text/html",
            "304 Not Modified\r\nContent-Type: text/html",
            "200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked",
        ];
        for answer in rows {
            assert_eq!(
                after(json!({}), answer, "gzip"),
                (String::new(), false),
                "{answer}"
            );
        }
        let stream = rows[9];
        assert!(!after(json!({"types": ["text/*"]}), stream, "gzip").1);
        assert!(after(json!({"types": ["text/event-stream"]}), stream, "gzip").1);
        let chunked = "200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked";
        assert!(after(json!({}), chunked, "gzip").1);
    }

    #[test]
    fn validators_are_weakened_and_caches_told() {
        let answer = format!("{HTML}\r\nETag: \"abc\"\r\nVary: Origin\r\nAccept-Ranges: bytes");
        let (edits, _) = after(json!({}), &answer, "gzip");
        assert_eq!(
            edits,
            "Vary: Accept-Encoding\nContent-Encoding: gzip\nETag: W/\"abc\"\n"
        );
        let answer = format!("{HTML}\r\nETag: W/\"abc\"\r\nVary: accept-encoding");
        assert_eq!(after(json!({}), &answer, "gzip").0, "Content-Encoding: gzip\n");
    }

    #[test]
    fn mistakes_are_placed() {
        let rows = [
            (
                json!({"algorithms": ["deflate"]}),
                "config.algorithms.0: expected one of: br, zstd, gzip",
            ),
            (
                json!({"types": ["html"]}),
                "config.types.0: expected a media type, like `text/html` or `text/*`",
            ),
            (
                json!({"level": 12}),
                "config.level: value should be between 1 and 11",
            ),
        ];
        for (config, message) in rows {
            let problems = parse(&settings(config.clone())).err().unwrap();
            assert_eq!(problems[0].to_string(), message, "{config}");
        }
    }

    fn decoded(algorithm: Algorithm, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match algorithm {
            Algorithm::Brotli => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut out),
            Algorithm::Zstd => zstd::stream::read::Decoder::new(bytes)
                .unwrap()
                .read_to_end(&mut out),
            Algorithm::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut out),
        }
        .unwrap();
        out
    }

    proptest! {
        /// However a body comes in pieces, it comes out as it was, and a flush holds nothing back.
        #[test]
        fn what_is_compressed_comes_back(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..6),
            level in proptest::option::of(1_u32..=11),
        ) {
            for algorithm in [Algorithm::Brotli, Algorithm::Zstd, Algorithm::Gzip] {
                let mut encoder = algorithm.encoder(level).unwrap();
                let mut out = Vec::new();
                for piece in &pieces {
                    let before = out.len();
                    encoder.push(piece, &mut out).unwrap();
                    encoder.flush(&mut out).unwrap();
                    prop_assert!(piece.is_empty() || out.len() > before);
                }
                encoder.finish(&mut out).unwrap();
                prop_assert_eq!(decoded(algorithm, &out), pieces.concat());
            }
        }
    }
}
