//! What is sent on a stream, from the bytes of a message of HTTP/1.1.

use std::task::{Context, Poll};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::uri::Scheme;
use hythe_http1::{Chunk, ChunkedDecoder, Framing, Limits, Progress, RequestHead, RequestKind, ResponseHead};
use hythe_upstream::WireError;

use crate::error::{broken, unspeakable};
use crate::heads;

/// The writing direction of a stream.
pub(crate) enum Outgoing {
    /// Before an answer's head. `bodiless`: to a HEAD.
    Answer { to: SendResponse<Bytes>, bodiless: bool },
    /// Before a request's head.
    Request {
        over: Box<SendRequest<Bytes>>,
        scheme: Scheme,
    },
    /// After the head.
    Body { to: SendStream<Bytes>, left: Left },
    /// The other side, or we, have broken it off.
    Gone,
}

/// What is to come of a body.
pub(crate) enum Left {
    /// Nothing.
    None,
    /// This many bytes.
    Length(u64),
    /// Chunks.
    Chunks(Box<ChunkedDecoder>),
}

/// The next thing to send.
pub(crate) struct Piece<'a> {
    pub(crate) data: &'a [u8],
    pub(crate) end: End,
}

/// What follows a piece.
pub(crate) enum End {
    /// More of the body.
    No,
    /// Nothing.
    Yes,
    /// These trailers.
    Trailers(http::HeaderMap),
}

/// A request that was sent: where its answer will come, and whether that has no body whatever it says.
pub(crate) struct Sent {
    pub(crate) coming: ResponseFuture,
    pub(crate) bodiless: bool,
}

/// Bounds for what the gateway itself writes: only that it writes by the rules is of interest here.
const OWN: Limits = Limits {
    line: usize::MAX,
    head: usize::MAX,
    fields: usize::MAX,
    chunk_line: 256,
    trailers: usize::MAX,
};

/// Room for the fields of most heads.
const USUAL_FIELDS: usize = 16;

impl Outgoing {
    /// Sends the heads at the start of `bytes`, as long as one is due; what is left is body. A head comes
    /// whole.
    pub(crate) fn send_heads<'a>(
        &mut self,
        mut bytes: &'a [u8],
    ) -> Result<(&'a [u8], Option<Sent>), WireError> {
        let mut sent = None;
        while !bytes.is_empty() {
            let length = match self {
                Self::Answer { .. } => self.send_answer(bytes)?,
                Self::Request { .. } => {
                    let (length, request) = self.send_request(bytes)?;
                    sent = Some(request);
                    length
                }
                Self::Body { .. } => break,
                Self::Gone => return Err(WireError::Broken(std::io::ErrorKind::BrokenPipe.into())),
            };
            bytes = bytes.get(length..).unwrap_or_default();
        }
        Ok((bytes, sent))
    }

    fn send_answer(&mut self, bytes: &[u8]) -> Result<usize, WireError> {
        let Self::Answer { to, bodiless } = self else {
            return Err(unspeakable());
        };
        let kind = if *bodiless {
            RequestKind::Head
        } else {
            RequestKind::Other
        };
        let mut head = ResponseHead::default();
        head.fields.reserve(USUAL_FIELDS);
        if head.parse(bytes, &OWN, kind).ok() != Some(Progress::Complete) {
            return Err(unspeakable());
        }
        let response = heads::response(&head, bytes).ok_or_else(unspeakable)?;
        if head.status < 200 {
            to.send_informational(response).map_err(broken)?;
            return Ok(head.len);
        }
        let left = Left::of(head.framing)?;
        let stream = to.send_response(response, left.is_none()).map_err(broken)?;
        *self = Self::Body { to: stream, left };
        Ok(head.len)
    }

    fn send_request(&mut self, bytes: &[u8]) -> Result<(usize, Sent), WireError> {
        let Self::Request { over, scheme } = self else {
            return Err(unspeakable());
        };
        let mut head = RequestHead::default();
        head.fields.reserve(USUAL_FIELDS);
        if head.parse(bytes, &OWN).ok() != Some(Progress::Complete) {
            return Err(unspeakable());
        }
        let request = heads::request(&head, bytes, scheme).ok_or_else(unspeakable)?;
        let left = Left::of(head.framing)?;
        let (coming, stream) = over.send_request(request, left.is_none()).map_err(broken)?;
        let bodiless = head.method.of(bytes) == b"HEAD";
        *self = Self::Body { to: stream, left };
        Ok((head.len, Sent { coming, bodiless }))
    }

    /// Takes the next piece of a body from the front of `bytes`; `None` when nothing of them is to be sent.
    pub(crate) fn next_piece<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Option<Piece<'a>>, WireError> {
        let Self::Body { left, .. } = self else {
            return Err(unspeakable());
        };
        let (piece, over) = left.take(bytes)?;
        if over {
            *left = Left::None;
        }
        Ok(piece)
    }

    /// Room for some of `wanted` bytes, as far as the other side's windows and our own bound go.
    pub(crate) fn poll_room(
        &mut self,
        context: &mut Context<'_>,
        wanted: usize,
    ) -> Poll<Result<usize, WireError>> {
        let Self::Body { to, .. } = self else {
            return Poll::Ready(Err(unspeakable()));
        };
        to.reserve_capacity(wanted);
        loop {
            if to.capacity() > 0 {
                return Poll::Ready(Ok(to.capacity().min(wanted)));
            }
            match to.poll_capacity(context) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(broken(error))),
                Poll::Ready(None) => {
                    return Poll::Ready(Err(WireError::Broken(std::io::ErrorKind::BrokenPipe.into())));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Sends data that there is room for.
    pub(crate) fn send(&mut self, data: &[u8], end: bool) -> Result<(), WireError> {
        let Self::Body { to, .. } = self else {
            return Err(unspeakable());
        };
        to.send_data(Bytes::copy_from_slice(data), end).map_err(broken)
    }

    /// Sends trailers, which end the stream.
    pub(crate) fn send_trailers(&mut self, trailers: http::HeaderMap) -> Result<(), WireError> {
        let Self::Body { to, .. } = self else {
            return Err(unspeakable());
        };
        to.send_trailers(trailers).map_err(broken)
    }

    /// Ready when the other side has given the stream up, or the connection is gone.
    pub(crate) fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Answer { to, .. } => to.poll_reset(context).map(drop),
            Self::Body { to, .. } => to.poll_reset(context).map(drop),
            Self::Request { .. } => Poll::Pending,
            Self::Gone => Poll::Ready(()),
        }
    }

    /// Nothing more will be sent: an answer that is not over must not look as if it were.
    pub(crate) fn abandon(&mut self) {
        match std::mem::replace(self, Self::Gone) {
            Self::Body { mut to, left } if !left.is_none() => to.send_reset(Reason::INTERNAL_ERROR),
            Self::Answer { mut to, .. } => to.send_reset(Reason::INTERNAL_ERROR),
            Self::Body { .. } | Self::Request { .. } | Self::Gone => {}
        }
    }
}

