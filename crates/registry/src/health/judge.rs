//! A pool as its health checks see it. Pure.

use std::net::SocketAddr;

use hythe_model::Endpoint;
use hythe_model::endpoint::{Health, PoolEndpoints};

use crate::health::verdict::Verdict;

/// `pool` without the endpoints that are found unhealthy; with none at all if less than `threshold` percent of
/// its weight is left (Kong).
pub(crate) fn judged<'a>(
    pool: &PoolEndpoints,
    verdict: impl Fn(SocketAddr) -> Option<&'a Verdict>,
    threshold: f64,
) -> PoolEndpoints {
    let mut judged = pool.clone();
    for endpoint in &mut judged.endpoints {
        let Some(verdict) = verdict(endpoint.address) else {
            continue;
        };
        endpoint.healthy &= verdict.healthy;
        if let Some(reason) = verdict.reason.clone() {
            let health = Health {
                healthy: verdict.healthy,
                reason,
                since: verdict.since,
            };
            judged.checked.insert(endpoint.address, health);
        }
    }
    if healthy_share(&judged.endpoints) < threshold {
        give_up(&mut judged, threshold);
    }
    judged
}

/// Percent of the weight; of no weight at all it is everything.
fn healthy_share(endpoints: &[Endpoint]) -> f64 {
    let weight = |endpoint: &Endpoint| u64::from(endpoint.weight);
    let all: u64 = endpoints.iter().map(weight).sum();
    let healthy: u64 = endpoints
        .iter()
        .filter(|endpoint| endpoint.healthy)
        .map(weight)
        .sum();
    if all == 0 {
        return 100.0;
    }
    // Weights are small enough to be exact.
    healthy as f64 * 100.0 / all as f64
}

fn give_up(pool: &mut PoolEndpoints, threshold: f64) {
    for endpoint in pool.endpoints.iter_mut().filter(|endpoint| endpoint.healthy) {
        endpoint.healthy = false;
        let health = Health {
            healthy: true,
            reason: format!("less than {threshold} % of the pool is healthy"),
            since: None,
        };
        pool.checked.insert(endpoint.address, health);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hythe_model::endpoint::EndpointRules;
    use hythe_model::health::Thresholds;

    use super::*;
    use crate::health::verdict::{Failure, Outcome};

    fn address(number: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], number))
    }

    fn pool() -> PoolEndpoints {
        let endpoint = |number: u16| Endpoint {
            id: number.to_string().into(),
            address: address(number),
            weight: number,
            healthy: number != 3,
            revision: None,
            rules: EndpointRules::default(),
        };
        PoolEndpoints {
            endpoints: (1..=4).map(endpoint).collect(),
            ..PoolEndpoints::default()
        }
    }

    /// Who may be picked when `failed` were found unhealthy, and how many have a reason.
    fn picked(failed: &[u16], threshold: f64) -> (Vec<u16>, usize) {
        let mut verdicts: BTreeMap<_, _> = (1..=4)
            .map(|number| (address(number), Verdict::new(false)))
            .collect();
        for number in failed {
            let once = Thresholds {
                tcp_failures: 1,
                ..Thresholds::default()
            };
            let refused = Outcome::Failure(Failure::Tcp, "refused".to_owned());
            let verdict = verdicts.get_mut(&address(*number)).unwrap();
            assert!(verdict.take(&refused, &once, "check", 1));
        }
        let judged = judged(&pool(), |address| verdicts.get(&address), threshold);
        let healthy = judged.endpoints.iter().filter(|endpoint| endpoint.healthy);
        (
            healthy.map(|endpoint| endpoint.address.port()).collect(),
            judged.checked.len(),
        )
    }

    #[test]
    fn checks_take_away_and_never_add() {
        let rows: [(&[u16], f64, &[u16], usize); 6] = [
            (&[], 0.0, &[1, 2, 4], 0),
            (&[1], 0.0, &[2, 4], 1),
            (&[3], 0.0, &[1, 2, 4], 1),
            (&[1, 2, 4], 0.0, &[], 3),
            (&[4], 30.0, &[1, 2], 1),
            (&[4], 30.1, &[], 3),
        ];
        for (failed, threshold, expected, reasons) in rows {
            assert_eq!(
                picked(failed, threshold),
                (expected.to_vec(), reasons),
                "{failed:?} {threshold}"
            );
        }
    }

    #[test]
    fn an_empty_pool_is_below_no_threshold() {
        let empty = PoolEndpoints::default();
        assert_eq!(judged(&empty, |_| None, 100.0), empty);
    }
}
