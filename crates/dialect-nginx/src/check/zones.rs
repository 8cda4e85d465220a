//! Shared memory that limits count in: whoever uses a zone needs somebody who gives it a size.

use std::collections::HashSet;

use super::Checked;
use crate::tree::{Block, Directive, Mistake};

/// The first zone that is used and has no size.
pub(super) fn sized(main: &Block) -> Checked {
    let mut all = Vec::new();
    collect(main, &mut all);
    let sized: HashSet<&str> = all.iter().filter_map(|directive| defined(directive)).collect();
    let missing = all
        .iter()
        .filter_map(|directive| used(directive))
        .find(|zone| !sized.contains(zone));
    match missing {
        Some(zone) => Err(Mistake::anywhere(format!(
            "zero size shared memory zone \"{zone}\""
        ))),
        None => Ok(()),
    }
}

fn collect<'a>(block: &'a Block, all: &mut Vec<&'a Directive>) {
    for directive in &block.directives {
        all.push(directive);
        if let Some(block) = &directive.block {
            collect(block, all);
        }
    }
}

fn defined(directive: &Directive) -> Option<&str> {
    let zone = match directive.name.as_str() {
        "limit_req_zone" | "limit_conn_zone" => {
            directive.args.iter().find_map(|word| word.strip_prefix("zone="))
        }
        _ => None,
    };
    zone?.split(':').next()
}

fn used(directive: &Directive) -> Option<&str> {
    match directive.name.as_str() {
        "limit_req" => directive.args.iter().find_map(|word| word.strip_prefix("zone=")),
        "limit_conn" => directive.args.first().map(String::as_str),
        _ => None,
    }
}
