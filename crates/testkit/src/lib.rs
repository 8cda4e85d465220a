//! Fakes, harnesses and conformance suites shared by tests.
