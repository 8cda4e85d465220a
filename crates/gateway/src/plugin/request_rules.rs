//! `request-rules` (ours): what is done to a request under conditions: answer it, redirect it, change its path or its
//! fields, send it to another service (nginx: `if`, `rewrite`, `return`, `map`).
//!
//! Rules are gone through from the first to the last, before anything else is asked of the request. A rule acts if all
//! its conditions hold; one that answers ends everything, one that is `last` ends the rules. A condition without a
//! `value` is about the path as the rules before have left it. Texts may have values of the request in them, and `$1` to
//! `$9`, the groups of the expression that matched last. Expressions run in linear time.
//!
//! Left out: another route. The one that took the request keeps it, whatever its path is now.

use std::borrow::Cow;

use hythe_model::Name;
use regex::bytes::Regex;
use serde_json::{Map, Value};

use super::redirect::one_line;
use super::request_transformer::{changeable, pair};
use super::rewrite::joined;
use super::settings::Settings;
use super::template::{Template, push_path};
use super::{Plugin, PluginKind, SettingProblem, Verdict};
use crate::exchange::Exchange;
use crate::respond::Reply;

/// Its entry in the list.
pub const KIND: PluginKind = PluginKind {
    name: "request-rules",
    priority: 2400,
    summary: "answers, redirects or changes requests under conditions",
    parse,
};

struct RequestRules {
    rules: Vec<Rule>,
    services: Vec<Name>,
}

struct Rule {
    conditions: Vec<Condition>,
    headers: Vec<(String, Filled)>,
    answer_headers: Vec<(String, Filled)>,
    path: Option<NewPath>,
    /// The place of its service in the list of all.
    service: Option<usize>,
    answer: Option<Answer>,
    last: bool,
}

struct Condition {
    /// `None`: the path as it is now.
    value: Option<Template>,
    test: Test,
    negated: bool,
}

enum Test {
    /// It is neither empty nor `0`, as nginx has it.
    Truth,
    Equals(Template),
    Matches(Regex),
}

struct NewPath {
    path: Filled,
    query: Option<Filled>,
    keep_query: bool,
}

struct Answer {
    status: u16,
    content: Content,
}

enum Content {
    Page,
    Text { content_type: String, body: Filled },
    Location { location: Filled, keep_query: bool },
}

/// A text with values of the request, and with groups of the last match.
struct Filled(Vec<Piece>);

enum Piece {
    Text(Template),
    Group(usize),
}

/// What the rules so far have found.
#[derive(Default)]
struct State {
    path: Option<Vec<u8>>,
    groups: Vec<Vec<u8>>,
}

fn parse(config: &Map<String, Value>) -> Result<Box<dyn Plugin>, Vec<SettingProblem>> {
    let mut settings = Settings::of(config);
    if !settings.has("rules") {
        settings.problem("rules", "required field missing");
    }
    let read = settings.records("rules", |part| (rule(part), service(part)));
    settings.finish()?;
    let mut services = Vec::new();
    let placed = read.into_iter().map(|(mut rule, service)| {
        rule.service = service.map(|name| {
            services.push(name);
            services.len() - 1
        });
        rule
    });
    let rules = placed.collect();
    Ok(Box::new(RequestRules { rules, services }))
}

fn rule(part: &mut Settings<'_>) -> Rule {
    let conditions = part.records("if", condition);
    let headers = part.texts("headers", field);
    let answer_headers = part.texts("answer_headers", field);
    let (path, answer) = (new_path(part), answer(part));
    if path.is_none() && !part.has("location") && part.has("keep_query") {
        part.problem("keep_query", "only for a `path` or a `location`");
    }
    if answer.is_some() && (path.is_some() || part.has("service")) {
        part.problem("status_code", "a request that is answered goes nowhere else");
    }
    Rule {
        conditions: conditions.into_iter().flatten().collect(),
        headers,
        answer_headers,
        path,
        service: None,
        answer,
        last: part.truth("last", false),
    }
}

