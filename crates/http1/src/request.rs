//! The head of a request: request line and fields, and what they say of the body and the connection.

use crate::class::{TOKEN, class, list};
use crate::host::{is_host, is_same_host};
use crate::line::Lines;
use crate::section::{self, Facts};
use crate::target::{self, Authority};
use crate::{Field, Framing, HeadFault, Known, Limits, Progress, Refusal, RefusalKind, Span, Version};

const LONGEST_METHOD: usize = 32;

/// A request's head; scratch to be used again and again for the requests of a connection.
///
/// All spans are relative to the start of the buffer given to [`RequestHead::parse`], and valid once that has
/// returned [`Progress::Complete`].
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    /// A token of at most 32 bytes; never `CONNECT` or `TRACE`.
    pub method: Span,
    /// The target as sent: visible ASCII without `#`.
    pub target: Span,
    /// The path of the target, of an absolute one too; starts with `/`, or is `*` for `OPTIONS *`.
    pub path: Span,
    /// What follows the first `?` of the target, which may be nothing.
    pub query: Option<Span>,
    /// The version.
    pub version: Version,
    /// The fields in the order sent.
    pub fields: Vec<Field>,
    /// Bytes of the head, with an empty line before it and the one that ends it: the body starts here.
    pub len: usize,
    /// The value of `Host`, or the authority of an absolute target; empty if HTTP/1.0 has neither.
    pub host: Span,
    /// How the end of the body is found; never [`Framing::UntilClose`].
    pub framing: Framing,
    /// Whether the client may send another request on this connection.
    pub keep_alive: bool,
    /// Whether the client waits for a `100 Continue` before it sends the body.
    pub expect_continue: bool,
    /// The value of `Upgrade`, of a `GET` in HTTP/1.1 without a body whose `Connection` lists `upgrade`.
    pub upgrade: Option<Span>,
    /// Whether `TE` lists `trailers`.
    pub te_trailers: bool,
    /// Whether `upgrade` lists `websocket`.
    pub websocket: bool,
    /// Of an absolute target.
    authority: Option<Authority>,
    lines: Lines,
    facts: Facts,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Start,
    AfterEmptyLine,
    Fields,
    Done,
}

impl RequestHead {
    /// Parses the head at the start of `buf`, which may hold more than the head.
    ///
    /// After [`Progress::Partial`], call again with the same bytes and those that followed; after
    /// [`Progress::Complete`] or a refusal, call [`RequestHead::reset`] before the next head.
    /// One empty line before the request line is skipped, as some clients send one after a body; a second is
    /// refused.
    pub fn parse(&mut self, buf: &[u8], limits: &Limits) -> Result<Progress, Refusal> {
        self.advance(buf, limits).map_err(Refusal::from)
    }

    /// Forgets everything but the memory it holds.
    pub fn reset(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = RequestHead {
            fields,
            ..RequestHead::default()
        };
    }

    fn advance(&mut self, buf: &[u8], limits: &Limits) -> Result<Progress, RefusalKind> {
        while matches!(self.stage, Stage::Start | Stage::AfterEmptyLine) {
            let Some(line) = self.lines.next(buf, limits).map_err(RefusalKind::of_first_line)? else {
                return Ok(Progress::Partial);
            };
            self.stage = match self.stage {
                _ if !line.is_empty() => {
                    self.read_request_line(buf, line)?;
                    Stage::Fields
                }
                Stage::Start => Stage::AfterEmptyLine,
                _ => return Err(RefusalKind::EmptyLines),
            };
        }
        while self.stage == Stage::Fields {
            let Some(line) = self.lines.next(buf, limits).map_err(HeadFault::from)? else {
                return Ok(Progress::Partial);
            };
            if line.is_empty() {
                self.conclude(buf)?;
                self.stage = Stage::Done;
            } else {
                self.read_field(buf, line, limits)?;
            }
        }
        Ok(Progress::Complete)
    }

