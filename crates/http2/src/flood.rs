//! Frames that cost the receiver more than the sender, counted.
//!
//! The codec bounds what it holds: header lists and CONTINUATION frames, streams, resets of streams that
//! were not looked at yet or that it caused itself (MadeYouReset), small DATA frames that wait. What is left
//! is work without end: frames that are answered, or thrown away, as fast as they come. They are counted for
//! ten seconds at a time. Some belong to work (a window that opens, a ping that measures a transfer), so each
//! request and each frame sent with payload allows a few more.

use std::time::Duration;

use tokio::time::Instant;

use crate::frames::{FIRST_FLAG, Frame, kind};

/// Counts of the current window.
#[derive(Debug)]
pub(crate) struct Flood {
    since: Instant,
    requests: u32,
    /// DATA and HEADERS that we sent.
    sent: u32,
    resets: u32,
    settings: u32,
    empty: u32,
    /// PING, WINDOW_UPDATE, PRIORITY, and whatever else is only about the connection.
    control: u32,
    is_on: bool,
}

/// How long is counted.
const WINDOW: Duration = Duration::from_secs(10);
/// Streams a client may take back, if they are less than half of those it opens (rapid reset: all of them).
const RESETS: u32 = 100;
const SETTINGS: u32 = 50;
/// DATA without payload that does not end its stream.
const EMPTY: u32 = 100;
const CONTROL: u32 = 100;
/// Control frames allowed for each request and each frame with payload.
const CONTROL_FOR_WORK: u32 = 4;

impl Flood {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            since: now,
            requests: 0,
            sent: 0,
            resets: 0,
            settings: 0,
            empty: 0,
            control: 0,
            is_on: false,
        }
    }

    /// Whether it has been too much, now or before.
    pub(crate) fn is_on(&self) -> bool {
        self.is_on
    }

    /// Starts another window when it is time.
    pub(crate) fn tick(&mut self, now: Instant) {
        if now - self.since >= WINDOW {
            *self = Self {
                is_on: self.is_on,
                ..Self::new(now)
            };
        }
    }

    /// A frame came.
    pub(crate) fn came(&mut self, frame: Frame) {
        let flagged = frame.flags & FIRST_FLAG != 0;
        match frame.kind {
            kind::HEADERS => self.requests += 1,
            kind::DATA => self.empty += u32::from(frame.length == 0 && !flagged),
            kind::RST_STREAM => self.resets += 1,
            kind::SETTINGS => self.settings += u32::from(!flagged),
            _ => self.control += 1,
        }
        let work = self.requests.saturating_add(self.sent);
        self.is_on |= (self.resets > RESETS && self.resets > self.requests / 2)
            || self.settings > SETTINGS
            || self.empty > EMPTY
            || self.control > work.saturating_mul(CONTROL_FOR_WORK).saturating_add(CONTROL);
    }

    /// A frame was sent.
    pub(crate) fn went(&mut self, frame: Frame) {
        self.sent += u32::from(matches!(frame.kind, kind::DATA | kind::HEADERS));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: u8 = 6;
    const WINDOW_UPDATE: u8 = 8;
    const CONTINUATION: u8 = 9;
    const UNKNOWN: u8 = 0xfa;

    fn frame(kind: u8, flags: u8, length: usize) -> Frame {
        Frame { kind, flags, length }
    }

    /// After how many of `frames`, again and again, it is a flood.
    fn after(frames: &[Frame]) -> Option<usize> {
        let mut flood = Flood::new(Instant::now());
        frames.iter().cycle().take(10_000).position(|frame| {
            flood.came(*frame);
            flood.is_on()
        })
    }

    #[tokio::test(start_paused = true)]
    async fn floods_and_what_is_none() {
        let request = frame(kind::HEADERS, 5, 20);
        let reset = frame(kind::RST_STREAM, 0, 4);
        let rows = [
            ("rapid reset", vec![request, reset], Some(201)),
            (
                "resets now and then",
                vec![request, request, request, reset],
                None,
            ),
            ("pings", vec![frame(PING, 0, 8)], Some(100)),
            ("windows", vec![frame(WINDOW_UPDATE, 0, 4)], Some(100)),
            ("continuations", vec![frame(CONTINUATION, 0, 0)], Some(100)),
            ("unknown", vec![frame(UNKNOWN, 0, 0)], Some(100)),
            ("settings", vec![frame(kind::SETTINGS, 0, 0)], Some(50)),
            ("settings answered", vec![frame(kind::SETTINGS, 1, 0)], None),
            ("empty data", vec![frame(kind::DATA, 0, 0)], Some(100)),
            ("ends of bodies", vec![request, frame(kind::DATA, 1, 0)], None),
            ("bodies", vec![frame(kind::DATA, 0, 1)], None),
            ("a ping a request", vec![request, frame(PING, 0, 8)], None),
        ];
        for (name, frames, expected) in rows {
            assert_eq!(after(&frames), expected, "{name}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_download_opens_windows_as_often_as_it_is_sent() {
        let mut flood = Flood::new(Instant::now());
        for _ in 0..10_000 {
            flood.went(frame(kind::DATA, 0, 16_384));
            flood.came(frame(WINDOW_UPDATE, 0, 4));
            flood.came(frame(WINDOW_UPDATE, 0, 4));
        }
        assert!(!flood.is_on());
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_while_is_forgiven_and_a_flood_is_not() {
        let start = Instant::now();
        let mut flood = Flood::new(start);
        for second in 0..60 {
            flood.tick(start + Duration::from_secs(second));
            for _ in 0..9 {
                flood.came(frame(PING, 0, 8));
            }
        }
        assert!(!flood.is_on());
        for _ in 0..101 {
            flood.came(frame(PING, 0, 8));
        }
        flood.tick(start + Duration::from_secs(600));
        assert!(flood.is_on());
    }
}
