//! Real clients of HTTP/2: curl, nghttp and h2load.

use std::fs;

use hythe_testkit::home::Home;

use crate::programs::run;
use crate::world::{ECHO_MANIFEST, STREAMS_MANIFEST, alone, up};

fn url(home: &Home, path: &str) -> String {
    format!("http://{}{path}", home.gateway())
}

/// Writes some megabytes of lines into the folder of a home; what was written.
fn upload(home: &Home) -> String {
    let text: String = (0..400_000).map(|line| format!("line {line}\n")).collect();
    home.write("upload", &text);
    text
}

#[test]
fn curl_gets_and_posts() {
    let home = up(ECHO_MANIFEST);
    let head = run(
        &home,
        "curl",
        &["-siS", "--http2-prior-knowledge", &url(&home, "/a")],
    );
    assert!(head.starts_with("HTTP/2 200"), "{head}");
    assert!(head.contains("\nx-path: /a\r"), "{head}");

    let sent = upload(&home);
    let url = url(&home, "/");
    let post = [
        "-sS",
        "--http2-prior-knowledge",
        "--data-binary",
        "@upload",
        "-o",
        "echo",
        &url,
    ];
    run(&home, "curl", &post);
    assert!(
        fs::read_to_string(home.folder().join("echo")).unwrap() == sent,
        "not what was sent"
    );
}

#[test]
fn curl_agrees_on_http2_under_tls() {
    let home = up(ECHO_MANIFEST);
    let url = format!("https://{}/a", home.status().listen.proxy_tls[0]);
    for (asked, got) in [("--http2", "HTTP/2 200"), ("--http1.1", "HTTP/1.1 200")] {
        let answer = run(&home, "curl", &["-siSk", asked, &url]);
        assert!(answer.starts_with(got), "{asked}: {answer}");
    }
}

#[test]
fn nghttp_gets_and_posts() {
    let home = up(ECHO_MANIFEST);
    let frames = run(&home, "nghttp", &["-nv", &url(&home, "/a")]);
    assert!(frames.contains(":status: 200"), "{frames}");
    let sent = upload(&home);
    let echo = run(&home, "nghttp", &["--data=upload", &url(&home, "/")]);
    assert!(echo == sent, "not what was sent: {} bytes", echo.len());
}

#[test]
fn trailers_of_a_service_reach_the_client() {
    let home = up(STREAMS_MANIFEST);
    let frames = run(&home, "nghttp", &["-v", "--no-dep", &url(&home, "/trailers")]);
    let after_body = frames.split("counted").nth(1).unwrap_or_default();
    assert!(after_body.contains("x-checksum: 7"), "{frames}");
}

#[test]
fn many_streams_over_few_connections_all_succeed() {
    let _turn = alone();
    let home = up(ECHO_MANIFEST);
    let report = run(
        &home,
        "h2load",
        &["-n", "2000", "-c", "4", "-m", "20", &url(&home, "/")],
    );
    assert!(
        report.contains("2000 succeeded, 0 failed, 0 errored, 0 timeout"),
        "{report}"
    );
    assert!(report.contains("status codes: 2000 2xx"), "{report}");
}
