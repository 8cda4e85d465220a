//! Files as a service, over the wire.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::json;

use crate::proxy::{Proxy, Setup};

fn start(folder: &Path, fallback: Option<&str>) -> Proxy {
    let mut config = json!({"root": folder});
    if let Some(fallback) = fallback {
        config["fallback"] = json!(fallback);
    }
    Proxy::start(Setup {
        plugins: vec![json!({"name": "files", "config": config})],
        ..Setup::default()
    })
}

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    // 2001-09-09 01:46:40 UTC
    file.set_modified(UNIX_EPOCH + Duration::from_secs(1_000_000_000))
        .unwrap();
}

/// Status line's number, head and body of an answer.
fn ask(proxy: &Proxy, request: &str, lines: &str) -> (u16, String, String) {
    let answer = proxy.ask(&format!(
        "{request} HTTP/1.1\r\nHost: a\r\n{lines}Connection: close\r\n\r\n"
    ));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head[9..12].parse().unwrap();
    (status, head.to_lowercase(), body.to_owned())
}

#[test]
fn files_are_served_with_validators_and_ranges() {
    let outside = tempfile::tempdir().unwrap();
    let folder = outside.path().join("public");
    write(&folder, "index.html", "<h1>home</h1>");
    write(&folder, "a/b.txt", "0123456789");
    write(&folder, "a/index.html", "inner");
    write(outside.path(), "secret", "secret");
    rustix::fs::mkfifoat(rustix::fs::CWD, folder.join("pipe"), rustix::fs::Mode::RUSR).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.join("socket")).unwrap();
    let proxy = start(&folder, None);
    const TAG: &str = "\"3b9aca00-a\"";

    let (status, head, body) = ask(&proxy, "GET /a/b.txt", "");
    assert_eq!((status, &*body), (200, "0123456789"));
    for line in [
        "content-type: text/plain",
        "content-length: 10",
        "last-modified: sun, 09 sep 2001 01:46:40 gmt",
        &format!("etag: {TAG}"),
        "accept-ranges: bytes",
    ] {
        assert!(
            head.contains(&format!("\r\n{line}\r\n")),
            "{line} is missing in {head}"
        );
    }
    let rows = [
        ("GET /", "", 200, "<h1>home</h1>"),
        ("GET /a/", "", 200, "inner"),
        ("GET /a", "", 307, ""),
        ("HEAD /a/b.txt", "", 200, ""),
        ("GET /a/b.txt?x=1", "", 200, "0123456789"),
        ("GET /none", "", 404, "Not found\n"),
        ("GET /a/b.txt/c", "", 404, "Not found\n"),
        // Waits for nobody who might write into it.
        ("GET /pipe", "", 404, "Not found\n"),
        ("HEAD /pipe", "", 404, ""),
        ("GET /socket", "", 404, "Not found\n"),
        ("POST /a/b.txt", "Content-Length: 2\r\n", 405, ""),
        // Nothing above the folder.
        ("GET /../secret", "", 404, "Not found\n"),
        ("GET /%2e%2e/secret", "", 404, "Not found\n"),
        ("GET /a/..%2f..%2fsecret", "", 404, "Not found\n"),
        // Validators.
        (
            "GET /a/b.txt",
            "If-None-Match: \"x\", W/\"3b9aca00-a\"\r\n",
            304,
            "",
        ),
        ("GET /a/b.txt", "If-None-Match: *\r\n", 304, ""),
        (
            "GET /a/b.txt",
            "If-None-Match: \"x\"\r\nIf-None-Match: \"3b9aca00-a\"\r\n",
            304,
            "",
        ),
        ("GET /a/b.txt", "If-Match: *\r\n", 200, "0123456789"),
        (
            "GET /a/b.txt",
            "If-Match: \"x\", \"3b9aca00-a\"\r\n",
            200,
            "0123456789",
        ),
        // Not the same byte by byte, says who sends a weak one.
        ("GET /a/b.txt", "If-Match: W/\"3b9aca00-a\"\r\n", 412, ""),
        (
            "GET /a/b.txt",
            "If-Match: *\r\nIf-Unmodified-Since: Sun, 09 Sep 2001 01:46:39 GMT\r\n",
            200,
            "0123456789",
        ),
        (
            "GET /a/b.txt",
            "If-Unmodified-Since: Sun, 09 Sep 2001 01:46:39 GMT\r\n",
            412,
            "",
        ),
        (
            "GET /a/b.txt",
            "If-None-Match: \"x\"\r\nIf-Modified-Since: Sun, 09 Sep 2001 01:46:40 GMT\r\n",
            200,
            "0123456789",
        ),
        (
            "GET /a/b.txt",
            "If-Modified-Since: Sun, 09 Sep 2001 01:46:40 GMT\r\n",
            304,
            "",
        ),
        (
            "GET /a/b.txt",
            "If-Modified-Since: Sun, 09 Sep 2001 01:46:39 GMT\r\n",
            200,
            "0123456789",
        ),
        // The question about the tag comes before those about time and range.
        (
            "GET /a/b.txt",
            "If-Match: \"x\"\r\nIf-Modified-Since: Sun, 09 Sep 2001 01:46:40 GMT\r\n",
            412,
            "",
        ),
        ("GET /a/b.txt", "If-Match: \"x\"\r\nRange: bytes=20-\r\n", 412, ""),
        (
            "GET /a/b.txt",
            "If-None-Match: *\r\nRange: bytes=20-\r\n",
            304,
            "",
        ),
        (
            "GET /a/b.txt",
            "If-None-Match: *\r\nRange: bytes=2-4\r\nIf-Range: \"old\"\r\n",
            304,
            "",
        ),
        // Ranges.
        ("GET /a/b.txt", "Range: bytes=-30\r\n", 200, "0123456789"),
        ("GET /a/b.txt", "Range: bytes=-0\r\n", 416, ""),
        ("GET /a/b.txt", "Range: items=2-4\r\n", 200, "0123456789"),
        ("GET /a/b.txt", "Range: bytes=0-1,,4-5\r\n", 200, "0123456789"),
        ("GET /a/b.txt", "Range: bytes=2-4\r\n", 206, "234"),
        ("GET /a/b.txt", "Range: bytes=-3\r\n", 206, "789"),
        ("GET /a/b.txt", "Range: bytes=20-\r\n", 416, ""),
        ("GET /a/b.txt", "Range: bytes=0-1,4-5\r\n", 200, "0123456789"),
        (
            "GET /a/b.txt",
            "Range: bytes=2-4\r\nIf-Range: \"3b9aca00-a\"\r\n",
            206,
            "234",
        ),
        (
            "GET /a/b.txt",
            "Range: bytes=2-4\r\nIf-Range: \"old\"\r\n",
            200,
            "0123456789",
        ),
    ];
    for (request, lines, status, body) in rows {
        // A body that nobody wants is not sent.
        let (got, head, text) = ask(&proxy, request, lines);
        assert_eq!((got, &*text), (status, body), "{request} {lines}{head}");
        if (200..400).contains(&status) && status != 307 {
            assert!(head.contains("vary: accept-encoding"), "{request} {lines}{head}");
        }
    }
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn a_file_stands_in_for_what_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "index.html", "app");
    let proxy = start(folder.path(), Some("index.html"));
    for path in ["/", "/users/7", "/none.js"] {
        let (status, _, body) = ask(&proxy, &format!("GET {path}"), "");
        assert_eq!((status, &*body), (200, "app"), "{path}");
    }
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn what_is_compressed_already_is_sent_to_those_who_take_it() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "app.js", "plain");
    write(folder.path(), "app.js.br", "compressed");
    let proxy = start(folder.path(), None);
    let (_, head, body) = ask(&proxy, "GET /app.js", "Accept-Encoding: br, gzip\r\n");
    assert!(head.contains("\r\ncontent-encoding: br\r\n"), "{head}");
    assert_eq!(body, "compressed");
    assert_eq!(ask(&proxy, "GET /app.js", "").2, "plain");
    assert_eq!(proxy.stop(), 0);
}
