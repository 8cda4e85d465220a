//! `autoscale` and `sleep`: how many instances there are follows from what is asked of them.

use hythe_model::workload::{Autoscale, ScaleTarget};

use crate::keys::{Shape, Table, key};
use crate::reader::Block;

const MOST: i64 = 1_000;
const COOLDOWN_MS: u64 = 60_000;

pub(crate) static AUTOSCALE: Table = Table {
    name: "autoscale",
    title: "`autoscale`",
    doc: "How many instances there are, by what is asked of them. More come at once; fewer are left after `cooldown`.",
    interpolated: true,
    keys: &[
        key("min", Shape::Integer(1, MOST), "Never fewer. Default: 1."),
        key("max", Shape::Integer(1, MOST), "Never more."),
        key(
            "in_flight",
            Shape::Integer(1, 1_000_000),
            "The requests in flight that one instance should have. This or `cpu`.",
        ),
        key(
            "cpu",
            Shape::Integer(1, 100_000),
            "The CPU that one instance should use, in percent of a core. This or `in_flight`.",
        ),
        key(
            "cooldown",
            Shape::Duration,
            "How long fewer must have been enough before instances go. Default: `60s`.",
        ),
    ],
};

/// What `autoscale` says.
pub(crate) fn read(service: &Block<'_>) -> Option<Autoscale> {
    let block = service.block("autoscale", &AUTOSCALE)?;
    let refuse = |message: &str| block.cx.report(block.node.error(message.to_owned()));
    let in_flight = block.integer("in_flight").map(ScaleTarget::InFlight);
    let cpu = block.integer("cpu").map(ScaleTarget::Cpu);
    let target = match (in_flight, cpu) {
        (Some(target), None) | (None, Some(target)) => target,
        (None, None) => {
            refuse("`autoscale` needs what one instance should carry: `in_flight` or `cpu`");
            return None;
        }
        (Some(_), Some(_)) => {
            refuse("`in_flight` and `cpu` exclude each other: one of them decides");
            return None;
        }
    };
    let min = block.integer("min").unwrap_or(1);
    let Some(max) = block.integer("max") else {
        refuse("`autoscale` needs `max`, the most instances there may be");
        return None;
    };
    if max < min {
        refuse("`max` is less than `min`");
        return None;
    }
    if let Some(entry) = service.entry("scale") {
        let finding =
            crate::problem::Finding::error(entry.key_span, "`scale` has no effect beside `autoscale`");
        block
            .cx
            .report(finding.help("say with `min` and `max` how many there may be"));
    }
    Some(Autoscale {
        min,
        max,
        target,
        cooldown_ms: block.duration("cooldown").unwrap_or(COOLDOWN_MS),
    })
}
