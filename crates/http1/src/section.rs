//! The field section, the same for requests, responses and trailers: the syntax of a field line, and the facts on
//! framing and connection that its known fields state.

use std::fmt;

use crate::class::{ODD, TOKEN, class, list, trim};
use crate::field::known;
use crate::line::LineFault;
use crate::{Field, Framing, Known, Span, Version};

/// Other fields that `Connection` may name before the head is refused: each costs a look at every field.
const MOST_NAMED_FIELDS: u32 = 32;

/// Why a head is refused whether it is a request's or a response's; one variant per rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HeadFault {
    /// A control byte other than tab, NUL included, anywhere.
    ControlByte,
    /// A CR that no LF follows.
    BareCr,
    /// An LF that no CR precedes, as the end of a line or elsewhere.
    BareLf,
    /// A field line longer than [`Limits::line`](crate::Limits::line).
    FieldTooLong,
    /// A head longer than [`Limits::head`](crate::Limits::head).
    HeadTooLarge,
    /// More field lines than [`Limits::fields`](crate::Limits::fields).
    TooManyFields,
    /// A line that starts with a blank: a folded field value, or blanks before the first field.
    FoldedLine,
    /// A blank between a field's name and its colon.
    BlankBeforeColon,
    /// A field line without a colon.
    NoColon,
    /// A field name that is empty or no token.
    BadName,
    /// `Content-Length` together with `Transfer-Encoding`.
    LengthAndEncoding,
    /// More than one `Content-Length`, be they equal.
    SeveralLengths,
    /// A `Content-Length` that is not digits only: empty, signed, a list, hexadecimal...
    BadLength,
    /// A `Content-Length` above 2^64 - 1.
    LengthOverflow,
    /// More than one `Transfer-Encoding`.
    SeveralEncodings,
    /// A `Transfer-Encoding` that is not exactly `chunked`, in any case.
    BadEncoding,
    /// `Transfer-Encoding` in a message of HTTP/1.0, which knows no such thing.
    EncodingInHttp10,
    /// `Connection` names more than 32 other fields.
    TooManyOptions,
}

impl HeadFault {
    /// The rule in a few words, for logs.
    pub fn reason(self) -> &'static str {
        match self {
            HeadFault::ControlByte => "control byte in the head",
            HeadFault::BareCr => "bare CR in the head",
            HeadFault::BareLf => "bare LF in the head",
            HeadFault::FieldTooLong => "field line too long",
            HeadFault::HeadTooLarge => "head too large",
            HeadFault::TooManyFields => "too many fields",
            HeadFault::FoldedLine => "folded field line",
            HeadFault::BlankBeforeColon => "blank before the colon of a field",
            HeadFault::NoColon => "field line without a colon",
            HeadFault::BadName => "malformed field name",
            HeadFault::LengthAndEncoding => "both Content-Length and Transfer-Encoding",
            HeadFault::SeveralLengths => "several Content-Length fields",
            HeadFault::BadLength => "malformed Content-Length",
            HeadFault::LengthOverflow => "Content-Length out of range",
            HeadFault::SeveralEncodings => "several Transfer-Encoding fields",
            HeadFault::BadEncoding => "Transfer-Encoding other than chunked",
            HeadFault::EncodingInHttp10 => "Transfer-Encoding in HTTP/1.0",
            HeadFault::TooManyOptions => "too many connection options",
        }
    }
}

impl std::error::Error for HeadFault {}

impl fmt::Display for HeadFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl From<LineFault> for HeadFault {
    fn from(fault: LineFault) -> HeadFault {
        match fault {
            LineFault::TooLong => HeadFault::FieldTooLong,
            LineFault::HeadTooLarge => HeadFault::HeadTooLarge,
            LineFault::BareCr => HeadFault::BareCr,
            LineFault::BareLf => HeadFault::BareLf,
            LineFault::Control => HeadFault::ControlByte,
        }
    }
}

/// Parses one field line, a line that is not empty and free of control bytes but tabs.
#[inline]
pub(crate) fn field(buf: &[u8], line: Span) -> Result<Field, HeadFault> {
    let bytes = line.of(buf);
    let mut classes = 0;
    let colon = bytes
        .iter()
        .position(|&byte| {
            let of_byte = class(byte);
            classes |= of_byte;
            of_byte & TOKEN == 0
        })
        .ok_or(HeadFault::NoColon)?;
    if colon == 0 || bytes[colon] != b':' {
        return Err(misnamed(bytes, colon));
    }
    let (start, end) = (line.start as usize, line.end as usize);
    let value_start = start + colon + 1 + blanks(bytes[colon + 1..].iter());
    let value_end = end - blanks(buf[value_start..end].iter().rev());
    let known = known(&bytes[..colon], classes & ODD != 0);
    Ok(Field {
        name: Span::new(start, start + colon),
        value: Span::new(value_start, value_end),
        known,
        hop: known.is_some_and(Known::is_hop_by_hop),
    })
}

#[inline]
fn blanks<'a>(bytes: impl Iterator<Item = &'a u8>) -> usize {
    bytes.take_while(|&&byte| byte == b' ' || byte == b'\t').count()
}

