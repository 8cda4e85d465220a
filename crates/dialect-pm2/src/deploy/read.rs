//! From a target's map to a [`Target`].

use std::collections::BTreeMap;

use super::{Hooks, Host, Source, Target, values};
use crate::app;
use crate::convert::{self, Converted};
use crate::environment::Variables;
use crate::node::{Entry, Node};
use crate::problem::{Problem, Severity};

/// Hosts that are worked on at once unless `max_parallel` says otherwise.
const PARALLEL: usize = 10;
/// Releases that stay on a host unless `keep_releases` says otherwise.
const KEPT: usize = 5;

const FIELDS: [&str; 21] = [
    "user",
    "host",
    "port",
    "key",
    "ref",
    "repo",
    "path",
    "fetch",
    "forward_agent",
    "needs_tty",
    "ssh_options",
    "env",
    "pre_setup",
    "post_setup",
    "pre_deploy_local",
    "pre_deploy",
    "post_deploy",
    "keep_releases",
    "shared",
    "max_parallel",
    "health_check",
];

/// Reads keys, and collects what is wrong.
pub(super) struct Reader<'n> {
    environment: &'n str,
    fields: BTreeMap<String, &'n Entry>,
    problems: Vec<Problem>,
}

impl<'n> Reader<'n> {
    pub(super) fn new(environment: &'n str, entries: &'n [Entry]) -> Self {
        let mut reader = Self {
            environment,
            fields: BTreeMap::new(),
            problems: Vec::new(),
        };
        entries.iter().for_each(|entry| reader.take(entry));
        reader
    }

    fn take(&mut self, entry: &'n Entry) {
        let name = snake_case(&entry.key);
        let problem = if !FIELDS.contains(&name.as_str()) {
            Some("is no key of a target and has no effect")
        } else if self.fields.contains_key(&name) {
            Some("is given twice in different forms; the last one counts")
        } else {
            None
        };
        if let Some(message) = problem {
            let problem = Problem::new(Severity::Warning, entry.place.clone(), message);
            self.problems.push(problem.field(self.named(&entry.key)));
        }
        self.fields.insert(name, entry);
    }

    pub(super) fn target(&mut self, node: &Node) -> Option<Target> {
        let hosts = self.hosts(node);
        let source = self.source();
        let path = self.required("path", node, values::remote_path);
        Some(Target {
            key: self.value("key", values::plain),
            ssh_options: self.value("ssh_options", values::texts).unwrap_or_default(),
            forward_agent: self.value("forward_agent", convert::flag).unwrap_or_default(),
            needs_tty: self.value("needs_tty", convert::flag).unwrap_or_default(),
            env: self.env(),
            hooks: Hooks {
                pre_setup: self.value("pre_setup", values::script),
                post_setup: self.value("post_setup", values::script),
                pre_deploy_local: self.value("pre_deploy_local", values::script),
                pre_deploy: self.value("pre_deploy", values::script),
                post_deploy: self.value("post_deploy", values::script),
            },
            keep_releases: self.value("keep_releases", values::positive).unwrap_or(KEPT),
            shared: self.value("shared", values::shared).unwrap_or_default(),
            max_parallel: self.value("max_parallel", values::positive).unwrap_or(PARALLEL),
            health_check: self.value("health_check", values::health_check),
            hosts: hosts?,
            source: source?,
            path: path?,
        })
    }

    /// All problems.
    pub(super) fn finish(self) -> Vec<Problem> {
        self.problems
    }

    /// What an entry of `host` leaves out is said by `user` and `port`.
    fn hosts(&mut self, node: &Node) -> Option<Vec<Host>> {
        let user = self.value("user", values::user);
        let port = self.value("port", convert::port);
        let mut hosts = self.required("host", node, values::hosts)?;
        for host in &mut hosts {
            host.user = host.user.take().or_else(|| user.clone());
            host.port = host.port.or(port);
        }
        let twice = (1..hosts.len()).find(|at| hosts[..*at].contains(&hosts[*at]));
        if let Some(at) = twice {
            self.fail("host", node, format!("names {} twice", hosts[at]));
        }
        Some(hosts)
    }

    /// Without `repo` the local folder is what is deployed.
    fn source(&mut self) -> Option<Source> {
        let repo = self.value("repo", values::plain);
        let reference = self.value("ref", values::plain);
        let shallow = self.value("fetch", values::fetch).unwrap_or_default();
        match (repo, reference) {
            (Some(repo), Some(reference)) => Some(Source::Git {
                repo,
                reference,
                shallow,
            }),
            (Some(_), None) => {
                if let Some(entry) = self.fields.get("repo").filter(|_| !self.has("ref")) {
                    let problem = Problem::error(entry.place.clone(), "is missing");
                    let help = "name the branch, the tag or the commit: `ref: origin/main`";
                    self.problems.push(problem.field(self.named("ref")).help(help));
                }
                None
            }
            (None, _) => (!self.has("repo")).then_some(Source::Upload),
        }
    }

    fn has(&self, field: &str) -> bool {
        self.fields.get(field).is_some_and(|entry| !entry.value.is_null())
    }

    /// Variables are named in capitals, as in PM2.
    fn env(&mut self) -> Variables {
        let Some(entry) = self.fields.get("env").copied() else {
            return Variables::new();
        };
        let variables = app::variables(entry, &mut self.problems);
        let mut named = Variables::new();
        for (name, value) in variables {
            let name = name.to_ascii_uppercase();
            if is_variable(&name) && !value.contains('\0') {
                named.insert(name, value);
            } else {
                let message = format!("`{name}` cannot be a variable of a shell");
                self.fail("env", &entry.value, message);
            }
        }
        named
    }

    fn value<T>(&mut self, field: &'static str, convert: impl Fn(&Node) -> Converted<T>) -> Option<T> {
        let entry = self
            .fields
            .get(field)
            .copied()
            .filter(|entry| !entry.value.is_null())?;
        match convert(&entry.value) {
            Ok(value) => Some(value),
            Err(message) => {
                self.fail(field, &entry.value, message);
                None
            }
        }
    }

    fn required<T>(
        &mut self,
        field: &'static str,
        node: &Node,
        convert: impl Fn(&Node) -> Converted<T>,
    ) -> Option<T> {
        if !self.has(field) {
            self.fail(field, node, "is missing");
            return None;
        }
        self.value(field, convert)
    }

    fn fail(&mut self, field: &str, node: &Node, message: impl Into<String>) {
        let problem = Problem::error(node.place.clone(), message);
        self.problems.push(problem.field(self.named(field)));
    }

    fn named(&self, field: &str) -> String {
        format!("deploy.{}.{field}", self.environment)
    }
}

/// `post-deploy`, `postDeploy` and `post_deploy` are one key.
fn snake_case(key: &str) -> String {
    let mut name = String::new();
    for letter in key.chars() {
        match letter {
            '-' => name.push('_'),
            letter if letter.is_ascii_uppercase() => {
                name.push('_');
                name.push(letter.to_ascii_lowercase());
            }
            letter => name.push(letter),
        }
    }
    name
}

fn is_variable(name: &str) -> bool {
    !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
