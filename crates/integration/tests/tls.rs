//! TLS with those who speak it elsewhere: certificates that change under load, nginx behind us.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use hythe_testkit::home::Home;
use hythe_testkit::wait::until;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

use crate::programs::run;
use crate::world::{ECHO_MANIFEST, alone, home_with};
use hythe_testkit::free_address;

/// Somebody who signs certificates; `NAME.pem` in the folder of a home is their own.
pub(crate) struct Authority(Issuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new(home: &Home, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        home.write(&format!("{name}.pem"), &params.self_signed(&key).unwrap().pem());
        Self(Issuer::new(params, key))
    }

    /// Writes a certificate for `host` and its key: `FILE.pem` and `FILE.key`.
    pub(crate) fn sign(&self, home: &Home, file: &str, host: &str) {
        self.sign_until(home, file, host, 2100);
    }

    fn sign_until(&self, home: &Home, file: &str, host: &str, year: i32) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        home.write(&format!("{file}.pem"), &certificate.pem());
        home.write(&format!("{file}.key"), &key.serialize_pem());
    }
}

fn https(home: &Home) -> SocketAddr {
    home.status().listen.proxy_tls[0].parse().unwrap()
}

/// Whether curl believes the gateway by `authority`, and gets a 200.
fn is_believed(home: &Home, address: SocketAddr, authority: &str) -> bool {
    let port = address.port();
    let output = Command::new("curl")
        .args([
            "-sf",
            "--max-time",
            "30",
            "-o",
            "/dev/null",
            "--cacert",
            authority,
        ])
        .args(["--resolve", &format!("shop.test:{port}:127.0.0.1")])
        .arg(format!("https://shop.test:{port}/"))
        .current_dir(home.folder())
        .output();
    output.expect("curl is there (scripts/setup)").status.success()
}

const CERTIFICATES: &str = "\
certificates:
  - {name: shop, cert_file: shop.pem, key_file: shop.key}
";

#[test]
fn certificates_are_replaced_under_load_and_nothing_fails() {
    let _turn = alone();
    let home = home_with(&format!("{ECHO_MANIFEST}{CERTIFICATES}"));
    let authorities = ["one", "two"].map(|name| Authority::new(&home, name));
    let both = ["one.pem", "two.pem"].map(|file| fs::read_to_string(home.folder().join(file)).unwrap());
    home.write("both.pem", &both.concat());
    authorities[0].sign(&home, "shop", "shop.test");
    home.ok(&["up", "-d"]);
    let address = https(&home);
    let (done, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        // Kept connections with many streams, and a new connection for each request.
        scope.spawn(|| {
            let url = format!("https://{address}/");
            while !done.load(Ordering::Acquire) {
                let report = run(&home, "h2load", &["-n", "400", "-c", "4", "-m", "5", &url]);
                assert!(report.contains("400 succeeded, 0 failed, 0 errored"), "{report}");
                rounds.fetch_add(1, Ordering::AcqRel);
            }
        });
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                assert!(is_believed(&home, address, "both.pem"), "a request failed");
                rounds.fetch_add(1, Ordering::AcqRel);
            }
        });
        let over = Over(&done);
        for change in 1..=4 {
            let before = rounds.load(Ordering::Acquire);
            until("there is load", || rounds.load(Ordering::Acquire) > before + 2);
            authorities[change % 2].sign(&home, "shop", "shop.test");
            home.ok(&["up", "-d"]);
            let (new, old) = if change % 2 == 1 {
                ("two", "one")
            } else {
                ("one", "two")
            };
            assert!(
                is_believed(&home, address, &format!("{new}.pem")),
                "change {change}"
            );
            assert!(
                !is_believed(&home, address, &format!("{old}.pem")),
                "change {change}"
            );
        }
        drop(over);
    });
}

/// Ends the load, also when a test fails: whoever waits for the threads would wait for ever.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// nginx with a certificate for `right.test`, one for another name and one whose time is over.
fn nginx_manifest(home: &Home, addresses: &[SocketAddr]) -> String {
    let folder = home.folder();
    let folder = folder.display();
    let servers: String = addresses
        .iter()
        .zip(["right", "wrong", "expired"])
        .map(|(address, name)| {
            format!(
                "server {{ listen {address} ssl; ssl_certificate {folder}/{name}.pem; \
                 ssl_certificate_key {folder}/{name}.key; \
                 location / {{ return 200 \"$ssl_server_name $host\"; }} }}\n"
            )
        })
        .collect();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {folder}/{kind};"))
        .concat();
    home.write(
        "nginx.conf",
        &format!(
            "daemon off;\npid {folder}/nginx.pid;\nerror_log stderr;\nevents {{}}\n\
             http {{\naccess_log off;\n{temporary}\n{servers}}}\n"
        ),
    );
    let service = |name: &str, address: &SocketAddr, more: &str| {
        format!(
            "  {name}:\n    targets: [{{target: '{address}'}}]\n    \
             upstream: {{protocol: https, host_header: right.test{more}}}\n"
        )
    };
    let known = ", ca_certificates: [authority]";
    let services = [
        service("right", &addresses[0], known),
        service("wrong", &addresses[1], known),
        service("expired", &addresses[2], known),
        service("unknown", &addresses[0], ""),
        service("lenient", &addresses[1], ", tls_verify: false"),
    ];
    let routes: String = ["right", "wrong", "expired", "unknown", "lenient"]
        .iter()
        .map(|name| format!("  - {{name: {name}, service: {name}, paths: [/{name}]}}\n"))
        .collect();
    format!(
        "services:\n  nginx: {{command: 'nginx -e stderr -c {folder}/nginx.conf'}}\n{}\
         ca_certificates:\n  - {{name: authority, cert_file: authority.pem}}\nroutes:\n{routes}",
        services.concat()
    )
}

#[test]
fn nginx_behind_us_must_be_who_we_ask_for_and_the_log_says_why_not() {
    let home = Home::new();
    let authority = Authority::new(&home, "authority");
    authority.sign(&home, "right", "right.test");
    authority.sign(&home, "wrong", "wrong.test");
    authority.sign_until(&home, "expired", "right.test", 2021);
    let addresses = [free_address(), free_address(), free_address()];
    let manifest = nginx_manifest(&home, &addresses);
    home.write("hythe.yaml", &manifest);
    home.ok(&["up", "-d"]);
    until("nginx serves", || home.get("/lenient").status == 200);
    assert_eq!(home.get("/right").body, "right.test right.test");
    let rows = [
        ("/wrong", "not valid for name"),
        ("/expired", "expired"),
        ("/unknown", "UnknownIssuer"),
    ];
    for (path, reason) in rows {
        let answer = home.get(path);
        assert_eq!(answer.status, 502, "{path}: {answer:?}");
        let log = home.path().join("logs/access.log");
        let told = || {
            let log = fs::read_to_string(&log).unwrap_or_default();
            let line = log
                .lines()
                .find(|line| line.contains(&format!("\"uri\":\"{path}\"")));
            line.is_some_and(|line| line.contains("\"upstream_error\"") && line.contains(reason))
        };
        until(&format!("the log says `{reason}` of {path}"), told);
    }
}
