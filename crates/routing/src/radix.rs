//! Which of many keys are prefixes of a text: a radix tree whose versions share their nodes.
//!
//! A change copies the nodes from the root to its key and leaves all others to both versions, so it costs the length
//! of the key and not the number of keys. A tree that nobody shares is changed in place.
//!
//! A node without a value has two children at least; the same keys have the same tree, whatever came before. The keys
//! that are prefixes of a text lie on one walk down: [`Radix::prefixes`] remembers them, to be read from the longest to
//! the shortest. Nothing here recurses, since keys may be nested as deeply as they are long.

use std::iter;
use std::sync::Arc;

use crate::node_text::NodeText;

/// What a key has; the default one means that there is no such key.
pub(crate) trait Value: Clone + Default {
    /// Whether it is as good as none.
    fn is_void(&self) -> bool;
}

/// Keys with a value each; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Radix<V> {
    root: Option<Arc<Node<V>>>,
}

/// With the counts of its `Arc` it takes as much as one line of the processor's cache, if its value is a pointer.
#[derive(Debug, Clone)]
struct Node<V> {
    /// What follows the byte that leads here, and the bytes that lead to the children.
    text: NodeText,
    children: Box<[Arc<Node<V>>]>,
    value: V,
}

/// The values on a way down.
#[derive(Debug)]
pub(crate) struct Trail<'t, V> {
    few: [Option<&'t V>; FEW],
    /// Those behind the first [`FEW`].
    more: Vec<&'t V>,
    length: usize,
}

/// How many keys may be nested before a walk allocates.
const FEW: usize = 8;

impl<V: Value> Radix<V> {
    /// The value of a key.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&V> {
        let mut node = self.root.as_deref()?;
        let mut rest = node.text.strip_label(key)?;
        while let Some((first, below)) = rest.split_first() {
            node = node.child(*first)?;
            rest = node.text.strip_label(below)?;
        }
        (!node.value.is_void()).then_some(&node.value)
    }

    /// The keys that are prefixes of `text`.
    pub(crate) fn prefixes(&self, text: &[u8]) -> Trail<'_, V> {
        let mut trail = Trail::new();
        let mut rest = text;
        let mut next = self.root.as_deref();
        while let Some(node) = next
            && let Some(below) = node.text.strip_label(rest)
        {
            if !node.value.is_void() {
                trail.push(&node.value);
            }
            let Some((first, below)) = below.split_first() else {
                break;
            };
            next = node.child(*first);
            rest = below;
        }
        trail
    }

    /// Changes the value of a key, from the default one if it has none.
    pub(crate) fn edit(&mut self, key: &[u8], edit: impl FnOnce(&mut V)) {
        let value = self.value_mut(key);
        edit(value);
        if value.is_void() {
            self.remove(key);
        }
    }

    fn value_mut(&mut self, key: &[u8]) -> &mut V {
        let root = self.root.get_or_insert_with(|| Arc::new(Node::leaf(key)));
        let (mut node, mut rest) = (Arc::make_mut(root), key);
        loop {
            let shared = common(node.text.label(), rest);
            if shared < node.text.label().len() {
                node.split(shared);
            }
            let Some((first, below)) = rest[shared..].split_first() else {
                return &mut node.value;
            };
            node = node.child_or_leaf(*first, below);
            rest = below;
        }
    }

    /// Takes a key away that is there.
    fn remove(&mut self, key: &[u8]) {
        let Some(root) = &mut self.root else { return };
        if root.children.is_empty() {
            self.root = None;
            return;
        }
        let mut node = Arc::make_mut(root);
        let mut rest = node.text.strip_label(key);
        while let Some((first, below)) = rest.and_then(<[u8]>::split_first) {
            let Some(at) = node.place_of(*first) else { return };
            let child = &node.children[at];
            rest = child.text.strip_label(below);
            if child.children.is_empty() {
                node.remove_child(at);
                break;
            }
            node = Arc::make_mut(&mut node.children[at]);
        }
        node.join_only_child();
    }
}

impl<V> Radix<V> {
    /// Whether there are no keys.
    pub(crate) fn is_empty(&self) -> bool {
        self.root.is_none()
    }
}

