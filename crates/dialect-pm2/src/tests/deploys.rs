//! Targets of `deploy`.

use super::told;
use crate::deploy::{HealthCheck, Source, Target};
use crate::file::parse_json;
use crate::{Problem, Severity};

const LEAST: &str = "host: 'h', repo: 'r', ref: 'main', path: '/app'";

fn read(fields: &str) -> (Option<Target>, Vec<Problem>) {
    let parsed = parse_json(&format!("{{deploy: {{p: {{{fields}}}}}}}"));
    let ecosystem = parsed.ecosystem.expect("a file without errors");
    ecosystem.deploy["p"].read("p")
}

#[track_caller]
fn target(fields: &str) -> Target {
    let (target, problems) = read(fields);
    target.unwrap_or_else(|| panic!("{fields}: {problems:#?}"))
}

#[test]
fn the_least_that_may_be_said_has_defaults() {
    let least = target(LEAST);
    assert_eq!((least.keep_releases, least.max_parallel), (5, 10));
    let source = Source::Git {
        repo: "r".to_owned(),
        reference: "main".to_owned(),
        shallow: false,
    };
    assert_eq!(least.source, source);
    assert_eq!(target("host: 'h', path: '~/app'").source, Source::Upload);
}

#[test]
fn keys_have_three_forms() {
    for keys in [
        ["post-deploy", "forward-agent", "ssh-options", "needs-tty"],
        ["post_deploy", "forward_agent", "ssh_options", "needs_tty"],
        ["postDeploy", "forwardAgent", "sshOptions", "needsTty"],
    ] {
        let [post, agent, options, tty] = keys;
        let read = target(&format!(
            "{LEAST}, '{post}': 'a\\nb \"$X\"', '{agent}': true, '{options}': 'A=b', '{tty}': 'true'"
        ));
        assert_eq!(read.hooks.post_deploy.as_deref(), Some("a\nb \"$X\""), "{post}");
        assert!(read.forward_agent && read.needs_tty, "{post}");
        assert_eq!(read.ssh_options, ["A=b"], "{post}");
    }
}

#[test]
fn hosts_have_users_and_ports_of_their_own() {
    let rows = [
        ("host: 'h'", "h"),
        ("host: 'u@h'", "u@h"),
        ("host: 'h:22', user: 'v', port: 23", "v@h:22"),
        ("host: ['a', 'u@b:24'], user: 'v', port: 25", "v@a:25 u@b:24"),
        ("host: '::1'", "::1"),
        ("host: 'u@[::1]:26'", "u@[::1]:26"),
    ];
    for (fields, expected) in rows {
        let hosts = target(&format!("{fields}, path: '/a'")).hosts;
        let shown: Vec<_> = hosts.iter().map(ToString::to_string).collect();
        assert_eq!(shown.join(" "), expected, "{fields}");
    }
}

#[test]
fn variables_are_named_in_capitals_and_keep_their_values() {
    let env = target(&format!("{LEAST}, env: {{node_env: 'a\\'\"$\\nb', N: 1}}")).env;
    assert_eq!(env["NODE_ENV"], "a'\"$\nb");
    assert_eq!(env["N"], "1");
}

#[test]
fn a_health_check_is_a_text_or_a_map() {
    let short = HealthCheck {
        check: "http://h/".to_owned(),
        tries: 11,
        interval_s: 2,
    };
    assert_eq!(
        target(&format!("{LEAST}, health_check: 'http://h/'")).health_check,
        Some(short.clone())
    );
    let long = "healthCheck: {check: 'http://h/', retries: 3, interval: '1500ms'}";
    let expected = HealthCheck { tries: 4, ..short };
    assert_eq!(target(&format!("{LEAST}, {long}")).health_check, Some(expected));
}

