//! One attempt over one connection: the request up, the answer down, both at once when they overlap.

use std::cell::Cell;
use std::pin::pin;
use std::sync::Arc;

use futures_util::future::{Either, select};
use http::uri::Scheme;
use hythe_balance::Lease;
use hythe_http1::Framing;
use hythe_model::FullName;
use hythe_upstream::{Peer, Reuse, WireError};
use tokio::time::Instant;

use crate::body::{Body, BodyError, Frame, Pace, Patience, Pump, SourceError};
use crate::connection::Client;
use crate::decisions::Decisions;
use crate::door::Ends;
use crate::download::{Done, Download};
use crate::grpc;
use crate::link::Link;
use crate::reach;
use crate::record::Record;
use crate::snapshot::ServicePlan;
use crate::trouble::Trouble;
use crate::worker::{CHUNK, Worker, Workspace};

/// What one try may do.
pub(crate) struct Terms<'a> {
    /// When it began.
    pub(crate) began: Instant,
    /// When it is given up, if no answer has begun.
    pub(crate) until: Option<Instant>,
    /// Whether an answer of this status, after so many tries, is to be forgotten, because another endpoint will be asked.
    pub(crate) passes_over: &'a dyn Fn(u16, u32) -> bool,
}

impl Terms<'_> {
    /// The earlier of a deadline and the try's end.
    pub(crate) fn cap(&self, deadline: Instant) -> Instant {
        self.until.map_or(deadline, |until| until.min(deadline))
    }

    pub(crate) fn is_over(&self) -> bool {
        self.until.is_some_and(|until| until <= Instant::now())
    }
}

/// A kept connection to the endpoint that may be used now, or a stream of one that others use too.
pub(crate) fn kept(
    worker: &Worker,
    service: &ServicePlan,
    peer: Option<&Arc<Peer>>,
    lease: &Lease,
    reuse: Reuse,
    now: Instant,
) -> Option<Link> {
    let address = lease.member().endpoint.address;
    if service.speaks_http2 {
        let place = (address, peer.cloned());
        let stream = worker
            .upstreams
            .kept(&place, scheme(peer), service.connect_timeout);
        return stream.map(|stream| Link::Stream(Box::new(stream)));
    }
    if service.announce.is_some() {
        return None;
    }
    let mut idle = worker.idle.borrow_mut();
    idle.take(address, peer, reuse, now).map(Link::Wire)
}

fn scheme(peer: Option<&Arc<Peer>>) -> Scheme {
    peer.map_or(Scheme::HTTP, |_| Scheme::HTTPS)
}

/// A new connection for a client's, between `ends`, to the endpoint, which must be `peer` if one is given; or a stream of
/// one that is there by now.
pub(crate) async fn connect(
    worker: &Worker,
    ends: Ends,
    service: &ServicePlan,
    peer: Option<&Arc<Peer>>,
    terms: &Terms<'_>,
    lease: &Lease,
) -> Result<Link, Trouble> {
    let left = terms
        .until
        .map(|until| until.saturating_duration_since(Instant::now()));
    let timeout = left.map_or(service.connect_timeout, |left| left.min(service.connect_timeout));
    let address = lease.member().endpoint.address;
    if service.speaks_http2 {
        let place = (address, peer.cloned());
        let expected = peer.cloned();
        let connect = || async move { reach::connect(address, None, expected.as_ref(), timeout).await };
        worker.want_chores();
        let stream = worker.upstreams.stream(&place, scheme(peer), timeout, connect);
        let stream = stream.await.map_err(Trouble::Connect)?;
        return Ok(Link::Stream(Box::new(stream)));
    }
    let announced = service.announce.map(|version| (version, ends));
    let connected = reach::connect(address, announced, peer, timeout).await;
    connected.map(Link::Wire).map_err(Trouble::Connect)
}

/// The upload, as whoever waits for the answer sees it.
pub(crate) struct Upload {
    /// Whether all of the body was sent.
    pub(crate) whole: Cell<bool>,
    /// Since when the upstream's silence counts: not before nothing more is sent to it.
    pub(crate) quiet_since: Cell<Option<Instant>>,
    /// Whether it is part of a call of gRPC, in which both sides may talk at any time.
    is_call: bool,
    /// Whether the answer has begun.
    answered: Cell<bool>,
}

