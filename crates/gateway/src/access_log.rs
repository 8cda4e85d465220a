//! One line for each request, made on the worker and written elsewhere.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hythe_http1::push_decimal;
use hythe_model::ListenerProtocol;
use hythe_telemetry::LineSink;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::metrics::Metrics;

/// The form of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AccessLogFormat {
    /// One JSON object.
    #[default]
    Json,
    /// The combined format of Apache and nginx.
    Combined,
}

/// A worker's end of the access log: lines are gathered here and handed over in batches.
pub(crate) struct AccessLog {
    format: AccessLogFormat,
    sink: LineSink,
    batch: RefCell<Vec<u8>>,
    lines: Cell<u64>,
    metrics: Arc<Metrics>,
}

/// A finished request, as its line tells it.
pub(crate) struct Line<'a> {
    pub(crate) client: IpAddr,
    pub(crate) method: &'a [u8],
    pub(crate) target: &'a [u8],
    /// Version of the protocol it came in: `1.0`, `1.1`, `2.0`.
    pub(crate) version: &'static str,
    /// `TLSv1.3`, if the client spoke TLS.
    pub(crate) tls: Option<&'static str>,
    /// Who the client is by its certificate.
    pub(crate) client_subject: Option<&'a str>,
    pub(crate) host: &'a [u8],
    pub(crate) status: u16,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) total: Duration,
    pub(crate) upstream_time: Option<Duration>,
    pub(crate) route: Option<&'a str>,
    pub(crate) service: Option<&'a str>,
    pub(crate) instance: Option<&'a str>,
    pub(crate) tries: u32,
    pub(crate) upstream_error: Option<&'a str>,
    pub(crate) request_id: &'a str,
    pub(crate) referer: Option<&'a [u8]>,
    pub(crate) user_agent: Option<&'a [u8]>,
}

/// A finished connection or session below HTTP, as its line tells it.
pub(crate) struct RelayLine<'a> {
    pub(crate) client: IpAddr,
    pub(crate) listener: &'a str,
    pub(crate) protocol: ListenerProtocol,
    pub(crate) status: u16,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) total: Duration,
    pub(crate) service: Option<&'a str>,
    pub(crate) instance: Option<&'a str>,
    pub(crate) tries: u32,
}

const BATCH: usize = 32 * 1024;

impl AccessLog {
    pub(crate) fn new(format: AccessLogFormat, sink: LineSink, metrics: Arc<Metrics>) -> Self {
        Self {
            format,
            sink,
            batch: RefCell::default(),
            lines: Cell::new(0),
            metrics,
        }
    }

    /// Adds the line of a request that ended `now`.
    pub(crate) fn write(&self, line: &Line<'_>, clock: &mut Clock, now: Instant) {
        let milliseconds = clock.tick(now);
        self.gather(|batch| match self.format {
            AccessLogFormat::Json => write_json(batch, line, clock, milliseconds),
            AccessLogFormat::Combined => write_combined(batch, line, clock),
        });
    }

    /// Adds the line of a connection or session below HTTP.
    pub(crate) fn write_relay(&self, line: &RelayLine<'_>, clock: &mut Clock) {
        let milliseconds = clock.tick(Instant::now());
        self.gather(|batch| match self.format {
            AccessLogFormat::Json => write_relay_json(batch, line, clock, milliseconds),
            AccessLogFormat::Combined => write_relay_combined(batch, line, clock),
        });
    }

    fn gather(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut batch = self.batch.borrow_mut();
        write(&mut batch);
        self.lines.set(self.lines.get() + 1);
        if batch.len() >= BATCH {
            let full = std::mem::replace(&mut *batch, Vec::with_capacity(BATCH + 4096));
            drop(batch);
            self.hand_over(full);
        }
    }

    /// Hands over what was gathered. Whether there was anything.
    pub(crate) fn flush(&self) -> bool {
        let batch = std::mem::take(&mut *self.batch.borrow_mut());
        let any = !batch.is_empty();
        if any {
            self.hand_over(batch);
        }
        any
    }

    fn hand_over(&self, batch: Vec<u8>) {
        let lines = self.lines.take();
        if self.sink.write(batch).is_err() {
            self.metrics.log_dropped.fetch_add(lines, Ordering::Relaxed);
        }
    }
}