impl Left {
    fn of(framing: Framing) -> Result<Self, WireError> {
        match framing {
            Framing::None | Framing::Length(0) => Ok(Self::None),
            Framing::Length(length) => Ok(Self::Length(length)),
            Framing::Chunked => Ok(Self::Chunks(Box::default())),
            Framing::UntilClose => Err(unspeakable()),
        }
    }

    fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// The next piece, and whether it is the last.
    fn take<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<(Option<Piece<'a>>, bool), WireError> {
        match self {
            _ if bytes.is_empty() => Ok((None, false)),
            Self::None => Err(unspeakable()),
            Self::Length(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                let (data, rest) = bytes.split_at(count);
                *bytes = rest;
                *left -= count as u64;
                let end = if *left == 0 { End::Yes } else { End::No };
                Ok((Some(Piece { data, end }), *left == 0))
            }
            Self::Chunks(decoder) => take_chunk(decoder, bytes),
        }
    }
}

/// A chunk's data, together with the body's end if that follows at once, which saves a frame.
fn take_chunk<'a>(
    decoder: &mut ChunkedDecoder,
    bytes: &mut &'a [u8],
) -> Result<(Option<Piece<'a>>, bool), WireError> {
    const END: &[u8] = b"\r\n0\r\n\r\n";
    match decoder.step(bytes, &OWN).map_err(|_| unspeakable())? {
        Chunk::Data { skip, len } => {
            let data = bytes.get(skip..skip + len).unwrap_or_default();
            *bytes = bytes.get(skip + len..).unwrap_or_default();
            let over = *bytes == END;
            if over {
                *bytes = &[];
            }
            let end = if over { End::Yes } else { End::No };
            Ok((Some(Piece { data, end }), over))
        }
        Chunk::More { .. } => {
            *bytes = &[];
            Ok((None, false))
        }
        Chunk::End { consumed } => {
            *bytes = bytes.get(consumed..).unwrap_or_default();
            let trailers = heads::trailers(decoder).ok_or_else(unspeakable)?;
            let end = if trailers.is_empty() {
                End::Yes
            } else {
                End::Trailers(trailers)
            };
            Ok((Some(Piece { data: &[], end }), true))
        }
    }
}