#[test]
fn every_mistake_is_told() {
    let rows: [(&str, &[&str]); 15] = [
        ("", &["`deploy.p.host` is missing", "`deploy.p.path` is missing"]),
        (
            "host: [], path: 'a\\nb', repo: 'r', port: 'x', user: 'a b'",
            &[
                "`deploy.p.host` must name a host",
                "`deploy.p.path` must be one line that does not begin with a hyphen",
                "`deploy.p.ref` is missing",
                "`deploy.p.port` must be a port from 0 to 65535, not `x`",
                "`deploy.p.user` must be a name of a user, not `a b`",
            ],
        ),
        (
            "host: '-oProxyCommand=x', path: '/a'",
            &["`deploy.p.host` must be one line that does not begin with a hyphen"],
        ),
        (
            "host: 'u@-h', path: '/a'",
            &["`deploy.p.host` must be `host`, `user@host` or `user@host:port`, not `u@-h`"],
        ),
        (
            "host: 'h:0', path: '/a'",
            &["`deploy.p.host` must be `host`, `user@host` or `user@host:port`, not `h:0`"],
        ),
        ("host: ['h', 'h'], path: '/a'", &["`deploy.p.host` names h twice"]),
        (
            "host: 'h', path: '~other/a'",
            &["`deploy.p.path` must be a folder like `/var/www/app` or `~/app`, not `~other/a`"],
        ),
        (
            "host: 'h', path: '/'",
            &["`deploy.p.path` must be a folder like `/var/www/app` or `~/app`, not `/`"],
        ),
        (
            "host: 'h', path: '/a', repo: 'r', ref: '--upload-pack=x'",
            &["`deploy.p.ref` must be one line that does not begin with a hyphen"],
        ),
        (
            "host: 'h', path: '/a', shared: ['logs', '../x']",
            &["`deploy.p.shared` must be paths below the release, and `../x` is none"],
        ),
        (
            "host: 'h', path: '/a', keep_releases: 0",
            &["`deploy.p.keep_releases` must be at least 1"],
        ),
        (
            "host: 'h', path: '/a', fetch: 'slow'",
            &["`deploy.p.fetch` must be `fast` or left out, not `slow`"],
        ),
        (
            "host: 'h', path: '/a', env: {'a b': 1}",
            &["`deploy.p.env` `A B` cannot be a variable of a shell"],
        ),
        (
            "host: 'h', path: '/a', health_check: {chek: 'x'}",
            &["`deploy.p.health_check` has `chek`, which is none of `check`, `retries`, `interval`"],
        ),
        (
            "host: 'h', path: '/a', health_check: {retries: 1}",
            &["`deploy.p.health_check` must have a URL or a command as `check`"],
        ),
    ];
    for (fields, expected) in rows {
        let (target, problems) = read(fields);
        let told: Vec<_> = told(&problems)
            .iter()
            .map(|text| {
                text.split_once(": ")
                    .map_or(text.as_str(), |(_, rest)| rest)
                    .to_owned()
            })
            .collect();
        let all = expected.iter().all(|text| told.iter().any(|told| told == text));
        assert!(all && told.len() == expected.len(), "{fields}: {told:#?}");
        assert_eq!(target, None, "{fields}");
    }
}

#[test]
fn keys_that_mean_nothing_are_told() {
    let (read, problems) = read(&format!(
        "{LEAST}, 'pre-deploi': 'x', post_deploy: 'a', postDeploy: 'b'"
    ));
    let told: Vec<_> = told(&problems)
        .iter()
        .filter_map(|text| Some(text.split_once(": ")?.1.to_owned()))
        .collect();
    assert_eq!(
        told,
        [
            "`deploy.p.pre-deploi` is no key of a target and has no effect",
            "`deploy.p.postDeploy` is given twice in different forms; the last one counts",
        ]
    );
    assert!(
        problems
            .iter()
            .all(|problem| problem.severity == Severity::Warning)
    );
    assert_eq!(
        read.and_then(|target| target.hooks.post_deploy).as_deref(),
        Some("b")
    );
}
