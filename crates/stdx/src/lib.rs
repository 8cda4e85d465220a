//! What the standard library lacks: human durations and sizes, atomic file writes.
