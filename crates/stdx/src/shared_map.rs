//! A sorted map whose versions share what did not change between them.
//!
//! ```text
//!  before ─► [ ■  ■  ■  ■ ]        entries lie in sorted chunks behind `Arc`s;
//!              │  │  │  │          a change copies one chunk and the list of chunks
//!  now ────► [ ■  ■  ▣  ■ ]
//! ```
//!
//! A map of 10,000 entries has some hundred chunks: to copy it costs as many pointers, to change one entry a chunk
//! beside. Two versions are compared chunk by chunk, and those they share are not looked into
//! ([`SharedMap::differences`]).

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// A map sorted by its keys; cheap to clone.
#[derive(Clone)]
pub struct SharedMap<K, V> {
    /// In order; none is empty.
    chunks: Vec<Chunk<K, V>>,
    length: usize,
}

type Chunk<K, V> = Arc<Vec<(K, V)>>;

/// A chunk that grows beyond this is divided.
const MOST: usize = 96;
/// A chunk that shrinks below this is joined to a neighbour, if both then have room to grow.
const LEAST: usize = MOST / 4;

/// What is another in a later version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference<'a, K, V> {
    /// Where.
    pub key: &'a K,
    /// What it was; `None`: it was not there.
    pub before: Option<&'a V>,
    /// What it is; `None`: it is gone.
    pub now: Option<&'a V>,
}

impl<K, V> SharedMap<K, V> {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The entries in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.chunks
            .iter()
            .flat_map(|chunk| chunk.iter())
            .map(|(key, value)| (key, value))
    }

    /// The keys in order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// The values in the order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// The entries from the first on for which `before` says no. It has to say yes for those in front of it only.
    pub fn iter_after(&self, before: impl Fn(&K) -> bool) -> impl Iterator<Item = (&K, &V)> {
        let first = self
            .chunks
            .partition_point(|chunk| chunk.last().is_some_and(|(key, _)| before(key)));
        let skipped = self
            .chunks
            .get(first)
            .map_or(0, |chunk| chunk.partition_point(|(key, _)| before(key)));
        let rest = self.chunks[first..].iter().flat_map(|chunk| chunk.iter());
        rest.skip(skipped).map(|(key, value)| (key, value))
    }
}

impl<K: Ord, V> SharedMap<K, V> {
    /// The value of a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let chunk = &self.chunks[self.chunk_of(key)?];
        let at = chunk.binary_search_by(|(own, _)| own.borrow().cmp(key)).ok()?;
        Some(&chunk[at].1)
    }

    /// Whether there is a value for a key.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// What is another in `now`, in the order of keys; `same` tells whether two values are the same.
    pub fn differences<'a>(
        &'a self,
        now: &'a Self,
        same: impl Fn(&V, &V) -> bool,
    ) -> Vec<Difference<'a, K, V>> {
        let (mut left, mut right) = (Place::first(self), Place::first(now));
        let mut found = Vec::new();
        loop {
            if left.is_shared_with(&right) {
                left.next_chunk();
                right.next_chunk();
                continue;
            }
            let (before, after) = (left.entry(), right.entry());
            let order = match (before, after) {
                (None, None) => return found,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((key, _)), Some((other, _))) => key.cmp(other),
            };
            let before = before.filter(|_| order != Ordering::Greater);
            let after = after.filter(|_| order != Ordering::Less);
            if before.is_some() {
                left.next();
            }
            if after.is_some() {
                right.next();
            }
            let difference = match (before, after) {
                (Some((_, before)), Some((_, now))) if same(before, now) => continue,
                (Some((key, _)), _) | (None, Some((key, _))) => key,
                (None, None) => continue,
            };
            found.push(Difference {
                key: difference,
                before: before.map(|(_, value)| value),
                now: after.map(|(_, value)| value),
            });
        }
    }

    /// The chunk in which a key stands or would stand; `None` if there are no chunks.
    fn chunk_of<Q: Ord + ?Sized>(&self, key: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
    {
        let begins_before =
            |chunk: &Chunk<K, V>| chunk.first().is_some_and(|(first, _)| first.borrow() <= key);
        let after = self.chunks.partition_point(begins_before);
        (!self.chunks.is_empty()).then(|| after.saturating_sub(1))
    }
}

impl<K: Ord + Clone, V: Clone> SharedMap<K, V> {
    /// Sets the value of a key; the one it had.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let Some(place) = self.chunk_of(&key) else {
            self.chunks.push(Arc::new(vec![(key, value)]));
            self.length = 1;
            return None;
        };
        let chunk = Arc::make_mut(&mut self.chunks[place]);
        match chunk.binary_search_by(|(own, _)| own.cmp(&key)) {
            Ok(at) => Some(std::mem::replace(&mut chunk[at].1, value)),
            Err(at) => {
                chunk.insert(at, (key, value));
                self.length += 1;
                if chunk.len() > MOST {
                    let second = chunk.split_off(chunk.len() / 2);
                    self.chunks.insert(place + 1, Arc::new(second));
                }
                None
            }
        }
    }

    /// Takes a key away; the value it had.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let place = self.chunk_of(key)?;
        let find = |chunk: &Chunk<K, V>| chunk.binary_search_by(|(own, _)| own.borrow().cmp(key));
        let at = find(&self.chunks[place]).ok()?;
        let chunk = Arc::make_mut(&mut self.chunks[place]);
        let (_, value) = chunk.remove(at);
        self.length -= 1;
        if self.chunks[place].is_empty() {
            self.chunks.remove(place);
        } else {
            self.join_if_small(place);
        }
        Some(value)
    }

    /// With the chunk behind or else the one in front: keys that are taken away in order leave small ones on one side.
    fn join_if_small(&mut self, place: usize) {
        if self.chunks[place].len() >= LEAST {
            return;
        }
        let mut pairs = [Some(place), place.checked_sub(1)].into_iter().flatten();
        if let Some(first) = pairs.find(|first| self.fits_the_next(*first)) {
            let second = self.chunks.remove(first + 1);
            Arc::make_mut(&mut self.chunks[first]).extend_from_slice(&second);
        }
    }

    /// Whether a chunk and the one behind it have room to grow as one.
    fn fits_the_next(&self, first: usize) -> bool {
        let next = self.chunks.get(first + 1);
        next.is_some_and(|next| self.chunks[first].len() + next.len() <= MOST / 2)
    }
}

