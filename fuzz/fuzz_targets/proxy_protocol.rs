#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hythe_fuzzing::check("proxy_protocol", bytes));
