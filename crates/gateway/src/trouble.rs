//! Why an attempt did not end in an answer, and what follows from it.

use std::io::ErrorKind;

use hythe_balance::Fault;
use hythe_upstream::WireError;

use crate::respond::Failure;

/// Why an attempt did not end in an answer.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// No connection; nothing was sent.
    Connect(WireError),
    /// The connection broke before any byte of an answer.
    Broken,
    /// The upstream says that it has not looked at the request, all of which is here.
    Unprocessed,
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
    /// What it means that the connection broke before anything of an answer came. `here`: nothing of the
    /// request was sent but what is still here.
    pub(crate) fn unanswered(error: &WireError, here: bool) -> Self {
        if here && hythe_http2::is_unprocessed(error) {
            Self::Unprocessed
        } else {
            Self::Broken
        }
    }

    /// Whether nobody listens where the endpoint should.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Connect(WireError::Broken(error)) if error.kind() == ErrorKind::ConnectionRefused)
    }

    /// The endpoint's fault; `None`: it is the client's, or nobody's. `status`: of its answer, if there was one.
    pub(crate) fn fault(&self, status: u16) -> Option<Fault> {
        match self {
            Self::Connect(error) if error.is_timeout() => Some(Fault::Timeout),
            Self::Slow => Some(Fault::Timeout),
            Self::Connect(_) | Self::Broken | Self::BadAnswer | Self::CutOff => Some(Fault::Connection),
            Self::PassedOver => Some(Fault::Status(status)),
            Self::Unprocessed | Self::BadBody | Self::TooLarge | Self::SlowClient | Self::ClientGone => None,
        }
    }

    /// Why an upstream and we could not agree on TLS, for the log.
    pub(crate) fn disagreement(&self) -> Option<String> {
        match self {
            Self::Connect(WireError::Broken(error)) if error.kind() == ErrorKind::InvalidData => {
                Some(error.to_string())
            }
            _ => None,
        }
    }

    /// What to tell the client; `None` if there is nobody to tell.
    pub(crate) fn failure(&self) -> Option<Failure> {
        match self {
            Self::Connect(error) if error.is_timeout() => Some(Failure::UpstreamTimeout),
            Self::Connect(_)
            | Self::Broken
            | Self::Unprocessed
            | Self::BadAnswer
            | Self::CutOff
            | Self::PassedOver => Some(Failure::BadUpstream),
            Self::Slow => Some(Failure::UpstreamTimeout),
            Self::BadBody => Some(Failure::BadBody),
            Self::TooLarge => Some(Failure::TooLarge),
            Self::SlowClient => Some(Failure::RequestTimeout),
            Self::ClientGone => None,
        }
    }
}
