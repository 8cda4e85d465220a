//! One service: something that runs here, or an address elsewhere, and how the gateway speaks to it.
//!
//! A service runs here if it says what to run (`command`, `entrypoint`); it is elsewhere if it says where
//! (`url`, `targets`); it is a folder if it says which (`files`). It gets traffic if it has a `port` or does not
//! run here.

use hythe_model::Name;

use crate::context::Context;
use crate::draft::{Draft, Kind};
use crate::keys::{PORT, Shape, TEXT_OR_LIST, TEXTS, Table, key, not_yet};
use crate::node::Entry;
use crate::plugin::Scope;
use crate::problem::Finding;
use crate::reader::Block;
use crate::{
    autoscale, dependency, deploy, environment, folder, gateway_service, healthcheck, limits, logs, plugin,
    route, rules, upstream, workload,
};

pub(crate) static SERVICE: Table = Table {
    name: "service",
    title: "a service",
    doc: "A service that runs here (`command`), is reached elsewhere (`url`, `targets`) or is a folder (`files`).",
    interpolated: true,
    keys: &[
        key(
            "command",
            TEXT_OR_LIST,
            "The program and its arguments: a list, or a text that is split as a shell would. No shell runs it.",
        ),
        key("entrypoint", TEXT_OR_LIST, "What stands before `command`."),
        key(
            "working_dir",
            Shape::Text,
            "The folder it starts in, relative to the manifest's. Default: the manifest's.",
        ),
        key(
            "port",
            PORT,
            "Where the application listens when it is run by hand. Each instance gets an address of its own, and its port in `PORT`.",
        ),
        key(
            "listens",
            Shape::OneOf(&["auto", "port", "socket"]),
            "How an instance comes to listen at its own address: `auto`, its bind to `port`, at whatever address, goes there where the system can do that; `port`, it binds what `PORT` says; `socket`, it inherits a socket that listens there as descriptor 3 (`LISTEN_FDS`). Default: `auto`.",
        ),
        key(
            "publish",
            Shape::Boolean,
            "Whether the gateway also listens where the program means to: on `port`, or on the first port that it binds, at the address that it asks for. Default: `false`.",
        ),
        key(
            "environment",
            environment::VARIABLES,
            "Its variables: a map, or a list of `KEY=value`. A `KEY` without value takes the shell's and is left out if that is unset.",
        ),
        key(
            "env_file",
            environment::ENV_FILES,
            "Files of variables, relative to the manifest; later ones win, `environment` wins over all.",
        ),
        key(
            "depends_on",
            dependency::DEPENDS_ON,
            "Services that must be there before it starts.",
        ),
        key(
            "healthcheck",
            Shape::Block(&healthcheck::HEALTHCHECK),
            "How it is known to be ready. Default: its port accepts connections, or without a port, it has run for a second.",
        ),
        key(
            "liveness",
            Shape::Block(&healthcheck::HEALTHCHECK),
            "What an instance that has been ready must go on passing: one that fails is stopped and started again, where `healthcheck` only takes it out of traffic. Default: nothing.",
        ),
        key(
            "restart",
            workload::RESTART,
            "What happens when an instance exits: `no`, `always`, `on-failure[:N]`, `unless-stopped`. Default: `on-failure`.",
        ),
        key(
            "stop_exit_codes",
            rules::EXIT_CODES,
            "An exit with one of these codes is final, whatever `restart` says.",
        ),
        key(
            "min_uptime",
            Shape::Duration,
            "An exit sooner than this after the start is a quick one; after 16 in a row it is not started again. Default: `1s`.",
        ),
        key(
            "max_memory_restart",
            Shape::Size,
            "An instance whose processes together use more memory than this, two seconds in a row, is replaced. Default: none is.",
        ),
        key(
            "cron_restart",
            Shape::Text,
            "A cron expression, in the server's time zone: all instances are replaced when it comes due. Default: never.",
        ),
        key(
            "watch",
            rules::WATCHED,
            "`true`, or which files and folders, relative to `working_dir`: all instances are replaced when one changes. Default: `false`.",
        ),
        key(
            "stop_signal",
            workload::STOP_SIGNAL,
            "The signal that asks it to stop, by name or number. Default: `SIGTERM`.",
        ),
        key(
            "stop_grace_period",
            Shape::Duration,
            "How long after that it is killed. Default: `10s`.",
        ),
        key(
            "scale",
            Shape::Integer(0, 1_000),
            "The number of instances; the same as `deploy.replicas`.",
        ),
        key(
            "autoscale",
            Shape::Block(&autoscale::AUTOSCALE),
            "How many instances there are, by what is asked of them.",
        ),
        key(
            "sleep",
            Shape::Duration,
            "No instance runs after so much time without a request; the next request waits until one does. Default: never.",
        ),
        key(
            "deploy",
            Shape::Block(&deploy::DEPLOY),
            "How many instances, and how they are replaced.",
        ),
        key(
            "user",
            Shape::Text,
            "Who it runs as: `user` or `user:group`, names or numbers of the machine that runs it. Needs a Hythe that runs as root. Default: who Hythe runs as.",
        ),
        key(
            "mem_limit",
            Shape::Size,
            "The same as `deploy.resources.limits.memory`.",
        ),
        key(
            "cpus",
            Shape::Number,
            "The same as `deploy.resources.limits.cpus`.",
        ),
        key(
            "pids_limit",
            limits::PIDS_LIMIT,
            "The same as `deploy.resources.limits.pids`; -1: no limit.",
        ),
        key(
            "ulimits",
            Shape::Block(&limits::ULIMITS),
            "What the kernel limits for each of its processes.",
        ),
        key(
            "logs",
            Shape::Block(&logs::LOGS),
            "How much of its output is kept, and which files get it besides.",
        ),
        key(
            "profiles",
            TEXTS,
            "Only with one of these profiles (`--profile`, `COMPOSE_PROFILES`). Default: always.",
        ),
        key(
            "url",
            Shape::Text,
            "Where a service is that does not run here: `http://host:port/base`. The host may be an upstream's name.",
        ),
        key(
            "targets",
            Shape::List(&Shape::Block(&upstream::TARGET)),
            "The addresses of a service that does not run here.",
        ),
        key(
            "files",
            Shape::Either(&[Shape::Text, Shape::Block(&folder::FILES)]),
            "A folder whose files the gateway serves, relative to the manifest's.",
        ),
        key(
            "upstream",
            Shape::Block(&gateway_service::SETTINGS),
            "How the gateway speaks to it, in Kong's words for services and upstreams.",
        ),
        key(
            "routes",
            Shape::List(&Shape::Block(&route::ROUTE)),
            "Routes that lead to it.",
        ),
        key(
            "plugins",
            Shape::List(&Shape::Block(&plugin::PLUGIN)),
            "Plugins for its requests.",
        ),
        not_yet("annotations", Shape::Anything, ""),
        not_yet("attach", Shape::Anything, ""),
        not_yet("blkio_config", Shape::Anything, ""),
        not_yet("build", Shape::Anything, ""),
        not_yet("cap_add", Shape::Anything, ""),
        not_yet("cap_drop", Shape::Anything, ""),
        not_yet("cgroup", Shape::Anything, ""),
        not_yet("cgroup_parent", Shape::Anything, ""),
        not_yet("configs", Shape::Anything, ""),
        not_yet("container_name", Shape::Anything, ""),
        not_yet("cpu_count", Shape::Anything, ""),
        not_yet("cpu_percent", Shape::Anything, ""),
        not_yet("cpu_period", Shape::Anything, ""),
        not_yet("cpu_quota", Shape::Anything, ""),
        not_yet("cpu_shares", Shape::Anything, ""),
        not_yet("cpuset", Shape::Anything, ""),
        not_yet("credential_spec", Shape::Anything, ""),
        not_yet("develop", Shape::Anything, ""),
        not_yet("device_cgroup_rules", Shape::Anything, ""),
        not_yet("devices", Shape::Anything, ""),
        not_yet("dns", Shape::Anything, ""),
        not_yet("dns_opt", Shape::Anything, ""),
        not_yet("dns_search", Shape::Anything, ""),
        not_yet("domainname", Shape::Anything, ""),
        not_yet("expose", Shape::Anything, ""),
        not_yet("external_links", Shape::Anything, ""),
        not_yet("extra_hosts", Shape::Anything, ""),
        not_yet("gpus", Shape::Anything, ""),
        not_yet("group_add", Shape::Anything, ""),
        not_yet("hostname", Shape::Anything, ""),
        not_yet("image", Shape::Anything, ""),
        not_yet("init", Shape::Anything, ""),
        not_yet("ipc", Shape::Anything, ""),
        not_yet("isolation", Shape::Anything, ""),
        not_yet("label_file", Shape::Anything, ""),
        not_yet("labels", Shape::Anything, ""),
        not_yet("links", Shape::Anything, ""),
        not_yet("logging", Shape::Anything, ""),
        not_yet("mac_address", Shape::Anything, ""),
        not_yet("mem_reservation", Shape::Anything, ""),
        not_yet("mem_swappiness", Shape::Anything, ""),
        not_yet("memswap_limit", Shape::Anything, ""),
        not_yet("network_mode", Shape::Anything, ""),
        not_yet("networks", Shape::Anything, ""),
        not_yet("oom_kill_disable", Shape::Anything, ""),
        not_yet("oom_score_adj", Shape::Anything, ""),
        not_yet("pid", Shape::Anything, ""),
        not_yet("platform", Shape::Anything, ""),
        not_yet("ports", Shape::Anything, ""),
        not_yet("post_start", Shape::Anything, ""),
        not_yet("pre_stop", Shape::Anything, ""),
        not_yet("privileged", Shape::Anything, ""),
        not_yet("pull_policy", Shape::Anything, ""),
        not_yet("read_only", Shape::Anything, ""),
        not_yet("runtime", Shape::Anything, ""),
        not_yet("secrets", Shape::Anything, ""),
        not_yet("security_opt", Shape::Anything, ""),
        not_yet("shm_size", Shape::Anything, ""),
        not_yet("stdin_open", Shape::Anything, ""),
        not_yet("storage_opt", Shape::Anything, ""),
        not_yet("sysctls", Shape::Anything, ""),
        not_yet("tmpfs", Shape::Anything, ""),
        not_yet("tty", Shape::Anything, ""),
        not_yet("userns_mode", Shape::Anything, ""),
        not_yet("uts", Shape::Anything, ""),
        not_yet("volumes", Shape::Anything, ""),
        not_yet("volumes_from", Shape::Anything, ""),
    ],
};

