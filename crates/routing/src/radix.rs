//! Which of many keys are prefixes of a text: a radix tree in flat arrays.
//!
//! Nodes stand in breadth-first order, so the children of a node are neighbours and their first bytes are one short
//! slice to search. A key knows the next shorter key that is its prefix: after one walk down, all
//! prefixes of the text follow from the longest to the shortest.

use std::collections::VecDeque;
use std::ops::Range;

/// A fixed set of keys, known by their index in sorted order. Together they hold less than 2^31 bytes.
#[derive(Debug)]
pub(crate) struct Radix {
    nodes: Box<[Node]>,
    /// The byte that leads from its parent to the node of the same index.
    firsts: Box<[u8]>,
    labels: Box<[u8]>,
    /// For each key the next shorter one that is a prefix of it.
    shorter: Box<[u32]>,
}

#[derive(Debug)]
struct Node {
    label: u32,
    label_length: u32,
    children: u32,
    children_length: u32,
    key: u32,
}

/// A node that is known but not yet built: the keys below it agree on their first `depth` bytes.
struct Pending {
    keys: Range<usize>,
    depth: usize,
    shorter: u32,
}

const NONE: u32 = u32::MAX;

impl Radix {
    /// The tree of `keys`, which are sorted and all different.
    pub(crate) fn new(keys: &[&[u8]]) -> Self {
        let mut nodes = Vec::new();
        let mut firsts = vec![0];
        let mut labels = Vec::new();
        let mut shorter = vec![NONE; keys.len()];
        let mut pending = VecDeque::from([Pending {
            keys: 0..keys.len(),
            depth: 0,
            shorter: NONE,
        }]);
        while let Some(Pending {
            keys: range,
            depth,
            shorter: above,
        }) = pending.pop_front()
        {
            let below = &keys[range.clone()];
            let end = depth + common_prefix(below, depth);
            let mut node = Node {
                label: labels.len() as u32,
                label_length: (end - depth) as u32,
                children: firsts.len() as u32,
                children_length: 0,
                key: NONE,
            };
            let mut rest = range.clone();
            if let Some(first) = below.first() {
                labels.extend_from_slice(&first[depth..end]);
                if first.len() == end {
                    node.key = range.start as u32;
                    shorter[range.start] = above;
                    rest.start += 1;
                }
            }
            let above = if node.key == NONE { above } else { node.key };
            while !rest.is_empty() {
                let byte = keys[rest.start][end];
                let group = keys[rest.clone()].partition_point(|key| key[end] == byte);
                firsts.push(byte);
                pending.push_back(Pending {
                    keys: rest.start..rest.start + group,
                    depth: end + 1,
                    shorter: above,
                });
                rest.start += group;
                node.children_length += 1;
            }
            nodes.push(node);
        }
        Self {
            nodes: nodes.into(),
            firsts: firsts.into(),
            labels: labels.into(),
            shorter: shorter.into(),
        }
    }

    /// The longest key that is a prefix of `text`.
    pub(crate) fn longest(&self, text: impl IntoIterator<Item = u8>) -> Option<usize> {
        let mut text = text.into_iter();
        let mut node = self.nodes.first()?;
        let mut found = NONE;
        loop {
            let label = slice(&self.labels, node.label, node.label_length);
            if !label.iter().all(|byte| text.next() == Some(*byte)) {
                break;
            }
            if node.key != NONE {
                found = node.key;
            }
            let Some(next) = text.next() else { break };
            let firsts = slice(&self.firsts, node.children, node.children_length);
            let Some(child) = memchr::memchr(next, firsts) else {
                break;
            };
            node = &self.nodes[node.children as usize + child];
        }
        index(found)
    }

    /// The next shorter key that is a prefix of `key`.
    pub(crate) fn shorter(&self, key: usize) -> Option<usize> {
        index(self.shorter[key])
    }
}

fn index(key: u32) -> Option<usize> {
    (key != NONE).then_some(key as usize)
}

fn slice(bytes: &[u8], start: u32, length: u32) -> &[u8] {
    &bytes[start as usize..start as usize + length as usize]
}

/// How many bytes after `depth` all keys share. Sorted keys share what the first and the last share.
fn common_prefix(keys: &[&[u8]], depth: usize) -> usize {
    match keys {
        [first, .., last] => {
            let pairs = first[depth..].iter().zip(&last[depth..]);
            pairs.take_while(|(left, right)| left == right).count()
        }
        [only] => only.len() - depth,
        [] => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Radix;

    fn prefixes(keys: &[&[u8]], text: &[u8]) -> Vec<usize> {
        let radix = Radix::new(keys);
        std::iter::successors(radix.longest(text.iter().copied()), |key| radix.shorter(*key)).collect()
    }

    #[test]
    fn no_keys_match_nothing() {
        assert!(prefixes(&[], b"/a").is_empty());
    }

    #[test]
    fn the_empty_key_matches_everything() {
        assert_eq!(prefixes(&[b"", b"/a"], b"/b"), [0]);
        assert_eq!(prefixes(&[b"", b"/a"], b""), [0]);
    }

    #[test]
    fn keys_may_be_nested_deeply() {
        let long = "a".repeat(20_000);
        let keys: Vec<&[u8]> = (0..long.len()).map(|end| &long.as_bytes()[..end]).collect();
        assert_eq!(prefixes(&keys, b"aaa"), [3, 2, 1, 0]);
    }

    proptest! {
        #[test]
        fn finds_what_a_scan_finds(
            keys in prop::collection::btree_set("[ab/]{0,5}", 0..30),
            text in "[ab/]{0,8}",
        ) {
            let keys: Vec<&[u8]> = keys.iter().map(String::as_bytes).collect();
            let mut scan: Vec<usize> = (0..keys.len()).filter(|key| text.as_bytes().starts_with(keys[*key])).collect();
            scan.sort_by_key(|key| std::cmp::Reverse(keys[*key].len()));
            prop_assert_eq!(prefixes(&keys, text.as_bytes()), scan);
        }
    }
}
