//! Builds every subsystem in order.
