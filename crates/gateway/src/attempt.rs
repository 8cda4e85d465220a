//! One attempt over one connection: the request up, the answer down, both at once when they overlap.

use std::cell::Cell;
use std::pin::pin;

use futures_util::future::{Either, select};
use hythe_balance::Lease;
use hythe_http1::{Framing, Progress, RequestKind, Version};
use hythe_model::FullName;
use hythe_upstream::{Reuse, WireError};
use tokio::time::Instant;

use crate::after::{self, Filtering};
use crate::body::{Body, BodyError, Frame, Framer, Pace, Patience, Pump, SourceError};
use crate::connection::Client;
use crate::decisions::Decisions;
use crate::edits::Edits;
use crate::heads::{Answer, AnswerFraming, write_answer, write_interim};
use crate::link::{Link, Reader, Writer};
use crate::plugin::answer::{AnswerBody, AnswerView, Fields};
use crate::plugin::chain::Chain;
use crate::record::Record;
use crate::respond::Failure;
use crate::snapshot::ServicePlan;
use crate::tunnel;
use crate::worker::{CHUNK, Worker, Workspace};

/// Why an attempt did not end in an answer.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// No connection; nothing was sent.
    Connect(WireError),
    /// The connection broke before any byte of an answer.
    Broken,
    /// No answer in time.
    Slow,
    /// The answer is not HTTP as it should be, or stopped in the middle.
    BadAnswer,
    /// The answer stopped in the middle, and the client would take the connection's end for the answer's.
    CutOff,
    /// The request's body broke its framing.
    BadBody,
    /// The request's body is larger than it may be.
    TooLarge,
    /// The client was too slow with its body.
    SlowClient,
    /// The answer's status is one after which another endpoint is asked.
    PassedOver,
    /// The client is gone.
    ClientGone,
}

impl Trouble {
    /// Whether it is the endpoint's fault, and not the client's.
    pub(crate) fn is_of_endpoint(&self) -> bool {
        match self {
            Self::Connect(_)
            | Self::Broken
            | Self::Slow
            | Self::BadAnswer
            | Self::CutOff
            | Self::PassedOver => true,
            Self::BadBody | Self::TooLarge | Self::SlowClient | Self::ClientGone => false,
        }
    }

    /// What to tell the client; `None` if there is nobody to tell.
    pub(crate) fn failure(&self) -> Option<Failure> {
        match self {
            Self::Connect(error) if error.is_timeout() => Some(Failure::UpstreamTimeout),
            Self::Connect(_) | Self::Broken | Self::BadAnswer | Self::CutOff | Self::PassedOver => {
                Some(Failure::BadUpstream)
            }
            Self::Slow => Some(Failure::UpstreamTimeout),
            Self::BadBody => Some(Failure::BadBody),
            Self::TooLarge => Some(Failure::TooLarge),
            Self::SlowClient => Some(Failure::RequestTimeout),
            Self::ClientGone => None,
        }
    }
}

/// What one try may do.
pub(crate) struct Terms<'a> {
    /// When it is given up, if no answer has begun.
    pub(crate) until: Option<Instant>,
    /// Whether an answer of this status is to be forgotten, because another endpoint will be asked.
    pub(crate) passes_over: &'a dyn Fn(u16) -> bool,
}

impl Terms<'_> {
    /// The earlier of a deadline and the try's end.
    fn cap(&self, deadline: Instant) -> Instant {
        self.until.map_or(deadline, |until| until.min(deadline))
    }

    fn is_over(&self) -> bool {
        self.until.is_some_and(|until| until <= Instant::now())
    }
}

/// A kept connection to the endpoint that may be used now.
pub(crate) fn kept(worker: &Worker, lease: &Lease, reuse: Reuse) -> Option<Link> {
    worker
        .idle
        .borrow_mut()
        .take(lease.member().endpoint.address, reuse, Instant::now())
        .map(Link::Wire)
}

