//! Benchmarks against nginx, HAProxy and a plain relay.
fn main() {}
