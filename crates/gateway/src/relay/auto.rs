//! Connections whose protocol nobody has said: whoever speaks first tells.
//!
//! ```text
//! the client begins with a request ──────────► HTTP
//! the client begins with anything else ──────► passed on
//! the client is silent for a moment ─────────► a member is connected to, and then
//!     the client speaks ─────────────────────► a request: without that connection, HTTP; else passed on over it
//!     the member speaks ─────────────────────► passed on; HTTP if it is an answer, as of a server that waits no longer
//!     the member leaves its pool, or is gone ► another one
//!     the member ends it ────────────────────► the end
//!     nobody speaks for the listener's time ─► the end
//! ```
//!
//! So protocols in which the server speaks first work (SMTP, MySQL), and a client that connects ahead of its first request
//! is served as HTTP however late that comes: with retries, and across a replacement of what it was connected to.
//!
//! What is left out: which of the two a program speaks is not remembered from one connection to the next.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hythe_balance::{Lease, Member};
use hythe_upstream::Wire;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{Record, RelayPlan, tcp};
use crate::connection;
use crate::door::Ends;
use crate::link::Link;
use crate::listener::{Listening, LocalListening};
use crate::pools::SharedPool;
use crate::reach;
use crate::worker::Worker;

/// How long a client may be silent before a member may speak, and take over the beginning of a request.
const SILENCE: Duration = Duration::from_millis(300);
/// Between two looks at a beginning that is not complete.
const MORE: Duration = Duration::from_millis(5);
/// The longest method with a registration is shorter, `UPDATEREDIRECTREF`.
const LONGEST_METHOD: usize = 20;
/// What every answer of HTTP/1 begins with.
const ANSWER: &[u8] = b"HTTP/";

/// What becomes of a connection on which somebody has spoken, or nobody has.
enum Decision {
    /// The client speaks HTTP.
    Http,
    /// It is passed on, over a connection to a member if there is one already.
    PassedOn(Option<(Lease, Wire)>),
    /// It ends.
    Over(tcp::Ending),
}

/// Serves a connection to its end.
pub(crate) async fn serve(worker: &Rc<Worker>, stream: TcpStream, ends: Ends, listening: LocalListening) {
    match tokio::time::timeout(SILENCE, first_words(&stream)).await {
        Ok(Ok(Beginning::Http)) => connection::serve(worker, stream, ends, listening).await,
        Ok(Ok(_)) => tcp::serve(worker, stream, ends, &listening).await,
        Ok(Err(_)) => {}
        // On the heap, so that others do not take memory for it.
        Err(_) => Box::pin(serve_silent(worker, stream, ends, listening)).await,
    }
}

async fn serve_silent(worker: &Rc<Worker>, stream: TcpStream, ends: Ends, listening: LocalListening) {
    let plan = worker.snapshot().relays.get(&listening.plan.name).cloned();
    let Some(plan) = plan else {
        return tcp::serve(worker, stream, ends, &listening).await;
    };
    let mut record = Record::new();
    let silent = Silent {
        worker,
        client: &stream,
        ends,
        listening: &listening,
        plan: &plan,
    };
    match silent.decide(&mut record).await {
        Decision::Http => connection::serve(worker, stream, ends, listening).await,
        Decision::PassedOn(None) => tcp::serve(worker, stream, ends, &listening).await,
        Decision::PassedOn(Some(member)) => {
            record.count(&plan);
            tcp::pass_on_to(worker, stream, ends, &listening, &plan, record, member).await;
        }
        Decision::Over(ending) => {
            record.count(&plan);
            record.finish(worker, ends.client, &listening);
            tcp::end(Link::Wire(Wire::new(stream, plan.idle)), ending).await;
        }
    }
}

/// A connection on which nobody has spoken yet.
struct Silent<'a> {
    worker: &'a Worker,
    client: &'a TcpStream,
    ends: Ends,
    listening: &'a Listening,
    plan: &'a RelayPlan,
}

/// What a member did on a connection on which nobody had spoken.
enum Heard {
    /// It sent an answer.
    Answer,
    /// It sent something else.
    Words,
    /// It has finished.
    End,
    /// It has reset it.
    Reset,
}

