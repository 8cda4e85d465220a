//! The `hythe` binary.
fn main() {}
