//! What must hold for any bytes whatever: one property for each parser that reads what strangers send.
//!
//! A property takes bytes and panics if it does not hold. The programs in `fuzz/` give them to libFuzzer, which
//! looks for such bytes as long as it is let (`make fuzz`); the test of this crate gives each a bounded number
//! of mutated seeds, the same ones every time. Bytes that were found go to `fuzz/seeds`, where both start.
//!
//! "Split" is in most of them: bytes that come in any pieces mean what they mean together, since otherwise a
//! client could choose the meaning by its timing.

mod announcements;
mod answers;
mod chunks;
mod forwarding;
mod manifests;
mod nginx;
mod paths;
mod requests;

/// A property with the name of its fuzz target.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Of `fuzz/fuzz_targets/<name>.rs` and `fuzz/seeds/<name>/`.
    pub name: &'static str,
    /// Panics if it does not hold for these bytes.
    pub check: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target {
        name: "request_head",
        check: requests::check,
    },
    Target {
        name: "answer_head",
        check: answers::check,
    },
    Target {
        name: "chunked_body",
        check: chunks::check,
    },
    Target {
        name: "forwarded_head",
        check: forwarding::check,
    },
    Target {
        name: "path",
        check: paths::check,
    },
    Target {
        name: "manifest",
        check: manifests::check,
    },
    Target {
        name: "proxy_protocol",
        check: announcements::check,
    },
    Target {
        name: "nginx_conf",
        check: nginx::check,
    },
];

/// Checks the target called `name`, which must be one of [`TARGETS`].
pub fn check(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("a target of the list").check)(bytes);
}

/// Small enough for short inputs to reach them.
const TIGHT: hythe_http1::Limits = hythe_http1::Limits {
    line: 40,
    head: 200,
    fields: 6,
    chunk_line: 12,
    trailers: 40,
};
