//! `if`, `rewrite`, `set`, `break`, `limit_except`: what nginx does to a request before it is handled, as rules of the plugin
//! `request-rules`.
//!
//! Both go through their lines from the first to the last. What nginx does that the plugin does not is to look for
//! another location once the path has changed: where that could be another one than the request is in, the rule refuses
//! the requests that it is about. So does a rule that cannot be said; where not even its condition can, the whole
//! place is closed.

use super::Draft;
use super::scope::Scope;
use super::tables::about;
use crate::check::without_parentheses;
use crate::tree::Directive;
use crate::value;
use crate::yaml::{MapOf, Yaml};

/// Directives inside of an `if` that let nobody in or out.
const HARMLESS: [&str; 14] = [
    "access_log",
    "add_header",
    "add_trailer",
    "charset",
    "error_log",
    "etag",
    "expires",
    "gzip",
    "limit_rate",
    "limit_rate_after",
    "log_not_found",
    "log_subrequest",
    "rewrite_log",
    "set",
];

/// What the lines of a block become.
#[derive(Default)]
pub(super) struct Phase<'a> {
    /// Rules of `request-rules`.
    pub(super) rules: Vec<Yaml>,
    /// The directive that cannot be translated and would decide about requests.
    pub(super) closed: Option<&'a Directive>,
    /// Rewrites that lead to another location, with the rules before each.
    pub(super) moves: Vec<Move<'a>>,
}

/// A `rewrite` of a whole server.
pub(super) struct Move<'a> {
    pub(super) rewrite: &'a Directive,
    /// What is done before, the rewrite itself, and what is done behind it unless it is the last.
    pub(super) rules: Vec<Yaml>,
    /// How many rules of the server stand before it.
    before: usize,
}

/// Where the lines stand.
pub(super) struct Level<'s> {
    /// In a server, where rewrites may become routes of their own.
    pub(super) server: bool,
    /// Whether a request whose path becomes this stays where it is.
    pub(super) stays: &'s dyn Fn(&str) -> bool,
    /// Whether requests are passed on, so that a condition may pass them to somebody else.
    pub(super) passes: bool,
}

/// A condition that holds, with the value that a variable then has.
struct Alternative<'a> {
    conditions: Vec<Yaml>,
    scope: Scope<'a>,
    /// The regex whose groups may be used then.
    groups: &'a str,
}

