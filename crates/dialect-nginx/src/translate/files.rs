//! `root`, `alias`, `try_files`: a folder as a service.
//!
//! The address of a file is the folder with the whole path behind it (`root`), or with what follows the location's
//! prefix (`alias`). `try_files` may end with a status or with a file of the folder; a fallback to another location is
//! not translated.

use super::locations::Handling;
use super::scope::Scope;
use super::{Draft, name_of};
use crate::check::Shape;
use crate::report::Effect;
use crate::tree::Directive;
use crate::yaml::{MapOf, Yaml};

impl<'a> Draft<'a> {
    /// Files of a folder, or 404 where there is none.
    pub(super) fn files(&mut self, scope: &Scope<'a>, place: &'a Directive, shape: Shape<'a>) -> Handling {
        let alias = place.last("alias");
        let Some(folder) = alias.or(scope.get("root")) else {
            return self.nothing(place);
        };
        let fallback = match self.fallback(scope, alias) {
            Ok(fallback) => fallback,
            Err(tries) => {
                self.not_applied(
                    tries,
                    "only `$uri`, `$uri/`, `=404` and a file at the end; requests get a 501",
                );
                return self.unavailable(tries);
            }
        };
        if !folder.arg(0).starts_with('/') || folder.arg(0).contains('$') {
            self.not_applied(folder, "write the whole path of a folder; requests get a 501");
            return self.unavailable(folder);
        }
        if alias.is_some() && !is_prefix_for(folder.arg(0), shape) {
            self.not_applied(
                folder,
                "location and folder must both end with `/`; requests get a 501",
            );
            return self.unavailable(folder);
        }
        self.note_index(scope);
        let files = MapOf::default()
            .with("root", Yaml::text(folder.arg(0)))
            .with_some("fallback", fallback.map(Yaml::text))
            .done();
        // The folder is looked at as the gateway will.
        if self.plugin("files", files.clone(), folder).is_none() {
            return self.nothing(place);
        }
        let wanted = name_of(&format!("files-{}", folder.arg(0).trim_matches('/')));
        let service = MapOf::default().with("files", files).done();
        Handling {
            service: Some(self.service(&wanted, service)),
            strip: alias.is_some(),
            ..Handling::default()
        }
    }

    /// The file at the end of `try_files`; `Err`: it says more than can be said here.
    fn fallback(
        &self,
        scope: &Scope<'a>,
        alias: Option<&'a Directive>,
    ) -> Result<Option<&'a str>, &'a Directive> {
        let Some(tries) = scope.get("try_files") else {
            return Ok(None);
        };
        let Some((last, files)) = tries.args.split_last() else {
            return Ok(None);
        };
        let plain = files
            .iter()
            .all(|file| ["$uri", "$uri/", "$uri/index.html"].contains(&file.as_str()));
        match last.strip_prefix('/') {
            Some(file) if plain && alias.is_none() && !file.contains('$') => Ok(Some(file)),
            None if plain && last == "=404" => Ok(None),
            _ => Err(tries),
        }
    }

    fn note_index(&mut self, scope: &Scope<'a>) {
        if let Some(index) = scope
            .get("index")
            .filter(|index| index.args.iter().any(|name| name != "index.html"))
        {
            self.note(index, Effect::Differs, "the file of a folder is its `index.html`");
        }
    }
}

/// Whether what follows the location's prefix may be put behind the folder.
fn is_prefix_for(folder: &str, shape: Shape<'_>) -> bool {
    match shape {
        Shape::Prefix(prefix) | Shape::Firm(prefix) => prefix.ends_with('/') && folder.ends_with('/'),
        _ => false,
    }
}
