//! Makes what runs equal what should run: a pure plan and a plain executor.

pub mod runtime;