fn write_json(out: &mut Vec<u8>, line: &Line<'_>, clock: &Clock, milliseconds: u32) {
    begin_json(out, line.client, clock, milliseconds);
    text(out, b",\"method\":\"", line.method);
    text(out, b",\"uri\":\"", line.target);
    out.extend_from_slice(b",\"protocol\":\"HTTP/");
    out.extend_from_slice(line.version.as_bytes());
    out.push(b'"');
    some_text(out, b",\"tls\":\"", line.tls);
    some_text(out, b",\"client_subject\":\"", line.client_subject);
    text(out, b",\"host\":\"", line.host);
    number(out, b",\"status\":", line.status.into());
    number(out, b",\"bytes_in\":", line.bytes_in);
    number(out, b",\"bytes_out\":", line.bytes_out);
    number(out, b",\"duration_us\":", microseconds(line.total));
    if let Some(time) = line.upstream_time {
        number(out, b",\"upstream_us\":", microseconds(time));
    }
    some_text(out, b",\"route\":\"", line.route);
    some_text(out, b",\"service\":\"", line.service);
    some_text(out, b",\"instance\":\"", line.instance);
    some_text(out, b",\"upstream_error\":\"", line.upstream_error);
    if line.tries > 1 {
        number(out, b",\"tries\":", line.tries.into());
    }
    text(out, b",\"request_id\":\"", line.request_id.as_bytes());
    some_text(out, b",\"referer\":\"", line.referer);
    some_text(out, b",\"user_agent\":\"", line.user_agent);
    out.extend_from_slice(b"}\n");
}

fn write_relay_json(out: &mut Vec<u8>, line: &RelayLine<'_>, clock: &Clock, milliseconds: u32) {
    begin_json(out, line.client, clock, milliseconds);
    text(out, b",\"listener\":\"", line.listener.as_bytes());
    text(out, b",\"protocol\":\"", line.protocol.to_string().as_bytes());
    number(out, b",\"status\":", line.status.into());
    number(out, b",\"bytes_in\":", line.bytes_in);
    number(out, b",\"bytes_out\":", line.bytes_out);
    number(out, b",\"duration_us\":", microseconds(line.total));
    some_text(out, b",\"service\":\"", line.service);
    some_text(out, b",\"instance\":\"", line.instance);
    if line.tries > 1 {
        number(out, b",\"tries\":", line.tries.into());
    }
    out.extend_from_slice(b"}\n");
}

/// The form that nginx's manual gives for streams: no request, but bytes both ways and seconds.
fn write_relay_combined(out: &mut Vec<u8>, line: &RelayLine<'_>, clock: &Clock) {
    let _ = writeln!(
        out,
        "{} [{}] {} {} {} {} {:.3}",
        line.client,
        clock.common(),
        line.protocol,
        line.status,
        line.bytes_out,
        line.bytes_in,
        line.total.as_secs_f64()
    );
}

/// When it ended, and for whom. A line is written for every request, without the machinery of `write!`.
fn begin_json(out: &mut Vec<u8>, client: IpAddr, clock: &Clock, milliseconds: u32) {
    out.extend_from_slice(b"{\"time\":\"");
    out.extend_from_slice(clock.iso().as_bytes());
    out.push(b'.');
    let digit = |unit: u32| b'0' + (milliseconds / unit % 10) as u8;
    out.extend_from_slice(&[digit(100), digit(10), digit(1)]);
    out.extend_from_slice(b"Z\",\"client\":\"");
    push_ip(out, client);
    out.push(b'"');
}

fn push_ip(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            let [first, others @ ..] = address.octets();
            push_decimal(out, first.into());
            for octet in others {
                out.push(b'.');
                push_decimal(out, octet.into());
            }
        }
        IpAddr::V6(address) => {
            // Writing to a Vec cannot fail.
            let _ = write!(out, "{address}");
        }
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A member whose value is a number. `start`: the comma, its name in quotes and the colon.
fn number(out: &mut Vec<u8>, start: &[u8], value: u64) {
    out.extend_from_slice(start);
    push_decimal(out, value);
}

/// A member whose value is text. `start` ends with the quote that opens it.
fn text(out: &mut Vec<u8>, start: &[u8], value: &[u8]) {
    out.extend_from_slice(start);
    if is_plain(value) {
        out.extend_from_slice(value);
        out.push(b'"');
    } else {
        out.pop();
        let _ = serde_json::to_writer(out, &String::from_utf8_lossy(value));
    }
}