/// Keys that say how something runs here, and nothing about a service elsewhere.
const OF_WORKLOADS: [&str; 27] = [
    "working_dir",
    "port",
    "listens",
    "publish",
    "autoscale",
    "sleep",
    "environment",
    "env_file",
    "depends_on",
    "healthcheck",
    "liveness",
    "restart",
    "stop_exit_codes",
    "min_uptime",
    "max_memory_restart",
    "cron_restart",
    "watch",
    "stop_signal",
    "stop_grace_period",
    "scale",
    "deploy",
    "user",
    "mem_limit",
    "cpus",
    "pids_limit",
    "ulimits",
    "logs",
];
/// Keys that say where a service is that does not run here.
const PLACES: [&str; 3] = ["url", "targets", "files"];
/// Keys about traffic, which need an address.
const OF_TRAFFIC: [&str; 3] = ["upstream", "routes", "plugins"];

/// Reads one entry of `services`.
pub(crate) fn read(cx: &Context<'_>, entry: &Entry, draft: &mut Draft) {
    let Some(name) = cx.accept(entry.key_span, entry.key.parse::<Name>()) else {
        return;
    };
    let Some(block) = Block::open(cx, &entry.value, &SERVICE) else {
        return;
    };
    let profiles: Vec<String> = block
        .texts("profiles")
        .into_iter()
        .map(|(_, profile)| profile.to_owned())
        .collect();
    let active = profiles.is_empty() || profiles.iter().any(|profile| is_active(cx, profile));
    let service = Service {
        name,
        entry,
        block,
        active,
    };
    if active {
        service.read(draft);
    } else {
        // Its mistakes are still mistakes, but nothing of it enters the project.
        service.read(&mut Draft::default());
        draft.inactive.insert(service.name, profiles);
    }
}