impl Silent<'_> {
    /// Connects to a member and waits for the first words, again and again while members go.
    async fn decide(&self, record: &mut Record) -> Decision {
        record.service = self.plan.services.find(None).cloned();
        let silent_until = Instant::now() + self.plan.idle;
        loop {
            let member = tokio::select! {
                biased;
                words = first_words(self.client) => return told(&words, None),
                () = self.closing() => return Decision::Over(tcp::Ending::Finished),
                member = tcp::connect(self.worker, self.plan, self.ends, record) => member,
            };
            let (Some((lease, wire)), Some(service)) = (member, &record.service) else {
                return Decision::Over(tcp::Ending::Broken);
            };
            let heard = tokio::select! {
                biased;
                words = first_words(self.client) => return told(&words, Some((lease, wire))),
                heard = hear(&wire) => heard,
                () = unlisted(&service.pool, lease.member()) => continue,
                () = self.closing() => return Decision::Over(tcp::Ending::Finished),
                () = tokio::time::sleep_until(silent_until) => {
                    return Decision::Over(tcp::Ending::Finished);
                }
            };
            match heard {
                Heard::Answer => return Decision::Http,
                Heard::Words => return Decision::PassedOn(Some((lease, wire))),
                // Nothing was lost with it, and the next one may be there soon.
                Heard::End | Heard::Reset if !reach::is_there(lease.member().endpoint.address) => {}
                Heard::End => return Decision::Over(tcp::Ending::Finished),
                Heard::Reset => return Decision::Over(tcp::Ending::Broken),
            }
        }
    }

    /// Waits until it ends with its listener: a first request has the time that it has everywhere.
    async fn closing(&self) {
        self.listening.shutdown.requested().await;
        tokio::time::sleep(connection::last_wait(self.worker, true)).await;
    }
}

/// What the client's first words mean, over a connection to a member if there is one.
fn told(words: &io::Result<Beginning>, member: Option<(Lease, Wire)>) -> Decision {
    match words {
        Ok(Beginning::Http) => Decision::Http,
        Ok(_) => Decision::PassedOn(member),
        Err(_) => Decision::Over(tcp::Ending::Broken),
    }
}

/// Waits until the member does something.
async fn hear(wire: &Wire) -> Heard {
    let mut bytes = [0; ANSWER.len()];
    match wire.stream().peek(&mut bytes).await {
        Ok(0) => Heard::End,
        Ok(_) if bytes == ANSWER => Heard::Answer,
        Ok(_) => Heard::Words,
        Err(_) => Heard::Reset,
    }
}

/// Waits until no pool lists the member any more.
async fn unlisted(pool: &SharedPool, member: &Arc<Member>) {
    loop {
        let mut changed = std::pin::pin!(pool.changed.notified());
        changed.as_mut().enable();
        if !member.stats.is_listed() {
            return;
        }
        changed.await;
    }
}

/// Waits until the client says something, which it may finish for a moment, or says that it is done.
async fn first_words(client: &TcpStream) -> io::Result<Beginning> {
    let mut bytes = [0; LONGEST_METHOD + 2];
    let mut heard_at = None;
    loop {
        let seen = client.peek(&mut bytes).await?;
        let is_late = heard_at.get_or_insert_with(Instant::now).elapsed() >= SILENCE;
        match beginning(bytes.get(..seen).unwrap_or_default()) {
            Beginning::Partial if seen > 0 && !is_late => tokio::time::sleep(MORE).await,
            Beginning::Partial => return Ok(Beginning::Other),
            beginning => return Ok(beginning),
        }
    }
}

/// What the first bytes of a connection say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beginning {
    Http,
    Other,
    Partial,
}

/// `GET /`, `OPTIONS *`, `PRI *` or `GET http://...`. Redis and memcached have lines like the first half of it.
fn beginning(bytes: &[u8]) -> Beginning {
    let letters = bytes.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    if letters > LONGEST_METHOD {
        return Beginning::Other;
    }
    match bytes.get(letters..) {
        Some([] | [b' ']) => Beginning::Partial,
        Some([b' ', b'/' | b'*' | b'h', ..]) if letters >= 3 => Beginning::Http,
        _ => Beginning::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_what_is_spoken() {
        for (bytes, expected) in [
            (&b"GET / HTTP/1.1\r\n"[..], Beginning::Http),
            (b"OPTIONS *", Beginning::Http),
            (b"PRI * HTTP/2.0", Beginning::Http),
            (b"POST http://a.test/", Beginning::Http),
            (b"UPDATEREDIRECTREF /", Beginning::Http),
            (b"GE", Beginning::Partial),
            (b"GET ", Beginning::Partial),
            (b"", Beginning::Partial),
            (b"*1\r\n$4\r\nPING\r\n", Beginning::Other),
            (b"PING\r\n", Beginning::Other),
            (b"SET key 1", Beginning::Other),
            (b"get key", Beginning::Other),
            (b"\x16\x03\x01", Beginning::Other),
            (b"AAAAAAAAAAAAAAAAAAAAA", Beginning::Other),
            (b"A /", Beginning::Other),
        ] {
            assert_eq!(beginning(bytes), expected, "{}", String::from_utf8_lossy(bytes));
        }
    }
}
