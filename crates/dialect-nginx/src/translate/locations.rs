//! `location`: which requests of a server go where.
//!
//! nginx asks exact paths first, then remembers the longest prefix, and asks the regexes in their order unless that
//! prefix said `^~`. In our order regexes come before prefixes and among themselves by priority, so:
//!
//! ```text
//! = /a        ~/a$          priority 2,000,000
//! ^~ /a       ~/a           priority 1,000,000 + its length     (a plain prefix where the server has no regex)
//! ~ regex     ~/?.*(regex)  priority falling from 900,000
//! /a          /a            by length
//! ```
//!
//! The one case that this does not say is a prefix inside of a longer `^~` (`^~ /a` and `/a/b` with regexes): told.

use super::servers::{Binding, Server};
use super::{Draft, name_of};
use crate::check::{Shape, shape};
use crate::report::Effect;
use crate::translate::scope::Scope;
use crate::tree::Directive;
use crate::yaml::{MapOf, Yaml};

/// Priorities of what stands before plain prefixes.
const EXACT: i64 = 2_000_000;
const FIRM: i64 = 1_000_000;
const FIRST_REGEX: i64 = 900_000;

/// A location with all that is around it.
struct Place<'a> {
    shape: Shape<'a>,
    scope: Scope<'a>,
    directive: &'a Directive,
    /// The prefix of the location around it, for a regex.
    outer: Option<&'a str>,
}

/// How a route matches the path.
pub(super) struct Path {
    pub(super) text: String,
    pub(super) priority: Option<i64>,
}

/// What a route does with the requests it takes.
#[derive(Default)]
pub(super) struct Handling {
    pub(super) service: Option<String>,
    /// The matched path goes away.
    pub(super) strip: bool,
    pub(super) preserve_host: bool,
    pub(super) plugins: Vec<Yaml>,
}

impl<'a> Draft<'a> {
    /// The routes of a server.
    pub(super) fn locations(&mut self, server: &Server<'a>, bindings: &[Binding]) {
        if let Some(answer) = server.directive.last("return") {
            let handling = self.answer(&server.scope, answer);
            self.routes_of(server, bindings, &everything(), &handling);
            return;
        }
        for condition in server.directive.all("if") {
            self.not_applied(condition, "conditions are not translated; say it with routes");
        }
        for rewrite in server.directive.all("rewrite") {
            self.not_applied(
                rewrite,
                "rewrites of a whole server are not translated; put them into locations",
            );
        }
        let mut places = Vec::new();
        collect(server.directive, &server.scope, None, &mut places);
        let has_regexes = places
            .iter()
            .any(|place| matches!(place.shape, Shape::Regex { .. }));
        if has_regexes {
            self.note_firm_prefixes(&places);
        }
        let mut regex = FIRST_REGEX;
        let mut covered = false;
        for place in &places {
            let Some(path) = path(place, has_regexes, &mut regex) else {
                continue;
            };
            covered |= path.text == "/";
            let handling = self.handling(place.directive, &place.scope, place.shape);
            self.routes_of(server, bindings, &path, &handling);
        }
        let has_files = server.scope.get("root").is_some();
        if !covered && (server.has_neighbours() || has_files) {
            let handling = self.handling(server.directive, &server.scope, Shape::Prefix("/"));
            self.routes_of(server, bindings, &everything(), &handling);
        }
    }