impl<V> Node<V> {
    fn place_of(&self, first: u8) -> Option<usize> {
        self.text.place_of(first)
    }

    fn child(&self, first: u8) -> Option<&Self> {
        self.place_of(first).map(|at| &*self.children[at])
    }

    fn remove_child(&mut self, at: usize) {
        let mut firsts = self.text.firsts().to_vec();
        firsts.remove(at);
        self.text = NodeText::new(self.text.label(), &firsts);
        let mut children = std::mem::take(&mut self.children).into_vec();
        children.remove(at);
        self.children = children.into();
    }
}

impl<V: Value> Node<V> {
    fn leaf(label: &[u8]) -> Self {
        Self {
            text: NodeText::new(label, &[]),
            children: Box::default(),
            value: V::default(),
        }
    }

    /// Puts a node between this one and its children, so that this one's label ends after `at` bytes.
    fn split(&mut self, at: usize) {
        let (label, rest) = self.text.label().split_at(at);
        let text = NodeText::new(label, &rest[..1]);
        let below = Self {
            text: NodeText::new(&rest[1..], self.text.firsts()),
            children: std::mem::take(&mut self.children),
            value: std::mem::take(&mut self.value),
        };
        self.text = text;
        self.children = [Arc::new(below)].into();
    }

    fn child_or_leaf(&mut self, first: u8, label: &[u8]) -> &mut Self {
        let at = self.place_of(first).unwrap_or_else(|| {
            let firsts = [self.text.firsts(), &[first]].concat();
            self.text = NodeText::new(self.text.label(), &firsts);
            let mut children = std::mem::take(&mut self.children).into_vec();
            children.push(Arc::new(Self::leaf(label)));
            self.children = children.into();
            self.children.len() - 1
        });
        Arc::make_mut(&mut self.children[at])
    }

    /// Becomes one with its child if it is there for nothing else.
    fn join_only_child(&mut self) {
        if !self.value.is_void() || self.children.len() != 1 {
            return;
        }
        let child = std::mem::take(&mut self.children).into_iter().next();
        let Some(mut child) = child.map(Arc::unwrap_or_clone) else {
            return;
        };
        let label = [self.text.label(), self.text.firsts(), child.text.label()].concat();
        self.text = NodeText::new(&label, child.text.firsts());
        self.children = std::mem::take(&mut child.children);
        self.value = std::mem::take(&mut child.value);
    }
}

impl<'t, V> Trail<'t, V> {
    fn new() -> Self {
        Self {
            few: [None; FEW],
            more: Vec::new(),
            length: 0,
        }
    }

    fn push(&mut self, value: &'t V) {
        match self.few.get_mut(self.length) {
            Some(free) => *free = Some(value),
            None => self.more.push(value),
        }
        self.length += 1;
    }

    /// From the longest key to the shortest.
    pub(crate) fn longest_first(&self) -> impl Iterator<Item = &'t V> {
        let few = &self.few[..self.length.min(FEW)];
        let few = few.iter().rev().copied().flatten();
        self.more.iter().rev().copied().chain(few)
    }
}

impl<V> Default for Radix<V> {
    fn default() -> Self {
        Self { root: None }
    }
}

/// Frees what is below without recursing.
impl<V> Drop for Node<V> {
    fn drop(&mut self) {
        let mut below = std::mem::take(&mut self.children).into_vec();
        while let Some(node) = below.pop() {
            if let Some(mut node) = Arc::into_inner(node) {
                below.extend(std::mem::take(&mut node.children));
            }
        }
    }
}

