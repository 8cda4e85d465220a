//! `stub-status`: the page of nginx's `stub_status`, from the gateway's own counters, for whatever reads that.
//!
//! Connections count as writing while a request of theirs is served and as waiting otherwise: reading a head is
//! not told apart, so `Reading` is 0.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::settings::Settings;
use super::{Plugin, PluginKind, SettingProblem, Verdict};
use crate::exchange::Exchange;
use crate::metrics::Totals;
use crate::respond::Reply;

/// Its entry in the list.
pub const KIND: PluginKind = PluginKind {
    name: "stub-status",
    priority: 3,
    summary: "answers with nginx's page of connections and requests",
    parse,
};

struct StubStatus;

fn parse(config: &Map<String, Value>) -> Result<Box<dyn Plugin>, Vec<SettingProblem>> {
    Settings::of(config).finish()?;
    Ok(Box::new(StubStatus))
}

impl Plugin for StubStatus {
    fn before(&self, exchange: &mut Exchange<'_>) -> Verdict {
        if !matches!(exchange.method(), b"GET" | b"HEAD") {
            return Verdict::Respond(
                exchange
                    .page(405, "Method not allowed")
                    .with("Allow", "GET, HEAD"),
            );
        }
        let body = page(&exchange.metrics.totals()).into_bytes();
        Verdict::Respond(Reply::new(200, "text/plain".to_owned(), body))
    }
}

/// nginx 1.22: with a space at the end of each line but the second.
fn page(totals: &Totals) -> String {
    let Totals {
        open,
        accepted,
        handled,
        requests,
        busy,
    } = totals;
    let waiting = open.saturating_sub(*busy);
    let mut page = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        page,
        "Active connections: {open} \nserver accepts handled requests\n {accepted} {handled} {requests} \n\
         Reading: 0 Writing: {busy} Waiting: {waiting} \n"
    );
    page
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plugin::fixture::{Fixture, settings};

    #[test]
    fn the_page_is_nginxs() {
        let totals = Totals {
            open: 3,
            accepted: 12,
            handled: 11,
            requests: 40,
            busy: 1,
        };
        assert_eq!(
            page(&totals),
            "Active connections: 3 \nserver accepts handled requests\n 12 11 40 \nReading: 0 Writing: 1 Waiting: 2 \n"
        );
    }

    #[test]
    fn it_counts_the_request_that_asks() {
        let mut fixture = Fixture::get("/", &[]);
        let counters = fixture.metrics.worker(0);
        let _busy = counters.enter();
        fixture
            .metrics
            .accepted
            .store(1, std::sync::atomic::Ordering::Relaxed);
        fixture
            .metrics
            .open
            .store(1, std::sync::atomic::Ordering::Relaxed);
        let plugin = parse(&settings(json!({}))).unwrap();
        let page = "Active connections: 1 \nserver accepts handled requests\n 1 1 1 \nReading: 0 Writing: 1 Waiting: 0 \n";
        assert_eq!(fixture.run(&*plugin), Some((200, page.to_owned())));
        let mut post = Fixture::new("POST / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(post.run(&*plugin).unwrap().0, 405);
    }
}