/// Why `line`, whose first byte outside a token is at `stop`, has no proper name.
#[cold]
fn misnamed(line: &[u8], stop: usize) -> HeadFault {
    match (stop, line[stop]) {
        (0, b' ' | b'\t') => HeadFault::FoldedLine,
        _ if !line.contains(&b':') => HeadFault::NoColon,
        (_, b' ' | b'\t') => HeadFault::BlankBeforeColon,
        _ => HeadFault::BadName,
    }
}

/// What the known fields read so far say of the message and its connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    lists_upgrade: bool,
    /// Options of `Connection` that may name other fields.
    named_fields: u32,
    upgrade: Option<Span>,
    /// Whether `TE` lists `trailers`.
    pub(crate) te_trailers: bool,
    /// Whether `Expect` is `100-continue`.
    pub(crate) expects_continue: bool,
    /// From `Keep-Alive: timeout=N`, in seconds.
    pub(crate) keep_alive_timeout: Option<u32>,
}

impl Facts {
    /// Takes in a field just parsed.
    #[inline]
    pub(crate) fn note(&mut self, buf: &[u8], field: &Field) -> Result<(), HeadFault> {
        let value = field.value.of(buf);
        match field.known {
            Some(Known::ContentLength) => self.note_length(value)?,
            Some(Known::TransferEncoding) => self.note_encoding(value)?,
            Some(Known::Connection) => self.note_connection(value)?,
            Some(Known::Upgrade) => self.upgrade = Some(field.value),
            Some(Known::Te) => self.te_trailers |= lists_trailers(value),
            Some(Known::Expect) => self.expects_continue |= value.eq_ignore_ascii_case(b"100-continue"),
            Some(Known::KeepAlive) => self.keep_alive_timeout = timeout(value),
            _ => {}
        }
        Ok(())
    }

    /// The body that the fields announce; `None` if they announce none.
    pub(crate) fn framing(&self, version: Version) -> Result<Option<Framing>, HeadFault> {
        match (self.chunked, self.length) {
            (true, _) if version == Version::Http10 => Err(HeadFault::EncodingInHttp10),
            (true, Some(_)) => Err(HeadFault::LengthAndEncoding),
            (true, None) => Ok(Some(Framing::Chunked)),
            (false, Some(length)) => Ok(Some(Framing::Length(length))),
            (false, None) => Ok(None),
        }
    }

    /// Whether another message may follow, as far as the fields go.
    pub(crate) fn keeps_alive(&self, version: Version) -> bool {
        !self.close && (self.keep_alive || version == Version::Http11)
    }

    /// The value of `Upgrade`, if `Connection` lists it; of several fields the last one.
    pub(crate) fn upgrade(&self) -> Option<Span> {
        self.upgrade.filter(|_| self.lists_upgrade)
    }

    /// Marks the fields that `Connection` names, once all are read.
    #[inline]
    pub(crate) fn mark_named(&self, buf: &[u8], fields: &mut [Field]) {
        if self.named_fields > 0 {
            mark_named(buf, fields);
        }
    }

    fn note_length(&mut self, value: &[u8]) -> Result<(), HeadFault> {
        if self.length.is_some() {
            return Err(HeadFault::SeveralLengths);
        }
        self.length = Some(decimal(value)?);
        Ok(())
    }

    fn note_encoding(&mut self, value: &[u8]) -> Result<(), HeadFault> {
        if self.chunked {
            return Err(HeadFault::SeveralEncodings);
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(HeadFault::BadEncoding);
        }
        self.chunked = true;
        Ok(())
    }

    fn note_connection(&mut self, value: &[u8]) -> Result<(), HeadFault> {
        for option in list(value) {
            if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.lists_upgrade = true;
            } else if names_field(option) {
                self.named_fields += 1;
            }
        }
        if self.named_fields > MOST_NAMED_FIELDS {
            return Err(HeadFault::TooManyOptions);
        }
        Ok(())
    }
}

#[cold]
fn mark_named(buf: &[u8], fields: &mut [Field]) {
    for at in 0..fields.len() {
        if fields[at].known != Some(Known::Connection) {
            continue;
        }
        for option in list(fields[at].value.of(buf)).filter(|option| names_field(option)) {
            for field in &mut *fields {
                field.hop |= field.known.is_none() && field.name.of(buf).eq_ignore_ascii_case(option);
            }
        }
    }
}

/// Whether an option of `Connection` may name a field that is not dealt with by its own name.
fn names_field(option: &[u8]) -> bool {
    Known::of(option).is_none() && !option.eq_ignore_ascii_case(b"close")
}

fn decimal(value: &[u8]) -> Result<u64, HeadFault> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(HeadFault::BadLength);
    }
    value
        .iter()
        .try_fold(0_u64, |sum, digit| {
            sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
        })
        .ok_or(HeadFault::LengthOverflow)
}

fn lists_trailers(value: &[u8]) -> bool {
    list(value)
        .filter_map(|coding| coding.split(|&byte| byte == b';').next())
        .any(|coding| trim(coding).eq_ignore_ascii_case(b"trailers"))
}

fn timeout(value: &[u8]) -> Option<u32> {
    list(value).find_map(|parameter| {
        let (name, seconds) = parameter.split_at_checked(b"timeout=".len())?;
        let named = name.eq_ignore_ascii_case(b"timeout=");
        u32::try_from(named.then(|| decimal(seconds).ok())??).ok()
    })
}
