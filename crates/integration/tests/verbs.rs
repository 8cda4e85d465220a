//! What the command line prints for people and for programs, and how it ends.

use serde_json::Value;

use crate::world::{ECHO_MANIFEST, home_with, up};

#[test]
fn lists_have_their_documented_shape() {
    let home = up(ECHO_MANIFEST);
    let services: Value = home.json(&["ls"]);
    let service = &services.as_array().unwrap()[0];
    assert_eq!(
        (service["name"].as_str(), service["project"].as_str()),
        (Some("echo"), Some("default"))
    );
    assert_eq!(
        (service["ready"].as_u64(), service["desired"].as_u64()),
        (Some(2), Some(2))
    );
    assert_eq!(service["routes"], serde_json::json!(["all"]));
    let instances = service["instances"].as_array().unwrap();
    assert_eq!(instances.len(), 2);
    for instance in instances {
        assert!(
            instance["id"].as_str().unwrap().starts_with("echo-"),
            "{instance:#}"
        );
        assert!(instance["pid"].as_u64().unwrap() > 1);
        assert!(instance["address"].as_str().unwrap().ends_with(":3000"));
        assert_eq!(instance["state"], "ready");
        assert_eq!(instance["restarts"], 0);
    }

    let status: Value = home.json(&["status"]);
    assert_eq!(status["version"], 1);
    for process in ["server", "minder"] {
        assert!(status[process]["pid"].as_u64().unwrap() > 1, "{status:#}");
    }
    assert_eq!(status["counts"]["ready"], 2);
    assert_eq!(status["panics"], 0);
    let top: Value = home.json(&["top"]);
    assert!(top.to_string().contains("echo-"), "{top:#}");

    let shown = home.ok(&["ls"]);
    assert!(shown.contains("echo") && shown.contains("2/2"), "{shown}");
    assert!(
        !shown.contains('\u{1b}'),
        "no colours outside of a terminal: {shown:?}"
    );
    assert!(home.ok(&["describe", "echo"]).contains("echo-1"));
    assert!(
        home.ok(&["status"])
            .contains(&status["server"]["pid"].to_string())
    );
}

#[test]
fn exit_codes_tell_what_went_wrong() {
    let home = up(ECHO_MANIFEST);
    for (arguments, code) in [
        (&["nonsense"][..], 2),
        (&["scale", "echo=many"], 2),
        (&["scale"], 2),
        (&["describe", "nobody"], 3),
        (&["restart", "nobody"], 3),
        (&["scale", "nobody=2"], 3),
        (&["logs", "nobody"], 3),
        (&["ls"], 0),
        (&["--help"], 0),
        (&["--version"], 0),
    ] {
        let ran = home.run(arguments);
        assert_eq!(ran.code, Some(code), "{arguments:?}: {ran:#?}");
        assert_eq!(ran.stderr.is_empty(), code == 0, "{arguments:?}: {ran:#?}");
    }
    let near = home.run(&["describe", "ecco"]);
    assert!(
        near.stderr.contains("echo"),
        "a near name is suggested: {near:#?}"
    );
}

#[test]
fn what_needs_no_server_works_without_one() {
    let home = home_with(ECHO_MANIFEST);
    let schema: Value = serde_json::from_str(&home.ok(&["schema"])).unwrap();
    assert!(schema["$schema"].is_string() && schema["properties"]["services"].is_object());
    let completions = home.ok(&["completions", "bash"]);
    assert!(
        completions.contains("_hythe") && completions.contains("scale"),
        "{completions}"
    );
    home.ok(&["check"]);
    let ls = home.run(&["ls"]);
    assert_ne!(ls.code, Some(0));
    assert!(ls.stderr.contains("hythe up"), "it says how to get one: {ls:#?}");
    assert!(home.processes().is_empty());
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let home = up(ECHO_MANIFEST);
    let mut command = home.command(&["logs", "-f"]);
    let mut child = command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    for _ in 0..3 {
        home.ok(&["restart", "echo"]);
    }
    let output = child.wait_with_output().unwrap();
    assert!(
        !String::from_utf8_lossy(&output.stderr).contains("panicked"),
        "{output:?}"
    );
}

#[test]
fn the_home_can_be_given_as_a_flag() {
    let home = up(ECHO_MANIFEST);
    let mut elsewhere = home.command(&["--home", &home.path().to_string_lossy(), "ls", "--json"]);
    let output = elsewhere.env_remove("HYTHE_HOME").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("echo-1"));
}
