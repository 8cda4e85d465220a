//! Fakes, harnesses and conformance suites shared by tests.

pub mod wire_case;
pub mod store_suite;
