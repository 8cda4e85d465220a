//! What `healthchecks` must be beyond their shape.

use hythe_model::HealthChecks;
use hythe_model::health::{ActiveChecks, CheckType, Expected, MOST_OUTCOMES, Thresholds, status_range};
use regex::Regex;

/// Most checks of a pool at the same time.
const MOST_AT_ONCE: u32 = 1_000;

/// Every mistake, in words.
pub(super) fn problems(checks: &HealthChecks) -> Vec<String> {
    let mut problems = active(&checks.active);
    let (active, passive) = (checks.active.thresholds(), checks.passive.thresholds());
    if ![active, passive].iter().all(are_small) {
        problems.push(format!("a threshold is more than {MOST_OUTCOMES}"));
    }
    if !(0.0..=100.0).contains(&checks.threshold) {
        problems.push(format!("threshold {} is not a percentage", checks.threshold));
    }
    problems
}

fn active(active: &ActiveChecks) -> Vec<String> {
    let mut problems = Vec::new();
    let mut require = |holds: bool, problem: String| {
        if !holds {
            problems.push(problem);
        }
    };
    let is_built = !matches!(active.kind, CheckType::Https | CheckType::Grpcs);
    require(is_built, format!("checks by {} are not made yet", active.kind));
    require(!active.timeout.is_zero(), "active.timeout is 0".to_owned());
    require(
        (1..=MOST_AT_ONCE).contains(&active.concurrency),
        format!("active.concurrency is not from 1 to {MOST_AT_ONCE}"),
    );
    let path = &active.http_path;
    let is_path = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
    require(is_path, format!("active.http_path `{path}` is not a path"));
    require(active.port != Some(0), "active.port is 0".to_owned());
    for (name, values) in active.headers.iter().flatten() {
        let is_line = |value: &String| !value.bytes().any(|byte| byte.is_ascii_control());
        let is_header = is_token(name) && values.iter().all(is_line);
        require(is_header, format!("active.headers: `{name}` cannot be sent"));
    }
    problems.extend(active.expected.iter().flat_map(expected));
    problems
}

fn expected(expected: &Expected) -> Vec<String> {
    let statuses = expected.status.iter();
    let statuses = statuses.filter(|status| status_range(status).is_none());
    let statuses = statuses.map(|status| format!("match.status: `{status}` is no status"));
    let headers = expected
        .headers
        .values()
        .filter_map(|value| value.strip_prefix('~'));
    let regexes = headers.chain(expected.body.as_deref());
    let regexes = regexes.filter(|regex| Regex::new(regex).is_err());
    statuses
        .chain(regexes.map(|regex| format!("match: `{regex}` is not a regular expression")))
        .collect()
}

fn are_small(thresholds: &Thresholds) -> bool {
    let Thresholds {
        successes,
        http_failures,
        tcp_failures,
        timeouts,
    } = *thresholds;
    [successes, http_failures, tcp_failures, timeouts]
        .iter()
        .all(|threshold| *threshold <= MOST_OUTCOMES)
}

fn is_token(name: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes() {
        let rows = [
            (r"{}", 0),
            (
                r#"{"active": {"http_path": "/h?a=1", "headers": {"Host": ["a"]}, "match": {"body": "ok"}}}"#,
                0,
            ),
            (
                r#"{"active": {"type": "grpcs", "timeout": 0, "concurrency": 0}}"#,
                3,
            ),
            (r#"{"active": {"http_path": "/a b", "port": 0}}"#, 2),
            (r#"{"active": {"headers": {"a:": ["1"], "b": ["x\r\nc: d"]}}}"#, 2),
            (
                r#"{"active": {"match": {"status": ["2xx"], "headers": {"a": "~("}, "body": "["}}}"#,
                3,
            ),
            (
                r#"{"passive": {"unhealthy": {"timeouts": 256}}, "threshold": 101}"#,
                2,
            ),
        ];
        for (text, expected) in rows {
            let problems = problems(&serde_json::from_str(text).unwrap());
            assert_eq!(problems.len(), expected, "{text}: {problems:?}");
        }
    }
}