/// How many bytes both begin with.
fn common(left: &[u8], right: &[u8]) -> usize {
    let same = |(left, right): &(&u8, &u8)| left == right;
    iter::zip(left, right).take_while(same).count()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    /// Where each node lies: what two trees share, both have.
    pub(crate) fn addresses<V>(radix: &Radix<V>) -> BTreeSet<usize> {
        nodes(radix).map(|node| Arc::as_ptr(node).addr()).collect()
    }

    pub(crate) fn values<V: Value>(radix: &Radix<V>) -> impl Iterator<Item = &V> {
        let values = nodes(radix).map(|node| &node.value);
        values.filter(|value| !value.is_void())
    }

    fn nodes<V>(radix: &Radix<V>) -> impl Iterator<Item = &Arc<Node<V>>> {
        let mut left: Vec<&Arc<Node<V>>> = radix.root.iter().collect();
        iter::from_fn(move || {
            let node = left.pop()?;
            left.extend(&node.children);
            Some(node)
        })
    }

    impl Value for u32 {
        fn is_void(&self) -> bool {
            *self == 0
        }
    }

    fn set(radix: &mut Radix<u32>, key: &[u8], value: u32) {
        radix.edit(key, |known| *known = value);
    }

    fn of(keys: &[&[u8]]) -> Radix<u32> {
        let mut radix = Radix::default();
        for (value, key) in (1..).zip(keys) {
            set(&mut radix, key, value);
        }
        radix
    }

    fn prefixes(radix: &Radix<u32>, text: &[u8]) -> Vec<u32> {
        radix.prefixes(text).longest_first().copied().collect()
    }

    #[test]
    fn no_keys_match_nothing() {
        assert!(prefixes(&of(&[]), b"/a").is_empty());
    }

    #[test]
    fn the_empty_key_matches_everything() {
        let radix = of(&[b"", b"/a"]);
        assert_eq!(prefixes(&radix, b"/b"), [1]);
        assert_eq!(prefixes(&radix, b""), [1]);
    }

    #[test]
    fn keys_may_be_nested_deeply() {
        let long = "a".repeat(20_000);
        let keys: Vec<&[u8]> = (0..long.len()).map(|end| &long.as_bytes()[..end]).collect();
        let mut radix = Radix::default();
        // From the longest: the way to each is then short.
        for (value, key) in iter::zip(1..20_001_u32, &keys)
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
        {
            set(&mut radix, key, value);
        }
        assert_eq!(prefixes(&radix, b"aaa"), [4, 3, 2, 1]);
        assert_eq!(prefixes(&radix, long.as_bytes()).len(), 20_000);
        for key in keys {
            set(&mut radix, key, 0);
        }
        assert!(radix.is_empty());
    }

    #[test]
    fn a_change_copies_the_way_to_its_key() {
        let keys: Vec<String> = (0..10_000).map(|number| format!("/route/{number}/x")).collect();
        let keys: Vec<&[u8]> = keys.iter().map(String::as_bytes).collect();
        let before = of(&keys);
        for (key, value) in [(keys[4_711], 7), (keys[4_711], 0), (b"/route/4711/other", 1)] {
            let mut now = before.clone();
            set(&mut now, key, value);
            let fresh = addresses(&now).difference(&addresses(&before)).count();
            assert!(fresh <= 7, "{fresh} nodes");
        }
    }

    type Edits = Vec<(String, u32)>;

    fn edits() -> impl Strategy<Value = Edits> {
        prop::collection::vec(("[ab/]{0,5}", 0..3_u32), 0..40)
    }

    fn change(radix: &mut Radix<u32>, model: &mut BTreeMap<String, u32>, edits: &Edits) {
        for (key, value) in edits {
            set(radix, key.as_bytes(), *value);
            model.insert(key.clone(), *value);
            model.retain(|_, value| *value != 0);
        }
    }

    proptest! {
        #[test]
        fn finds_what_a_scan_finds(first in edits(), second in edits(), text in "[ab/]{0,8}") {
            let (mut radix, mut model) = (Radix::default(), BTreeMap::new());
            change(&mut radix, &mut model, &first);
            let earlier = (radix.clone(), model.clone());
            change(&mut radix, &mut model, &second);
            for (radix, model) in [(radix, model), earlier] {
                let mut scan: Vec<_> = model.iter().filter(|(key, _)| text.starts_with(*key)).collect();
                scan.sort_by_key(|(key, _)| std::cmp::Reverse(key.len()));
                let scan: Vec<_> = scan.into_iter().map(|(_, value)| *value).collect();
                prop_assert_eq!(prefixes(&radix, text.as_bytes()), scan);
                prop_assert_eq!(radix.get(text.as_bytes()), model.get(&text));
                let keys: Vec<&[u8]> = model.keys().map(String::as_bytes).collect();
                prop_assert_eq!(addresses(&of(&keys)).len(), addresses(&radix).len());
            }
        }
    }
}
