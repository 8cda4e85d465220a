//! Fakes, harnesses and conformance suites shared by tests.

pub mod store_suite;