/// A new connection to the endpoint.
pub(crate) async fn connect(
    lease: &Lease,
    service: &ServicePlan,
    terms: &Terms<'_>,
) -> Result<Link, Trouble> {
    let left = terms
        .until
        .map(|until| until.saturating_duration_since(Instant::now()));
    let timeout = left.map_or(service.connect_timeout, |left| left.min(service.connect_timeout));
    hythe_upstream::connect(lease.member().endpoint.address, timeout)
        .await
        .map(Link::Wire)
        .map_err(Trouble::Connect)
}

/// More interim answers than this are not an answer.
const INTERIM_MOST: u32 = 16;

/// The upload, as whoever waits for the answer sees it.
struct Upload {
    /// Whether all of the body was sent.
    whole: Cell<bool>,
    /// Since when the upstream's silence counts: not before nothing more is sent to it.
    quiet_since: Cell<Option<Instant>>,
}

impl Upload {
    fn new(body: &Body, now: Instant) -> Self {
        Self {
            whole: Cell::new(body.is_done()),
            quiet_since: Cell::new(body.is_done().then_some(now)),
        }
    }

    fn end(&self, whole: bool) {
        self.whole.set(whole);
        self.quiet_since.set(Some(Instant::now()));
    }

    /// The upstream has said something, if only that it is at work.
    fn hear(&self) {
        if self.quiet_since.get().is_some() {
            self.quiet_since.set(Some(Instant::now()));
        }
    }
}

/// Sends the request over `link` and passes the answer on. Afterwards the connection is kept if it may be;
/// without a `lease` it is none to keep.
#[expect(
    clippy::too_many_arguments,
    reason = "the parts of one exchange, borrowed apart"
)]
pub(crate) async fn run(
    worker: &Worker,
    client: &mut Client,
    space: &mut Workspace,
    service: &ServicePlan,
    terms: &Terms<'_>,
    lease: Option<&Lease>,
    mut link: Link,
    body: &mut Body,
    record: &mut Record,
) -> Result<(), Trouble> {
    let sent_at = Instant::now();
    let (mut up_reader, mut up_writer) = link.split();
    let (mut client_reader, mut client_writer) = client.link.split();
    up_writer.set_deadline(terms.cap(sent_at + service.write_timeout));
    up_writer.write_all(&space.outbox).await.map_err(|error| {
        if error.is_timeout() {
            Trouble::Slow
        } else {
            Trouble::Broken
        }
    })?;
    space.answer.clear();
    space.answer_head.reset();
    let upload = Upload::new(body, sent_at);
    let uploading = !body.is_done();
    let mut bytes_in = sent_with_head(&space.head, body);
    let mut download = Download {
        worker,
        service,
        terms,
        upload: &upload,
        reader: &mut up_reader,
        writer: &mut client_writer,
        answer: &mut space.answer,
        head: &mut space.answer_head,
        reply: &mut space.reply,
        request: &space.head,
        request_bytes: space.inbox.bytes(),
        request_id: &space.request_id,
        edits: &mut space.answer_edits,
        answering: space.answering.as_ref(),
        caller: caller(space.decisions.as_deref()),
        keep_client: client.keep,
        begun: false,
        sent_at,
        record,
    };
    let done = if uploading {
        if space.head.expect_continue {
            download.say_continue().await?;
        }
        let mut pump = Pump {
            reader: &mut client_reader,
            writer: &mut up_writer,
            source: &mut space.body,
            out: &mut space.outbox,
            frame: if matches!(body, Body::Chunked(_)) {
                Frame::Chunks
            } else {
                Frame::Plain
            },
            filter: None,
            patience: Patience {
                read: worker.limits().body_timeout,
                write: service.write_timeout,
                pace: Pace::new(worker.limits().body_timeout, worker.limits().body_rate),
            },
            limits: &worker.limits().wire,
            most: body_limit(space.decisions.as_deref()),
            chunk: CHUNK,
        };
        pump.out.clear();
        let done = overlap(&mut pump, body, &mut bytes_in, &upload, &mut download).await;
        download.record.bytes_in = bytes_in;
        done?
    } else {
        download.record.bytes_in = bytes_in;
        download.run(Some((&mut client_reader, &mut up_writer))).await?
    };
    // A request that was not wholly sent leaves both connections in the middle of something. That the body
    // was taken from the client is not enough: its last bytes may still wait to be written.
    let sent = upload.whole.get();
    client.keep &= done.keep_client && sent;
    let member = lease.map(Lease::member).filter(|member| member.stats.is_listed());
    let reusable = done.keep_upstream && sent && space.answer.is_empty();
    if let (true, Some(member), Link::Wire(wire)) = (reusable, member, link) {
        let promised = space.answer_head.keep_alive_timeout;
        worker
            .idle
            .borrow_mut()
            .put(member.endpoint.address, wire, promised, Instant::now());
        worker.want_chores();
    }
    Ok(())
}

