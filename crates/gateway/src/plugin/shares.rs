//! Exact shares: of every 10,000 requests of the node so many as the percentage says, spread and not in a row.

use std::sync::atomic::{AtomicU64, Ordering};

/// Shares are told in hundredths of a percent.
pub(super) const WHOLE: u64 = 10_000;
/// Has no factor in common with [`WHOLE`], so that its multiples visit every place once.
const STRIDE: u64 = 6_181;

/// A percentage from 0 to 100 as a share of [`WHOLE`].
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "0 to 100 percent"
)]
pub(super) fn share(percentage: f64) -> u64 {
    (percentage * 100.0).round() as u64
}

/// The place of the next request, from 0 to [`WHOLE`]; it is in a share that ends behind its place.
pub(super) fn dealt(so_far: &AtomicU64) -> u64 {
    (so_far.fetch_add(1, Ordering::Relaxed) % WHOLE) * STRIDE % WHOLE
}
