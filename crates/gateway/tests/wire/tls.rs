//! HTTPS with the clients that people have: curl and openssl.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;

use rcgen::{KeyPair, PKCS_RSA_SHA256};
use serde_json::{Value, json};

use crate::authority::Authority;
use crate::proxy::{Proxy, Setup, read_head};

/// An upstream that answers every request with its head.
pub(crate) fn mirror() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            std::thread::spawn(move || mirror_connection(stream));
        }
    });
    address
}

fn mirror_connection(mut stream: TcpStream) {
    while stream.peek(&mut [0]).is_ok_and(|count| count > 0) {
        let head = read_head(&mut stream);
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{head}", head.len());
        stream.write_all(answer.as_bytes()).unwrap();
    }
}

fn proxy(certificates: Vec<Value>) -> Proxy {
    Proxy::start(Setup {
        upstream: vec![mirror()],
        certificates,
        ..Setup::default()
    })
}

/// What curl prints; on failure, what it complains about.
fn curl(proxy: &Proxy, authority: &Path, name: &str, more: &[&str]) -> Result<String, String> {
    curl_at(proxy.https, authority, name, more)
}

/// The same of another listener.
pub(crate) fn curl_at(
    address: SocketAddr,
    authority: &Path,
    name: &str,
    more: &[&str],
) -> Result<String, String> {
    let port = address.port();
    let output = Command::new("curl")
        .args([
            "-sS",
            "--max-time",
            "20",
            "--resolve",
            &format!("{name}:{port}:127.0.0.1"),
            "--cacert",
        ])
        .arg(authority)
        .args(more)
        .arg(format!("https://{name}:{port}/path"))
        .output()
        .expect("curl is there (scripts/setup)");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    if output.status.success() {
        Ok(text(output.stdout))
    } else {
        Err(text(output.stderr))
    }
}

/// What `openssl s_client` tells about one connection.
fn s_client(proxy: &Proxy, more: &[&str]) -> String {
    s_client_at(proxy.https, more)
}

/// The same of another listener.
pub(crate) fn s_client_at(address: SocketAddr, more: &[&str]) -> String {
    let child = Command::new("openssl")
        .args(["s_client", "-connect", &address.to_string()])
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is there (scripts/setup)");
    finish(child)
}

/// Asks, waits for the end of the answer, and returns all that was printed.
fn finish(mut child: Child) -> String {
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    let mut input = child.stdin.take().unwrap();
    let mut printed = String::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    // It writes only what comes after the handshake.
    let _ = input.write_all(request.as_bytes());
    while output.read_line(&mut printed).is_ok_and(|count| count > 0) {}
    drop(input);
    child.wait().unwrap();
    printed
}

