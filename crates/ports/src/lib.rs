//! The traits subsystems offer one another; no implementation.

pub mod documents;
pub mod logs;
pub mod traffic;

pub use logs::{LogQuery, Logs};
pub use traffic::{ExplainRequest, Routes, Traffic};

/// A boxed future: what object-safe traits return.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
