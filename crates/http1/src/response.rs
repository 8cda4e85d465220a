//! The head of a response: status line and fields, and what they say of the body and the connection.

use crate::line::{LineFault, Lines};
use crate::section::{self, Facts};
use crate::{Field, Framing, HeadFault, Limits, Progress, Span, Version};

/// What of the request decides how its response is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// `HEAD`: the response never has a body.
    Head,
    /// `CONNECT`: a response of 2xx has no body, what follows is the tunnel.
    Connect,
    /// Any other method.
    Other,
}

/// A response that must not be forwarded. The connection must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad response: {}", kind.reason())]
pub struct BadResponse {
    /// The rule that was broken.
    pub kind: BadResponseKind,
}

/// One variant per rule; those that requests share are in [`HeadFault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BadResponseKind {
    /// A rule on lines, fields or framing.
    Head(HeadFault),
    /// A status line longer than [`Limits::line`].
    StatusLineTooLong,
    /// A version other than 1.0 and 1.1, or none.
    BadVersion,
    /// A status that is not three digits from 100 up, with a space before and after.
    BadStatus,
}

impl BadResponse {
    /// The rule in a few words, for logs.
    pub fn reason(&self) -> &'static str {
        self.kind.reason()
    }
}

impl BadResponseKind {
    /// The rule in a few words, for logs.
    pub fn reason(self) -> &'static str {
        match self {
            BadResponseKind::Head(fault) => fault.reason(),
            BadResponseKind::StatusLineTooLong => "status line too long",
            BadResponseKind::BadVersion => "malformed or unsupported version",
            BadResponseKind::BadStatus => "malformed status",
        }
    }

    fn of_status_line(fault: LineFault) -> BadResponseKind {
        match fault {
            LineFault::TooLong => BadResponseKind::StatusLineTooLong,
            other => BadResponseKind::Head(other.into()),
        }
    }
}

impl From<HeadFault> for BadResponseKind {
    fn from(fault: HeadFault) -> BadResponseKind {
        BadResponseKind::Head(fault)
    }
}

/// A response's head; scratch to be used again and again for the responses of a connection.
///
/// All spans are relative to the start of the buffer given to [`ResponseHead::parse`], and valid once that has
/// returned [`Progress::Complete`].
#[derive(Clone, Debug, Default)]
pub struct ResponseHead {
    /// 100 to 999.
    pub status: u16,
    /// The reason phrase, possibly empty.
    pub reason: Span,
    /// The version.
    pub version: Version,
    /// The fields in the order sent.
    pub fields: Vec<Field>,
    /// Bytes of the head with the empty line that ends it: the body starts here.
    pub len: usize,
    /// How the end of the body is found. After a 1xx other than 101 the real response follows.
    pub framing: Framing,
    /// Whether the connection may carry another request, the body once read.
    pub keep_alive: bool,
    /// How long the server keeps the idle connection, in seconds, if it says so with `Keep-Alive: timeout=N`.
    pub keep_alive_timeout: Option<u32>,
    /// The value of `Upgrade`, if `Connection` lists `upgrade`.
    pub upgrade: Option<Span>,
    lines: Lines,
    facts: Facts,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Start,
    Fields,
    Done,
}

impl ResponseHead {
    /// Parses the head at the start of `buf`, which may hold more than the head, of the response to a `request`.
    ///
    /// After [`Progress::Partial`], call again with the same bytes and those that followed; after
    /// [`Progress::Complete`] or an error, call [`ResponseHead::reset`] before the next head.
    pub fn parse(
        &mut self,
        buf: &[u8],
        limits: &Limits,
        request: RequestKind,
    ) -> Result<Progress, BadResponse> {
        self.advance(buf, limits, request)
            .map_err(|kind| BadResponse { kind })
    }

    /// Forgets everything but the memory it holds.
    pub fn reset(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = ResponseHead {
            fields,
            ..ResponseHead::default()
        };
    }

    fn advance(
        &mut self,
        buf: &[u8],
        limits: &Limits,
        request: RequestKind,
    ) -> Result<Progress, BadResponseKind> {
        if self.stage == Stage::Start {
            let Some(line) = self
                .lines
                .next(buf, limits)
                .map_err(BadResponseKind::of_status_line)?
            else {
                return Ok(Progress::Partial);
            };
            self.read_status_line(buf, line)?;
            self.stage = Stage::Fields;
        }
        while self.stage == Stage::Fields {
            let Some(line) = self.lines.next(buf, limits).map_err(HeadFault::from)? else {
                return Ok(Progress::Partial);
            };
            if line.is_empty() {
                self.conclude(buf, request)?;
                self.stage = Stage::Done;
            } else {
                self.read_field(buf, line, limits)?;
            }
        }
        Ok(Progress::Complete)
    }

    fn read_status_line(&mut self, buf: &[u8], line: Span) -> Result<(), BadResponseKind> {
        let (version, rest) = line
            .of(buf)
            .split_at_checked(b"HTTP/1.1".len())
            .ok_or(BadResponseKind::BadVersion)?;
        self.version = match version {
            b"HTTP/1.1" => Version::Http11,
            b"HTTP/1.0" => Version::Http10,
            _ => return Err(BadResponseKind::BadVersion),
        };
        // A reason may be missing, and some servers leave out the space before it then.
        let (digits, reason) = match *rest {
            [b' ', a, b, c] => ([a, b, c], 0),
            [b' ', a, b, c, b' ', ref reason @ ..] => ([a, b, c], reason.len()),
            _ => return Err(BadResponseKind::BadStatus),
        };
        self.status = status(digits).ok_or(BadResponseKind::BadStatus)?;
        self.reason = Span::new(line.end as usize - reason, line.end as usize);
        Ok(())
    }

    fn read_field(&mut self, buf: &[u8], line: Span, limits: &Limits) -> Result<(), BadResponseKind> {
        let field = section::field(buf, line)?;
        if self.fields.len() >= limits.fields {
            return Err(HeadFault::TooManyFields.into());
        }
        self.fields.push(field);
        Ok(self.facts.note(buf, &field)?)
    }

    /// Draws the conclusions that need the whole head.
    fn conclude(&mut self, buf: &[u8], request: RequestKind) -> Result<(), BadResponseKind> {
        let announced = self.facts.framing(self.version)?;
        self.framing = if self.has_no_body(request) {
            Framing::None
        } else {
            announced.unwrap_or(Framing::UntilClose)
        };
        self.keep_alive = self.facts.keeps_alive(self.version) && self.framing != Framing::UntilClose;
        self.keep_alive_timeout = self.facts.keep_alive_timeout;
        self.upgrade = self.facts.upgrade();
        self.facts.mark_named(buf, &mut self.fields);
        self.len = self.lines.consumed();
        Ok(())
    }

    fn has_no_body(&self, request: RequestKind) -> bool {
        match request {
            RequestKind::Head => true,
            RequestKind::Connect if self.status / 100 == 2 => true,
            RequestKind::Connect | RequestKind::Other => {
                matches!(self.status, 100..200 | 204 | 304)
            }
        }
    }
}

fn status(digits: [u8; 3]) -> Option<u16> {
    let value = digits.iter().try_fold(0, |sum, digit| {
        digit.is_ascii_digit().then(|| sum * 10 + u16::from(digit - b'0'))
    })?;
    (value >= 100).then_some(value)
}
