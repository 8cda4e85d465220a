//! A timer that may not be set.

use tokio::time::Instant;

/// Waits until this time; for ever without one. Cancel-safe.
pub async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
