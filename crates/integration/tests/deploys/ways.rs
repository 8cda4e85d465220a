//! How hosts are reached, and what is wrong before any is.

use serde_json::json;

use super::world::{Site, read};

#[test]
fn this_machine_needs_no_ssh() {
    let mut site = Site::new(0);
    site.push("one");
    site.home.set("PATH", &site.path_without("ssh"));
    let app = site.home.folder().join("deployed");
    site.target(
        &json!({"host": "localhost", "key": null, "ssh_options": null, "path": app,
        "post-deploy": "cp version \"$SHARED/runs\""}),
    );
    site.home.ok(&["deploy", "production", "setup"]);
    site.home.ok(&["deploy", "production"]);
    assert_eq!(read(&app.join("shared/runs")), "one");

    site.target(&json!({"host": "elsewhere"}));
    let failed = site.home.run(&["deploy", "production"]);
    assert!(failed.stderr.contains("cannot run ssh"), "{failed:?}");
    assert!(failed.stderr.contains("openssh-client"), "{failed:?}");
}

#[test]
fn strangers_are_not_talked_to() {
    let site = Site::new(1);
    site.push("one");
    let others = site.home.folder().join("others");
    std::fs::write(&others, "").unwrap();
    site.target(&json!({"ssh_options": [format!("UserKnownHostsFile={}", others.display())]}));
    let refused = site.home.run(&["deploy", "production", "setup"]);
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("Host key verification failed"),
        "{refused:?}"
    );
    assert!(
        refused.stderr.contains("hint: its key is not known here"),
        "{refused:?}"
    );

    let mut wanted = site.target(&json!({"key": "/nowhere"}));
    assert!(wanted["key"].take().is_string());
    let refused = site.home.run(&["deploy", "production", "setup"]);
    assert!(refused.stderr.contains("Permission denied"), "{refused:?}");
    assert!(
        refused.stderr.contains("hint: no key is accepted there"),
        "{refused:?}"
    );
}

#[test]
fn mistakes_of_the_file_and_the_words_are_told_before_anything_is_done() {
    let site = Site::new(0);
    site.push("one");
    site.home.write(
        "ecosystem.json",
        "{\n  deploy: {production: {host: '-x',\n    path: 'a\\nb'}}}\n",
    );
    let rows: [(&[&str], &[&str]); 6] = [
        (
            &["deploy", "production", "list", "--dry-run"],
            &["--dry-run is for"],
        ),
        (
            &["deploy", "production", "revert", "--ref", "x"],
            &["--ref is for"],
        ),
        (
            &["deploy", "production"],
            &[
                "line 2, column 31: `deploy.production.host`",
                "line 3, column 11: `deploy.production.path`",
            ],
        ),
        (
            &["deploy", "staging"],
            &["has no `deploy.staging`", "it has production"],
        ),
        (
            &["deploy", "production", "deploi"],
            &["`deploi` is none of its verbs"],
        ),
        (
            &["deploy", "absent.json", "production"],
            &["cannot read absent.json"],
        ),
    ];
    for (words, parts) in rows {
        let refused = site.home.run(words);
        assert_eq!(refused.code, Some(2), "{refused:?}");
        for part in parts {
            assert!(refused.stderr.contains(part), "{part}: {refused:?}");
        }
    }
    assert!(!site.home.path().join("deploy").exists());
}
