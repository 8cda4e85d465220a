//! gRPC's own client and server with the gateway between them.

use hythe_testkit::home::Home;

use crate::programs::{python_command, run_python};
use crate::tls::Authority;
use crate::world::{Peak, alone, is_long, up, volume};

/// A home with so many processes that answer calls.
fn calls(replicas: u32) -> Home {
    let command = python_command("grpc_service.py");
    up(&format!(
        "\
services:
  calls:
    command: {command}
    port: 50051
    upstream: {{protocol: grpc}}
    deploy: {{replicas: {replicas}}}
routes:
  - {{name: calls, service: calls, protocols: [grpc], paths: [/walk.Calls]}}
"
    ))
}

#[track_caller]
fn client(home: &Home, args: &[&str]) {
    let gateway = home.gateway().to_string();
    run_python(home, "grpc_client.py", &[&[gateway.as_str()], args].concat());
}

#[test]
fn calls_of_every_shape_errors_and_deadlines_pass_through() {
    let home = calls(1);
    for case in ["shapes", "error", "unknown", "deadline"] {
        client(&home, &[case]);
    }
}

#[test]
fn calls_pass_through_under_tls_on_both_sides() {
    let home = Home::new();
    let authority = Authority::new(&home, "authority");
    authority.sign(&home, "calls", "calls.test");
    let command = python_command("grpc_service.py");
    home.write(
        "hythe.yaml",
        &format!(
            "\
services:
  calls:
    command: {command}
    port: 50051
    environment: {{CERTIFICATE: calls}}
    upstream: {{protocol: grpcs, host_header: calls.test, ca_certificates: [authority]}}
routes:
  - {{name: calls, service: calls, protocols: [grpcs], paths: [/walk.Calls]}}
certificates:
  - {{cert_file: calls.pem, key_file: calls.key}}
ca_certificates:
  - {{name: authority, cert_file: authority.pem}}
"
        ),
    );
    home.ok(&["up", "-d"]);
    let gateway = format!("https://{}", home.status().listen.proxy_tls[0]);
    for case in ["shapes", "error", "unknown", "deadline"] {
        run_python(&home, "grpc_client.py", &[&gateway, case]);
    }
}

#[test]
fn a_killed_process_fails_its_own_calls_only() {
    let home = calls(2);
    client(&home, &["kill"]);
}

#[test]
fn long_streams_of_messages_take_no_memory() {
    let _turn = alone();
    let home = calls(1);
    client(&home, &["shapes"]);
    let peak = Peak::of(&home);
    // A message at a time is slow work for Python.
    let bytes = if is_long() { volume() } else { volume() / 4 };
    client(&home, &["volume", &bytes.to_string()]);
    peak.stayed();
}
