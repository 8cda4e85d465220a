//! Compose's `deploy`: how many instances, their limits, and how they are replaced.

use hythe_model::workload::{Limits, Replicas, RestartPolicy, RestartRules, UpdateOrder, UpdatePolicy};

use crate::context::Context;
use crate::keys::{Shape, Table, key, not_yet};
use crate::limits;
use crate::node::Node;
use crate::reader::Block;

const MOST_REPLICAS: u32 = 1_000;

pub(crate) static DEPLOY: Table = Table {
    name: "deploy",
    title: "`deploy`",
    doc: "How many instances, and how they are replaced.",
    interpolated: true,
    keys: &[
        key(
            "replicas",
            Shape::Either(&[Shape::Integer(0, MOST_REPLICAS as i64), Shape::OneOf(&["max"])]),
            "The number of instances; `max`: one per core. Default: 1.",
        ),
        key(
            "update_config",
            Shape::Block(&UPDATE),
            "How instances are replaced when the service changes.",
        ),
        key(
            "restart_policy",
            Shape::Block(&RESTART_POLICY),
            "When an instance that ended is started again.",
        ),
        key("resources", Shape::Block(&RESOURCES), "What an instance may use."),
        not_yet("mode", Shape::Anything, "Of Swarm."),
        not_yet("endpoint_mode", Shape::Anything, "Of Swarm."),
        not_yet("placement", Shape::Anything, "Of Swarm."),
        not_yet("labels", Shape::Anything, "Of Swarm."),
        not_yet("rollback_config", Shape::Anything, "How a roll-back goes."),
    ],
};

static UPDATE: Table = Table {
    name: "update-config",
    title: "`update_config`",
    doc: "How instances are replaced when the service changes.",
    interpolated: true,
    keys: &[
        key(
            "order",
            Shape::OneOf(&["start-first", "stop-first"]),
            "Whether the new starts before the old stops. Default: `start-first`.",
        ),
        key(
            "parallelism",
            Shape::Integer(0, MOST_REPLICAS as i64),
            "How many are replaced at a time; 0: all. Default: 1.",
        ),
        key(
            "delay",
            Shape::Duration,
            "Pause between two of these groups. Default: `0s`.",
        ),
        key(
            "monitor",
            Shape::Duration,
            "How long a new instance may take to be ready. Default: `60s`.",
        ),
        not_yet(
            "failure_action",
            Shape::OneOf(&["pause", "continue", "rollback"]),
            "What follows a failed update.",
        ),
        not_yet("max_failure_ratio", Shape::Number, "How many may fail."),
    ],
};

static RESTART_POLICY: Table = Table {
    name: "restart-policy",
    title: "`restart_policy`",
    doc: "When an instance that ended is started again.",
    interpolated: true,
    keys: &[
        key(
            "condition",
            Shape::OneOf(&["none", "on-failure", "any"]),
            "After which exits. Wins over `restart`, which is the default.",
        ),
        key(
            "delay",
            Shape::Duration,
            "The same time before each restart. Default: at once, then ever longer from `100ms` to `15s`.",
        ),
        key(
            "max_attempts",
            Shape::Integer(0, MOST_ATTEMPTS),
            "After this many restarts in a row that did not last for `window` there is no further one; 0: there always is. Default: 15.",
        ),
        key(
            "window",
            Shape::Duration,
            "How long an instance must run for its restart to have succeeded; the same as `min_uptime`. Default: `1s`.",
        ),
    ],
};

const MOST_ATTEMPTS: i64 = 1_000_000;

static RESOURCES: Table = Table {
    name: "resources",
    title: "`resources`",
    doc: "What an instance may use.",
    interpolated: true,
    keys: &[
        key(
            "limits",
            Shape::Block(&limits::LIMITS),
            "What it may use at most.",
        ),
        not_yet("reservations", Shape::Anything, "What is kept for it."),
    ],
};

