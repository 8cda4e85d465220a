//! The way of an answer: from the upstream to the client, as it comes.

use std::pin::{Pin, pin};

use futures_util::future::{Either, select};
use hythe_http1::{Framing, Progress, RequestKind, Version};
use hythe_model::FullName;
use hythe_upstream::WireError;
use tokio::time::Instant;

use crate::after::{self, Filtering};
use crate::attempt::{Terms, Upload};
use crate::body::{Body, BodyError, Frame, Framer, Patience, Pump, SourceError};
use crate::edits::Edits;
use crate::grpc;
use crate::heads::{Answer, AnswerFraming, write_answer, write_interim};
use crate::link::{Reader, Writer};
use crate::plugin::answer::{AnswerBody, AnswerView, Fields};
use crate::plugin::chain::Chain;
use crate::record::Record;
use crate::respond::Failure;
use crate::snapshot::ServicePlan;
use crate::trouble::Trouble;
use crate::tunnel::{self, Way};
use crate::worker::{CHUNK, Worker};

/// More interim answers than this are not an answer.
const INTERIM_MOST: u32 = 16;

/// What may be kept after an answer.
pub(crate) struct Done {
    pub(crate) keep_client: bool,
    pub(crate) keep_upstream: bool,
    /// When the answer was through, if that is known already.
    pub(crate) at: Option<Instant>,
}

/// How far an answer went by itself.
enum Passed {
    /// To its end.
    Through(Done),
    /// Up to a 101: another protocol is to be spoken.
    Switch,
}

/// The way of an answer: from the upstream's socket to the client's.
pub(crate) struct Download<'a, 'r, 'w> {
    pub(crate) worker: &'a Worker,
    pub(crate) service: &'a ServicePlan,
    pub(crate) terms: &'a Terms<'a>,
    pub(crate) upload: &'a Upload,
    pub(crate) reader: &'a mut Reader<'r>,
    pub(crate) writer: &'a mut Writer<'w>,
    pub(crate) answer: &'a mut hythe_upstream::Buffer,
    pub(crate) head: &'a mut hythe_http1::ResponseHead,
    pub(crate) reply: &'a mut Vec<u8>,
    pub(crate) request: &'a hythe_http1::RequestHead,
    pub(crate) request_bytes: &'a [u8],
    pub(crate) request_id: &'a str,
    pub(crate) edits: &'a mut Edits,
    /// The plugins, if any of them looks at answers, and for whom they run.
    pub(crate) answering: Option<&'a Chain>,
    pub(crate) caller: Option<&'a FullName>,
    pub(crate) keep_client: bool,
    /// Whether all of the request is here, and not only on its way.
    pub(crate) is_here: bool,
    /// Whether anything of an answer came.
    pub(crate) begun: bool,
    pub(crate) sent_at: Instant,
    pub(crate) record: &'a mut Record,
}