impl<'a> Draft<'a> {
    /// The rules of a block; variables that it sets are set in `scope`.
    pub(super) fn phase(
        &mut self,
        block: &'a Directive,
        scope: &mut Scope<'a>,
        level: &Level<'_>,
    ) -> Phase<'a> {
        let mut phase = Phase::default();
        for directive in block.inside() {
            match directive.name.as_str() {
                "set" => {
                    let value = scope.text(directive.arg(1));
                    scope.set(directive.arg(0), (!value.contains('$')).then_some(value));
                }
                "if" => self.condition(directive, scope, level, &mut phase),
                "rewrite" => self.rewrite(directive, &[], scope, level, &mut phase),
                "limit_except" if block.last("return").is_none() => self.methods(directive, &mut phase),
                "return" | "break" => break,
                _ => {}
            }
            if phase.closed.is_some() {
                break;
            }
        }
        for moved in phase
            .moves
            .iter_mut()
            .filter(|moved| moved.rewrite.arg(2).is_empty())
        {
            let behind = phase.rules.get(moved.before..).unwrap_or_default();
            moved.rules.extend_from_slice(behind);
        }
        phase
    }

    /// `limit_except`: methods that nobody may use. nginx: who may GET may HEAD.
    fn methods(&mut self, limit: &'a Directive, phase: &mut Phase<'a>) {
        let inside = limit.inside();
        if !matches!(inside.as_slice(), [only] if only.name == "deny" && only.arg(0) == "all") {
            self.not_applied(limit, "only `deny all` in it is translated; requests get a 501");
            phase.closed = Some(limit);
            return;
        }
        let mut methods: Vec<&str> = limit.args.iter().map(String::as_str).collect();
        if methods.contains(&"GET") {
            methods.push("HEAD");
        }
        let condition = MapOf::default()
            .with("value", Yaml::text("$request_method"))
            .with("not_matches", Yaml::Text(format!("^({})$", methods.join("|"))));
        let action = MapOf::default().with("status_code", Yaml::Number(403));
        self.add(phase, limit, &[condition.done()], action);
    }

    fn condition(
        &mut self,
        directive: &'a Directive,
        scope: &mut Scope<'a>,
        level: &Level<'_>,
        phase: &mut Phase<'a>,
    ) {
        let outside = scope.clone();
        for set in directive.all("set") {
            scope.set(set.arg(0), None);
        }
        let inside = directive.inside();
        if inside.iter().all(|inner| HARMLESS.contains(&inner.name.as_str())) {
            self.not_applied(directive, "what it says is not done under a condition");
            return;
        }
        let Some(alternatives) = self.alternatives(directive, &outside) else {
            self.not_applied(
                directive,
                "this cannot be asked of a request; all of them get a 501",
            );
            phase.closed = Some(directive);
            return;
        };
        for alternative in alternatives {
            self.consequences(directive, &alternative, level, phase);
        }
    }

    /// When a condition holds; `None` if that cannot be said.
    fn alternatives(&self, directive: &'a Directive, scope: &Scope<'a>) -> Option<Vec<Alternative<'a>>> {
        let words = without_parentheses(directive).ok()?;
        let (subject, operator, operand) = match words.as_slice() {
            [subject] => (*subject, "", ""),
            [subject, operator, operand] => (*subject, *operator, *operand),
            _ => return None,
        };
        if let Some(map) = self.table(subject) {
            let cases = self.cases(map, scope)?.into_iter();
            let holds = cases.map(|case| Some((holds(&case.value, operator, operand)?, case)));
            let holding = holds.collect::<Option<Vec<_>>>()?.into_iter();
            let alternative = |(_, case): (bool, super::tables::Case)| {
                let mut scope = scope.clone();
                scope.set(subject, Some(case.value));
                Alternative {
                    conditions: case.conditions,
                    scope,
                    groups: "",
                }
            };
            return Some(holding.filter(|(holds, _)| *holds).map(alternative).collect());
        }
        let (key, value) = test(operator, operand)?;
        let (text, key, value) = match subject {
            "$https" => (
                "$scheme",
                if asks_for_tls(operator, operand)? {
                    "equals"
                } else {
                    "not_equals"
                },
                "https".to_owned(),
            ),
            _ => (subject, key, scope.text(&value)),
        };
        let groups = if operator.starts_with('~') { operand } else { "" };
        let condition = about(&scope.text(text))?;
        let condition = match key {
            "" if condition.is_empty() => condition.with("matches", Yaml::text(".")),
            "" => condition,
            key => condition.with(key, Yaml::Text(value)),
        };
        Some(vec![Alternative {
            conditions: vec![condition.done()],
            scope: scope.clone(),
            groups,
        }])
    }

    /// What stands in an `if`, for the requests of one of its alternatives.
    fn consequences(
        &mut self,
        directive: &'a Directive,
        holding: &Alternative<'a>,
        level: &Level<'_>,
        phase: &mut Phase<'a>,
    ) {
        let conditions = holding.conditions.as_slice();
        for inner in directive.inside() {
            match inner.name.as_str() {
                "return" => {
                    let scope = holding.scope.with_groups_of(holding.groups);
                    let fields = self.fields_of_answer(directive, &scope);
                    let action = said(inner, &scope).with("answer_headers", fields);
                    return self.add(phase, inner, conditions, action);
                }
                "break" => {
                    let action = MapOf::default().with("last", Yaml::Flag(true));
                    return self.add(phase, inner, conditions, action);
                }
                "rewrite" => self.rewrite(inner, conditions, &holding.scope, level, phase),
                "proxy_pass" if level.passes => {
                    let service = self.passed_on(&holding.scope, inner, crate::check::Shape::Named(""));
                    match service.service.filter(|_| service.rules.is_empty()) {
                        Some(service) => {
                            let action = MapOf::default().with("service", Yaml::Text(service));
                            self.add(phase, inner, conditions, action);
                        }
                        None => self.refuse(phase, inner, conditions),
                    }
                }
                name if HARMLESS.contains(&name) => {}
                _ => {
                    self.not_applied(
                        inner,
                        "not under a condition; requests that it is about get a 501",
                    );
                    return self.refuse(phase, inner, conditions);
                }
            }
        }
    }

    /// The fields that an `if` adds to its answer, but for those that are added anyway.
    fn fields_of_answer(&self, block: &'a Directive, scope: &Scope<'a>) -> Yaml {
        let around = scope.all("add_header");
        let fields = block.all("add_header").filter(|field| {
            let same = |other: &&&Directive| other.args.get(..2) == field.args.get(..2);
            !around.iter().any(|other| same(&other))
        });
        Yaml::texts(fields.map(|field| format!("{}: {}", field.arg(0), scope.text(field.arg(1)))))
    }

    fn rewrite(
        &mut self,
        directive: &'a Directive,
        conditions: &[Yaml],
        scope: &Scope<'a>,
        level: &Level<'_>,
        phase: &mut Phase<'a>,
    ) {
        let regex = directive.arg(0);
        let (target, keep_query) = match directive.arg(1).strip_suffix('?') {
            Some(target) => (target, false),
            None => (directive.arg(1), true),
        };
        let target = scope.with_groups_of(regex).text(target);
        let matching = MapOf::default().with("matches", Yaml::text(regex)).done();
        let conditions = [conditions, &[matching]].concat();
        let flag = directive.arg(2);
        let elsewhere = ["http://", "https://", "$scheme"]
            .iter()
            .any(|start| target.starts_with(start));
        if elsewhere || ["redirect", "permanent"].contains(&flag) {
            let code = if flag == "permanent" { 301 } else { 302 };
            let action = MapOf::default()
                .with("status_code", Yaml::Number(code))
                .with("location", Yaml::Text(target))
                .with_some("keep_query", keep_query.then_some(Yaml::Flag(true)));
            return self.add(phase, directive, &conditions, action);
        }
        let ends = ["last", "break"].contains(&flag);
        let stays = (flag == "break" && !level.server) || (level.stays)(&target);
        let action = MapOf::default()
            .with("path", Yaml::Text(target))
            .with_some("keep_query", (!keep_query).then_some(Yaml::Flag(false)))
            .with_some("last", ends.then_some(Yaml::Flag(true)));
        if stays {
            self.add(phase, directive, &conditions, action);
        } else if level.server && conditions.len() == 1 {
            let before = phase.rules.clone();
            self.add(phase, directive, &conditions, action);
            let rules = std::mem::replace(&mut phase.rules, before);
            phase.moves.push(Move {
                rewrite: directive,
                rules,
                before: phase.rules.len(),
            });
        } else {
            self.not_applied(
                directive,
                "no other location is looked for; requests that it is about get a 501",
            );
            self.refuse(phase, directive, &conditions);
        }
    }

    /// Adds a rule; if it cannot be said, one that refuses the same requests.
    pub(super) fn add(
        &mut self,
        phase: &mut Phase<'a>,
        because: &'a Directive,
        conditions: &[Yaml],
        action: MapOf,
    ) {
        let rule = rule(conditions, action);
        match self.rule_complaint(&rule) {
            None => phase.rules.push(rule),
            Some(problem) => {
                self.not_applied(because, format!("{problem}; requests that it is about get a 501"));
                self.refuse(phase, because, conditions);
            }
        }
    }

    fn refuse(&mut self, phase: &mut Phase<'a>, because: &'a Directive, conditions: &[Yaml]) {
        let rule = rule(
            conditions,
            MapOf::default().with("status_code", Yaml::Number(501)),
        );
        if self.rule_complaint(&rule).is_none() {
            phase.rules.push(rule);
        } else {
            phase.closed = Some(because);
        }
    }

    /// What `request-rules` has against a rule.
    pub(super) fn rule_complaint(&self, rule: &Yaml) -> Option<String> {
        let config = MapOf::default()
            .with("rules", Yaml::List(vec![rule.clone()]))
            .done();
        let settings = config.json().as_object().cloned().unwrap_or_default();
        (self.plugin_check)("request-rules", &settings).into_iter().next()
    }

    /// The plugin with these rules, if there are any.
    pub(super) fn rules_plugin(&mut self, rules: Vec<Yaml>, because: &'a Directive) -> Option<Yaml> {
        if rules.is_empty() {
            return None;
        }
        let config = MapOf::default().with("rules", Yaml::List(rules));
        self.plugin("request-rules", config.done(), because)
    }
}