fn field(text: &str) -> Result<(String, Filled), String> {
    pair(text, |name, value| {
        changeable(name)?;
        Filled::parse(value)
    })
}

fn service(part: &mut Settings<'_>) -> Option<Name> {
    let name = part.text("service")?.parse::<Name>();
    name.map_err(|error| part.problem("service", &error.to_string()))
        .ok()
}

fn condition(part: &mut Settings<'_>) -> Option<Condition> {
    let value = part.template("value");
    let of_nothing = !part.has("value");
    let mut tests = Vec::new();
    for (key, negated) in [("equals", false), ("not_equals", true)] {
        tests.extend(part.template(key).map(|text| (Test::Equals(text), negated)));
    }
    for (key, negated) in [("matches", false), ("not_matches", true)] {
        tests.extend(regex(part, key).map(|regex| (Test::Matches(regex), negated)));
    }
    let tests_given = ["equals", "not_equals", "matches", "not_matches"]
        .iter()
        .filter(|key| part.has(key))
        .count();
    match tests_given {
        0 if of_nothing => part.problem("value", "required field missing"),
        0 => tests.push((Test::Truth, false)),
        1 => {}
        _ => part.problem("value", "a condition has one test"),
    }
    let (test, negated) = tests.pop()?;
    Some(Condition { value, test, negated })
}

fn regex(part: &mut Settings<'_>, key: &'static str) -> Option<Regex> {
    let regex = Regex::new(part.text(key)?);
    regex
        .map_err(|_| part.problem(key, "not a regular expression that runs in linear time"))
        .ok()
}

fn new_path(part: &mut Settings<'_>) -> Option<NewPath> {
    let text = part.text("path")?;
    if !text.starts_with(['/', '$']) {
        part.problem("path", "should start with: /");
    }
    let (path, query) = text.split_once('?').unzip();
    let path = filled(part, "path", path.unwrap_or(text))?;
    let query = match query {
        Some(query) => Some(filled(part, "path", query)?),
        None => None,
    };
    let keep_query = part.truth("keep_query", true);
    Some(NewPath {
        path,
        query,
        keep_query,
    })
}

fn answer(part: &mut Settings<'_>) -> Option<Answer> {
    let location = part
        .text("location")
        .and_then(|text| filled(part, "location", text));
    let body = part.text("body").and_then(|text| filled(part, "body", text));
    let content_type = part.text("content_type").unwrap_or("text/plain; charset=utf-8");
    if content_type.bytes().any(|byte| byte.is_ascii_control()) {
        part.problem("content_type", "a content type is one line");
    }
    if !part.has("status_code") {
        if part.has("location") || part.has("body") {
            part.problem("status_code", "required field missing");
        }
        return None;
    }
    let status = part.integer("status_code", 503, 200, 599);
    let content = match (location, body) {
        (Some(location), _) => Content::Location {
            location,
            keep_query: part.truth("keep_query", false),
        },
        (None, Some(body)) => Content::Text {
            content_type: content_type.to_owned(),
            body,
        },
        (None, None) => Content::Page,
    };
    Some(Answer {
        status: u16::try_from(status).unwrap_or(503),
        content,
    })
}

fn filled(part: &mut Settings<'_>, key: &str, text: &str) -> Option<Filled> {
    Filled::parse(text)
        .map_err(|message| part.problem(key, &message))
        .ok()
}

impl Filled {
    fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut start = 0;
        let mut at = 0;
        while let Some(found) = text.get(at..).and_then(|rest| rest.find('$')) {
            at += found;
            match text.as_bytes().get(at + 1) {
                Some(digit @ b'1'..=b'9') => {
                    pieces.push(Piece::Text(Template::parse(
                        text.get(start..at).unwrap_or_default(),
                    )?));
                    pieces.push(Piece::Group(usize::from(digit - b'0')));
                    at += 2;
                    start = at;
                }
                Some(b'$') => at += 2,
                _ => at += 1,
            }
        }
        pieces.push(Piece::Text(Template::parse(
            text.get(start..).unwrap_or_default(),
        )?));
        Ok(Self(pieces))
    }

    fn render(&self, exchange: &Exchange<'_>, groups: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(template) => out.extend(template.render(exchange)),
                Piece::Group(number) => out.extend(groups.get(*number).into_iter().flatten()),
            }
        }
        out
    }
}

