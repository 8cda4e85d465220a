//! Fakes, harnesses and conformance suites shared by tests.

mod address;
pub mod backend;
pub mod control_groups;
pub mod documents;
pub mod home;
pub mod http_client;
pub mod load;
pub mod mixed_load;
pub mod process_table;
pub mod store_suite;
pub mod wait;
pub mod wire_case;

pub use address::free_address;