    fn note_firm_prefixes(&mut self, places: &[Place<'a>]) {
        for place in places {
            let Shape::Prefix(longer) = place.shape else {
                continue;
            };
            let inside_firm = places
                .iter()
                .any(|other| matches!(other.shape, Shape::Firm(firm) if longer.starts_with(firm) && longer != firm));
            if inside_firm {
                let reason = "the `^~` location around it takes its requests; write `^~` here too";
                self.note(place.directive, Effect::Differs, reason);
            }
        }
    }

    fn routes_of(&mut self, server: &Server<'a>, bindings: &[Binding], path: &Path, handling: &Handling) {
        for binding in bindings {
            let name = super::free(&route_name(&server.label, &path.text), &self.route_names);
            self.route_names.push(name.clone());
            let route = MapOf::default()
                .with("name", Yaml::Text(name))
                .with_some("service", handling.service.clone().map(Yaml::Text))
                .with("listeners", Yaml::texts(&binding.listeners))
                .with("hosts", Yaml::texts(&binding.hosts))
                .with("paths", Yaml::texts([&path.text]))
                .with_some("regex_priority", path.priority.map(Yaml::Number))
                .with("strip_path", Yaml::Flag(handling.strip))
                .with_some("path_handling", handling.strip.then(|| Yaml::text("v1")))
                .with_some(
                    "preserve_host",
                    handling.preserve_host.then_some(Yaml::Flag(true)),
                )
                .with("plugins", Yaml::List(handling.plugins.clone()));
            self.routes.push(route.done());
        }
    }
}

/// The locations of a block and of those inside, each with what is around it.
fn collect<'a>(block: &'a Directive, scope: &Scope<'a>, outer: Option<&'a str>, places: &mut Vec<Place<'a>>) {
    for directive in block
        .inside()
        .into_iter()
        .filter(|inner| inner.name == "location")
    {
        let Ok(shape) = shape(directive) else {
            continue;
        };
        let own = scope.inside(directive);
        let prefix = match shape {
            Shape::Prefix(prefix) | Shape::Firm(prefix) => Some(prefix),
            _ => outer,
        };
        // Regexes of an inner block are asked before those outside.
        collect(directive, &own, prefix, places);
        places.push(Place {
            shape,
            scope: own,
            directive,
            outer,
        });
    }
}

/// How a location's path is written here; `None`: it takes no requests by itself.
fn path(place: &Place<'_>, has_regexes: bool, next_regex: &mut i64) -> Option<Path> {
    let regex = |text: String, priority| {
        Some(Path {
            text,
            priority: Some(priority),
        })
    };
    match place.shape {
        Shape::Exact(path) => regex(format!("~{}$", escaped(path)), EXACT),
        Shape::Firm(prefix) if has_regexes => {
            let length = i64::try_from(prefix.len()).unwrap_or(0);
            regex(format!("~{}", escaped(prefix)), FIRM + length)
        }
        Shape::Prefix(prefix) | Shape::Firm(prefix) => Some(Path {
            text: prefix.to_owned(),
            priority: None,
        }),
        Shape::Regex { pattern, any_case } => {
            *next_regex -= 1;
            regex(anchored(pattern, any_case, place.outer), *next_regex)
        }
        Shape::Named(_) => None,
    }
}

pub(super) fn everything() -> Path {
    Path {
        text: "/".to_owned(),
        priority: None,
    }
}

/// A regex that may match anywhere, as one that matches from the start.
fn anchored(pattern: &str, any_case: bool, outer: Option<&str>) -> String {
    let flags = if any_case { "(?i)" } else { "" };
    let whole = pattern.contains('|');
    match pattern.strip_prefix("^/") {
        Some(rest) if !whole && !any_case => format!("~/{rest}"),
        Some(_) => format!("~/?.*(?:{flags}{pattern})"),
        None => {
            let before = outer.map_or_else(|| "/?".to_owned(), escaped);
            format!("~{before}.*(?:{flags}{pattern})")
        }
    }
}

/// A text as a regex that matches it.
fn escaped(text: &str) -> String {
    regex_syntax::escape(text)
}

/// `<server>-<words of the path>`.
fn route_name(label: &str, path: &str) -> String {
    let words: Vec<&str> = path
        .split(|character: char| !character.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    match words.as_slice() {
        [] => label.to_owned(),
        words => name_of(&format!("{label}-{}", words.join("-"))),
    }
}

#[cfg(test)]
mod tests {
    use super::anchored;

    #[test]
    fn regexes_match_from_the_start() {
        for (pattern, any_case, expected) in [
            ("^/api/(.*)$", false, "~/api/(.*)$"),
            ("^/a|/b", false, "~/?.*(?:^/a|/b)"),
            ("^/a", true, "~/?.*(?:(?i)^/a)"),
            (r"\.php$", false, r"~/?.*(?:\.php$)"),
            (r"\.(gif|png)$", true, r"~/?.*(?:(?i)\.(gif|png)$)"),
        ] {
            assert_eq!(anchored(pattern, any_case, None), expected, "{pattern}");
        }
        assert_eq!(anchored("x$", false, Some("/a.b/")), r"~/a\.b/.*(?:x$)");
    }
}
