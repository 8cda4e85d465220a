//! The native admin API and its event stream.
