//! Settings as they hold somewhere: a block's own, or those of the block around it.

use crate::tree::Directive;

/// A block and those around it, outermost first.
#[derive(Clone)]
pub(super) struct Scope<'a>(Vec<&'a Directive>);

impl<'a> Scope<'a> {
    pub(super) fn of(outermost: &'a Directive) -> Self {
        Self(vec![outermost])
    }

    /// The same with a block inside.
    pub(super) fn inside(&self, block: &'a Directive) -> Self {
        let mut blocks = self.0.clone();
        blocks.push(block);
        Self(blocks)
    }

    /// The innermost block.
    pub(super) fn own(&self) -> Option<&'a Directive> {
        self.0.last().copied()
    }

    /// The setting that holds here.
    pub(super) fn get(&self, name: &str) -> Option<&'a Directive> {
        self.0.iter().rev().find_map(|block| block.last(name))
    }

    /// The settings that hold here, of those that add up within a block. nginx: a block with one of them has none of
    /// those around it.
    pub(super) fn all(&self, name: &'a str) -> Vec<&'a Directive> {
        let blocks = self.0.iter().rev();
        let own = blocks.map(|block| block.all(name).collect::<Vec<_>>());
        own.into_iter().find(|all| !all.is_empty()).unwrap_or_default()
    }

    /// The same for settings that count together, in their order.
    pub(super) fn any_of(&self, names: &[&str]) -> Vec<&'a Directive> {
        let of = |block: &&'a Directive| {
            let inside = block.inside().into_iter();
            inside
                .filter(|directive| names.contains(&directive.name.as_str()))
                .collect::<Vec<_>>()
        };
        self.0
            .iter()
            .rev()
            .map(of)
            .find(|all| !all.is_empty())
            .unwrap_or_default()
    }
}
