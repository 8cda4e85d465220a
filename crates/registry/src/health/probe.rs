//! One active check of one endpoint, over a connection of its own that is closed afterwards, as nginx does.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;

use hythe_model::health::CheckType;
use tokio::net::TcpStream;

use crate::health::settings::Settings;
use crate::health::verdict::{Failure, Outcome};
use crate::health::{grpc, http};

/// Whom to check.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// Where it is, or its other port where checks go.
    pub(super) address: SocketAddr,
    /// `Host` and `:authority`.
    pub(super) host: Arc<str>,
}

/// Makes the check. It ends after the settings' time-out at the latest.
pub(super) async fn probe(settings: &Settings, target: &Target) -> Outcome {
    let tried = tokio::time::timeout(settings.active().timeout, attempt(settings, target));
    match tried.await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => Outcome::Failure(Failure::Tcp, in_words(&error)),
        Err(_) => Outcome::Failure(Failure::Timeout, "no answer in time".to_owned()),
    }
}

async fn attempt(settings: &Settings, target: &Target) -> std::io::Result<Outcome> {
    let stream = TcpStream::connect(target.address).await?;
    match settings.active().kind {
        CheckType::Tcp => Ok(Outcome::Success),
        CheckType::Http => http::check(stream, settings, &target.host).await,
        CheckType::Grpc => grpc::check(stream, &target.host).await,
        kind @ (CheckType::Https | CheckType::Grpcs) => Ok(Outcome::Failure(
            Failure::Http,
            format!("checks by {kind} are not made yet"),
        )),
    }
}

/// Without the number that the system gives with it.
fn in_words(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => "connection reset".to_owned(),
        ErrorKind::UnexpectedEof => "connection closed without an answer".to_owned(),
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => "unreachable".to_owned(),
        _ => error.to_string(),
    }
}