/// A rule with its conditions.
pub(super) fn rule(conditions: &[Yaml], action: MapOf) -> Yaml {
    MapOf::default()
        .with("if", Yaml::List(conditions.to_vec()))
        .with_all(action)
        .done()
}

/// What `return` says, as the action of a rule.
pub(super) fn said(answer: &Directive, scope: &Scope<'_>) -> MapOf {
    let (code, text) = answer_of(answer);
    let action = MapOf::default().with("status_code", Yaml::Number(code));
    match text.map(|text| scope.text(text)) {
        Some(location) if is_redirect(code) => action.with("location", Yaml::Text(location)),
        Some(text) => {
            let kind = scope.get("default_type").map_or("text/plain", |kind| kind.arg(0));
            action
                .with("body", Yaml::Text(text))
                .with("content_type", Yaml::text(kind))
        }
        None => action,
    }
}

/// Status and text of a `return`. nginx cuts the connection off at 444; the answer here is 400.
pub(super) fn answer_of(answer: &Directive) -> (i64, Option<&str>) {
    let (code, text) = match answer.args.as_slice() {
        [url] if value::number(url).is_none() => (302, Some(url.as_str())),
        [code, text] => (value::number(code).unwrap_or(500), Some(text.as_str())),
        _ => (value::number(answer.arg(0)).unwrap_or(500), None),
    };
    let code = if code == 444 { 400 } else { code };
    (i64::try_from(code).unwrap_or(500), text)
}

