//! All candidates of one host, found by path.

use std::ops::Range;

use regex::bytes::RegexSet;

use crate::methods::MethodSet;
use crate::pattern;
use crate::radix::Radix;
use crate::ranking::Ranking;
use crate::table::RequestKey;

/// What a bucket is searched for.
pub(crate) struct Query<'a> {
    pub(crate) request: &'a RequestKey<'a>,
    pub(crate) method: MethodSet,
    /// Port of the request; only read for candidates that name one.
    pub(crate) port: u16,
}

/// The best candidate so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Best {
    pub(crate) rank: u32,
    /// How many bytes of the path its regex matched, if it has one.
    pub(crate) regex_end: usize,
}

/// Where a candidate stands in a bucket, with what can be checked without looking further.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placement {
    pub(crate) methods: MethodSet,
    pub(crate) rank: u32,
    /// 0: any port.
    pub(crate) port: u16,
    pub(crate) regex: bool,
    /// Headers, server names or listeners are to be checked.
    pub(crate) asks_more: bool,
}

/// Candidates by the text their paths begin with.
#[derive(Debug)]
pub(crate) struct Bucket {
    radix: Radix,
    stops: Box<[Stop]>,
    placements: Box<[Placement]>,
}

/// The candidates at one key of the tree.
#[derive(Debug)]
struct Stop {
    /// In the bucket's placements, by rank.
    placements: Range<u32>,
    /// Least rank here and at every shorter key.
    least_rank: u32,
    /// All regexes here, in the order of their placements, if they are many.
    regexes: Option<Box<RegexSet>>,
}

/// From how many regexes at one stop on they are asked all at once.
const MANY: usize = 16;

impl Best {
    /// Worse than every candidate.
    pub(crate) const NONE: Self = Self {
        rank: u32::MAX,
        regex_end: 0,
    };
}

impl Bucket {
    /// A bucket of these placements, each with the text its path begins with.
    pub(crate) fn new(mut placed: Vec<(&[u8], Placement)>, ranking: &Ranking) -> Self {
        placed.sort_by_key(|(prefix, placement)| (*prefix, placement.rank));
        let groups: Vec<&[(&[u8], Placement)]> = placed.chunk_by(|left, right| left.0 == right.0).collect();
        let keys: Vec<&[u8]> = groups.iter().map(|group| group[0].0).collect();
        let radix = Radix::new(&keys);
        let mut stops: Vec<Stop> = Vec::with_capacity(groups.len());
        let mut start = 0;
        for (key, group) in groups.iter().enumerate() {
            let end = start + group.len() as u32;
            // A shorter key sorts before the longer ones, so its stop is there already.
            let least_above = radix
                .shorter(key)
                .map_or(u32::MAX, |above| stops[above].least_rank);
            stops.push(Stop {
                placements: start..end,
                least_rank: group[0].1.rank.min(least_above),
                regexes: regex_set(group, ranking),
            });
            start = end;
        }
        let placements = placed.iter().map(|(_, placement)| *placement).collect();
        Self {
            radix,
            stops: stops.into(),
            placements,
        }
    }

    /// Improves `best` if a candidate here takes the request and is better.
    pub(crate) fn search(&self, query: &Query<'_>, ranking: &Ranking, best: &mut Best) {
        let mut key = self.radix.longest(query.request.path.iter().copied());
        while let Some(found) = key {
            let stop = &self.stops[found];
            if stop.least_rank >= best.rank {
                return;
            }
            let placements = &self.placements[stop.placements.start as usize..stop.placements.end as usize];
            search_stop(placements, stop.regexes.as_deref(), query, ranking, best);
            key = self.radix.shorter(found);
        }
    }
}

impl Placement {
    fn accepts(&self, query: &Query<'_>) -> bool {
        self.methods & query.method != 0 && (self.port == 0 || self.port == query.port)
    }
}

fn search_stop(
    placements: &[Placement],
    regexes: Option<&RegexSet>,
    query: &Query<'_>,
    ranking: &Ranking,
    best: &mut Best,
) {
    let mut asked = None;
    let mut regexes_before = 0;
    for placement in placements {
        if placement.rank >= best.rank {
            return;
        }
        let nth_regex = regexes_before;
        regexes_before += usize::from(placement.regex);
        if !placement.accepts(query) {
            continue;
        }
        if let (true, Some(regexes)) = (placement.regex, regexes) {
            let matches = asked.get_or_insert_with(|| regexes.matches(query.request.path));
            if !matches.matched(nth_regex) {
                continue;
            }
        }
        if let Some(regex_end) = ranking.check(placement, query.request) {
            *best = Best {
                rank: placement.rank,
                regex_end,
            };
            return;
        }
    }
}

fn regex_set(group: &[(&[u8], Placement)], ranking: &Ranking) -> Option<Box<RegexSet>> {
    let of_regexes = || group.iter().filter(|(_, placement)| placement.regex);
    if of_regexes().count() < MANY {
        return None;
    }
    let patterns = of_regexes().filter_map(|(_, placement)| ranking.path(placement.rank).regex());
    pattern::compile_set(patterns.map(regex::bytes::Regex::as_str)).map(Box::new)
}