/// How much of the body stands behind the head that is sent first.
fn sent_with_head(head: &hythe_http1::RequestHead, body: &Body) -> u64 {
    match (head.framing, body) {
        (Framing::Length(length), Body::Length(left)) => length - left,
        (Framing::Length(length), Body::Done) => length,
        _ => 0,
    }
}

/// Who calls, as far as plugins found out.
fn caller(decisions: Option<&Decisions>) -> Option<&FullName> {
    Some(&decisions?.caller.as_ref()?.name)
}

/// How large plugins let the body be, bytes.
fn body_limit(decisions: Option<&Decisions>) -> u64 {
    let limit = decisions.and_then(|decisions| decisions.body_limit);
    limit.unwrap_or(u64::MAX)
}

/// Runs both directions until the answer is through. The answer may end before the request does; when the
/// request ends first, only the client's leaving is waited for beside the answer.
async fn overlap(
    pump: &mut Pump<'_, '_, '_>,
    body: &mut Body,
    moved: &mut u64,
    upload: &Upload,
    download: &mut Download<'_, '_, '_>,
) -> Result<Done, Trouble> {
    let up = async {
        match pump.run(body, moved).await {
            Ok(()) => upload.end(true),
            // The upstream takes no more, which it may: its answer says why.
            Err(BodyError::Sink) => upload.end(false),
            Err(BodyError::TooLarge) => return Trouble::TooLarge,
            Err(BodyError::Source(SourceError::Malformed)) => return Trouble::BadBody,
            Err(BodyError::Source(SourceError::Wire(error))) if error.is_timeout() => {
                return Trouble::SlowClient;
            }
            Err(BodyError::Source(_)) => return Trouble::ClientGone,
        }
        pump.reader.broken().await;
        Trouble::ClientGone
    };
    match select(pin!(download.run(None)), pin!(up)).await {
        Either::Left((done, _)) => done,
        Either::Right((trouble, _)) => Err(trouble),
    }
}

/// Does `work` for a client that waits for it, and leaves it when the client's connection breaks. A client
/// that has merely said all it will say still waits.
async fn unless_gone<T>(
    client: Option<&Reader<'_>>,
    work: impl Future<Output = Result<T, Trouble>>,
) -> Result<T, Trouble> {
    let Some(client) = client else {
        return work.await;
    };
    match select(pin!(work), pin!(client.broken())).await {
        Either::Left((done, _)) => done,
        Either::Right(((), _)) => Err(Trouble::ClientGone),
    }
}

/// What may be kept after an answer.
struct Done {
    keep_client: bool,
    keep_upstream: bool,
}

