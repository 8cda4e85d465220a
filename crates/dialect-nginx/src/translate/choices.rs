//! Targets that a table says: `proxy_pass http://$backend`, with `map` or `split_clients` behind the variable.

use super::Draft;
use super::locations::Handling;
use super::proxy::target;
use super::rules::rule;
use super::scope::{Scope, replaced};
use super::tables::{Case, Shares, shares};
use crate::check::{Shape, names_in};
use crate::report::Effect;
use crate::tree::Directive;
use crate::yaml::{MapOf, Yaml};

impl<'a> Draft<'a> {
    /// A target that a table says.
    pub(super) fn chosen(
        &mut self,
        scope: &Scope<'a>,
        pass: &'a Directive,
        (variable, table): (&str, &'a Directive),
        url: &str,
    ) -> Handling {
        let chosen = if table.name == "split_clients" {
            self.split(scope, pass, (variable, table), url)
        } else {
            self.mapped(scope, pass, (variable, table), url)
        };
        chosen.unwrap_or_else(|| {
            self.not_applied(
                pass,
                format!("what `${variable}` is cannot be said by rules; requests get a 501"),
            );
            self.unavailable(pass)
        })
    }

    /// A target by a `map`: the default one is the route's, the others have rules.
    fn mapped(
        &mut self,
        scope: &Scope<'a>,
        pass: &'a Directive,
        (variable, map): (&str, &'a Directive),
        url: &str,
    ) -> Option<Handling> {
        let mut cases = self.cases(map, scope)?;
        let default = cases.pop()?;
        let mut handling = self.one_of(scope, pass, variable, &default.value, url)?;
        for Case { conditions, value } in cases {
            let service = self.one_of(scope, pass, variable, &value, url)?.service?;
            let action = MapOf::default().with("service", Yaml::Text(service));
            handling.rules.push(rule(&conditions, action));
        }
        Some(handling)
    }

    /// A target by `split_clients`: the rest is the route's, the shares are a canary's.
    fn split(
        &mut self,
        scope: &Scope<'a>,
        pass: &'a Directive,
        (variable, split): (&str, &'a Directive),
        url: &str,
    ) -> Option<Handling> {
        let Shares { shares, rest } = shares(split)?;
        let mut handling = self.one_of(scope, pass, variable, rest?, url)?;
        let mut splits = Vec::new();
        for (percentage, value) in shares {
            let service = self.one_of(scope, pass, variable, value, url)?.service?;
            let entry = MapOf::default()
                .with("service", Yaml::Text(service))
                .with("percentage", percentage);
            splits.push(entry.done());
        }
        let config = MapOf::default()
            .with("splits", Yaml::List(splits))
            .with_all(self.key_of_split(split));
        handling
            .plugins
            .push(self.plugin("canary", config.done(), split)?);
        Some(handling)
    }

    /// What a `split_clients` goes by: what it names first.
    fn key_of_split(&mut self, split: &'a Directive) -> MapOf {
        let names = names_in(split.arg(0)).unwrap_or_default();
        let first = names.first().map_or("", String::as_str);
        let on = |kind: &str| MapOf::default().with("hash_on", Yaml::text(kind));
        let key = match (first, first.split_once('_')) {
            ("remote_addr" | "binary_remote_addr", _) => on("ip"),
            (_, Some(("http", name))) => {
                on("header").with("hash_on_header", Yaml::Text(name.replace('_', "-")))
            }
            (_, Some(("cookie", name))) => on("cookie").with("hash_on_cookie", Yaml::text(name)),
            _ => {
                self.note(
                    split,
                    Effect::Differs,
                    "requests are dealt out in turn by the shares",
                );
                return MapOf::default();
            }
        };
        let why = "the shares are kept and so is who belongs to which, which is not whom nginx chooses";
        self.note(split, Effect::Differs, why);
        key
    }

    /// Where requests go for which a variable of the target has this value.
    fn one_of(
        &mut self,
        scope: &Scope<'a>,
        pass: &'a Directive,
        variable: &str,
        value: &str,
        url: &str,
    ) -> Option<Handling> {
        let url = replaced(url, |name| (name == variable).then(|| value.to_owned()));
        let target = target(&url).filter(|target| target.uri.is_none())?;
        let handling = self.fixed(scope, pass, Shape::Named(""), &target);
        handling.service.is_some().then_some(handling)
    }
}