/// What `deploy` says about a workload.
pub(crate) struct Deploy {
    pub(crate) replicas: Replicas,
    pub(crate) update: UpdatePolicy,
    pub(crate) limits: Limits,
    pub(crate) condition: Option<RestartPolicy>,
    pub(crate) restart_rules: RestartRules,
}

/// The service's `deploy`, and `scale` beside it.
pub(crate) fn read(service: &Block<'_>) -> Deploy {
    let deploy = service.block("deploy", &DEPLOY);
    let update_config = deploy.and_then(|deploy| deploy.block("update_config", &UPDATE));
    let resources = deploy.and_then(|deploy| deploy.block("resources", &RESOURCES));
    let restart_policy = deploy.and_then(|deploy| deploy.block("restart_policy", &RESTART_POLICY));
    let most = resources.and_then(|resources| resources.block("limits", &limits::LIMITS));
    Deploy {
        replicas: replicas(service, deploy.and_then(|deploy| deploy.get("replicas"))),
        update: update_config.map(|block| update(&block)).unwrap_or_default(),
        limits: limits::read(service, most),
        condition: restart_policy.and_then(|block| condition(&block)),
        restart_rules: restart_policy
            .map(|block| restart_rules(&block))
            .unwrap_or_default(),
    }
}

fn condition(block: &Block<'_>) -> Option<RestartPolicy> {
    Some(match block.choice("condition")? {
        "none" => RestartPolicy::No,
        "any" => RestartPolicy::Always,
        _ => RestartPolicy::OnFailure,
    })
}

fn restart_rules(block: &Block<'_>) -> RestartRules {
    // So many restarts, and the exit that follows the last of them.
    let exits = |attempts: u32| if attempts == 0 { u32::MAX } else { attempts + 1 };
    RestartRules {
        delay_ms: block.duration("delay"),
        max_quick_exits: block.integer("max_attempts").map(exits),
        min_uptime_ms: block.duration("window"),
        ..RestartRules::default()
    }
}

/// `deploy.replicas`, or `scale`; they must not disagree.
fn replicas(service: &Block<'_>, node: Option<&Node>) -> Replicas {
    let scale: Option<u32> = service.integer("scale");
    let Some(node) = node else {
        return scale.map(Replicas::Count).unwrap_or_default();
    };
    let replicas = replicas_of(service.cx, node).unwrap_or_default();
    if let (Some(scale), Some(entry)) = (scale, service.get("scale"))
        && replicas != Replicas::Count(scale)
    {
        service.cx.report(
            entry
                .error("`scale` and `deploy.replicas` are not the same")
                .help("leave `scale` out"),
        );
    }
    replicas
}

fn update(block: &Block<'_>) -> UpdatePolicy {
    let defaults = UpdatePolicy::default();
    block.choice("failure_action");
    let stop_first = block.choice("order") == Some("stop-first");
    let max_surge = block.integer("parallelism").map(|parallelism| {
        if parallelism == 0 {
            MOST_REPLICAS
        } else {
            parallelism
        }
    });
    UpdatePolicy {
        order: if stop_first {
            UpdateOrder::StopFirst
        } else {
            UpdateOrder::StartFirst
        },
        max_surge: max_surge.unwrap_or(defaults.max_surge),
        delay_ms: block.duration("delay").unwrap_or(defaults.delay_ms),
        ready_timeout_ms: block.duration("monitor").unwrap_or(defaults.ready_timeout_ms),
    }
}

fn replicas_of(cx: &Context<'_>, node: &Node) -> Option<Replicas> {
    if node.text() == Some("max") {
        return Some(Replicas::Max);
    }
    match node.integer() {
        Some(_) => cx.integer(node, 0, i64::from(MOST_REPLICAS)).map(Replicas::Count),
        None if node.is_unusable() => None,
        None => {
            let message = format!(
                "expected a whole number from 0 to {MOST_REPLICAS} or `max`, found {}",
                node.shown()
            );
            cx.report(node.error(message));
            None
        }
    }
}