/// A place between the entries of a map.
struct Place<'a, K, V> {
    chunks: &'a [Chunk<K, V>],
    at: usize,
}

impl<'a, K, V> Place<'a, K, V> {
    fn first(map: &'a SharedMap<K, V>) -> Self {
        Self {
            chunks: &map.chunks,
            at: 0,
        }
    }

    /// Whether both stand before the very same chunk.
    fn is_shared_with(&self, other: &Self) -> bool {
        let begin = self.at == 0 && other.at == 0;
        match (self.chunks.first(), other.chunks.first()) {
            (Some(own), Some(other)) => begin && Arc::ptr_eq(own, other),
            _ => false,
        }
    }

    fn entry(&self) -> Option<&'a (K, V)> {
        self.chunks.first().and_then(|chunk| chunk.get(self.at))
    }

    fn next_chunk(&mut self) {
        self.chunks = &self.chunks[1..];
        self.at = 0;
    }

    fn next(&mut self) {
        self.at += 1;
        if self.entry().is_none() {
            self.next_chunk();
        }
    }
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            length: 0,
        }
    }
}

impl<K: Ord + Clone, V: Clone> FromIterator<(K, V)> for SharedMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = Self::default();
        for (key, value) in entries {
            map.insert(key, value);
        }
        map
    }
}

impl<K: PartialEq, V: PartialEq> PartialEq for SharedMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.length == other.length && self.iter().eq(other.iter())
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for SharedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::{Difference, LEAST, MOST, SharedMap};

    /// Keys with a value to be set, or none to be taken away.
    fn edits() -> impl Strategy<Value = Vec<(u16, Option<u8>)>> {
        prop::collection::vec((0..600_u16, prop::option::weighted(0.6, any::<u8>())), 0..900)
    }

    fn edit(map: &mut SharedMap<u16, u8>, model: &mut BTreeMap<u16, u8>, edits: &[(u16, Option<u8>)]) {
        for (key, value) in edits {
            let (had, expected) = match value {
                Some(value) => (map.insert(*key, *value), model.insert(*key, *value)),
                None => (map.remove(key), model.remove(key)),
            };
            assert_eq!(had, expected);
        }
    }

    proptest! {
        #[test]
        fn it_is_a_sorted_map(first in edits(), second in edits(), asked in 0..600_u16) {
            let (mut map, mut model) = (SharedMap::default(), BTreeMap::new());
            edit(&mut map, &mut model, &first);
            let (before, model_before) = (map.clone(), model.clone());
            edit(&mut map, &mut model, &second);
            prop_assert!(map.iter().eq(&model) && before.iter().eq(&model_before));
            prop_assert_eq!(map.len(), model.len());
            prop_assert_eq!(map.get(&asked), model.get(&asked));
            prop_assert!(map.iter_after(|key| *key < asked).eq(model.range(asked..)));
            let keys = model_before.keys().chain(model.keys()).collect::<std::collections::BTreeSet<_>>();
            let expected: Vec<_> = keys
                .into_iter()
                .map(|key| Difference { key, before: model_before.get(key), now: model.get(key) })
                .filter(|difference| difference.before != difference.now)
                .collect();
            prop_assert_eq!(before.differences(&map, u8::eq), expected);
        }
    }

    #[test]
    fn what_is_left_of_many_is_in_few_chunks() {
        let full: SharedMap<u32, u32> = (0..10_000).map(|key| (key, key)).collect();
        let taken: Vec<u32> = (0..10_000).filter(|key| key % 10 != 0).collect();
        let backwards = taken.iter().rev().copied().collect();
        for keys in [taken, backwards] {
            let mut map = full.clone();
            for key in &keys {
                map.remove(key);
            }
            assert_eq!(map.len(), 1_000);
            assert!(map.chunks.len() <= 1_000 / LEAST + 1, "{}", map.chunks.len());
        }
    }

    #[test]
    fn a_change_copies_one_chunk_and_looks_into_no_other() {
        let before: SharedMap<u32, u32> = (0..10_000).map(|key| (key, key)).collect();
        let mut now = before.clone();
        now.insert(4_711, 0);
        let shared = |chunk| before.chunks.iter().any(|other| Arc::ptr_eq(chunk, other));
        assert_eq!(now.chunks.iter().filter(|chunk| !shared(chunk)).count(), 1);
        let compared = std::cell::Cell::new(0);
        let same = |left: &u32, right: &u32| {
            compared.set(compared.get() + 1);
            left == right
        };
        assert_eq!(before.differences(&now, same).len(), 1);
        assert!(compared.get() <= MOST);
    }
}