/// The same where there is one.
fn some_text<T: AsRef<[u8]>>(out: &mut Vec<u8>, start: &[u8], value: Option<T>) {
    if let Some(value) = value {
        text(out, start, value.as_ref());
    }
}

/// Whether a text stands in JSON as it is. Every byte is looked at, which is quicker than stopping at the first odd one.
fn is_plain(value: &[u8]) -> bool {
    let is_odd = |byte: u8| !(0x20..0x7f).contains(&byte) | (byte == b'"') | (byte == b'\\');
    !value.iter().fold(false, |odd, byte| odd | is_odd(*byte))
}

fn write_combined(out: &mut Vec<u8>, line: &Line<'_>, clock: &Clock) {
    let _ = write!(out, "{} - - [{}] \"", line.client, clock.common());
    escaped(out, line.method);
    out.push(b' ');
    escaped(out, line.target);
    let version = line.version;
    let _ = write!(out, " HTTP/{version}\" {} {} \"", line.status, line.bytes_out);
    escaped(out, line.referer.unwrap_or(b"-"));
    out.extend_from_slice(b"\" \"");
    escaped(out, line.user_agent.unwrap_or(b"-"));
    out.extend_from_slice(b"\"\n");
}

/// nginx's escaping: quotes, backslashes and everything unprintable as `\xXX`.
fn escaped(out: &mut Vec<u8>, value: &[u8]) {
    for byte in value {
        match byte {
            b'"' | b'\\' | 0..=0x1f | 0x7f..=0xff => {
                let _ = write!(out, "\\x{byte:02X}");
            }
            _ => out.push(*byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line<'static> {
        Line {
            client: IpAddr::from([10, 0, 0, 1]),
            method: b"GET",
            target: b"/a?b=\"c\"",
            version: "1.1",
            tls: None,
            client_subject: None,
            host: b"shop",
            status: 200,
            bytes_in: 0,
            bytes_out: 12,
            total: Duration::from_micros(1234),
            upstream_time: Some(Duration::from_micros(1000)),
            route: Some("r"),
            service: Some("s"),
            instance: Some("s-1"),
            tries: 2,
            upstream_error: None,
            request_id: "00ff",
            referer: None,
            user_agent: Some(b"curl\xff\n"),
        }
    }

    #[test]
    fn a_json_line_is_json() {
        let mut clock = Clock::default();
        clock.tick(Instant::now());
        let mut out = Vec::new();
        write_json(&mut out, &line(), &clock, 7);
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert!(value["time"].as_str().unwrap().ends_with(".007Z"));
        assert_eq!(value["uri"], "/a?b=\"c\"");
        assert_eq!(value["user_agent"], "curl\u{fffd}\n");
        assert_eq!(value["upstream_us"], 1000);
        assert_eq!(value["tries"], 2);
        assert!(value.get("referer").is_none());
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
    }

    #[test]
    fn a_relayed_connection_has_a_line() {
        let line = RelayLine {
            client: IpAddr::from([10, 0, 0, 1]),
            listener: "shop.db",
            protocol: ListenerProtocol::Tcp,
            status: 200,
            bytes_in: 7,
            bytes_out: 9,
            total: Duration::from_micros(1_234_567),
            service: Some("db"),
            instance: Some("db-1"),
            tries: 2,
        };
        let mut clock = Clock::default();
        clock.tick(Instant::now());
        let mut out = Vec::new();
        write_relay_json(&mut out, &line, &clock, 7);
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(
            (&value["listener"], &value["protocol"]),
            (&"shop.db".into(), &"tcp".into())
        );
        assert_eq!((&value["bytes_in"], &value["tries"]), (&7.into(), &2.into()));
        out.clear();
        write_relay_combined(&mut out, &line, &clock);
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.starts_with("10.0.0.1 [") && text.ends_with("] tcp 200 9 7 1.235\n"),
            "{text}"
        );
    }

    #[test]
    fn a_combined_line_cannot_be_forged() {
        let mut clock = Clock::default();
        clock.tick(Instant::now());
        let mut out = Vec::new();
        write_combined(&mut out, &line(), &clock);
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.ends_with("\"GET /a?b=\\x22c\\x22 HTTP/1.1\" 200 12 \"-\" \"curl\\xFF\\x0A\"\n"),
            "{text}"
        );
    }
}
