//! Whatever the bytes are, reading and checking them ends, without a panic.

mod against_nginx;
mod translations;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use crate::{Files, World, check, load, parse};

/// Files in memory; a pattern matches all of them.
#[derive(Default)]
struct Memory(BTreeMap<PathBuf, Vec<u8>>);

impl Files for Memory {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let bytes = self.0.get(path).cloned();
        bytes.ok_or_else(|| io::Error::from_raw_os_error(2))
    }

    fn matching(&self, _: &str) -> Vec<PathBuf> {
        self.0.keys().cloned().collect()
    }
}

impl World for Memory {
    fn resolves(&self, host: &str) -> bool {
        !host.contains("invalid")
    }
}

fn verdict(files: &[(&str, &str)]) -> String {
    let files = files
        .iter()
        .map(|(name, text)| (PathBuf::from(name), text.as_bytes().to_vec()))
        .collect();
    let memory = Memory(files);
    match check(&load(&memory, Path::new(MAIN), ""), &memory).error {
        Some(mistake) => mistake.to_string(),
        None => "ok".to_owned(),
    }
}

const MAIN: &str = "/etc/nginx/nginx.conf";

#[test]
fn mistakes_in_included_files_are_told_there() {
    let main = "events {}\nhttp {\n  include conf/a.conf;\n}\n";
    for (included, expected) in [
        ("server { listen 80; }", "ok"),
        (
            "server {\n listen 80;\n nonsense;\n}",
            "unknown directive \"nonsense\" in /etc/nginx/conf/a.conf:3",
        ),
        (
            "server {\n",
            "unexpected end of file, expecting \"}\" in /etc/nginx/conf/a.conf:2",
        ),
        ("}\n", "unexpected \"}\" in /etc/nginx/conf/a.conf:1"),
        (
            "user root;",
            "\"user\" directive is not allowed here in /etc/nginx/conf/a.conf:1",
        ),
    ] {
        assert_eq!(
            verdict(&[(MAIN, main), ("/etc/nginx/conf/a.conf", included)]),
            expected,
            "{included}"
        );
    }
}

#[test]
fn a_file_that_includes_itself_is_refused() {
    assert_eq!(
        verdict(&[(MAIN, "include nginx.conf;\nevents {}")]),
        "files include one another more than 64 deep in /etc/nginx/nginx.conf:1"
    );
    assert_eq!(
        verdict(&[(MAIN, &"a {".repeat(10_000))]),
        "unknown directive \"a\" in /etc/nginx/nginx.conf:1"
    );
    assert_eq!(
        verdict(&[]),
        "open() \"/etc/nginx/nginx.conf\" failed (2: No such file or directory)"
    );
}

#[test]
fn what_nginx_plus_and_later_versions_know_is_known() {
    let plus =
        "events {} http { upstream a { zone a 64k; server 127.0.0.1:1 slow_start=30s; sticky cookie srv; }
        match ok { status 200; } server { listen 80; http2 on; status_zone b;
        location / { proxy_pass http://a; health_check interval=5s match=ok; } } }";
    assert_eq!(verdict(&[(MAIN, plus)]), "ok");
}

/// Texts that are nearly configurations.
fn soup() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "events",
        "http",
        "server",
        "location",
        "upstream",
        "listen",
        "include",
        "nginx.conf",
        "if",
        "($a",
        "~",
        ")",
        "{",
        "}",
        ";",
        "'",
        "\"",
        "\\",
        "$",
        "${",
        "#",
        "\n",
        " ",
        "80",
        "proxy_pass",
        "http://a/",
        "map",
        "return",
        "split_clients",
        "50%",
        "*",
        "root",
        "[",
        "rewrite",
        "(",
        "unix:",
        ":",
        "set",
        "ssl",
        "ssl_certificate",
    ]);
    prop::collection::vec(words, 0..60).prop_map(|words| words.join(" "))
}

proptest! {
    #[test]
    fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..6000)) {
        parse(&bytes);
    }

    #[test]
    fn any_text_is_checked(text in soup()) {
        verdict(&[(MAIN, &text)]);
        verdict(&[(MAIN, &format!("events {{}} http {{ server {{ {text}"))]);
        verdict(&[(MAIN, &format!("events {{}} http {{ server {{ location / {{ {text} }} }} }}"))]);
    }
}
