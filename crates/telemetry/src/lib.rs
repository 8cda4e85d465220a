//! Logs and metrics: the only crate that knows exporters.
