//! `hythe startup` without a service manager that runs: what it prints, and what it refuses.

use hythe_testkit::home::Home;

#[test]
fn the_unit_is_printed_with_what_was_said() {
    let mut home = Home::new();
    home.set("PATH", "/usr/bin:/bin");
    let unit = home.ok(&[
        "startup",
        "--print",
        "--run-as",
        "deploy",
        "--drain-timeout",
        "5s",
    ]);
    let start = unit.lines().find(|line| line.starts_with("ExecStart=")).unwrap();
    for part in [
        " server run --home ",
        "--proxy-listen=127.0.0.1:0",
        "--drain-timeout=5s",
    ] {
        assert!(start.contains(part), "{start}");
    }
    for line in [
        "User=deploy",
        "Type=notify",
        "KillMode=process",
        "Environment=PATH=/usr/bin:/bin",
    ] {
        assert!(unit.lines().any(|own| own == line), "no {line} in {unit}");
    }
    assert_eq!(
        home.run(&["startup", "--print", "--workers", "many"]).code,
        Some(2)
    );
    assert_eq!(home.run(&["startup", "--print", "--name", "../x"]).code, Some(2));
}

#[test]
fn without_systemd_it_says_what_to_run() {
    if std::path::Path::new("/run/systemd/system").is_dir() {
        // On such a machine the test would install a unit.
        return;
    }
    let home = Home::new();
    let refused = home.run(&["startup"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("systemd"), "{}", refused.stderr);
    assert!(refused.stderr.contains("server run --home"), "{}", refused.stderr);
    let absent = home.run(&["unstartup", "--name", "hythe-is-not-there"]);
    assert_eq!(absent.code, Some(3));
}
