//! Why a request is refused. Nothing is repaired: the reply is the status, and then the connection closes.

use crate::HeadFault;
use crate::line::LineFault;

/// A request that must not be acted on. The connection must be closed once the reply is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("request refused: {}", kind.reason())]
pub struct Refusal {
    /// The rule that was broken.
    pub kind: RefusalKind,
}

/// One variant per rule; those that responses share are in [`HeadFault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// A rule on lines, fields or framing.
    Head(HeadFault),
    /// A request line longer than [`Limits::line`](crate::Limits::line).
    RequestLineTooLong,
    /// More than one empty line before the request line.
    EmptyLines,
    /// A request line that is not method, target and version, one space apart.
    BadRequestLine,
    /// A method that is no token.
    BadMethod,
    /// A method longer than 32 bytes.
    MethodTooLong,
    /// `CONNECT` or `TRACE`, in any case.
    MethodNotAllowed,
    /// A version that does not look like one.
    BadVersion,
    /// A version other than 1.0 and 1.1.
    UnsupportedVersion,
    /// A target that is neither a path nor an absolute `http` or `https` URI.
    BadTarget,
    /// The target `*` with a method other than `OPTIONS`.
    AsteriskTarget,
    /// A space in the target.
    SpaceInTarget,
    /// A tab or a byte above 127 in the target.
    BadTargetByte,
    /// A `#` in the target.
    FragmentInTarget,
    /// A `%` in the path that two hex digits do not follow.
    BadEscape,
    /// `%00` in the path.
    EncodedNul,
    /// An absolute target whose authority is no host with an optional port, as with a user name in it.
    BadAuthority,
    /// HTTP/1.1 without `Host`.
    MissingHost,
    /// More than one `Host`, be they equal.
    SeveralHosts,
    /// A `Host` that is no name, IPv4 address or bracketed IPv6 address with an optional port.
    BadHost,
    /// An absolute target whose authority is another than `Host`.
    HostMismatch,
}

impl Refusal {
    /// The status to answer: 400, 405, 414 or 505.
    pub fn status(&self) -> u16 {
        match self.kind {
            RefusalKind::RequestLineTooLong => 414,
            RefusalKind::MethodNotAllowed => 405,
            RefusalKind::UnsupportedVersion => 505,
            _ => 400,
        }
    }

    /// The rule in a few words, for logs.
    pub fn reason(&self) -> &'static str {
        self.kind.reason()
    }
}

impl RefusalKind {
    /// The rule in a few words, for logs.
    pub fn reason(self) -> &'static str {
        match self {
            RefusalKind::Head(fault) => fault.reason(),
            RefusalKind::RequestLineTooLong => "request line too long",
            RefusalKind::EmptyLines => "empty lines before the request line",
            RefusalKind::BadRequestLine => "malformed request line",
            RefusalKind::BadMethod => "malformed method",
            RefusalKind::MethodTooLong => "method too long",
            RefusalKind::MethodNotAllowed => "method not allowed",
            RefusalKind::BadVersion => "malformed version",
            RefusalKind::UnsupportedVersion => "unsupported version",
            RefusalKind::BadTarget => "malformed target",
            RefusalKind::AsteriskTarget => "target * without OPTIONS",
            RefusalKind::SpaceInTarget => "space in the target",
            RefusalKind::BadTargetByte => "byte outside ASCII in the target",
            RefusalKind::FragmentInTarget => "fragment in the target",
            RefusalKind::BadEscape => "malformed escape in the path",
            RefusalKind::EncodedNul => "encoded NUL in the path",
            RefusalKind::BadAuthority => "malformed authority in the target",
            RefusalKind::MissingHost => "no Host",
            RefusalKind::SeveralHosts => "several Host fields",
            RefusalKind::BadHost => "malformed Host",
            RefusalKind::HostMismatch => "Host other than the target's authority",
        }
    }

    /// Whether the head as a whole or one of its fields was too large (not the request line).
    pub fn is_too_large(self) -> bool {
        matches!(
            self,
            RefusalKind::Head(HeadFault::FieldTooLong | HeadFault::HeadTooLarge | HeadFault::TooManyFields)
        )
    }

    /// A fault of the request line or of the empty line before it.
    pub(crate) fn of_first_line(fault: LineFault) -> RefusalKind {
        match fault {
            LineFault::TooLong => RefusalKind::RequestLineTooLong,
            other => RefusalKind::Head(other.into()),
        }
    }
}

impl From<HeadFault> for RefusalKind {
    fn from(fault: HeadFault) -> RefusalKind {
        RefusalKind::Head(fault)
    }
}

impl From<RefusalKind> for Refusal {
    fn from(kind: RefusalKind) -> Refusal {
        Refusal { kind }
    }
}