#[test]
fn the_certificate_is_that_of_the_name() {
    let authority = Authority::new();
    let proxy = proxy(vec![
        authority.certificate(&["a.test"]),
        authority.certificate(&["*.b.test"]),
    ]);
    for name in ["a.test", "A.test", "x.b.test"] {
        let answer = curl(&proxy, &authority.file(), name, &[]).unwrap();
        assert!(answer.contains("X-Forwarded-Proto: https\r\n"), "{answer}");
        assert!(answer.starts_with("GET /path HTTP/1.1\r\n"), "{answer}");
    }
    for name in ["y.x.b.test", "c.test"] {
        let error = curl(&proxy, &authority.file(), name, &[]).unwrap_err();
        assert!(error.contains("SSL") || error.contains("alert"), "{error}");
    }
    assert_eq!(proxy.metrics.tls_handshakes.load(Ordering::Relaxed), 3);
    assert_eq!(proxy.metrics.tls_failed.load(Ordering::Relaxed), 2);
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn routes_tell_names_of_the_server_apart() {
    let authority = Authority::new();
    let proxy = Proxy::start(Setup {
        upstream: vec![mirror()],
        route: json!({"snis": ["a.test"], "protocols": ["https"]}),
        certificates: vec![authority.certificate(&["a.test", "b.test"])],
        ..Setup::default()
    });
    assert!(
        curl(&proxy, &authority.file(), "a.test", &[])
            .unwrap()
            .starts_with("GET")
    );
    let other = curl(&proxy, &authority.file(), "b.test", &[]).unwrap();
    assert!(other.contains("no Route matched"), "{other}");
    assert!(
        proxy
            .ask("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
            .starts_with("HTTP/1.1 426 ")
    );
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn both_versions_are_spoken_and_sessions_resumed() {
    let authority = Authority::new();
    let proxy = proxy(vec![authority.certificate(&["a.test"])]);
    let session = authority.folder().join("session");
    let session = session.to_str().unwrap();
    for (flag, version) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let asked = ["-servername", "a.test", flag];
        let first = s_client(&proxy, &[asked.as_slice(), &["-sess_out", session]].concat());
        assert!(first.contains(&format!("New, {version}")), "{first}");
        assert!(first.contains("HTTP/1.1 200 OK"), "{first}");
        let again = s_client(&proxy, &[asked.as_slice(), &["-sess_in", session]].concat());
        assert!(again.contains(&format!("Reused, {version}")), "{again}");
        assert!(again.contains("HTTP/1.1 200 OK"), "{again}");
    }
    let old = s_client(&proxy, &["-servername", "a.test", "-tls1_1"]);
    assert!(old.contains("New, (NONE)"), "{old}");
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn both_versions_of_http_are_agreed_on() {
    let authority = Authority::new();
    let proxy = proxy(vec![authority.certificate(&["a.test"])]);
    for (flag, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let answer = curl(
            &proxy,
            &authority.file(),
            "a.test",
            &[flag, "-w", "HTTP %{http_version}"],
        )
        .unwrap();
        assert!(answer.ends_with(&format!("HTTP {version}")), "{answer}");
        assert!(answer.contains("X-Forwarded-Proto: https\r\n"), "{answer}");
    }
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn the_client_decides_between_kinds_of_keys() {
    let authority = Authority::new();
    let (cert, key) = authority.signed(&["a.test"], &KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap());
    let (cert_alt, key_alt) = authority.signed(&["a.test"], &KeyPair::generate().unwrap());
    let proxy = proxy(vec![json!({
        "cert": cert, "key": key, "cert_alt": cert_alt, "key_alt": key_alt, "snis": ["a.test"],
    })]);
    let rows = [
        ("rsa_pss_rsae_sha256", "RSA"),
        ("rsa_pss_rsae_sha256:ecdsa_secp256r1_sha256", "ecdsa"),
    ];
    for (algorithms, kind) in rows {
        let told = s_client(&proxy, &["-servername", "a.test", "-sigalgs", algorithms]);
        let line = told
            .lines()
            .find(|line| line.starts_with("Peer signature type"))
            .unwrap();
        assert!(line.to_lowercase().contains(&kind.to_lowercase()), "{line}");
    }
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn a_certificate_is_replaced_and_no_connection_notices() {
    let authority = Authority::new();
    let (before, after) = (
        authority.certificate(&["a.test"]),
        authority.certificate(&["a.test"]),
    );
    let mut proxy = proxy(vec![before]);
    let first = shown(&proxy);
    let kept = Command::new("openssl")
        .args([
            "s_client",
            "-quiet",
            "-servername",
            "a.test",
            "-connect",
            &proxy.https.to_string(),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut kept = kept.unwrap();
    ask_again(&mut kept);
    proxy.show(&[after]);
    let second = shown(&proxy);
    assert_ne!(first, second);
    ask_again(&mut kept);
    kept.kill().unwrap();
    kept.wait().unwrap();
    assert_eq!(proxy.stop(), 0);
}

/// The certificate shown now.
fn shown(proxy: &Proxy) -> String {
    let told = s_client(proxy, &["-servername", "a.test"]);
    let begin = told.find("-----BEGIN CERTIFICATE-----").unwrap();
    let end = told.find("-----END CERTIFICATE-----").unwrap();
    told[begin..end].to_owned()
}

/// One more request over a connection that is kept.
pub(crate) fn ask_again(client: &mut Child) {
    let input = client.stdin.as_mut().unwrap();
    input
        .write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .unwrap();
    let output = client.stdout.as_mut().unwrap();
    let mut answer = Vec::new();
    while !(answer.starts_with(b"HTTP/1.1 200 OK") && answer.ends_with(b"\r\n\r\n") && count(&answer) == 2) {
        let mut byte = [0];
        output.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
}

/// How many heads end in these bytes: the answer's own and the one in its body.
fn count(bytes: &[u8]) -> usize {
    bytes.windows(4).filter(|window| window == b"\r\n\r\n").count()
}

#[test]
fn plain_http_is_told_where_it_is() {
    let proxy = proxy(Vec::new());
    let mut stream = TcpStream::connect(proxy.https).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    assert!(
        answer.contains("The plain HTTP request was sent to HTTPS port"),
        "{answer}"
    );
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn a_client_that_hesitates_keeps_nobody_waiting() {
    let authority = Authority::new();
    let proxy = proxy(vec![authority.certificate(&["a.test"])]);
    let mut slow: Vec<TcpStream> = (0..20)
        .map(|_| TcpStream::connect(proxy.https).unwrap())
        .collect();
    for stream in &mut slow {
        stream.write_all(b"\x16\x03\x01").unwrap();
    }
    assert!(
        curl(&proxy, &authority.file(), "a.test", &[])
            .unwrap()
            .starts_with("GET")
    );
    drop(slow);
    assert_eq!(proxy.stop(), 0);
}

/// A server with TLS that tells what it knows of each request.
pub(crate) struct Upstream {
    process: Child,
    pub(crate) address: SocketAddr,
}

impl Upstream {
    pub(crate) fn start(authority: &Authority, names: &[&str]) -> Self {
        const SCRIPT: &str = "
            const { cert, key, ca } = JSON.parse(process.argv[1]);
            const tell = (request, answer) => answer.end(JSON.stringify({
                sni: request.socket.servername,
                host: request.headers.host,
                client: request.socket.getPeerCertificate().fingerprint256 !== undefined,
                connection: request.socket.remotePort,
            }));
            require('https')
                .createServer({ cert, key, ca, requestCert: true, rejectUnauthorized: false }, tell)
                .listen(0, '127.0.0.1', function () { console.log(this.address().port); });";
        let (cert, key) = authority.signed(names, &KeyPair::generate().unwrap());
        let ca = std::fs::read_to_string(authority.file()).unwrap();
        let mut process = Command::new("node")
            .args([
                "-e",
                SCRIPT,
                &json!({"cert": cert, "key": key, "ca": ca}).to_string(),
            ])
            .stdout(Stdio::piped())
            .spawn()
            .expect("node is there (scripts/setup)");
        let mut port = String::new();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        output.read_line(&mut port).unwrap();
        Self {
            process,
            address: SocketAddr::from(([127, 0, 0, 1], port.trim().parse().unwrap())),
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A gateway before an upstream that is sent the `Host` `a.test`.
fn before(upstream: &Upstream, authority: &Authority, service: Value) -> Proxy {
    let ca = std::fs::read_to_string(authority.file()).unwrap();
    Proxy::start(Setup {
        upstream: vec![upstream.address],
        service,
        pool: json!({"host_header": "a.test"}),
        certificates: vec![authority.certificate(&["us.test"])],
        authorities: vec![json!({"cert": ca})],
        ..Setup::default()
    })
}

/// What the upstream tells of a request, or the page there is instead.
fn told(proxy: &Proxy) -> Result<Value, String> {
    let answer = proxy.ask("GET / HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n");
    let begin = answer.find("{\"sni\"").ok_or_else(|| answer.clone())?;
    let end = answer.rfind('}').unwrap();
    Ok(serde_json::from_str(&answer[begin..=end]).unwrap())
}

#[test]
fn an_upstream_must_be_who_the_host_says() {
    let authority = Authority::new();
    let right = Upstream::start(&authority, &["a.test"]);
    let wrong = Upstream::start(&authority, &["b.test"]);
    let trusting = json!({"protocol": "https", "ca_certificates": ["number-0"]});
    let rows = [
        (&right, trusting.clone(), true),
        (&wrong, trusting, false),
        (&right, json!({"protocol": "https"}), false),
        (&wrong, json!({"protocol": "https", "tls_verify": false}), true),
    ];
    for (upstream, service, believed) in rows {
        let proxy = before(upstream, &authority, service.clone());
        match told(&proxy) {
            Ok(told) => {
                assert!(believed, "{service}");
                assert_eq!(
                    (&told["sni"], &told["host"]),
                    (&json!("a.test"), &json!("a.test"))
                );
                assert_eq!(told["client"], false);
            }
            Err(page) => assert!(
                !believed && page.starts_with("HTTP/1.1 502 "),
                "{service}: {page}"
            ),
        }
        assert_eq!(proxy.stop(), 0);
    }
}

#[test]
fn an_upstream_knows_us_and_connections_are_kept() {
    let authority = Authority::new();
    let upstream = Upstream::start(&authority, &["a.test"]);
    let service = json!({
        "protocol": "https", "ca_certificates": ["number-0"], "client_certificate": "number-0",
    });
    let proxy = before(&upstream, &authority, service);
    let (first, second) = (told(&proxy).unwrap(), told(&proxy).unwrap());
    assert_eq!(first["client"], true);
    assert_eq!(first["connection"], second["connection"]);
    assert_eq!(proxy.stop(), 0);
}