impl Upload {
    fn new(body: &Body, now: Instant, is_call: bool) -> Self {
        Self {
            whole: Cell::new(body.is_done()),
            quiet_since: Cell::new(body.is_done().then_some(now)),
            is_call,
            answered: Cell::new(false),
        }
    }

    /// The answer begins.
    pub(crate) fn answer_begins(&self) {
        self.answered.set(true);
    }

    /// How fast the body has to come. The messages of a call come when there is something to say.
    fn pace(&self, worker: &Worker) -> Option<Pace> {
        let limits = worker.limits();
        match self.is_call {
            true => None,
            false => Pace::new(limits.body_timeout, limits.body_rate),
        }
    }

    /// Whether a client that says nothing is listening, and not slow: the upstream's silence counts then.
    fn may_be_silent(&self) -> bool {
        self.is_call && self.answered.get()
    }

    fn end(&self, whole: bool) {
        self.whole.set(whole);
        self.quiet_since.set(Some(Instant::now()));
    }

    /// The upstream has said something, if only that it is at work.
    pub(crate) fn hear(&self) {
        if self.quiet_since.get().is_some() {
            self.quiet_since.set(Some(Instant::now()));
        }
    }
}

/// Sends the request over `link` at `sent_at`, unless that is done, and passes the answer on. Afterwards the connection is
/// kept if it may be; without a `lease` it is none to keep.
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
    sent_at: Instant,
    body: &mut Body,
    record: &mut Record,
) -> Result<(), Trouble> {
    let is_asked = std::mem::take(&mut space.is_asked);
    let (mut up_reader, mut up_writer) = link.split();
    let (mut client_reader, mut client_writer) = client.link.split();
    if !is_asked {
        up_writer.set_deadline(terms.cap(sent_at + service.write_timeout));
        let written = up_writer.write_all(&space.outbox).await;
        written.map_err(|error| match error {
            WireError::TimedOut => Trouble::Slow,
            WireError::Broken(_) => Trouble::unanswered(&error, body.is_done()),
        })?;
        space.answer.clear();
    }
    space.answer_head.reset();
    let uploading = !body.is_done();
    let is_call = uploading && service.speaks_http2 && grpc::is_call(&space.head, space.inbox.bytes());
    let upload = Upload::new(body, sent_at, is_call);
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
        is_here: !uploading,
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
                pace: upload.pace(worker),
            },
            limits: &worker.limits().wire,
            most: body_limit(space.decisions.as_deref()),
            chunk: CHUNK,
            pipes: &worker.pipes,
            copy: space.copy.as_deref_mut(),
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
    let now = done.at.unwrap_or_else(Instant::now);
    record.ended = Some(now);
    let member = lease.map(Lease::member).filter(|member| member.stats.is_listed());
    let reusable = done.keep_upstream && sent && space.answer.is_empty() && service.announce.is_none();
    if let (true, Some(member), Link::Wire(wire)) = (reusable, member, link) {
        let promised = space.answer_head.keep_alive_timeout;
        worker
            .idle
            .borrow_mut()
            .put(member.endpoint.address, wire, promised, now);
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
pub(crate) fn caller(decisions: Option<&Decisions>) -> Option<&FullName> {
    Some(&decisions?.caller.as_ref()?.name)
}

/// How large plugins let the body be, bytes.
fn body_limit(decisions: Option<&Decisions>) -> u64 {
    let limit = decisions.and_then(|decisions| decisions.body_limit);
    limit.unwrap_or(u64::MAX)
}

/// Moves the body to its end.
async fn send_body(
    pump: &mut Pump<'_, '_, '_>,
    body: &mut Body,
    moved: &mut u64,
    upload: &Upload,
) -> Result<(), BodyError> {
    loop {
        match pump.run(body, moved).await {
            Err(BodyError::Source(SourceError::Wire(error)))
                if error.is_timeout() && upload.may_be_silent() => {}
            ended => return ended,
        }
    }
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
        match send_body(pump, body, moved, upload).await {
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
