//! `map` and `split_clients`: variables whose values are looked up.
//!
//! Nothing is looked up here. Where such a variable decides or is sent, each of its values becomes a rule of its own,
//! for the requests that have it: so conditions of a value leave out the entries that nginx asks before.

use super::Draft;
use super::scope::Scope;
use crate::check::hundredths;
use crate::tree::Directive;
use crate::yaml::{MapOf, Yaml};

/// Most entries of a table that are written as rules, and most regexes among them: each is asked in those behind it.
const MOST: usize = 256;
const MOST_REGEXES: usize = 24;

/// One value of a table, and which requests have it.
pub(super) struct Case {
    /// Conditions of `request-rules`, all of which hold.
    pub(super) conditions: Vec<Yaml>,
    pub(super) value: String,
}

/// What `split_clients` says.
pub(super) struct Shares<'a> {
    /// Percentages, and what those requests have.
    pub(super) shares: Vec<(Yaml, &'a str)>,
    /// What all others have.
    pub(super) rest: Option<&'a str>,
}

/// One line of a table.
struct Entry<'a> {
    regex: String,
    value: &'a str,
}

impl<'a> Draft<'a> {
    /// The table of a variable that is written as `$name`.
    pub(super) fn table(&self, variable: &str) -> Option<&'a Directive> {
        let name = variable.strip_prefix('$')?;
        let name = name
            .strip_prefix('{')
            .and_then(|name| name.strip_suffix('}'))
            .unwrap_or(name);
        let known = |table: &&&'a Directive| table.arg(1).strip_prefix('$') == Some(name);
        self.tables.iter().rfind(known).copied()
    }

    /// The variable of `text` that has a table, and the table.
    pub(super) fn table_in(&self, text: &str) -> Option<(String, &'a Directive)> {
        let names = crate::check::names_in(text).ok()?;
        names.into_iter().find_map(|name| {
            let table = self.table(&format!("${name}"))?;
            Some((name, table))
        })
    }

    /// Which requests have which value of a `map`; `None` if that cannot be said.
    pub(super) fn cases(&self, map: &'a Directive, scope: &Scope<'a>) -> Option<Vec<Case>> {
        let source = map.arg(0);
        if map.name != "map" || self.table_in(source).is_some() {
            return None;
        }
        let (texts, regexes, default) = entries(map)?;
        let condition = |test: &str, regex: &str| {
            about(&scope.text(source)).map(|about| about.with(test, Yaml::text(regex)).done())
        };
        let mut cases = Vec::new();
        for entry in &texts {
            cases.push(Case {
                conditions: vec![condition("matches", &entry.regex)?],
                value: entry.value.to_owned(),
            });
        }
        let mut before = Vec::new();
        if !texts.is_empty() {
            let all: Vec<&str> = texts.iter().map(|entry| entry.regex.as_str()).collect();
            before.push(condition("not_matches", &all.join("|"))?);
        }
        for entry in &regexes {
            let mut conditions = before.clone();
            conditions.push(condition("matches", &entry.regex)?);
            before.push(condition("not_matches", &entry.regex)?);
            cases.push(Case {
                conditions,
                value: entry.value.to_owned(),
            });
        }
        cases.push(Case {
            conditions: before,
            value: default.to_owned(),
        });
        let taken = |case: &Case| {
            let rule = MapOf::default().with("if", Yaml::List(case.conditions.clone()));
            self.rule_is_taken(rule)
        };
        cases.iter().all(taken).then_some(cases)
    }

    /// Whether `request-rules` takes a rule.
    pub(super) fn rule_is_taken(&self, rule: MapOf) -> bool {
        self.rule_complaint(&rule.done()).is_none()
    }
}

/// The shares of a `split_clients`.
pub(super) fn shares(split: &Directive) -> Option<Shares<'_>> {
    let mut shares = Vec::new();
    let mut rest = None;
    for line in split.inside() {
        if line.name == "*" {
            rest = Some(line.arg(0));
            continue;
        }
        let share = hundredths(line.name.strip_suffix('%')?)?;
        shares.push((Yaml::Hundredths(share), line.arg(0)));
    }
    Some(Shares { shares, rest })
}

/// The lines of a `map`: texts, regexes, and the value where none fits.
fn entries(map: &Directive) -> Option<(Vec<Entry<'_>>, Vec<Entry<'_>>, &str)> {
    let (mut texts, mut regexes, mut default) = (Vec::new(), Vec::new(), "");
    for line in map.inside() {
        let value = line.arg(0);
        match line.name.as_str() {
            "default" => default = value,
            "volatile" => {}
            "hostnames" => return None,
            key => match key.strip_prefix('~') {
                Some(regex) => regexes.push(Entry {
                    regex: match regex.strip_prefix('*') {
                        Some(regex) => format!("(?i){regex}"),
                        None => regex.to_owned(),
                    },
                    value,
                }),
                None => {
                    // nginx: texts are compared without case.
                    let text = regex_syntax::escape(key.strip_prefix('\\').unwrap_or(key));
                    texts.push(Entry {
                        regex: format!("(?i)^{text}$"),
                        value,
                    });
                }
            },
        }
    }
    let few = regexes.len() <= MOST_REGEXES && texts.len() <= MOST;
    few.then_some((texts, regexes, default))
}

/// The start of a condition about a text, which is the path if that is what it says.
pub(super) fn about(text: &str) -> Option<MapOf> {
    match text {
        "$uri" | "$document_uri" => Some(MapOf::default()),
        // What a request does not have in our sense is not asked.
        "$request_filename" | "$invalid_referer" => None,
        _ => Some(MapOf::default().with("value", Yaml::text(text))),
    }
}
