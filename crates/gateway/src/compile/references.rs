//! Who refers to what.

use std::collections::{BTreeMap, BTreeSet};

use hythe_model::FullName;

/// Names by a name that they refer to. One to which nobody refers is not kept.
#[derive(Debug, Clone, Default)]
pub(crate) struct References(BTreeMap<FullName, BTreeSet<FullName>>);

impl References {
    pub(crate) fn insert(&mut self, to: FullName, from: FullName) {
        self.0.entry(to).or_default().insert(from);
    }

    pub(crate) fn remove(&mut self, to: &FullName, from: &FullName) {
        if let Some(names) = self.0.get_mut(to) {
            names.remove(from);
            if names.is_empty() {
                self.0.remove(to);
            }
        }
    }

    /// Those that refer to this.
    pub(crate) fn get(&self, to: &FullName) -> Option<&BTreeSet<FullName>> {
        self.0.get(to)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::References;

    #[test]
    fn nothing_is_kept_of_what_nobody_refers_to() {
        let name = |text: &str| text.parse().unwrap();
        let mut references = References::default();
        references.insert(name("pool"), name("a"));
        references.insert(name("pool"), name("b"));
        references.remove(&name("pool"), &name("a"));
        assert!(references.get(&name("pool")).unwrap().contains(&name("b")));
        references.remove(&name("pool"), &name("b"));
        references.remove(&name("pool"), &name("b"));
        assert!(references.is_empty());
    }
}
