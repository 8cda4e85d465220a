//! A request for the tests of plugins, and what they did with it.

use std::net::{IpAddr, SocketAddr};

use hythe_http1::{Framing, Limits, RequestHead, RequestKind, ResponseHead};
use hythe_model::ProjectName;
use serde_json::{Map, Value};

use super::answer::{AnswerBody, AnswerView, Fields};
use super::{Plugin, Verdict};
use crate::decisions::Decisions;
use crate::directory::{Caller, Directory};
use crate::edits::Edits;
use crate::exchange::Exchange;
use crate::metrics::Metrics;

/// A plugin's settings from JSON.
pub(crate) fn settings(value: Value) -> Map<String, Value> {
    serde_json::from_value(value).unwrap()
}

/// A request and everything that plugins may ask for or change.
pub(crate) struct Fixture {
    head: RequestHead,
    bytes: Vec<u8>,
    project: ProjectName,
    pub(crate) peer: IpAddr,
    pub(crate) directory: Directory,
    pub(crate) metrics: Metrics,
    pub(crate) request: Edits,
    pub(crate) answer: Edits,
    pub(crate) decisions: Option<Box<Decisions>>,
}

impl Fixture {
    /// `request`: a whole head.
    pub(crate) fn new(request: &str) -> Self {
        let mut head = RequestHead::default();
        head.parse(request.as_bytes(), &Limits::default()).unwrap();
        Self {
            head,
            bytes: request.as_bytes().to_vec(),
            project: ProjectName::default(),
            peer: IpAddr::from([127, 0, 0, 1]),
            directory: Directory::default(),
            metrics: Metrics::default(),
            request: Edits::default(),
            answer: Edits::default(),
            decisions: None,
        }
    }

    /// A request for `target` of host `a`, with these further header lines.
    pub(crate) fn get(target: &str, lines: &[&str]) -> Self {
        let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        Self::new(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n"))
    }

    pub(crate) fn from(mut self, peer: &str) -> Self {
        self.peer = peer.parse().unwrap();
        self
    }

    /// With these consumers.
    pub(crate) fn knowing(mut self, names: &[&str]) -> Self {
        for name in names {
            self.directory.add(Caller {
                name: name.parse().unwrap(),
                id: format!("id-of-{name}"),
                username: Some((*name).to_owned()),
                custom_id: None,
            });
        }
        self
    }

    pub(crate) fn exchange(&mut self) -> Exchange<'_> {
        Exchange {
            head: &self.head,
            bytes: &self.bytes,
            peer: self.peer,
            local: SocketAddr::from(([127, 0, 0, 1], 8000)),
            https: false,
            client_certificate: None,
            request_id: "0123",
            project: &self.project,
            route: "r",
            service: None,
            request_edits: &mut self.request,
            answer_edits: &mut self.answer,
            directory: &self.directory,
            metrics: &self.metrics,
            decisions: &mut self.decisions,
            destinations: &[],
            matched: None,
        }
    }

    /// Runs a plugin that does not wait; the answer it gives itself.
    pub(crate) fn run(&mut self, plugin: &dyn Plugin) -> Option<(u16, String)> {
        match plugin.before(&mut self.exchange()) {
            Verdict::Respond(reply) => Some((reply.status, String::from_utf8(reply.body.clone()).unwrap())),
            Verdict::Continue => None,
            Verdict::Await(_) => panic!("nothing here waits"),
        }
    }
}

/// An answer of a service.
pub(crate) struct AnswerFixture {
    request: RequestHead,
    request_bytes: Vec<u8>,
    head: ResponseHead,
    bytes: Vec<u8>,
    pub(crate) edits: Edits,
}

impl AnswerFixture {
    /// `answer`: a whole head; `asked`: a header line of the request.
    pub(crate) fn new(answer: &str, asked: &str) -> Self {
        let end = if asked.is_empty() { "\r\n" } else { "\r\n\r\n" };
        let request_bytes = format!("GET / HTTP/1.1\r\nHost: a\r\n{asked}{end}").into_bytes();
        let mut request = RequestHead::default();
        request.parse(&request_bytes, &Limits::default()).unwrap();
        let mut head = ResponseHead::default();
        head.parse(answer.as_bytes(), &Limits::default(), RequestKind::Other)
            .unwrap();
        Self {
            request,
            request_bytes,
            head,
            bytes: answer.as_bytes().to_vec(),
            edits: Edits::default(),
        }
    }

    pub(crate) fn view(&mut self) -> AnswerView<'_> {
        AnswerView {
            status: self.head.status,
            request: &self.request,
            request_bytes: &self.request_bytes,
            edits: &mut self.edits,
            fields: Fields::Sent(&self.head, &self.bytes),
            body: match self.head.framing {
                Framing::None => AnswerBody::Fixed,
                Framing::Length(length) => AnswerBody::Length(length),
                Framing::Chunked | Framing::UntilClose => AnswerBody::Unknown,
            },
            filter: None,
        }
    }
}

/// The fields that are added, a line each.
pub(crate) fn lines(edits: &Edits) -> String {
    edits
        .added()
        .map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value)))
        .collect()
}

/// Runs a plugin that continues; what it adds to the request and to the answer, a line a field.
pub(crate) fn ran(plugin: &dyn Plugin, request: &str) -> (String, String) {
    let mut fixture = Fixture::new(request);
    assert_eq!(fixture.run(plugin), None);
    (lines(&fixture.request), lines(&fixture.answer))
}

/// Runs a plugin; the answer it gives itself.
pub(crate) fn answered(plugin: &dyn Plugin, request: &str) -> Option<(u16, String)> {
    Fixture::new(request).run(plugin)
}
