//! The top level of an ecosystem file: its apps, its targets of deployment, its sites of files.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value as Json;

use crate::app::{self, App};
use crate::convert::{self, Converted};
use crate::deploy::Written;
use crate::environment::Variables;
use crate::node::{Entry, Node};
use crate::problem::{Problem, Severity};

const TOP: [&str; 4] = ["apps", "pm2", "deploy", "static"];

/// An ecosystem file as it was read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ecosystem {
    /// In the order of the file.
    pub apps: Vec<App>,
    /// The targets of `deploy` by environment.
    pub deploy: BTreeMap<String, Written>,
    /// The variables of each target of `deploy`, as texts.
    pub deploy_env: BTreeMap<String, Variables>,
    /// Folders that are served as they are.
    pub sites: Vec<StaticSite>,
}

/// An entry of `static`: a folder whose files are served.
#[derive(Debug, Clone, PartialEq)]
pub struct StaticSite {
    /// The folder (`.`).
    pub path: PathBuf,
    /// Where it listens (8080).
    pub port: u16,
    /// The address it listens on; `None`: all.
    pub host: Option<String>,
    /// Its name among the processes; `None`: one made of path and port.
    pub name: Option<String>,
    /// What is not there is answered by `index.html`.
    pub spa: bool,
    /// Folders are answered by a list of their files.
    pub ftp: bool,
    /// Whom it is shown to, as it is.
    pub basic_auth: Option<Json>,
}

impl Default for StaticSite {
    fn default() -> Self {
        Self {
            path: PathBuf::from("."),
            port: 8080,
            host: None,
            name: None,
            spa: false,
            ftp: false,
            basic_auth: None,
        }
    }
}

/// What `root` says: an object with `apps` (or `pm2`), `deploy` and `static`, a list of apps, or one app.
/// Other keys of a `package` are npm's.
pub(crate) fn read(root: &Node, package: bool, problems: &mut Vec<Problem>) -> Ecosystem {
    let mut ecosystem = Ecosystem::default();
    let Some(entries) = root.map() else {
        read_apps(root, &mut ecosystem, problems);
        return ecosystem;
    };
    if !package && !entries.iter().any(|entry| TOP.contains(&entry.key.as_str())) {
        read_apps(root, &mut ecosystem, problems);
        return ecosystem;
    }
    for entry in entries {
        match entry.key.as_str() {
            "apps" | "pm2" => read_apps(apps_of(entry), &mut ecosystem, problems),
            "deploy" => read_deploy(entry, &mut ecosystem, problems),
            "static" => read_sites(&entry.value, &mut ecosystem, problems),
            _ if package => {}
            _ => {
                let message = "is no key of an ecosystem file and has no effect";
                let problem = Problem::new(Severity::Warning, entry.place.clone(), message);
                problems.push(problem.field(&entry.key));
            }
        }
    }
    if package && root.get("pm2").is_none() && root.get("apps").is_none() {
        let problem = Problem::error(None, "is missing: package.json names no apps");
        problems.push(
            problem
                .field("pm2")
                .help("add `\"pm2\": [{ \"script\": \"...\" }]`"),
        );
    }
    ecosystem
}

/// `pm2` may hold an object with `apps` of its own.
fn apps_of(entry: &Entry) -> &Node {
    let inner = entry.value.get("apps").filter(|_| entry.key == "pm2");
    inner.unwrap_or(&entry.value)
}

fn read_apps(node: &Node, ecosystem: &mut Ecosystem, problems: &mut Vec<Problem>) {
    if node.list().is_none() && node.map().is_none() {
        let message = format!("apps must be a list of maps, not {}", node.shown());
        problems.push(Problem::error(node.place.clone(), message));
        return;
    }
    let items = node.list().unwrap_or(std::slice::from_ref(node));
    for (index, item) in items.iter().enumerate() {
        ecosystem.apps.extend(app::read(item, index + 1, problems));
    }
}

fn read_deploy(entry: &Entry, ecosystem: &mut Ecosystem, problems: &mut Vec<Problem>) {
    let Some(targets) = entry.value.map() else {
        if !entry.value.is_null() {
            let message = format!("must be a map of environments, not {}", entry.value.shown());
            problems.push(Problem::error(entry.value.place.clone(), message).field("deploy"));
        }
        return;
    };
    for target in targets {
        let env = target.value.map().unwrap_or_default();
        if let Some(env) = env.iter().find(|entry| entry.key == "env") {
            let variables = app::variables(env, problems);
            ecosystem.deploy_env.insert(target.key.clone(), variables);
        }
        let written = Written::new(&target.value);
        ecosystem.deploy.insert(target.key.clone(), written);
    }
}

fn read_sites(node: &Node, ecosystem: &mut Ecosystem, problems: &mut Vec<Problem>) {
    let items = node.list().unwrap_or(std::slice::from_ref(node));
    for (index, item) in items.iter().enumerate() {
        let Some(entries) = item.map() else {
            let message = format!("must be a list of maps, and {} is in it", item.shown());
            problems.push(Problem::error(item.place.clone(), message).field("static"));
            continue;
        };
        let mut site = StaticSite::default();
        for entry in entries.iter().filter(|entry| !entry.value.is_null()) {
            let problem = match set(&mut site, entry) {
                Ok(true) => continue,
                Ok(false) => {
                    let message = "is no key of a static site and has no effect";
                    Problem::new(Severity::Warning, entry.place.clone(), message)
                }
                Err(message) => Problem::error(entry.value.place.clone(), message),
            };
            problems.push(problem.field(format!("static[{index}].{}", entry.key)));
        }
        ecosystem.sites.push(site);
    }
}

/// Whether there is such a key.
fn set(site: &mut StaticSite, entry: &Entry) -> Converted<bool> {
    let node = &entry.value;
    match entry.key.as_str() {
        "path" => convert::path(node).map(|path| site.path = path),
        "port" => convert::port(node).map(|port| site.port = port),
        "host" => convert::text(node).map(|host| site.host = Some(host)),
        "name" => convert::text(node).map(|name| site.name = Some(name)),
        "spa" => convert::flag(node).map(|spa| site.spa = spa),
        "ftp" => convert::flag(node).map(|ftp| site.ftp = ftp),
        "basic_auth" | "basicAuth" => {
            site.basic_auth = Some(node.to_json());
            Ok(())
        }
        _ => return Ok(false),
    }
    .map(|()| true)
}