pub(super) fn is_redirect(code: i64) -> bool {
    [301, 302, 303, 307, 308].contains(&code)
}

/// The test of `request-rules` for an operator of `if`, and what it takes.
fn test(operator: &str, operand: &str) -> Option<(&'static str, String)> {
    Some(match operator {
        "" => ("", String::new()),
        "=" => ("equals", operand.to_owned()),
        "!=" => ("not_equals", operand.to_owned()),
        "~" => ("matches", operand.to_owned()),
        "~*" => ("matches", format!("(?i){operand}")),
        "!~" => ("not_matches", operand.to_owned()),
        "!~*" => ("not_matches", format!("(?i){operand}")),
        _ => return None,
    })
}

/// Whether a condition on `$https`, which is `on` or empty, holds for requests over TLS.
fn asks_for_tls(operator: &str, operand: &str) -> Option<bool> {
    match (operator, operand) {
        ("", _) | ("=", "on") | ("!=", "") => Some(true),
        ("=", "") | ("!=", "on") => Some(false),
        _ => None,
    }
}

/// Whether a value that is known fulfils a condition; `None` if it depends on the request.
fn holds(value: &str, operator: &str, operand: &str) -> Option<bool> {
    if value.contains('$') || operand.contains('$') {
        return None;
    }
    let regex = |pattern: &str| Some(regex::Regex::new(pattern).ok()?.is_match(value));
    Some(match operator {
        "" => !value.is_empty() && value != "0",
        "=" => value == operand,
        "!=" => value != operand,
        "~" => regex(operand)?,
        "!~" => !regex(operand)?,
        "~*" => regex(&format!("(?i){operand}"))?,
        "!~*" => !regex(&format!("(?i){operand}"))?,
        _ => return None,
    })
}
