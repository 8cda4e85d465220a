//! `location`: the routes of a server.
//!
//! What nginx does to a request before it looks for a location ([`rules`](super::rules)) is done first in every route of
//! the server; what it does in the location comes behind. Which location a request has is told by the order of routes:
//! see [`places`](super::places).

use super::places::{
    FIRST_REGEX, MOVED, Path, Place, anchored, collect, everything, is_linear, path, replaces, target,
    widened,
};
use super::rules::{Level, Move};
use super::servers::{Binding, Server};
use super::{Draft, name_of};
use crate::check::Shape;
use crate::report::Effect;
use crate::yaml::{MapOf, Yaml};

/// What a route does with the requests it takes.
#[derive(Default)]
pub(super) struct Handling {
    pub(super) service: Option<String>,
    /// The upstream behind it.
    pub(super) pool: Option<String>,
    /// The matched path goes away.
    pub(super) strip: bool,
    pub(super) preserve_host: bool,
    pub(super) plugins: Vec<Yaml>,
    /// Rules of `request-rules`, behind those of what stands around it.
    pub(super) rules: Vec<Yaml>,
}

impl<'a> Draft<'a> {
    /// The routes of a server.
    pub(super) fn locations(&mut self, server: &Server<'a>, bindings: &[Binding]) {
        let mut places = Vec::new();
        collect(server.directive, &server.scope, None, &mut places);
        let mut scope = server.scope.clone();
        let level = Level {
            server: true,
            stays: &|_| matches!(places.as_slice(), [only] if only.shape == Shape::Prefix("/") && !replaces(only)),
            passes: false,
        };
        let phase = self.phase(server.directive, &mut scope, &level);
        if let Some(closed) = phase.closed.or_else(|| self.unknown_clients(server)) {
            let handling = self.unavailable(closed);
            return self.routes_of(server, bindings, &everything(), handling);
        }
        for place in &mut places {
            place.scope = place.scope.clone().with_values_of(&scope);
        }
        if let Some(answer) = server.directive.last("return") {
            let mut handling = self.answer(&scope, answer, Shape::Prefix("/"));
            handling.rules.splice(0..0, phase.rules);
            return self.routes_of(server, bindings, &everything(), handling);
        }
        self.moved(server, bindings, &places, phase.moves);
        let covered = self.placed(server, bindings, &places, &phase.rules);
        let something = scope.get("root").is_some() || !phase.rules.is_empty();
        if !covered && (server.has_neighbours() || something) {
            let rest = Place {
                shape: Shape::Prefix("/"),
                scope: scope.clone(),
                directive: server.directive,
                outer: None,
            };
            let mut handling = self.handling(&rest, &scope);
            handling.rules.splice(0..0, phase.rules);
            self.routes_of(server, bindings, &everything(), handling);
        }
    }

    /// The routes of a server's locations, each with `rules` first; whether they take everything.
    fn placed(
        &mut self,
        server: &Server<'a>,
        bindings: &[Binding],
        places: &[Place<'a>],
        rules: &[Yaml],
    ) -> bool {
        let has_regexes = places
            .iter()
            .any(|place| matches!(place.shape, Shape::Regex { .. }));
        if has_regexes {
            self.note_firm_prefixes(places);
        }
        let mut regex = FIRST_REGEX;
        let mut covered = false;
        for place in places {
            let Some(path) = path(place, has_regexes, &mut regex) else {
                continue;
            };
            covered |= path.text == "/";
            let handling = match place.shape {
                Shape::Regex { pattern, .. } if !is_linear(pattern) => {
                    let why = "the regex looks around or back; what it may be about gets a 501";
                    self.not_applied(place.directive, why);
                    self.unavailable(place.directive)
                }
                _ => self.ruled(places, place, rules),
            };
            self.routes_of(server, bindings, &path, handling);
        }
        covered
    }

    /// What a location does, behind its own rules and those before it.
    fn ruled(&mut self, places: &[Place<'a>], place: &Place<'a>, before: &[Yaml]) -> Handling {
        let mut scope = place.scope.clone();
        let stays = |path: &str| {
            target(places, path).is_some_and(|found| std::ptr::eq(found, place)) && !replaces(place)
        };
        let level = Level {
            server: false,
            stays: &stays,
            passes: place.directive.last("proxy_pass").is_some(),
        };
        let phase = self.phase(place.directive, &mut scope, &level);
        let mut handling = match phase.closed {
            Some(closed) => self.unavailable(closed),
            None => self.handling(place, &scope),
        };
        let aliased = place.directive.last("alias").filter(|_| handling.strip);
        if let Some(alias) = aliased.filter(|_| phase.rules.iter().any(|rule| rule.get("path").is_some())) {
            self.not_applied(alias, "not with a changed path; requests get a 501");
            handling = self.unavailable(alias);
        }
        handling
            .rules
            .splice(0..0, before.iter().cloned().chain(phase.rules));
        handling
    }

    /// Rewrites of a whole server that lead to another location: routes of their own, before all others.
    fn moved(
        &mut self,
        server: &Server<'a>,
        bindings: &[Binding],
        places: &[Place<'a>],
        moves: Vec<Move<'a>>,
    ) {
        for (number, Move { rewrite, rules, .. }) in (0..).zip(moves) {
            let path = Path {
                text: anchored(&widened(rewrite.arg(0)), false, None),
                priority: Some(MOVED - number),
            };
            let found = target(places, rewrite.arg(1)).filter(|place| !replaces(place));
            let handling = match found {
                Some(place) => self.ruled(places, place, &rules),
                None => {
                    let why =
                        "which location the new path has cannot be said; requests that it is about get a 501";
                    self.not_applied(rewrite, why);
                    Handling {
                        rules,
                        ..self.unavailable(rewrite)
                    }
                }
            };
            self.routes_of(server, bindings, &path, handling);
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

    fn routes_of(&mut self, server: &Server<'a>, bindings: &[Binding], path: &Path, mut handling: Handling) {
        let rules = self.rules_plugin(std::mem::take(&mut handling.rules), server.directive);
        handling.plugins.extend(rules);
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