    fn read_request_line(&mut self, buf: &[u8], line: Span) -> Result<(), RefusalKind> {
        let (start, end) = (line.start as usize, line.end as usize);
        let bytes = line.of(buf);
        let is_space = |&byte: &u8| byte == b' ';
        let first = bytes.iter().position(is_space);
        let last = bytes.iter().rposition(is_space);
        let (Some(first), Some(last)) = (first, last) else {
            return Err(RefusalKind::BadRequestLine);
        };
        if first == 0 || last <= first + 1 {
            return Err(RefusalKind::BadRequestLine);
        }
        self.method = Span::new(start, start + first);
        self.target = Span::new(start + first + 1, start + last);
        check_method(self.method.of(buf))?;
        self.version = version(&buf[start + last + 1..end])?;
        let is_options = self.method.of(buf) == b"OPTIONS";
        let target = target::split(buf, self.target, is_options)?;
        self.path = target.path;
        self.query = target.query;
        self.authority = target.authority;
        Ok(())
    }

    fn read_field(&mut self, buf: &[u8], line: Span, limits: &Limits) -> Result<(), RefusalKind> {
        let field = section::field(buf, line)?;
        if self.fields.len() >= limits.fields {
            return Err(HeadFault::TooManyFields.into());
        }
        self.fields.push(field);
        if field.known == Some(Known::Host) {
            return self.note_host(buf, field.value);
        }
        Ok(self.facts.note(buf, &field)?)
    }

    fn note_host(&mut self, buf: &[u8], value: Span) -> Result<(), RefusalKind> {
        // No valid Host is empty, so an empty span means that none was seen.
        if !self.host.is_empty() {
            return Err(RefusalKind::SeveralHosts);
        }
        if !is_host(value.of(buf)) {
            return Err(RefusalKind::BadHost);
        }
        self.host = value;
        Ok(())
    }

    /// Draws the conclusions that need the whole head.
    fn conclude(&mut self, buf: &[u8]) -> Result<(), RefusalKind> {
        if self.host.is_empty() && self.version == Version::Http11 {
            return Err(RefusalKind::MissingHost);
        }
        if let Some(authority) = self.authority {
            self.settle_host(buf, authority)?;
        }
        self.framing = self.facts.framing(self.version)?.unwrap_or_default();
        self.keep_alive = self.facts.keeps_alive(self.version);
        self.te_trailers = self.facts.te_trailers;
        self.expect_continue = self.facts.expects_continue && self.version == Version::Http11;
        self.upgrade = self.facts.upgrade().filter(|_| self.may_upgrade(buf));
        self.websocket = self.upgrade.is_some_and(|protocols| {
            list(protocols.of(buf)).any(|protocol| protocol.eq_ignore_ascii_case(b"websocket"))
        });
        self.facts.mark_named(buf, &mut self.fields);
        self.len = self.lines.consumed();
        Ok(())
    }

    fn settle_host(&mut self, buf: &[u8], authority: Authority) -> Result<(), RefusalKind> {
        let named = authority.host.of(buf);
        if self.host.is_empty() {
            self.host = authority.host;
        } else if !is_same_host(self.host.of(buf), named, authority.default_port) {
            return Err(RefusalKind::HostMismatch);
        }
        Ok(())
    }

    /// A body before the switch could be read as the new protocol's bytes by one side and not by the other.
    fn may_upgrade(&self, buf: &[u8]) -> bool {
        self.version == Version::Http11 && self.framing == Framing::None && self.method.of(buf) == b"GET"
    }
}

#[inline]
fn check_method(method: &[u8]) -> Result<(), RefusalKind> {
    if method.iter().any(|&byte| class(byte) & TOKEN == 0) {
        return Err(RefusalKind::BadMethod);
    }
    if method.len() > LONGEST_METHOD {
        return Err(RefusalKind::MethodTooLong);
    }
    if method.eq_ignore_ascii_case(b"CONNECT") || method.eq_ignore_ascii_case(b"TRACE") {
        return Err(RefusalKind::MethodNotAllowed);
    }
    Ok(())
}

#[inline]
fn version(version: &[u8]) -> Result<Version, RefusalKind> {
    match version {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9']
        | [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
            Err(RefusalKind::UnsupportedVersion)
        }
        _ => Err(RefusalKind::BadVersion),
    }
}
