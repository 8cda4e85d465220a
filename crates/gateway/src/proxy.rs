//! One exchange: match, before, send, reply.

use std::sync::atomic::Ordering;

use futures_util::FutureExt;
use hythe_http1::{Framing, Known, RequestHead, Version};
use hythe_model::ListenerProtocol;
use hythe_routing::{HeaderLookup, Match, MatchedPath, RequestKey, upstream_path};
use tokio::time::Instant;

use crate::after;
use crate::before;
use crate::body::{Body, Frame};
use crate::connection::Client;
use crate::exchange::known_value;
use crate::grpc;
use crate::heads::{Forward, without_port, write_request};
use crate::mirror;
use crate::plugin::answer::{AnswerBody, AnswerView, Fields};
use crate::plugin::chain::Chain;
use crate::record::Record;
use crate::respond::{Failure, Form, Reply, ReplyParts};
use crate::send;
use crate::snapshot::{RoutePlan, ServicePlan, Snapshot};
use crate::trust;
use crate::worker::{NormalPath, Worker, Workspace};

/// What becomes of a request that the gateway answers itself.
enum Outcome {
    /// The upstream answered, or the client is gone.
    Served,
    /// The gateway answers.
    Answer(Reply),
    /// The gateway says why not.
    Fail(Failure),
}

/// Serves the request whose head stands in `space`.
pub(crate) async fn exchange(worker: &Worker, client: &mut Client, space: &mut Workspace) {
    let _busy = worker.counters.enter();
    let snapshot = worker.snapshot();
    let mut record = Record::start();
    believe(worker, client, space);
    choose_request_id(worker, space);
    let mut body = take_early_body(space);
    space.normal_path = NormalPath::find(space.head.path.of(space.inbox.bytes()));
    let matched = find(&snapshot, client, space);
    let plan = matched.as_ref().map(|matched| &matched.entry.payload);
    // Not kept in a variable first: that would double what a request takes while it waits.
    let outcome = std::panic::AssertUnwindSafe(async {
        let Some(matched) = &matched else {
            return Outcome::Fail(Failure::NoRoute);
        };
        pass_on(worker, client, space, &snapshot, matched, &mut body, &mut record).await
    })
    .catch_unwind()
    .await;
    let outcome = outcome.unwrap_or_else(|_| after_panic(worker, client, space, &record));
    drop_early_body(worker, space, &mut body, &outcome);
    match outcome {
        Outcome::Served => {}
        Outcome::Answer(reply) => {
            let reply = grpc::told(client, space, reply);
            answer(worker, client, space, &body, &mut record, &reply).await;
        }
        Outcome::Fail(failure) => {
            client.keep &= !matches!(failure, Failure::Internal | Failure::BadBody);
            let form = Form::wanted_by(&space.head, space.inbox.bytes());
            let reply = Reply::page(failure, form, &space.request_id);
            let reply = grpc::told(client, space, reply);
            answer(worker, client, space, &body, &mut record, &reply).await;
        }
    }
    record.finish(worker, client, space, plan, &snapshot);
    space.decisions = None;
    space.copy = None;
    space.answering = None;
    leave_what_follows(space, &body);
}

/// Whose request it is and how it was made, as a trusted proxy tells it.
fn believe(worker: &Worker, client: &mut Client, space: &Workspace) {
    if let Some(proxy) = client.proxy {
        let (head, bytes) = (&space.head, space.inbox.bytes());
        client.peer = worker.shared.trust.client(proxy, head, bytes);
        client.told_https = trust::says_https(head, bytes);
    }
}

/// A panic becomes a page that no plugin sees, unless an answer is already on its way.
fn after_panic(worker: &Worker, client: &mut Client, space: &mut Workspace, record: &Record) -> Outcome {
    worker.count_panic();
    space.answering = None;
    if record.answered {
        client.keep = false;
        return Outcome::Served;
    }
    Outcome::Fail(Failure::Internal)
}

/// An answer of our own need not end the connection when the body it leaves unread is all here.
fn drop_early_body(worker: &Worker, space: &mut Workspace, body: &mut Body, outcome: &Outcome) {
    if !matches!(outcome, Outcome::Served) {
        space.outbox.clear();
        let limits = &worker.limits().wire;
        // A body that breaks its framing is not done, which ends the connection.
        let _ = body.take(&mut space.body, &mut space.outbox, Frame::Plain, limits);
    }
}

/// Answers a request that never became one.
pub(crate) async fn refuse(worker: &Worker, client: &mut Client, space: &mut Workspace, failure: Failure) {
    let _busy = worker.counters.enter();
    worker.metrics().refused.fetch_add(1, Ordering::Relaxed);
    worker.write_request_id(&mut space.request_id);
    space.head.reset();
    let mut record = Record::start();
    let reply = Reply::page(failure, Form::Plain, &space.request_id);
    answer(worker, client, space, &Body::Done, &mut record, &reply).await;
    record.finish(worker, client, space, None, &worker.snapshot());
    space.inbox.clear();
}

