//! What an instance may use at most: Compose's `deploy.resources.limits`, its short forms beside `deploy`, and `ulimits`.

use std::collections::BTreeMap;

use hythe_model::workload::{Bounds, Limits, Ulimit};

use crate::context::Context;
use crate::keys::{Key, Shape, Table, key};
use crate::node::Node;
use crate::reader::Block;

/// More processes than a kernel has numbers for.
const MOST_PIDS: i64 = 4_194_304;

pub(crate) const PIDS_LIMIT: Shape = Shape::Integer(-1, MOST_PIDS);

/// -1: no limit.
const BOUND: Shape = Shape::Integer(-1, i64::MAX);

pub(crate) static LIMITS: Table = Table {
    name: "limits",
    title: "`limits`",
    doc: "What an instance may use at most, with everything it starts. Needs control groups; a limit that cannot be enforced is told.",
    interpolated: true,
    keys: &[
        key("cpus", Shape::Number, "Cores, such as `0.5`."),
        key(
            "memory",
            Shape::Size,
            "Memory, such as `128M`, swap included. Who uses more is killed.",
        ),
        key("pids", Shape::Integer(1, MOST_PIDS), "Processes and threads."),
    ],
};

pub(crate) static ULIMITS: Table = Table {
    name: "ulimits",
    title: "`ulimits`",
    doc: "What the kernel limits for each process of an instance: a number for both bounds, or `soft` and `hard`; -1: no limit. Raising what Hythe itself has needs privileges.",
    interpolated: true,
    keys: &[
        ulimit("as", "Address space, bytes."),
        ulimit("core", "Core files, bytes."),
        ulimit("cpu", "CPU time, seconds."),
        ulimit("data", "Data segment, bytes."),
        ulimit("fsize", "Files that are written, bytes."),
        ulimit("locks", "File locks."),
        ulimit("memlock", "Memory that is locked, bytes."),
        ulimit("msgqueue", "POSIX message queues, bytes."),
        ulimit("nice", "The highest priority, 20 less the nice value."),
        ulimit("nofile", "Open files."),
        ulimit("nproc", "Processes and threads of its user."),
        ulimit("rss", "Resident memory; without effect on Linux."),
        ulimit("rtprio", "Real-time priority."),
        ulimit("rttime", "CPU time of real-time processes, microseconds."),
        ulimit("sigpending", "Signals that wait."),
        ulimit("stack", "Stack, bytes."),
    ],
};

static BOUNDS: Table = Table {
    name: "ulimit",
    title: "a `ulimit`",
    doc: "The bounds of one limit; one that is left out is the same as the other.",
    interpolated: true,
    keys: &[
        key("soft", BOUND, "What holds."),
        key("hard", BOUND, "How far a process may raise that itself."),
    ],
};

const ALL: [Ulimit; 16] = [
    Ulimit::As,
    Ulimit::Core,
    Ulimit::Cpu,
    Ulimit::Data,
    Ulimit::Fsize,
    Ulimit::Locks,
    Ulimit::Memlock,
    Ulimit::Msgqueue,
    Ulimit::Nice,
    Ulimit::Nofile,
    Ulimit::Nproc,
    Ulimit::Rss,
    Ulimit::Rtprio,
    Ulimit::Rttime,
    Ulimit::Sigpending,
    Ulimit::Stack,
];

const fn ulimit(name: &'static str, doc: &'static str) -> Key {
    const BOTH: Shape = Shape::Either(&[BOUND, Shape::Block(&BOUNDS)]);
    key(name, BOTH, doc)
}

/// The limits of a service, some perhaps said twice; `most` is its `deploy.resources.limits`.
pub(crate) fn read(service: &Block<'_>, most: Option<Block<'_>>) -> Limits {
    let deployed = most.as_ref().map(|block| Limits {
        cpu_millis: cpu_millis(block),
        memory_bytes: memory_bytes(block, "memory"),
        pids: block.integer("pids"),
        ulimits: BTreeMap::new(),
    });
    let deployed = deployed.unwrap_or_default();
    let pids = service.integer("pids_limit").filter(|pids: &i64| *pids > 0);
    let cpus = cpu_millis(service);
    let memory = memory_bytes(service, "mem_limit");
    Limits {
        cpu_millis: one_of(service, "cpus", cpus, deployed.cpu_millis),
        memory_bytes: one_of(service, "mem_limit", memory, deployed.memory_bytes),
        pids: one_of(
            service,
            "pids_limit",
            pids.and_then(|pids| pids.try_into().ok()),
            deployed.pids,
        ),
        ulimits: ulimits(service),
    }
}

/// The short form's value or that of `deploy`; they must not disagree.
fn one_of<T: PartialEq>(service: &Block<'_>, key: &str, short: Option<T>, deployed: Option<T>) -> Option<T> {
    if let (Some(short), Some(deployed), Some(node)) = (&short, &deployed, service.get(key))
        && short != deployed
    {
        service.cx.report(
            node.error(format!("`{key}` and `deploy.resources.limits` are not the same"))
                .help(format!("leave `{key}` out")),
        );
    }
    deployed.or(short)
}

fn cpu_millis(block: &Block<'_>) -> Option<u64> {
    let node = block.get("cpus")?;
    let Some(cores) = node.number().filter(|cores| (0.001..=100_000.0).contains(cores)) else {
        block.cx.report(node.error(format!(
            "expected a number of cores such as `0.5`, found {}",
            node.shown()
        )));
        return None;
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked just above"
    )]
    Some((cores * 1_000.0).round() as u64)
}

fn memory_bytes(block: &Block<'_>, key: &str) -> Option<u64> {
    let node = block.get(key)?;
    let bytes = block
        .cx
        .accept(node.span, hythe_stdx::parse_size(block.cx.text(node)?))?;
    if bytes == 0 {
        block.cx.report(node.error("nothing runs without memory"));
    }
    Some(bytes).filter(|bytes| *bytes > 0)
}

fn ulimits(service: &Block<'_>) -> BTreeMap<Ulimit, Bounds> {
    let Some(block) = service.block("ulimits", &ULIMITS) else {
        return BTreeMap::new();
    };
    ALL.into_iter()
        .filter_map(|ulimit| Some((ulimit, bounds(block.cx, block.get(ulimit.as_str())?)?)))
        .collect()
}

fn bounds(cx: &Context<'_>, node: &Node) -> Option<Bounds> {
    if node.map().is_none() {
        let both = limit(cx.integer(node, -1, i64::MAX)?);
        return Some(Bounds {
            soft: both,
            hard: both,
        });
    }
    let block = Block::open(cx, node, &BOUNDS)?;
    let (soft, hard) = (block.integer("soft"), block.integer("hard"));
    let (soft, hard) = (limit(soft.or(hard)?), limit(hard.or(soft)?));
    if hard.is_some_and(|hard| soft.is_none_or(|soft| soft > hard)) {
        cx.report(node.error("`soft` is above `hard`"));
        return None;
    }
    Some(Bounds { soft, hard })
}

/// Below zero there is none.
fn limit(number: i64) -> Option<u64> {
    number.try_into().ok()
}
