//! Whatever is written into a target arrives as it was written, and nowhere else.

use serde_json::json;

use super::world::{Site, read};

const NASTY: &str = "a \"b\" 'c' $HOME `d` \\e $(f)\n  g*  ; # h";

#[test]
fn values_arrive_as_they_were_written() {
    let site = Site::with_folder(1, "my \"app's\" $HOME");
    site.push("one");
    site.target(&json!({
        "env": {"nasty": NASTY, "LAST": "x\n"},
        "pre-deploy": "printf %s \"$NASTY\" > \"$SHARED/pre\"\n\n# it's a 'comment\"\ncat",
        "post-deploy": "printf '%s' \"it's \\\"$DEPLOY_ENV\\\" of $DEPLOY_FILE\" > \"$SHARED/post\"\nprintf %s \"$LAST\" | wc -c > \"$SHARED/last\"\n[[ $PWD == \"$RELEASE\" && -e $CURRENT/version ]] || exit 9\nEND() { :; }\nEND\nEND_() { END; }",
    }));
    site.home.ok(&["deploy", "production", "setup"]);
    site.home.ok(&["deploy", "production"]);
    let shared = site.app(0).join("shared");
    assert_eq!(read(&shared.join("pre")), NASTY);
    assert_eq!(
        read(&shared.join("post")),
        "it's \"production\" of ecosystem.json"
    );
    assert_eq!(read(&shared.join("last")), "2");
    site.machines[0].has_nothing_left();
}

#[test]
fn commands_are_the_hosts_to_understand() {
    let site = Site::new(2);
    site.push("one");
    site.target(&json!({"env": {"GREETING": "it's me"}}));
    let refused = site.home.run(&["deploy", "production", "exec", "true"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    site.home.ok(&["deploy", "production", "setup"]);
    let said = site.home.ok(&[
        "deploy",
        "production",
        "exec",
        "echo \"$HOME\"  '$x' \"a  b\" $GREETING; cat version",
    ]);
    for machine in &site.machines {
        let line = format!("| {} $x a  b it's me", machine.home.display());
        assert!(said.contains(&line), "{line}: {said}");
    }
    assert_eq!(said.matches("| one").count(), 2, "{said}");
    assert_eq!(said.lines().count(), 4, "and nothing of ours: {said}");
    let address = site.machines[0].address();
    site.target(&json!({"host": address}));
    assert_eq!(
        site.home.ok(&["deploy", "production", "exec", "cat", "version"]),
        "one\n"
    );
    let failed = site.home.run(&["deploy", "production", "exec", "exit 7"]);
    assert_eq!(failed.code, Some(1));
    assert!(
        failed.stderr.contains("command failed with exit code 7"),
        "{failed:?}"
    );
}

#[test]
fn secrets_are_no_arguments_and_in_no_log() {
    let site = Site::new(1);
    site.push("one");
    let secret = "hunter-2-is-secret";
    site.target(&json!({
        "env": {"PASSWORD": secret},
        "pre-deploy-local": "ps axww -o args > processes-here",
        "post-deploy": "[ -n \"$PASSWORD\" ] && ps axww -o args > \"$SHARED/processes\"",
    }));
    site.home.ok(&["deploy", "production", "setup"]);
    site.home.ok(&["deploy", "production"]);
    let told = site.home.ok(&["deploy", "production", "--dry-run"]);
    assert!(told.contains("PASSWORD") && !told.contains(secret), "{told}");
    for file in [
        site.app(0).join("shared/processes"),
        site.home.folder().join("processes-here"),
        site.home.path().join("deploy/production.log"),
    ] {
        let text = read(&file);
        assert!(
            text.len() > 100 && !text.contains(secret),
            "{}: {text}",
            file.display()
        );
    }
}

#[test]
fn hooks_have_a_terminal_if_they_need_one() {
    let site = Site::new(1);
    site.push("one");
    let hook = "test -t 1 && echo \"a terminal for $WHO\" || echo no terminal\nls \"$0\" | wc -l; exit 5";
    let wanted = |needs: bool| json!({"needs_tty": needs, "env": {"WHO": "it's \"me\""}, "pre-setup": hook});
    for (needs, line) in [(true, "| a terminal for it's \"me\""), (false, "| no terminal")] {
        site.target(&wanted(needs));
        let ran = site.home.run(&["deploy", "production", "setup"]);
        assert!(ran.stdout.lines().any(|said| said.ends_with(line)), "{ran:#?}");
        assert!(
            ran.stderr.contains("pre-setup failed with exit code 5"),
            "{ran:#?}"
        );
    }
}
