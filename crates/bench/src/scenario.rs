//! What is asked of the proxies: one table each, with the candidates that can take part.

use clap::ValueEnum;

use crate::candidates::Candidate;

/// A kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// 12 bytes over kept-alive HTTP/1.1
    Small,
    /// 1 MB over kept-alive HTTP/1.1
    Large,
    /// 12 bytes over kept-alive TLS 1.3
    Tls,
    /// A new TLS 1.3 connection, not resumed, for each 12 bytes
    Handshakes,
    /// 12 bytes over HTTP/2 and TLS 1.3, 64 requests in flight on 8 connections
    Http2,
}

impl Scenario {
    /// All of them, in the order of the tables.
    pub(crate) const ALL: [Self; 5] = [Self::Small, Self::Large, Self::Tls, Self::Handshakes, Self::Http2];

    /// The heading of its table.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Small => "small answers",
            Self::Large => "1 MB answers",
            Self::Tls => "TLS kept alive",
            Self::Handshakes => "TLS handshakes",
            Self::Http2 => "HTTP/2 over TLS",
        }
    }

    /// Whether a candidate can take part.
    pub(crate) fn includes(self, candidate: Candidate) -> bool {
        match self {
            Self::Small => true,
            Self::Large => matches!(
                candidate,
                Candidate::Relay | Candidate::Plain | Candidate::Nginx | Candidate::Haproxy
            ),
            Self::Tls | Self::Handshakes | Self::Http2 => {
                matches!(
                    candidate,
                    Candidate::Plain | Candidate::Nginx | Candidate::Haproxy
                )
            }
        }
    }

    /// Whether latency at a fixed rate is measured too.
    pub(crate) fn has_latency(self) -> bool {
        self == Self::Small
    }

    /// Bytes of an answer's body, where the row is about bytes rather than requests.
    pub(crate) fn body_bytes(self) -> Option<u64> {
        (self == Self::Large).then_some(crate::backend::LARGE_BYTES as u64)
    }

    /// What the load asks a candidate for; every path leads to the backend.
    pub(crate) fn path(self, candidate: Candidate) -> &'static str {
        match self {
            Self::Large => crate::backend::LARGE_PATH,
            _ => candidate.path(),
        }
    }
}