/// `*` stands for all profiles, as in Compose.
fn is_active(cx: &Context<'_>, profile: &str) -> bool {
    cx.inputs
        .profiles
        .iter()
        .any(|active| active == profile || active == "*")
}

pub(crate) struct Service<'a> {
    pub(crate) name: Name,
    pub(crate) entry: &'a Entry,
    pub(crate) block: Block<'a>,
    pub(crate) active: bool,
}

impl Service<'_> {
    fn read(&self, draft: &mut Draft) {
        draft.define(self.block.cx, Kind::Service, &self.name, self.entry.key_span);
        let runs_here = self.block.has("command") || self.block.has("entrypoint");
        self.check_place(runs_here);
        if !runs_here && self.block.has("targets") {
            gateway_service::read_targets(self, draft);
        } else if !runs_here && self.block.has("url") {
            gateway_service::read_url(self, draft);
        } else if !runs_here && self.block.has("files") {
            folder::read(self, draft);
        } else {
            // Also without a command, which was reported: the other mistakes are of interest all the same.
            self.read_workload(draft);
        }
        self.read_traffic(draft);
    }

    fn read_workload(&self, draft: &mut Draft) {
        if let Some(workload) = workload::read(self, draft) {
            draft.spec.workloads.insert(self.name.clone(), workload);
        }
        if self.block.has("port") {
            gateway_service::read_pool(self, draft);
            return;
        }
        for key in OF_TRAFFIC.iter().filter_map(|key| self.block.entry(key)) {
            let finding = Finding::error(key.key_span, format!("`{}` needs `port`", key.key));
            self.block
                .cx
                .report(finding.help("`port` says where the application listens"));
        }
    }

    fn read_traffic(&self, draft: &mut Draft) {
        let cx = self.block.cx;
        for item in self.block.list("routes") {
            route::read(cx, item, Some(&self.name), draft);
        }
        for item in self.block.list("plugins") {
            let scope = Scope {
                service: Some(self.name.clone()),
                ..Scope::default()
            };
            plugin::read(cx, item, &scope, draft);
        }
    }

    /// Reports a service that is nowhere or in two places, and keys that do not fit its place.
    fn check_place(&self, runs_here: bool) {
        let cx = self.block.cx;
        let elsewhere: Vec<_> = PLACES.iter().filter_map(|key| self.block.entry(key)).collect();
        let container = self.block.entry("image").or_else(|| self.block.entry("build"));
        match (runs_here, &elsewhere[..], container) {
            (true, [key, ..], _) => {
                let message = format!("a service with a `command` runs here and has no `{}`", key.key);
                cx.report(Finding::error(key.key_span, message));
            }
            (false, [first, second, ..], _) => {
                let message = format!("`{}` and `{}` exclude each other", first.key, second.key);
                cx.report(Finding::error(second.key_span, message));
            }
            (false, [], Some(container)) => {
                let message = format!(
                    "containers are not built yet: `{}` needs a `command` beside its `{}`",
                    self.name, container.key
                );
                let finding = Finding::error(self.entry.key_span, message);
                cx.report(finding.help("`command` runs a program of this machine"));
            }
            (false, [], None) => {
                let message = format!("`{}` says neither what to run nor where it is", self.name);
                cx.report(
                    Finding::error(self.entry.key_span, message)
                        .help("give it a `command`, a `url`, `targets` or `files`"),
                );
            }
            (false, [_], _) => self.warn_of_workload_keys(),
            (true, [], _) => {}
        }
    }

    fn warn_of_workload_keys(&self) {
        for key in OF_WORKLOADS.iter().filter_map(|key| self.block.entry(key)) {
            let message = format!("`{}` has no effect: `{}` does not run here", key.key, self.name);
            self.block.cx.report(Finding::warning(key.key_span, message));
        }
    }
}