/// The client's own id is kept when it is short and plain enough to go into logs and headers.
fn choose_request_id(worker: &Worker, space: &mut Workspace) {
    let sent = known_value(&space.head, space.inbox.bytes(), Known::XRequestId);
    let usable = |id: &&[u8]| {
        (1..=128).contains(&id.len())
            && id
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:+/=#".contains(byte))
    };
    match sent.filter(usable).and_then(|id| std::str::from_utf8(id).ok()) {
        Some(id) => id.clone_into(&mut space.request_id),
        None => worker.write_request_id(&mut space.request_id),
    }
}

/// Moves what came behind the head out of the inbox when it belongs to a body, so that the head's bytes
/// stay where its ranges point.
fn take_early_body(space: &mut Workspace) -> Body {
    let body = Body::of(space.head.framing);
    space.body.clear();
    space.request_edits.clear();
    space.answer_edits.clear();
    if space.head.framing != Framing::None {
        space
            .body
            .extend(space.inbox.bytes().get(space.head.len..).unwrap_or_default());
    }
    body
}

/// Puts what follows this request, if it already came, where the next head is looked for.
fn leave_what_follows(space: &mut Workspace, body: &Body) {
    if !body.is_done() || space.head.framing == Framing::None {
        space.inbox.consume(space.head.len);
    } else {
        space.inbox.clear();
        space.inbox.extend(space.body.bytes());
    }
    space.body.clear();
}

/// Headers of a head, for routes that look at them.
struct Headers<'a> {
    head: &'a RequestHead,
    bytes: &'a [u8],
}

impl HeaderLookup for Headers<'_> {
    fn any_value(&self, name: &str, accept: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        let same =
            |field: &&hythe_http1::Field| field.name.of(self.bytes).eq_ignore_ascii_case(name.as_bytes());
        self.head
            .fields
            .iter()
            .filter(same)
            .any(|field| accept(field.value.of(self.bytes)))
    }
}

fn find<'s>(snapshot: &'s Snapshot, client: &Client, space: &Workspace) -> Option<Match<'s, RoutePlan>> {
    let (head, bytes) = (&space.head, space.inbox.bytes());
    let listener = &client.listening.plan;
    let table = match listener.protocol {
        ListenerProtocol::Auto => snapshot.own.get(&listener.name)?,
        _ => &snapshot.table,
    };
    table.find(&RequestKey {
        method: head.method.of(bytes),
        host: head.host.of(bytes),
        path: space.normal_path.of(head.path.of(bytes)),
        https: client.https(),
        sni: client.server_name(),
        listener: Some(&listener.name),
        headers: &Headers { head, bytes },
    })
}

async fn pass_on(
    worker: &Worker,
    client: &mut Client,
    space: &mut Workspace,
    snapshot: &Snapshot,
    matched: &Match<'_, RoutePlan>,
    body: &mut Body,
    record: &mut Record,
) -> Outcome {
    let plan = &matched.entry.payload;
    if matched.protocol_mismatch {
        return https_required(plan, space);
    }
    if let Some(failure) = plan.is_grpc.then(|| grpc::mismatch(client, space)).flatten() {
        return Outcome::Fail(failure);
    }
    if let Some(reply) = before::run(worker, client, space, snapshot, matched).await {
        return Outcome::Answer(reply);
    }
    let chosen = space
        .decisions
        .as_ref()
        .and_then(|decisions| decisions.destination.clone());
    let Some(service) = chosen.as_ref().or(plan.service.as_ref()) else {
        return Outcome::Fail(Failure::NoService);
    };
    write_outbox(worker, client, space, matched, service, body);
    let files = space
        .decisions
        .as_ref()
        .and_then(|decisions| decisions.files.clone());
    let failed = match files {
        None => {
            mirror::begin(worker, client, space, body);
            let failed = send::send(worker, client, space, service, Some(matched), body, record).await;
            mirror::end(worker, space, body);
            failed
        }
        Some(files) => send::send_to_files(worker, client, space, service, files, body, record).await,
    };
    failed.map_or(Outcome::Served, Outcome::Fail)
}

/// A route that only takes HTTPS: 426, or a redirect to the same place at the port where HTTPS is.
fn https_required(plan: &RoutePlan, space: &Workspace) -> Outcome {
    if plan.https_redirect == 426 {
        return Outcome::Fail(Failure::HttpsRequired);
    }
    let (head, bytes) = (&space.head, space.inbox.bytes());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut location = format!(
        "https://{}{}",
        text(without_port(head.host.of(bytes))),
        text(head.path.of(bytes))
    );
    if let Some(query) = head.query {
        location = format!("{location}?{}", text(query.of(bytes)));
    }
    let mut reply = Reply::new(
        plan.https_redirect,
        "text/plain; charset=utf-8".to_owned(),
        Vec::new(),
    );
    reply.fields.push(("Location".to_owned(), location));
    Outcome::Answer(reply)
}