impl Plugin for RequestRules {
    fn before(&self, exchange: &mut Exchange<'_>) -> Verdict {
        let mut state = State::default();
        for rule in &self.rules {
            let holds = rule
                .conditions
                .iter()
                .all(|condition| condition.holds(exchange, &mut state));
            if !holds {
                continue;
            }
            if let Some(reply) = rule.act(exchange, &mut state) {
                return Verdict::Respond(reply);
            }
            if rule.last {
                break;
            }
        }
        Verdict::Continue
    }

    fn destinations(&self) -> &[Name] {
        &self.services
    }
}

impl Condition {
    fn holds(&self, exchange: &Exchange<'_>, state: &mut State) -> bool {
        let value = match &self.value {
            Some(template) => Cow::Owned(template.render(exchange)),
            None => state.path(exchange),
        };
        let holds = match &self.test {
            Test::Truth => !value.is_empty() && *value != *b"0",
            Test::Equals(text) => *value == *text.render(exchange),
            Test::Matches(regex) => match regex.captures(&value) {
                Some(found) => {
                    let group = |group: Option<regex::bytes::Match<'_>>| {
                        group.map_or_else(Vec::new, |group| group.as_bytes().to_vec())
                    };
                    state.groups = found.iter().map(group).collect();
                    true
                }
                None => false,
            },
        };
        holds != self.negated
    }
}

impl State {
    fn path<'a>(&self, exchange: &Exchange<'a>) -> Cow<'a, [u8]> {
        match &self.path {
            Some(path) => Cow::Owned(path.clone()),
            None => hythe_http1::path::normalize(exchange.path()),
        }
    }
}

impl Rule {
    /// What it does; the answer, if it gives one.
    fn act(&self, exchange: &mut Exchange<'_>, state: &mut State) -> Option<Reply> {
        for (name, text) in &self.headers {
            match text.render(exchange, &state.groups) {
                value if value.is_empty() => exchange.request_edits.remove(name.clone()),
                value => exchange.request_edits.set(name.clone(), value),
            }
        }
        for (name, text) in &self.answer_headers {
            let value = text.render(exchange, &state.groups);
            if !value.is_empty() {
                exchange.answer_edits.append(name.clone(), value);
            }
        }
        if let Some(new) = &self.path {
            new.take(exchange, state);
        }
        if self.service.is_some_and(|place| !exchange.send_to(place)) {
            return Some(exchange.page(503, "no Service found with those values"));
        }
        self.answer.as_ref().map(|answer| answer.reply(exchange, state))
    }
}

impl NewPath {
    fn take(&self, exchange: &mut Exchange<'_>, state: &mut State) {
        let mut path = Vec::new();
        push_path(&mut path, &self.path.render(exchange, &state.groups));
        if !path.starts_with(b"/") {
            path.insert(0, b'/');
        }
        let given = self
            .query
            .as_ref()
            .map(|query| query.render(exchange, &state.groups));
        if given.is_some() || !self.keep_query {
            let kept = current_query(exchange).filter(|_| self.keep_query);
            let query = joined(&given.unwrap_or_default(), kept.as_deref());
            exchange.decide().query = Some(query);
        }
        state.path = Some(path.clone());
        exchange.decide().path = Some(path);
    }
}

/// The query as the rules before have left it.
fn current_query(exchange: &Exchange<'_>) -> Option<Vec<u8>> {
    let decided = exchange.decisions().and_then(|decisions| decisions.query.clone());
    let query = decided.or_else(|| exchange.query().map(<[u8]>::to_vec));
    query.filter(|query| !query.is_empty())
}

