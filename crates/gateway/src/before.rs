//! What happens before a request is sent: the plugins of its route, first to last.

use hythe_routing::Match;

use crate::connection::Client;
use crate::exchange::Exchange;
use crate::plugin::Verdict;
use crate::plugin::chain::Link;
use crate::respond::Reply;
use crate::snapshot::{RoutePlan, Snapshot};
use crate::worker::{Worker, Workspace};

/// Runs the plugins; the answer, if one of them gives it. From the plugin on that finds out who calls,
/// settings for this caller count.
pub(crate) async fn run(
    worker: &Worker,
    client: &Client,
    space: &mut Workspace,
    snapshot: &Snapshot,
    matched: &Match<'_, RoutePlan>,
) -> Option<Reply> {
    let chain = &matched.entry.payload.chain;
    if chain.sees_answers() {
        space.answering = Some(chain.clone());
    }
    for slot in chain.slots() {
        let caller = space
            .decisions
            .as_ref()
            .and_then(|decisions| decisions.caller.as_ref());
        let Some(link) = slot.for_caller(caller.map(|caller| &caller.name)) else {
            continue;
        };
        let mut verdict = link
            .plugin
            .before(&mut view(worker, client, space, snapshot, matched, link));
        loop {
            match verdict {
                Verdict::Continue => break,
                Verdict::Respond(reply) => return Some(reply),
                Verdict::Await(waiting) => {
                    let resume = waiting.await;
                    verdict = resume(&mut view(worker, client, space, snapshot, matched, link));
                }
            }
        }
    }
    None
}

/// The request as `link` sees it.
fn view<'a>(
    worker: &'a Worker,
    client: &'a Client,
    space: &'a mut Workspace,
    snapshot: &'a Snapshot,
    matched: &'a Match<'a, RoutePlan>,
    link: &'a Link,
) -> Exchange<'a> {
    let plan = &matched.entry.payload;
    Exchange {
        head: &space.head,
        bytes: space.inbox.bytes(),
        peer: client.peer,
        local: client.local,
        https: client.https(),
        client_certificate: client
            .certificate
            .as_ref()
            .map(|certificate| &certificate.presented),
        request_id: &space.request_id,
        project: &matched.entry.name.project,
        route: &plan.label,
        service: plan.service.as_ref().map(|service| service.label.as_str()),
        request_edits: &mut space.request_edits,
        answer_edits: &mut space.answer_edits,
        directory: &snapshot.directory,
        metrics: worker.metrics(),
        decisions: &mut space.decisions,
        destinations: &link.destinations,
        matched: Some(matched),
    }
}
