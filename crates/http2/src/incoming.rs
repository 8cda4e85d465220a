//! What comes on a stream, as the bytes of a message of HTTP/1.1.

use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use h2::RecvStream;
use h2::client::ResponseFuture;
use http::StatusCode;
use hythe_http1::{CRLF, LAST_CHUNK, push_chunk_head, push_field};
use hythe_upstream::Buffer;

use crate::heads::{self, Announced};

/// The reading direction of a stream.
pub(crate) struct Incoming {
    head: Head,
    body: Option<RecvStream>,
    /// Whether the body is told in chunks.
    chunks: bool,
    /// Taken from the stream and not yet given on.
    rest: Bytes,
    /// Given on since the last read, so that the other side may send as much again.
    given: usize,
}

enum Head {
    /// Of a request, which is there.
    Request(Box<http::request::Parts>),
    /// Nothing was asked yet.
    Unasked,
    /// Of an answer. `bodiless`: to a HEAD.
    Answer { coming: ResponseFuture, bodiless: bool },
    /// Given on.
    Read,
}

/// A body that is all there when its head is read, and not longer than this, gets a length.
const SMALL: usize = 16 * 1024;

impl Incoming {
    /// A request that has come.
    pub(crate) fn request(request: http::Request<RecvStream>) -> Self {
        let (head, body) = request.into_parts();
        Self {
            body: Some(body),
            ..Self::from(Head::Request(Box::new(head)))
        }
    }

    /// The answer to a request that was not sent yet.
    pub(crate) fn unasked() -> Self {
        Self::from(Head::Unasked)
    }

    /// The request was sent.
    pub(crate) fn expect(&mut self, coming: ResponseFuture, bodiless: bool) {
        self.head = Head::Answer { coming, bodiless };
    }

    /// Takes what is there: at least one byte; of a body `most` bytes of payload at most. 0: it is over.
    pub(crate) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut Buffer,
        most: usize,
    ) -> Poll<Result<usize, h2::Error>> {
        let before = buffer.len();
        let out = buffer.room(most);
        match std::mem::replace(&mut self.head, Head::Read) {
            Head::Request(head) => self.read_request(&head, out)?,
            Head::Answer { coming, bodiless } => {
                ready!(self.poll_answer(context, coming, bodiless, out))?;
            }
            Head::Unasked => {
                self.head = Head::Unasked;
                return Poll::Pending;
            }
            Head::Read => ready!(self.poll_body(context, out, most))?,
        }
        Poll::Ready(Ok(buffer.len() - before))
    }

    fn read_request(&mut self, head: &http::request::Parts, out: &mut Vec<u8>) -> Result<(), h2::Error> {
        let announced = match self.gather()? {
            Some(0) => Announced::Nothing,
            _ if heads::tells_length(&head.headers) => Announced::Nothing,
            Some(length) => Announced::Length(length as u64),
            None => Announced::Chunks,
        };
        self.chunks = announced == Announced::Chunks;
        heads::push_request(out, head, announced);
        if self.body.is_none() {
            out.extend_from_slice(&std::mem::take(&mut self.rest));
        }
        Ok(())
    }

    /// Takes what has already come of a small body. Its length, if that is all of it: a request that is whole
    /// can be sent again to another endpoint, and to servers that do not know chunks.
    fn gather(&mut self) -> Result<Option<usize>, h2::Error> {
        let Some(body) = &mut self.body else {
            return Ok(Some(0));
        };
        let mut gathered: Vec<u8> = Vec::new();
        let mut context = Context::from_waker(Waker::noop());
        let ended = loop {
            if gathered.len() >= SMALL {
                break false;
            }
            match body.poll_data(&mut context) {
                Poll::Ready(Some(data)) => gathered.extend_from_slice(&data?),
                Poll::Ready(None) => {
                    break matches!(body.poll_trailers(&mut context), Poll::Ready(Ok(None)));
                }
                Poll::Pending => break false,
            }
        };
        self.rest = Bytes::from(gathered);
        if ended {
            self.body = None;
        }
        Ok(ended.then_some(self.rest.len()))
    }

    fn poll_answer(
        &mut self,
        context: &mut Context<'_>,
        mut coming: ResponseFuture,
        bodiless: bool,
        out: &mut Vec<u8>,
    ) -> Poll<Result<(), h2::Error>> {
        if let Poll::Ready(Some(interim)) = coming.poll_informational(context) {
            let interim = interim?;
            heads::push_response(out, interim.status(), interim.headers(), Announced::Nothing);
            self.head = Head::Answer { coming, bodiless };
            return Poll::Ready(Ok(()));
        }
        let answer = match std::pin::Pin::new(&mut coming).poll(context) {
            Poll::Ready(answer) => answer?,
            Poll::Pending => {
                self.head = Head::Answer { coming, bodiless };
                return Poll::Pending;
            }
        };
        let (head, body) = answer.into_parts();
        let bodiless = bodiless || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let announced = if bodiless || heads::tells_length(&head.headers) {
            Announced::Nothing
        } else if body.is_end_stream() {
            Announced::Length(0)
        } else {
            Announced::Chunks
        };
        self.chunks = announced == Announced::Chunks;
        self.body = Some(body);
        heads::push_response(out, head.status, &head.headers, announced);
        Poll::Ready(Ok(()))
    }

    /// Appends payload, or the end; nothing when that was given before.
    fn poll_body(
        &mut self,
        context: &mut Context<'_>,
        out: &mut Vec<u8>,
        most: usize,
    ) -> Poll<Result<(), h2::Error>> {
        self.release();
        while self.rest.is_empty() {
            let Some(body) = &mut self.body else {
                return Poll::Ready(Ok(()));
            };
            match ready!(body.poll_data(context)) {
                Some(data) => self.rest = data?,
                None => return self.poll_end(context, out),
            }
        }
        let data = self.rest.split_to(self.rest.len().min(most.max(1)));
        self.given = data.len();
        if self.chunks {
            push_chunk_head(out, data.len() as u64);
        }
        out.extend_from_slice(&data);
        if self.chunks {
            out.extend_from_slice(CRLF);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_end(&mut self, context: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<Result<(), h2::Error>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(Ok(()));
        };
        let trailers = ready!(body.poll_trailers(context))?;
        self.body = None;
        match trailers {
            _ if !self.chunks => {}
            None => out.extend_from_slice(LAST_CHUNK),
            Some(trailers) => {
                out.extend_from_slice(b"0\r\n");
                for (name, value) in &trailers {
                    push_field(out, name.as_str().as_bytes(), value.as_bytes());
                }
                out.extend_from_slice(CRLF);
            }
        }
        Poll::Ready(Ok(()))
    }

    /// What was given on has been written on, since more is asked for: the window may open again by as much.
    fn release(&mut self) {
        let given = std::mem::take(&mut self.given);
        if let Some(body) = self.body.as_mut().filter(|_| given > 0) {
            // Fails only for a stream that is over.
            let _ = body.flow_control().release_capacity(given);
        }
    }
}

impl From<Head> for Incoming {
    fn from(head: Head) -> Self {
        Self {
            head,
            body: None,
            chunks: false,
            rest: Bytes::new(),
            given: 0,
        }
    }
}
