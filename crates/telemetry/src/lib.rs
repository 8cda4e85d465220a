//! Logs and metrics: the only crate that knows how they leave the process.

mod line_sink;
mod logging;

pub use line_sink::{LineSink, LineSinkConfig};
pub use logging::init_logging;
