//! What is deployed: commits, folders, and what releases share.

use serde_json::json;

use super::world::{Site, read};
use super::{RESTART, current, runs};

#[test]
fn only_what_is_pushed_is_deployed() {
    let site = Site::new(1);
    site.push("one");
    site.target(&json!({"post-deploy": RESTART}));
    for what in ["setup", "update"] {
        let told = site.home.ok(&["deploy", "production", what, "--dry-run"]);
        assert!(told.contains("look what is there"), "{told}");
    }
    let told = site
        .home
        .ok(&["deploy", "production", "exec", "touch \"$HOME/x\"", "--dry-run"]);
    assert!(told.contains("| touch \"$HOME/x\""), "{told}");
    assert!(!site.app(0).exists(), "a dry run touches nothing");
    assert!(!site.machines[0].was_asked(), "and asks nobody");

    site.home.ok(&["deploy", "production", "setup"]);
    site.home.write("version", "edited\n");
    let refused = site.home.run(&["deploy", "production"]);
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("changes that are not committed"),
        "{refused:?}"
    );
    site.git(&["commit", "--quiet", "-am", "edited"]);
    let refused = site.home.run(&["deploy", "production"]);
    assert!(
        refused.stderr.contains("commits that are not pushed"),
        "{refused:?}"
    );
    site.home.ok(&["deploy", "production", "--force"]);
    assert_eq!(current(&site, 0), "one");

    site.git(&["checkout", "--quiet", "-b", "feature/x"]);
    site.git(&["push", "--quiet", "-u", "origin", "feature/x"]);
    site.git(&["tag", "v1", "HEAD~1"]);
    site.git(&["push", "--quiet", "--tags"]);
    for (reference, version) in [
        ("feature/x", "edited"),
        ("v1", "one"),
        ("origin/feature/x", "edited"),
    ] {
        site.home.ok(&["deploy", "production", "--ref", reference]);
        assert_eq!(current(&site, 0), version, "{reference}");
    }
    let refused = site.home.run(&["deploy", "production", "ref", "absent"]);
    assert!(
        refused.stderr.contains("no branch, tag or commit absent"),
        "{refused:?}"
    );
    assert!(
        refused.stderr.contains("what is current stays as it was"),
        "{refused:?}"
    );
}

#[test]
fn releases_share_what_is_shared_and_come_back_when_they_are_gone() {
    let site = Site::new(1);
    let wanted = json!({"post-deploy": "cat .env version > \"$SHARED/runs\"; echo \"$RELEASE\" >> logs/where",
        "shared": ["logs", ".env"], "keep_releases": 1});
    site.push("one");
    site.target(&wanted);
    let refused = site.home.run(&["deploy", "production", "setup"]);
    assert!(
        refused
            .stderr
            .contains("shared/.env is not on this host: put it there"),
        "{refused:?}"
    );
    std::fs::write(site.app(0).join("shared/.env"), "SECRET\n").unwrap();
    site.home.ok(&["deploy", "production", "setup"]);
    for version in ["one", "two", "three"] {
        site.push(version);
        site.home.ok(&["deploy", "production"]);
        let folders = std::fs::read_dir(site.app(0).join("releases")).unwrap().count();
        assert_eq!(folders, 1, "{version}");
    }
    let told = site.home.ok(&["deploy", "production", "revert", "2"]);
    assert!(told.contains("is made again"), "{told}");
    assert_eq!(runs(&site, 0), "SECRET one");
    assert_eq!(read(&site.app(0).join("shared/logs/where")).lines().count(), 4);
}

#[test]
fn a_folder_without_a_repository_is_uploaded() {
    let site = Site::new(2);
    site.push("one");
    site.target(&json!({"repo": null, "ref": null, "post-deploy": RESTART}));
    site.home.write(".deployignore", "*.md\n");
    site.home.write("notes.md", "");
    site.home.write("version", "edited\n");
    site.home.ok(&["deploy", "production", "setup"]);
    site.home.ok(&["deploy", "production"]);
    for machine in 0..2 {
        assert_eq!(current(&site, machine), "edited");
        assert!(!site.app(machine).join("current/notes.md").exists());
        assert!(!site.app(machine).join("current/.git").exists());
    }
    site.home.write("version", "broken\n");
    assert_eq!(site.home.run(&["deploy", "production"]).code, Some(1));
    assert_eq!(current(&site, 0), "edited");
}

#[test]
fn a_folder_of_pm2_goes_on() {
    let site = Site::new(1);
    site.push("one");
    let app = site.app(0);
    std::fs::create_dir_all(app.join("shared")).unwrap();
    let clone = app.join("source");
    site.git(&["clone", "--quiet", &site.repository(), &clone.to_string_lossy()]);
    std::os::unix::fs::symlink(&clone, app.join("current")).unwrap();
    std::fs::write(app.join(".deploys"), site.git(&["rev-parse", "HEAD"]) + "\n").unwrap();

    site.target(&json!({"post-deploy": RESTART}));
    site.push("broken");
    assert_eq!(site.home.run(&["deploy", "production"]).code, Some(1));
    assert_eq!(
        (current(&site, 0), runs(&site, 0)),
        ("one".to_owned(), "one".to_owned())
    );
    site.push("two");
    site.home.ok(&["deploy", "production"]);
    assert_eq!(current(&site, 0), "two");
    site.home.ok(&["deploy", "production", "revert"]);
    assert_eq!(current(&site, 0), "one");
    assert_eq!(read(&clone.join("version")), "one", "its clone is as it was");
}
