//! Clients that say who they are, with curl and openssl.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::authority::Authority;
use crate::proxy::{Proxy, Setup, insert};
use crate::tls::{ask_again, curl_at, mirror, s_client_at};

/// A gateway whose listener `asks` asks for certificates of `authority`, as `rules` say.
fn proxy(authority: &Authority, rules: &Value) -> (Proxy, SocketAddr) {
    let mut asks = json!({"listen": "127.0.0.1:0", "protocol": "https", "client_ca": ["number-0"]});
    for (key, value) in rules.as_object().unwrap() {
        asks[key] = value.clone();
    }
    let proxy = Proxy::start(Setup {
        upstream: vec![mirror()],
        certificates: vec![authority.certificate(&["a.test"])],
        authorities: vec![json!({"cert": authority.pem()})],
        listeners: vec![("asks", asks)],
        ..Setup::default()
    });
    let address = proxy.listening("asks");
    (proxy, address)
}

/// What a client of `authority` gets, with a certificate or without.
fn get(
    address: SocketAddr,
    authority: &Authority,
    shows: Option<&(String, String)>,
    more: &[&str],
) -> Result<String, String> {
    let mut args = more.to_vec();
    if let Some((cert, key)) = shows {
        args.extend(["--cert", cert, "--key", key]);
    }
    curl_at(address, &authority.file(), "a.test", &args)
}

#[test]
fn only_those_the_authority_vouches_for_are_let_in() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let below = authority.below();
    let ann = authority.client("ann.test", "");
    let deep = below.client("deep.test", below.pem());
    let eve = stranger.client("eve.test", "");
    let required = json!({});
    let optional = json!({"client_verify": "optional"});
    let shallow = json!({"client_verify_depth": 0});
    // The listener's rules, what the client shows, and whether it is let in.
    let rows = [
        (&required, Some(&ann), true),
        (&required, Some(&deep), true),
        (&required, Some(&eve), false),
        (&required, None, false),
        (&optional, Some(&ann), true),
        (&optional, Some(&eve), false),
        (&optional, None, true),
        (&shallow, Some(&ann), true),
        (&shallow, Some(&deep), false),
    ];
    for (rules, shows, lets_in) in rows {
        let (proxy, asks) = proxy(&authority, rules);
        for version in ["1.2", "1.3"] {
            let only = [format!("--tlsv{version}"), format!("--tls-max={version}")];
            let only: Vec<&str> = only.iter().flat_map(|flag| flag.split('=')).collect();
            let answer = get(asks, &authority, shows, &only);
            assert_eq!(
                answer.is_ok(),
                lets_in,
                "{rules} {shows:?} TLS {version}: {answer:?}"
            );
        }
        // A client may know that it is refused before the gateway has counted it.
        let metrics = Arc::clone(&proxy.metrics);
        assert_eq!(proxy.stop(), 0);
        let refused = metrics.client_certificates_refused.load(Ordering::Relaxed);
        assert_eq!(refused, if lets_in { 0 } else { 2 }, "{rules} {shows:?}");
    }
}

