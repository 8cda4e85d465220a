//! `rewrite` (ours): another path for the upstream, by regular expressions. The first rule that matches the
//! normalised path decides; its groups may be used in the replacement (`$1`, `$name`). The query stays, behind
//! what the replacement says after a `?` (nginx: `rewrite`). Expressions run in linear time.

use regex::bytes::Regex;
use serde_json::{Map, Value};

use super::settings::Settings;
use super::template::push_path;
use super::{Plugin, PluginKind, SettingProblem, Verdict};
use crate::exchange::Exchange;

/// Its entry in the list.
pub const KIND: PluginKind = PluginKind {
    name: "rewrite",
    priority: 802,
    summary: "sends another path to the service, by regular expressions",
    parse,
};

struct Rewrite {
    rules: Vec<Rule>,
}

struct Rule {
    regex: Regex,
    replacement: Vec<u8>,
}

fn parse(config: &Map<String, Value>) -> Result<Box<dyn Plugin>, Vec<SettingProblem>> {
    let mut settings = Settings::of(config);
    let rules = settings.records("rules", |rule| {
        let regex = rule.text("regex").unwrap_or_default();
        let replacement = rule.text("replacement").unwrap_or_default();
        for field in ["regex", "replacement"] {
            if !rule.has(field) {
                rule.problem(field, "required field missing");
            }
        }
        if rule.has("replacement") && !replacement.starts_with(['/', '$']) {
            rule.problem("replacement", "should start with: /");
        }
        let regex = Regex::new(regex)
            .map_err(|_| rule.problem("regex", "not a regular expression that runs in linear time"))
            .ok()?;
        let replacement = replacement.as_bytes().to_vec();
        Some(Rule { regex, replacement })
    });
    if rules.is_empty() {
        settings.problem("rules", "required field missing");
    }
    settings.finish()?;
    Ok(Box::new(Rewrite {
        rules: rules.into_iter().flatten().collect(),
    }))
}

impl Plugin for Rewrite {
    fn before(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let path = hythe_http1::path::normalize(exchange.path());
        let found = self
            .rules
            .iter()
            .find_map(|rule| Some((rule, rule.regex.captures(&path)?)));
        let Some((rule, captures)) = found else {
            return Verdict::Continue;
        };
        let mut written = Vec::new();
        captures.expand(&rule.replacement, &mut written);
        let mut parts = written.splitn(2, |byte| *byte == b'?');
        let mut path = Vec::new();
        push_path(&mut path, parts.next().unwrap_or_default());
        if !path.starts_with(b"/") {
            path.insert(0, b'/');
        }
        let query = parts.next().map(|first| joined(first, exchange.query()));
        let decisions = exchange.decide();
        decisions.path = Some(path);
        decisions.query = query.or(decisions.query.take());
        Verdict::Continue
    }
}

/// Two queries in one.
pub(super) fn joined(first: &[u8], second: Option<&[u8]>) -> Vec<u8> {
    let mut query: Vec<u8> = first.iter().copied().filter(u8::is_ascii_graphic).collect();
    if let Some(second) = second {
        if !query.is_empty() {
            query.push(b'&');
        }
        query.extend_from_slice(second);
    }
    query
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plugin::fixture::{Fixture, settings};

    #[test]
    fn paths_are_rewritten() {
        let rows = [
            (r"^/users/(\d+)$", "/u/$1", "/users/7?q=1", Some("/u/7"), None),
            (
                r"^/users/(?<id>\d+)",
                "/u/${id}x",
                "/users//7",
                Some("/u/7x"),
                None,
            ),
            (r"^/users/(\d+)$", "/u", "/users/x", None, None),
            (
                r"/old",
                "/new?from=old",
                "/old?q=1",
                Some("/new"),
                Some("from=old&q=1"),
            ),
            (r"/old", "/new?", "/old?q=1", Some("/new"), Some("q=1")),
            (
                r"/(.*)",
                "$1",
                "/a%2Fb c".trim_end_matches(" c"),
                Some("/a%2Fb"),
                None,
            ),
            (r".*", "/", "/x", Some("/"), None),
        ];
        for (regex, replacement, target, path, query) in rows {
            let config = json!({"rules": [{"regex": "^/never$", "replacement": "/no"}, {"regex": regex, "replacement": replacement}]});
            let plugin = parse(&settings(config)).unwrap();
            let mut fixture = Fixture::get(target, &[]);
            assert_eq!(fixture.run(&*plugin), None);
            let decided = fixture.decisions.unwrap_or_default();
            let text = |bytes: Option<Vec<u8>>| bytes.map(|bytes| String::from_utf8(bytes).unwrap());
            assert_eq!(text(decided.path).as_deref(), path, "{regex}");
            assert_eq!(text(decided.query).as_deref(), query, "{regex}");
        }
    }

    #[test]
    fn mistakes_are_placed() {
        let rows = [
            (json!({}), "config.rules: required field missing"),
            (
                json!({"rules": [{"regex": "("}]}),
                "config.rules.0.replacement: required field missing",
            ),
            (
                json!({"rules": [{"regex": "a(?=b)", "replacement": "/"}]}),
                "config.rules.0.regex: not a regular expression that runs in linear time",
            ),
            (
                json!({"rules": [{"regex": "a", "replacement": "b"}]}),
                "config.rules.0.replacement: should start with: /",
            ),
            (
                json!({"rules": [{"regex": "a", "replacement": "/", "flag": "last"}]}),
                "config.rules.0.flag: unknown field",
            ),
        ];
        for (config, message) in rows {
            let problems = parse(&settings(config.clone())).err().unwrap();
            assert_eq!(problems[0].to_string(), message, "{config}");
        }
    }
}