impl Answer {
    fn reply(&self, exchange: &Exchange<'_>, state: &State) -> Reply {
        match &self.content {
            Content::Page => exchange.page(self.status, hythe_http1::reason_phrase(self.status)),
            Content::Text { content_type, body } => Reply::new(
                self.status,
                content_type.clone(),
                body.render(exchange, &state.groups),
            ),
            Content::Location { location, keep_query } => {
                let mut location = location.render(exchange, &state.groups);
                if let Some(query) = current_query(exchange).filter(|_| *keep_query) {
                    location.push(if location.contains(&b'?') { b'&' } else { b'?' });
                    location.extend_from_slice(&query);
                }
                let text = b"redirecting".to_vec();
                let reply = Reply::new(self.status, "text/plain; charset=utf-8".to_owned(), text);
                reply.with("Location", one_line(&location))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plugin::fixture::{Fixture, lines, settings};

    fn plugin(rules: Value) -> Box<dyn Plugin> {
        let fields = [("rules".to_owned(), rules)];
        parse(&settings(Value::Object(fields.into_iter().collect()))).unwrap()
    }

    /// What the rules do to a request, in words.
    fn done(rules: Value, target: &str) -> String {
        let plugin = plugin(rules);
        let mut fixture = Fixture::get(target, &["User-Agent: robot 7", "Cookie: seen=0"]);
        let mut told = String::new();
        match plugin.before(&mut fixture.exchange()) {
            Verdict::Respond(reply) => {
                let location = reply.field("location").unwrap_or_default();
                told = format!("{} {location}", reply.status);
            }
            Verdict::Continue => {}
            Verdict::Await(_) => panic!("nothing here waits"),
        }
        let decided = fixture.decisions.unwrap_or_default();
        for (sign, value) in [("", decided.path), ("?", decided.query)] {
            if let Some(value) = value {
                told += &format!("{sign}{}", String::from_utf8(value).unwrap());
            }
        }
        told += &lines(&fixture.request);
        told + &lines(&fixture.answer)
    }

    #[test]
    fn conditions() {
        let rows = [
            (json!([{"value": "$request_method", "equals": "GET"}]), true),
            (json!([{"value": "$request_method", "not_equals": "GET"}]), false),
            (json!([{"value": "$http_user_agent", "matches": "^robot"}]), true),
            (
                json!([{"value": "$http_user_agent", "matches": "(?i)^ROBOT"}]),
                true,
            ),
            (
                json!([{"value": "$http_user_agent", "not_matches": "^robot"}]),
                false,
            ),
            (json!([{"value": "$http_user_agent"}]), true),
            (json!([{"value": "$http_referer"}]), false),
            // nginx: `0` is as good as nothing.
            (json!([{"value": "$cookie_seen"}]), false),
            (json!([{"matches": "^/a/"}]), true),
            (json!([{"equals": "/a"}]), false),
            (
                json!([{"matches": "^/a/"}, {"value": "$arg_x", "equals": "2"}]),
                false,
            ),
            (
                json!([{"matches": "^/a/"}, {"value": "$arg_x", "equals": "$arg_y"}]),
                true,
            ),
            (json!([]), true),
        ];
        for (conditions, holds) in rows {
            let expected = if holds { "418 " } else { "" };
            let rules = json!([{"if": conditions.clone(), "status_code": 418}]);
            assert_eq!(done(rules, "/a//b?x=1&y=1"), expected, "{conditions}");
        }
    }

    #[test]
    fn actions() {
        let on_path = |regex: &str| json!([{ "matches": regex }]);
        let rows = [
            (json!([{"if": on_path("^/(.*)/b$"), "path": "/n/$1"}]), "/n/a"),
            (
                json!([{"if": on_path("^/(.*)/b$"), "path": "/n?of=$1"}]),
                "/n?of=a&x=1",
            ),
            (json!([{"path": "/n?y=2", "keep_query": false}]), "/n?y=2"),
            (json!([{"path": "/n", "keep_query": false}]), "/n?"),
            // The next rule sees the path that the one before has made.
            (
                json!([{"path": "/n"}, {"if": on_path("^/n$"), "path": "/m"}]),
                "/m",
            ),
            (
                json!([{"path": "/n", "last": true}, {"if": on_path("^/n$"), "path": "/m"}]),
                "/n",
            ),
            (
                json!([{"if": on_path("(b)$"), "status_code": 301, "location": "https://$1.test/$http_none", "keep_query": true}]),
                "301 https://b.test/?x=1",
            ),
            (
                json!([{"status_code": 302, "location": "/?z=$arg_x", "keep_query": true}, {"status_code": 400}]),
                "302 /?z=1&x=1",
            ),
            (
                json!([{"status_code": 302, "location": "$request_uri"}]),
                "302 /a/b?x=1",
            ),
            (
                json!([{"headers": ["X-A: $1$arg_x", "User-Agent: $http_none"]}]),
                "X-A: 1\n",
            ),
            (
                json!([{"answer_headers": ["X-A: a", "X-B: $http_none"], "status_code": 204}]),
                "204 X-A: a\n",
            ),
            (json!([{"path": "/$http_user_agent"}]), "/robot%207"),
        ];
        for (rules, expected) in rows {
            assert_eq!(done(rules.clone(), "/a/b?x=1"), expected, "{rules}");
        }
    }

    #[test]
    fn a_text_is_answered() {
        let rules = json!([{"status_code": 200, "body": "$host is $$1\n", "content_type": "text/html"}]);
        let mut fixture = Fixture::get("/", &[]);
        let answer = fixture.run(&*plugin(rules));
        assert_eq!(answer, Some((200, "a is $1\n".to_owned())));
    }

    #[test]
    fn a_service_that_is_not_there_is_told() {
        let rules = json!([{"if": [{"value": "$host", "equals": "b"}], "service": "x"}, {"service": "y"}]);
        let plugin = plugin(rules);
        let names: Vec<_> = plugin.destinations().iter().map(Name::as_str).collect();
        assert_eq!(names, ["x", "y"]);
        let mut fixture = Fixture::get("/", &[]);
        assert_eq!(fixture.run(&*plugin).map(|(status, _)| status), Some(503));
    }

    #[test]
    fn mistakes_are_placed() {
        let rows = [
            (json!({}), "config.rules: required field missing"),
            (
                json!({"rules": [{"if": [{}]}]}),
                "config.rules.0.if.0.value: required field missing",
            ),
            (
                json!({"rules": [{"if": [{"equals": "/", "matches": "/"}]}]}),
                "config.rules.0.if.0.value: a condition has one test",
            ),
            (
                json!({"rules": [{"if": [{"matches": "a(?=b)"}]}]}),
                "config.rules.0.if.0.matches: not a regular expression that runs in linear time",
            ),
            (
                json!({"rules": [{"path": "b"}]}),
                "config.rules.0.path: should start with: /",
            ),
            (
                json!({"rules": [{"location": "/b"}]}),
                "config.rules.0.status_code: required field missing",
            ),
            (
                json!({"rules": [{"status_code": 301, "location": "/$x"}]}),
                "config.rules.0.location: unknown variable `$x`; write `$$` for a dollar sign",
            ),
            (
                json!({"rules": [{"status_code": 403, "path": "/b"}]}),
                "config.rules.0.status_code: a request that is answered goes nowhere else",
            ),
            (
                json!({"rules": [{"headers": ["Content-Length: 1"]}]}),
                "config.rules.0.headers.0: 'Content-Length' is not the name of a header that may be set",
            ),
            (
                json!({"rules": [{"keep_query": true}]}),
                "config.rules.0.keep_query: only for a `path` or a `location`",
            ),
        ];
        for (config, message) in rows {
            let problems = parse(&settings(config.clone())).err().unwrap();
            assert_eq!(problems[0].to_string(), message, "{config}");
        }
    }
}
