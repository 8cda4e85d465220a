//! All candidates of one host, found by path.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use regex::bytes::{Regex, RegexSet};

use crate::methods::MethodSet;
use crate::path_matcher::PathMatcher;
use crate::pattern;
use crate::radix::{Radix, Value};
use crate::ranked::{Placement, Ranked};
use crate::table::RequestKey;

/// What a bucket is searched for.
pub(crate) struct Query<'a> {
    pub(crate) request: &'a RequestKey<'a>,
    pub(crate) method: MethodSet,
    /// Port of the request; only read for candidates that name one.
    pub(crate) port: u16,
}

/// The best candidate so far.
#[derive(Debug)]
pub(crate) struct Best<'t, T> {
    pub(crate) placement: &'t Placement<T>,
    /// How many bytes of the path its regex matched, if it has one.
    pub(crate) regex_end: usize,
}

/// Candidates by the text their paths begin with.
pub(crate) type Bucket<T> = Radix<Stop<T>>;

/// The candidates at one text, of which a change makes another stop; none if nobody stands there.
#[derive(Debug)]
pub(crate) struct Stop<T>(Option<Arc<Placements<T>>>);

#[derive(Debug)]
struct Placements<T> {
    first: Placement<T>,
    /// From the best but one to the last.
    others: Box<[Placement<T>]>,
    /// All regexes here, in the order of their placements, if they are many.
    regexes: Option<Arc<RegexSet>>,
}

/// What is to become of a stop.
#[derive(Debug)]
pub(crate) struct StopEdit<T> {
    pub(crate) added: Vec<Placement<T>>,
    /// By the address of the route, which is alive as long as the table before.
    pub(crate) removed: HashSet<*const Ranked<T>>,
}

/// From how many regexes at one stop on they are asked all at once.
const MANY: usize = 16;

/// Improves `best` if a candidate of the bucket takes the request and is better.
pub(crate) fn search<'t, T>(bucket: &'t Bucket<T>, query: &Query<'_>, best: &mut Option<Best<'t, T>>) {
    if bucket.is_empty() {
        return;
    }
    for stop in bucket.prefixes(query.request.path).longest_first() {
        if let Some(placements) = &stop.0 {
            placements.search(query, best);
        }
    }
}

impl<T> Stop<T> {
    /// Becomes what it is with these changes.
    pub(crate) fn change(&mut self, edit: StopEdit<T>) {
        let StopEdit { added, removed } = edit;
        let stays = |placement: &Placement<T>| !removed.contains(&Arc::as_ptr(&placement.route));
        let mut placements: Vec<Placement<T>> = self.placements().cloned().chain(added).collect();
        placements.retain(stays);
        placements.sort_by(Placement::order);
        let regexes = self.regexes_of(&placements);
        let mut placements = placements.into_iter();
        self.0 = placements.next().map(|first| {
            Arc::new(Placements {
                first,
                others: placements.collect(),
                regexes,
            })
        });
    }

    fn placements(&self) -> impl Iterator<Item = &Placement<T>> {
        self.0.iter().flat_map(|placements| placements.iter())
    }

    /// Those there are already if they are the same ones: to compile many together takes long.
    fn regexes_of(&self, placements: &[Placement<T>]) -> Option<Arc<RegexSet>> {
        let before: Vec<_> = regexes(self.placements()).map(Arc::as_ptr).collect();
        let now: Vec<_> = regexes(placements.iter()).map(Arc::as_ptr).collect();
        if now == before {
            return self.regexes().cloned();
        }
        if now.len() < MANY {
            return None;
        }
        let patterns = regexes(placements.iter()).filter_map(|path| path.regex());
        pattern::compile_set(patterns.map(Regex::as_str)).map(Arc::new)
    }

    pub(crate) fn regexes(&self) -> Option<&Arc<RegexSet>> {
        self.0.as_ref()?.regexes.as_ref()
    }
}

impl<T> Placements<T> {
    fn iter(&self) -> impl Iterator<Item = &Placement<T>> {
        std::iter::once(&self.first).chain(&self.others)
    }

    fn search<'t>(&'t self, query: &Query<'_>, best: &mut Option<Best<'t, T>>) {
        let mut asked = None;
        let mut regexes_before = 0;
        for placement in self.iter() {
            if best.as_ref().is_some_and(|best| !best.is_behind(placement)) {
                return;
            }
            let nth_regex = regexes_before;
            regexes_before += usize::from(placement.is_regex());
            if !placement.accepts(query) {
                continue;
            }
            if let (true, Some(regexes)) = (placement.is_regex(), &self.regexes) {
                let matches = asked.get_or_insert_with(|| regexes.matches(query.request.path));
                if !matches.matched(nth_regex) {
                    continue;
                }
            }
            if let Some(regex_end) = placement.check(query.request) {
                *best = Some(Best { placement, regex_end });
                return;
            }
        }
    }
}

impl<T> Best<'_, T> {
    fn is_behind(&self, other: &Placement<T>) -> bool {
        other.order(self.placement) == Ordering::Less
    }
}

impl<T> Placement<T> {
    fn accepts(&self, query: &Query<'_>) -> bool {
        self.methods & query.method != 0 && (self.port == 0 || self.port == query.port)
    }
}

fn regexes<'t, T: 't>(
    placements: impl Iterator<Item = &'t Placement<T>>,
) -> impl Iterator<Item = &'t Arc<PathMatcher>> {
    let of_regexes = placements.filter(|placement| placement.is_regex());
    of_regexes.map(Placement::path)
}

impl<T> Value for Stop<T> {
    fn is_void(&self) -> bool {
        self.0.is_none()
    }
}

impl<T> Value for Bucket<T> {
    fn is_void(&self) -> bool {
        self.is_empty()
    }
}

impl<T> Clone for Stop<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for Stop<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Default for StopEdit<T> {
    fn default() -> Self {
        Self {
            added: Vec::new(),
            removed: HashSet::new(),
        }
    }
}