/// The head for the upstream and as much of the body as has come: the same for every attempt.
fn write_outbox(
    worker: &Worker,
    client: &Client,
    space: &mut Workspace,
    matched: &Match<'_, RoutePlan>,
    service: &ServicePlan,
    body: &mut Body,
) {
    let (head, bytes) = (&space.head, space.inbox.bytes());
    let plan = &matched.entry.payload;
    let normal = space.normal_path.of(head.path.of(bytes));
    let prefix = plan
        .strip_path
        .then(|| stripped_prefix(normal, matched.matched_path))
        .flatten();
    space.path.clear();
    upstream_path(
        service.path.as_deref(),
        matched.matched_path,
        head.path.of(bytes),
        normal,
        plan.strip_path,
        plan.path_handling,
        &mut space.path,
    );
    space.way.see(client.peer, client.local.port(), client.https());
    space.outbox.clear();
    let host = if plan.preserve_host && !head.host.is_empty() {
        head.host.of(bytes)
    } else {
        service.host.as_bytes()
    };
    let mut forward = Forward {
        head,
        bytes,
        method: head.method.of(bytes),
        path: &space.path,
        query: head.query.map(|query| query.of(bytes)),
        host,
        peer: client.peer,
        proxy: client.proxy,
        local: client.local,
        way: &space.way,
        received: client.link.version(head.version),
        https: client.https(),
        certificate: client.certificate.as_deref(),
        stripped_prefix: prefix,
        request_id: &space.request_id,
        edits: &space.request_edits,
    };
    if let Some(decisions) = &space.decisions {
        forward.heed(decisions);
    }
    space.peer = service.tls.as_ref().map(|tls| tls.peer(forward.host));
    write_request(&mut space.outbox, &forward);
    // A body that breaks its framing at once is found again, and refused, when it is streamed.
    if matches!(body, Body::Length(_)) {
        let _ = body.take(
            &mut space.body,
            &mut space.outbox,
            Frame::Plain,
            &worker.limits().wire,
        );
    }
}

/// What the route cut off in front, without the slash that what follows begins with.
fn stripped_prefix(path: &[u8], matched: MatchedPath) -> Option<&[u8]> {
    let (MatchedPath::Prefix(length) | MatchedPath::Regex(length)) = matched else {
        return None;
    };
    let prefix = path.get(..length)?;
    let prefix = prefix.strip_suffix(b"/").unwrap_or(prefix);
    (!prefix.is_empty()).then_some(prefix)
}

/// Sends an answer of our own. When the request's body has not been read the connection ends with it.
async fn answer(
    worker: &Worker,
    client: &mut Client,
    space: &mut Workspace,
    body: &Body,
    record: &mut Record,
    reply: &Reply,
) {
    client.keep &= body.is_done();
    let instead = edit_own_answer(worker, client, space, reply);
    let reply = instead.as_ref().unwrap_or(reply);
    record.status = reply.status;
    record.answered = true;
    record.bytes_out = write_reply(worker, client, space, reply) as u64;
    let (_, mut writer) = client.link.split();
    writer.allow(worker.limits().client_write_timeout);
    if writer.write_all(&space.reply).await.is_err() {
        client.keep = false;
    }
    space.reply.clear();
}

/// Lets the plugins that look at answers edit one of our own. When one of them panics there is a page instead.
fn edit_own_answer(
    worker: &Worker,
    client: &mut Client,
    space: &mut Workspace,
    reply: &Reply,
) -> Option<Reply> {
    let chain = space.answering.take()?;
    let edit = std::panic::AssertUnwindSafe(|| show_own_answer(&chain, space, reply));
    std::panic::catch_unwind(edit).err()?;
    worker.count_panic();
    client.keep = false;
    space.answer_edits.clear();
    let form = Form::wanted_by(&space.head, space.inbox.bytes());
    Some(Reply::page(Failure::Internal, form, &space.request_id))
}

fn show_own_answer(chain: &Chain, space: &mut Workspace, reply: &Reply) {
    let caller = space
        .decisions
        .as_ref()
        .and_then(|decisions| decisions.caller.clone());
    let mut view = AnswerView {
        status: reply.status,
        request: &space.head,
        request_bytes: space.inbox.bytes(),
        edits: &mut space.answer_edits,
        fields: Fields::Own(reply),
        body: AnswerBody::Fixed,
        filter: None,
    };
    after::run(chain, caller.as_ref().map(|caller| &caller.name), &mut view);
}

fn write_reply(worker: &Worker, client: &Client, space: &mut Workspace, reply: &Reply) -> usize {
    let mut clock = worker.clock.borrow_mut();
    clock.tick(Instant::now());
    let method = space.head.method.of(space.inbox.bytes());
    space.reply.clear();
    reply.write(
        &mut space.reply,
        &ReplyParts {
            date: clock.http(),
            request_id: &space.request_id,
            edits: &space.answer_edits,
            close: !client.keep,
            announce_keep_alive: client.keep && space.head.version == Version::Http10,
            head_only: method == b"HEAD",
        },
    )
}