#[test]
fn the_service_is_told_who_it_is_and_by_nobody_else() {
    const POSING: [&str; 6] = [
        "-H",
        "X-Forwarded-Client-Cert: Hash=66;Subject=\"CN=admin\"",
        "-H",
        "Client-Cert: :AAAA:",
        "-H",
        "X_Forwarded_Client_Cert: Hash=66",
    ];
    let authority = Authority::new();
    let ann = authority.client("ann.test", "");
    let (proxy, asks) = proxy(&authority, &json!({"client_verify": "optional"}));
    for http in ["--http1.1", "--http2"] {
        let flags = [&POSING[..], &[http]].concat();
        let told = get(asks, &authority, Some(&ann), &flags).unwrap();
        let lines = |name: &str| {
            let found = told
                .lines()
                .filter(|line| line.to_ascii_lowercase().contains(name));
            found.collect::<Vec<_>>()
        };
        let [told_of] = lines("forwarded-client-cert")[..] else {
            panic!("{told}")
        };
        assert!(told_of.starts_with("X-Forwarded-Client-Cert: Hash="), "{told_of}");
        assert!(
            told_of.ends_with(";Subject=\"CN=ann.test\";DNS=ann.test"),
            "{told_of}"
        );
        let [itself] = lines("client-cert: :")[..] else {
            panic!("{told}")
        };
        let base64 = std::fs::read_to_string(&ann.0).unwrap();
        let base64: String = base64.lines().filter(|line| !line.starts_with('-')).collect();
        assert_eq!(itself, format!("Client-Cert: :{base64}:"));

        let nobody = get(asks, &authority, None, &flags).unwrap();
        assert!(!nobody.to_ascii_lowercase().contains("client-cert"), "{nobody}");
        assert!(!nobody.to_ascii_lowercase().contains("client_cert"), "{nobody}");
    }
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn other_authorities_count_from_the_next_handshake_on() {
    let (authority, next) = (Authority::new(), Authority::new());
    let (ann, bob) = (authority.client("ann.test", ""), next.client("bob.test", ""));
    let (mut proxy, asks) = proxy(&authority, &json!({}));
    let kept = Command::new("openssl")
        .args(["s_client", "-quiet", "-servername", "a.test", "-cert", &ann.0])
        .args(["-key", &ann.1, "-connect", &asks.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut kept = kept.unwrap();
    ask_again(&mut kept);
    proxy.change(|desired, _| {
        insert(
            &mut desired.ca_certificates,
            "number-0",
            json!({"cert": next.pem()}),
        );
    });
    assert!(get(asks, &authority, Some(&bob), &[]).is_ok());
    assert!(get(asks, &authority, Some(&ann), &[]).is_err());
    ask_again(&mut kept);
    kept.kill().unwrap();
    kept.wait().unwrap();
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn a_session_begun_elsewhere_is_not_taken_up() {
    let authority = Authority::new();
    let ann = authority.client("ann.test", "");
    let (proxy, asks) = proxy(&authority, &json!({}));
    let session = authority.folder().join("session");
    let session = session.to_str().unwrap();
    let shows = ["-servername", "a.test", "-cert", &ann.0, "-key", &ann.1];
    for flag in ["-tls1_2", "-tls1_3"] {
        let begin = ["-servername", "a.test", flag, "-sess_out", session];
        s_client_at(proxy.https, &begin);
        let again = s_client_at(asks, &["-servername", "a.test", flag, "-sess_in", session]);
        assert!(!again.contains("Reused") && !again.contains("200 OK"), "{again}");

        let begin = [&shows[..], &[flag, "-sess_out", session]].concat();
        assert!(s_client_at(asks, &begin).contains("CN=ann.test"), "it is ann's");
        let again = s_client_at(asks, &["-servername", "a.test", flag, "-sess_in", session]);
        assert!(
            again.contains("Reused") && again.contains("CN=ann.test"),
            "{again}"
        );
    }
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn a_listener_below_http_asks_as_well() {
    let authority = Authority::new();
    let ann = authority.client("ann.test", "");
    let (proxy, asks) = proxy(&authority, &json!({"protocol": "tls", "service": "up"}));
    let told = get(asks, &authority, Some(&ann), &[]).unwrap();
    assert!(
        told.starts_with("GET /path HTTP/1.1\r\n") && !told.contains("X-Real-IP"),
        "{told}"
    );
    assert!(get(asks, &authority, None, &[]).is_err());
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn nobody_is_let_in_when_it_is_not_known_whom_to_believe() {
    let authority = Authority::new();
    let ann = authority.client("ann.test", "");
    let (mut proxy, _) = proxy(&authority, &json!({}));
    let asking = json!({"listen": "127.0.0.1:0", "protocol": "https", "client_ca": ["nobody"]});
    let problems = proxy.change_badly(|desired, _| {
        insert(&mut desired.listeners, "other", asking);
    });
    assert_eq!(
        problems,
        ["listener `other`: there is no CA certificate `nobody`"]
    );
    let other = proxy.listening("other");
    assert!(get(other, &authority, Some(&ann), &[]).is_err());
    assert_eq!(proxy.stop(), 0);
}