impl Download<'_, '_, '_> {
    /// `tunnel`: the other two directions, there when the request has no body to send and so may become a
    /// tunnel. Nobody else looks at the client then, so its leaving is noticed here.
    pub(crate) async fn run(
        &mut self,
        tunnel: Option<(&mut Reader<'_>, &mut Writer<'_>)>,
    ) -> Result<Done, Trouble> {
        self.reply.clear();
        let client = tunnel.as_ref().map(|(reader, _)| &**reader);
        let passed = unless_gone(client, pin!(self.pass_answer())).await?;
        match (passed, tunnel) {
            (Passed::Through(done), _) => Ok(done),
            (Passed::Switch, Some((reader, writer))) if self.is_as_asked() => {
                Box::pin(self.tunnel(reader, writer)).await
            }
            (Passed::Switch, _) => Err(Trouble::BadAnswer),
        }
    }

    async fn pass_answer(&mut self) -> Result<Passed, Trouble> {
        self.read_final_head().await?;
        if !self.record.answered && (self.terms.passes_over)(self.head.status, self.record.tries) {
            return Err(Trouble::PassedOver);
        }
        let now = Instant::now();
        self.record.upstream_time = Some(now - self.sent_at);
        self.record.status = self.head.status;
        if self.head.status == 101 {
            return Ok(Passed::Switch);
        }
        self.relay(now).await.map(Passed::Through)
    }

    /// Whether a 101 switches to the one protocol that a client may have asked for.
    fn is_as_asked(&self) -> bool {
        let is_websocket = |protocol: hythe_http1::Span| {
            protocol
                .of(self.answer.bytes())
                .eq_ignore_ascii_case(b"websocket")
        };
        self.request.websocket && self.head.upgrade.is_some_and(is_websocket)
    }

    /// Answers `Expect: 100-continue` for the upstream, once it is clear that the body is wanted.
    pub(crate) async fn say_continue(&mut self) -> Result<(), Trouble> {
        self.writer.allow(self.worker.limits().client_write_timeout);
        let interim = b"HTTP/1.1 100 Continue\r\n\r\n";
        self.writer
            .write_all(interim)
            .await
            .map_err(|_| Trouble::ClientGone)
    }

    /// Reads heads until one is final or a 101; passes interim ones on to clients that know them.
    async fn read_final_head(&mut self) -> Result<(), Trouble> {
        for _ in 0..INTERIM_MOST {
            self.read_head().await?;
            let status = self.head.status;
            if status >= 200 || status == 101 {
                return Ok(());
            }
            // A 100 answers an expectation that we have answered ourselves.
            if status != 100 && self.request.version == Version::Http11 {
                write_interim(self.reply, self.head, self.answer.bytes());
                self.flush_reply().await?;
            }
            self.answer.consume(self.head.len);
            self.head.reset();
            self.begun = true;
            self.upload.hear();
        }
        Err(Trouble::BadAnswer)
    }

    async fn read_head(&mut self) -> Result<(), Trouble> {
        let kind = match self.request.method.of(self.request_bytes) {
            b"HEAD" => RequestKind::Head,
            _ => RequestKind::Other,
        };
        loop {
            if !self.answer.is_empty() {
                match self
                    .head
                    .parse(self.answer.bytes(), &self.worker.limits().answer, kind)
                {
                    Ok(Progress::Complete) => return Ok(()),
                    Ok(Progress::Partial) => {}
                    Err(_) => return Err(Trouble::BadAnswer),
                }
            }
            let quiet_since = self.upload.quiet_since.get().unwrap_or_else(Instant::now);
            self.reader
                .set_deadline(self.terms.cap(quiet_since + self.service.read_timeout));
            match self.reader.read(self.answer, CHUNK).await {
                Ok(0) if self.answer.is_empty() && !self.begun => return Err(Trouble::Broken),
                Err(error @ WireError::Broken(_)) if self.answer.is_empty() && !self.begun => {
                    return Err(Trouble::unanswered(&error, self.is_here));
                }
                Ok(0) | Err(WireError::Broken(_)) => return Err(Trouble::BadAnswer),
                Ok(_) => {}
                // As long as the request is still on its way, silence is no failure.
                Err(WireError::TimedOut) if !self.terms.is_over() && self.may_wait_longer() => {}
                Err(WireError::TimedOut) => return Err(Trouble::Slow),
            }
        }
    }

    fn may_wait_longer(&self) -> bool {
        self.upload
            .quiet_since
            .get()
            .is_none_or(|since| since + self.service.read_timeout > Instant::now())
    }

    /// Writes the final head, which has come by `now`, and moves the body.
    async fn relay(&mut self, now: Instant) -> Result<Done, Trouble> {
        let edited = self.edits.len();
        let mut filter = self.ask_plugins();
        let framing = self.framing(filter.is_some());
        // An answer before the body's end leaves the client in the middle of its request: this was the last.
        let keep_client = self.keep_client && framing != AnswerFraming::UntilClose && self.upload.whole.get();
        self.write_head(framing, keep_client, now);
        self.answer.consume(self.head.len);
        let frame = if framing == AnswerFraming::Chunked {
            Frame::Chunks
        } else {
            Frame::Plain
        };
        let mut body = Body::of(self.head.framing);
        // What came with the head is looked at before the head is sent: there may still be a page instead.
        let limits = &self.worker.limits().answer;
        let mut framer = Framer {
            out: &mut *self.reply,
            frame,
            filter: filter.as_mut(),
        };
        let taken = body.take_into(self.answer, &mut framer, limits);
        let mut moved = taken.map_err(|_| {
            // What was meant for this answer must not change the page that is sent instead.
            self.edits.truncate(edited);
            Trouble::BadAnswer
        })?;
        self.record.answered = true;
        self.upload.answer_begins();
        let came_whole = body.is_done();
        let mut pump = Pump {
            reader: &mut *self.reader,
            writer: &mut *self.writer,
            source: &mut *self.answer,
            out: &mut *self.reply,
            frame,
            filter: filter.as_mut(),
            patience: Patience {
                read: self.service.read_timeout,
                write: self.worker.limits().client_write_timeout,
                pace: None,
            },
            limits,
            most: u64::MAX,
            chunk: self.worker.limits().answer_chunk,
            pipes: &self.worker.pipes,
            copy: None,
        };
        let pumped = pump.run(&mut body, &mut moved).await;
        self.record.bytes_out = filter.map_or(moved, |filter| filter.written);
        match pumped {
            Ok(()) => Ok(Done {
                keep_client,
                keep_upstream: self.head.keep_alive,
                at: (came_whole && !self.writer.has_waited()).then_some(now),
            }),
            Err(BodyError::Source(_)) if framing == AnswerFraming::UntilClose => Err(Trouble::CutOff),
            Err(BodyError::Source(error)) if frame == Frame::Chunks && self.is_call() => {
                self.end_call(&error).await;
                Err(Trouble::BadAnswer)
            }
            Err(BodyError::Source(_) | BodyError::TooLarge) => Err(Trouble::BadAnswer),
            Err(BodyError::Sink) => Err(Trouble::ClientGone),
        }
    }

    /// Whether the client made a call of gRPC, and so is told how it ended behind what it got of the answer.
    fn is_call(&self) -> bool {
        matches!(self.writer, Writer::Stream(_)) && grpc::is_call(self.request, self.request_bytes)
    }

    /// Ends the answer to a call that stopped in the middle. If that cannot be said either, the stream is reset.
    async fn end_call(&mut self, error: &SourceError) {
        let failure = match error {
            SourceError::Wire(error) if error.is_timeout() => Failure::UpstreamTimeout,
            _ => Failure::BadUpstream,
        };
        grpc::push_end(self.reply, failure);
        let _ = self.flush_reply().await;
    }

    /// Lets the plugins that look at answers edit this one; the filter that its body goes through.
    fn ask_plugins(&mut self) -> Option<Filtering> {
        let chain = self.answering?;
        let mut view = AnswerView {
            status: self.head.status,
            request: self.request,
            request_bytes: self.request_bytes,
            edits: &mut *self.edits,
            fields: Fields::Sent(self.head, self.answer.bytes()),
            body: match self.head.framing {
                Framing::None => AnswerBody::Fixed,
                Framing::Length(length) => AnswerBody::Length(length),
                Framing::Chunked | Framing::UntilClose => AnswerBody::Unknown,
            },
            filter: None,
        };
        after::run(chain, self.caller, &mut view);
        view.filter.map(Filtering::new)
    }

    fn framing(&self, filtered: bool) -> AnswerFraming {
        let old = self.request.version == Version::Http10;
        match self.head.framing {
            Framing::Length(_) if filtered && old => AnswerFraming::UntilClose,
            Framing::Length(_) if filtered => AnswerFraming::Chunked,
            Framing::None => AnswerFraming::Bodiless {
                keep_length: self.head.status != 204,
            },
            Framing::Length(length) => AnswerFraming::Length(length),
            Framing::Chunked | Framing::UntilClose if old => AnswerFraming::UntilClose,
            Framing::Chunked | Framing::UntilClose => AnswerFraming::Chunked,
        }
    }

    fn write_head(&mut self, framing: AnswerFraming, keep: bool, now: Instant) {
        let mut clock = self.worker.clock.borrow_mut();
        clock.tick(now);
        let answer = Answer {
            head: self.head,
            bytes: self.answer.bytes(),
            framing,
            received: self.reader.version(self.head.version),
            request_id: self.request_id,
            date: clock.http(),
            edits: self.edits,
            close: !keep,
            announce_keep_alive: keep && self.request.version == Version::Http10,
        };
        write_answer(self.reply, &answer);
    }

    /// A 101 that was asked for: from here on the bytes are the application's.
    async fn tunnel(
        &mut self,
        client_reader: &mut Reader<'_>,
        up_writer: &mut Writer<'_>,
    ) -> Result<Done, Trouble> {
        write_interim(self.reply, self.head, self.answer.bytes());
        self.answer.consume(self.head.len);
        self.record.answered = true;
        self.flush_reply().await?;
        let mut early = hythe_upstream::Buffer::default();
        early.extend(self.request_bytes.get(self.request.len..).unwrap_or_default());
        let moved = tunnel::Moved::default();
        let _ = tunnel::run(
            (client_reader, &mut *self.writer),
            (&mut *self.reader, up_writer),
            (&mut early, &mut *self.answer),
            &self.worker.pipes,
            self.service.read_timeout,
            &moved,
        )
        .await;
        self.record.bytes_in = moved.get(Way::FromClient);
        self.record.bytes_out = moved.get(Way::ToClient);
        Ok(Done {
            keep_client: false,
            keep_upstream: false,
            at: None,
        })
    }

    async fn flush_reply(&mut self) -> Result<(), Trouble> {
        self.writer.allow(self.worker.limits().client_write_timeout);
        let written = self.writer.write_all(self.reply).await;
        self.reply.clear();
        written.map_err(|_| Trouble::ClientGone)
    }
}

/// Does `work` for a client that waits for it, and leaves it when the client's connection breaks. A client
/// that has merely said all it will say still waits.
async fn unless_gone<T>(
    client: Option<&Reader<'_>>,
    work: Pin<&mut impl Future<Output = Result<T, Trouble>>>,
) -> Result<T, Trouble> {
    let Some(client) = client else {
        return work.await;
    };
    match select(work, pin!(client.broken())).await {
        Either::Left((done, _)) => done,
        Either::Right(((), _)) => Err(Trouble::ClientGone),
    }
}
