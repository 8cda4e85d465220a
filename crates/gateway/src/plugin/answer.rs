//! An answer on its way back, as plugins see it: its head, which they may edit, and its body, through which
//! they may put a filter.

use std::io;

use hythe_http1::{RequestHead, ResponseHead};

use crate::edits::Edits;
use crate::exchange::named_value;
use crate::respond::Reply;

/// An answer before any of it is sent to the client.
pub struct AnswerView<'a> {
    /// Its status.
    pub status: u16,
    /// The request's head, as it came in.
    pub request: &'a RequestHead,
    /// The bytes that the request's ranges point into.
    pub request_bytes: &'a [u8],
    /// Changes to the answer's fields.
    pub edits: &'a mut Edits,
    pub(crate) fields: Fields<'a>,
    /// Whether a body follows, and how long it is as far as that is known.
    pub(crate) body: AnswerBody,
    pub(crate) filter: Option<Box<dyn BodyFilter>>,
}

/// Where an answer's fields stand.
pub(crate) enum Fields<'a> {
    /// In the upstream's head.
    Sent(&'a ResponseHead, &'a [u8]),
    /// In an answer of the gateway's own.
    Own(&'a Reply),
}

/// What is known of an answer's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerBody {
    /// There is none, or it is not for filters: a page of the gateway's own.
    Fixed,
    /// This many bytes.
    Length(u64),
    /// Until it ends.
    Unknown,
}

/// Makes another body of a body, piece by piece.
pub trait BodyFilter {
    /// Takes a piece in and appends what is ready to `out`.
    ///
    /// # Errors
    /// When it cannot go on; the answer is then broken off.
    fn push(&mut self, data: &[u8], out: &mut Vec<u8>) -> io::Result<()>;

    /// Appends everything that was taken in so far: the client must not wait for it.
    ///
    /// # Errors
    /// As [`BodyFilter::push`].
    fn flush(&mut self, out: &mut Vec<u8>) -> io::Result<()>;

    /// Appends the end.
    ///
    /// # Errors
    /// As [`BodyFilter::push`].
    fn finish(&mut self, out: &mut Vec<u8>) -> io::Result<()>;
}

impl<'a> AnswerView<'a> {
    /// The first value of a field of the answer, as it came.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        match self.fields {
            Fields::Sent(head, bytes) => head
                .fields
                .iter()
                .find(|field| field.name.of(bytes).eq_ignore_ascii_case(name.as_bytes()))
                .map(|field| field.value.of(bytes)),
            Fields::Own(reply) => reply.field(name).map(str::as_bytes),
        }
    }

    /// Every value of a field of the answer, as it came.
    pub fn headers(&self, name: &str) -> Vec<&'a [u8]> {
        match self.fields {
            Fields::Sent(head, bytes) => head
                .fields
                .iter()
                .filter(|field| field.name.of(bytes).eq_ignore_ascii_case(name.as_bytes()))
                .map(|field| field.value.of(bytes))
                .collect(),
            Fields::Own(_) => self.header(name).into_iter().collect(),
        }
    }

    /// The first value of a header of the request.
    pub fn asked(&self, name: &str) -> Option<&'a [u8]> {
        named_value(self.request, self.request_bytes, name.as_bytes())
    }

    /// What is known of its body.
    pub fn body(&self) -> AnswerBody {
        if self.filter.is_some() {
            return AnswerBody::Unknown;
        }
        self.body
    }

    /// Puts a filter through which the body goes; `false` if there is no body, or another filter already.
    pub fn filter_body(&mut self, filter: Box<dyn BodyFilter>) -> bool {
        let possible = self.body != AnswerBody::Fixed && self.filter.is_none();
        if possible {
            self.filter = Some(filter);
        }
        possible
    }
}
