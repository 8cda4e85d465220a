//! Failures of streams, as failures of a wire.

use std::io;

use h2::Reason;
use hythe_upstream::WireError;

/// What the codec says, as a wire says it.
pub(crate) fn broken(error: h2::Error) -> WireError {
    WireError::Broken(match error.is_io() {
        true => error
            .into_io()
            .unwrap_or_else(|| io::ErrorKind::BrokenPipe.into()),
        false => io::Error::other(error),
    })
}

/// We were given a head that cannot be said in HTTP/2.
pub(crate) fn unspeakable() -> WireError {
    WireError::Broken(io::ErrorKind::InvalidData.into())
}

/// Whether the other side says that it has not looked at the request: a stream refused, or one above the
/// last that a GOAWAY names (RFC 9113 8.7). Such a request may be sent again, whatever its method.
pub fn is_unprocessed(error: &WireError) -> bool {
    let WireError::Broken(error) = error else {
        return false;
    };
    error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<h2::Error>())
        .is_some_and(|error| {
            error.is_remote() && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM))
        })
}
