//! Which of two routes that both take a request gets it.

use std::cmp::Reverse;

use hythe_model::Route;

use crate::host_name::HostPattern;
use crate::path_matcher::PathMatcher;

/// Place of a route with one of its paths; the lesser one goes first. What is equal here is ordered by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Precedence {
    kinds: Reverse<u32>,
    /// One bit for each kind, so that host > header > path > method > SNI.
    which: Reverse<u8>,
    plain_hosts: Reverse<bool>,
    headers: Reverse<usize>,
    /// `None`: not a regex.
    regex_priority: Reverse<Option<i32>>,
    prefix_length: Reverse<usize>,
    /// Ours: what is meant for a listener goes before what is for all.
    on_listeners: Reverse<bool>,
    created_at: u64,
}

/// A [`Precedence`] as one number, in the same order; what a search compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Weight(u128);

/// More headers than a request may have are as good as one more.
const MOST_HEADERS: usize = (1 << 16) - 1;
/// Some time in the next half million years.
const LATEST: u64 = (1 << 54) - 1;

const KINDS: [(u8, &str); 5] = [
    (16, "host"),
    (8, "header"),
    (4, "path"),
    (2, "method"),
    (1, "server name"),
];

impl Precedence {
    pub(crate) fn new(route: &Route, hosts: &[HostPattern], path: &PathMatcher, created_at: u64) -> Self {
        let listed = [
            !route.hosts.is_empty(),
            !route.headers.is_empty(),
            !route.paths.is_empty(),
            !route.methods.is_empty(),
            !route.snis.is_empty(),
        ];
        let which: u8 = KINDS
            .iter()
            .zip(listed)
            .map(|((bit, _), listed)| bit * u8::from(listed))
            .sum();
        Self {
            kinds: Reverse(which.count_ones()),
            which: Reverse(which),
            plain_hosts: Reverse(!hosts.iter().any(HostPattern::is_wildcard)),
            headers: Reverse(route.headers.len().min(MOST_HEADERS)),
            regex_priority: Reverse(path.regex().map(|_| route.regex_priority)),
            prefix_length: Reverse(match path {
                PathMatcher::Prefix(prefix) => prefix.len(),
                PathMatcher::Any | PathMatcher::Regex { .. } => 0,
            }),
            on_listeners: Reverse(!route.listeners.is_empty()),
            created_at: created_at.min(LATEST),
        }
    }

    /// The fields from the first to the last, each in as many bits as it needs. What is reversed is counted down.
    pub(crate) fn weight(&self) -> Weight {
        let priority = |priority: i32| 1 + priority.abs_diff(i32::MIN) as u128;
        let fields: [(u32, u128); 7] = [
            (3, self.kinds.0.into()),
            (5, self.which.0.into()),
            (1, self.plain_hosts.0.into()),
            (16, self.headers.0 as u128),
            (33, self.regex_priority.0.map_or(0, priority)),
            (15, self.prefix_length.0 as u128),
            (1, self.on_listeners.0.into()),
        ];
        let counted_down = fields.iter().fold(0, |weight, (bits, field)| {
            debug_assert!(field >> bits == 0, "{self:?}");
            (weight << bits) | ((1 << bits) - 1 - field)
        });
        Weight((counted_down << 54) | u128::from(self.created_at))
    }

    /// The first rule that puts `self` behind `better`, in words.
    pub(crate) fn behind(&self, better: &Self) -> String {
        let (kinds, better_kinds) = (self.kinds.0, better.kinds.0);
        if kinds != better_kinds {
            return format!("fewer matchers ({kinds} against {better_kinds})");
        }
        if self.which != better.which {
            let (own, stronger) = (weightiest(self, better), weightiest(better, self));
            return format!("a {own} counts less than a {stronger}");
        }
        if self.plain_hosts != better.plain_hosts {
            return "a wildcard host comes after plain hosts".to_owned();
        }
        let (headers, better_headers) = (self.headers.0, better.headers.0);
        if headers != better_headers {
            return format!("fewer headers ({headers} against {better_headers})");
        }
        match (self.regex_priority.0, better.regex_priority.0) {
            (Some(own), Some(higher)) if own != higher => {
                return format!("lower regex_priority ({own} against {higher})");
            }
            (None, Some(_)) => return "a path prefix comes after a regex".to_owned(),
            _ => {}
        }
        let (length, better_length) = (self.prefix_length.0, better.prefix_length.0);
        if length != better_length {
            return format!("shorter path prefix ({length} against {better_length})");
        }
        if self.on_listeners != better.on_listeners {
            return "a route for every listener comes after one for this".to_owned();
        }
        if self.created_at == better.created_at {
            "later by name"
        } else {
            "created later"
        }
        .to_owned()
    }
}

/// The weightiest kind that `own` lists and `other` does not.
fn weightiest(own: &Precedence, other: &Precedence) -> &'static str {
    let only = own.which.0 & !other.which.0;
    KINDS
        .iter()
        .find(|(bit, _)| only & bit != 0)
        .map_or("route without matchers", |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn any_precedence()(
            which in 0..32_u8,
            plain_hosts in any::<bool>(),
            headers in prop_oneof![0..3_usize, Just(MOST_HEADERS)],
            regex_priority in prop::option::of(prop_oneof![-1..2_i32, Just(i32::MIN), Just(i32::MAX)]),
            prefix_length in prop_oneof![0..3_usize, Just(crate::path_matcher::LONGEST)],
            on_listeners in any::<bool>(),
            created_at in prop_oneof![0..3_u64, Just(LATEST)],
        ) -> Precedence {
            Precedence {
                kinds: Reverse(which.count_ones()),
                which: Reverse(which),
                plain_hosts: Reverse(plain_hosts),
                headers: Reverse(headers),
                regex_priority: Reverse(regex_priority),
                prefix_length: Reverse(prefix_length),
                on_listeners: Reverse(on_listeners),
                created_at,
            }
        }
    }

    proptest! {
        #[test]
        fn weights_are_in_the_order_of_precedence(left in any_precedence(), right in any_precedence()) {
            prop_assert_eq!(left.weight().cmp(&right.weight()), left.cmp(&right));
        }
    }
}