/// The way of an answer: from the upstream's socket to the client's.
struct Download<'a, 'r, 'w> {
    worker: &'a Worker,
    service: &'a ServicePlan,
    terms: &'a Terms<'a>,
    upload: &'a Upload,
    reader: &'a mut Reader<'r>,
    writer: &'a mut Writer<'w>,
    answer: &'a mut hythe_upstream::Buffer,
    head: &'a mut hythe_http1::ResponseHead,
    reply: &'a mut Vec<u8>,
    request: &'a hythe_http1::RequestHead,
    request_bytes: &'a [u8],
    request_id: &'a str,
    edits: &'a mut Edits,
    /// The plugins, if any of them looks at answers, and for whom they run.
    answering: Option<&'a Chain>,
    caller: Option<&'a FullName>,
    keep_client: bool,
    /// Whether anything of an answer came.
    begun: bool,
    sent_at: Instant,
    record: &'a mut Record,
}

impl Download<'_, '_, '_> {
    /// `tunnel`: the other two directions, there when the request has no body to send and so may become a
    /// tunnel. Nobody else looks at the client then, so its leaving is noticed here.
    async fn run(&mut self, tunnel: Option<(&mut Reader<'_>, &mut Writer<'_>)>) -> Result<Done, Trouble> {
        self.reply.clear();
        let client = tunnel.as_ref().map(|(reader, _)| &**reader);
        unless_gone(client, self.read_final_head()).await?;
        if !self.record.answered && (self.terms.passes_over)(self.head.status) {
            return Err(Trouble::PassedOver);
        }
        self.record.upstream_time = Some(self.sent_at.elapsed());
        self.record.status = self.head.status;
        if self.head.status == 101 {
            return match tunnel {
                Some((reader, writer)) if self.is_as_asked() => self.tunnel(reader, writer).await,
                _ => Err(Trouble::BadAnswer),
            };
        }
        unless_gone(client, self.relay()).await
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
    async fn say_continue(&mut self) -> Result<(), Trouble> {
        self.writer
            .set_deadline(Instant::now() + self.worker.limits().client_write_timeout);
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
                Ok(0) | Err(WireError::Broken(_)) if self.answer.is_empty() && !self.begun => {
                    return Err(Trouble::Broken);
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

    /// Writes the final head and moves the body.
    async fn relay(&mut self) -> Result<Done, Trouble> {
        let edited = self.edits.len();
        let mut filter = self.ask_plugins();
        let framing = self.framing(filter.is_some());
        // An answer before the body's end leaves the client in the middle of its request: this was the last.
        let keep_client = self.keep_client && framing != AnswerFraming::UntilClose && self.upload.whole.get();
        self.write_head(framing, keep_client);
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
        };
        let pumped = pump.run(&mut body, &mut moved).await;
        self.record.bytes_out = filter.map_or(moved, |filter| filter.written);
        match pumped {
            Ok(()) => Ok(Done {
                keep_client,
                keep_upstream: self.head.keep_alive,
            }),
            Err(BodyError::Source(_)) if framing == AnswerFraming::UntilClose => Err(Trouble::CutOff),
            Err(BodyError::Source(_) | BodyError::TooLarge) => Err(Trouble::BadAnswer),
            Err(BodyError::Sink) => Err(Trouble::ClientGone),
        }
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

    fn write_head(&mut self, framing: AnswerFraming, keep: bool) {
        let mut clock = self.worker.clock.borrow_mut();
        clock.tick();
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
        let mut moved = tunnel::Moved::default();
        let _ = tunnel::run(
            (client_reader, &mut *self.writer),
            (&mut *self.reader, up_writer),
            (&mut early, &mut *self.answer),
            self.service.read_timeout,
            &mut moved,
        )
        .await;
        (self.record.bytes_in, self.record.bytes_out) = (moved.from_client, moved.to_client);
        Ok(Done {
            keep_client: false,
            keep_upstream: false,
        })
    }

    async fn flush_reply(&mut self) -> Result<(), Trouble> {
        self.writer
            .set_deadline(Instant::now() + self.worker.limits().client_write_timeout);
        let written = self.writer.write_all(self.reply).await;
        self.reply.clear();
        written.map_err(|_| Trouble::ClientGone)
    }
}
