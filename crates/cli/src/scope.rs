//! Which project and which services are meant.

use std::path::Path;

use hythe_manifest::FindError;
use hythe_model::view::ServiceView;
use hythe_model::{FullName, ProjectName};

use crate::client::Client;
use crate::failure::{Exit, Failure, Outcome};
use crate::manifest_file;

/// The project that names belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scope {
    /// The project.
    pub(crate) project: ProjectName,
}

impl Scope {
    /// `-p` or `HYTHE_PROJECT` if given, otherwise the `name:` of a manifest in `folder`, otherwise the default
    /// project.
    ///
    /// # Errors
    /// When what was given is not a project name, or the folder's manifest does not tell its project: another
    /// one must not be changed for it.
    pub(crate) fn resolve(given: Option<&str>, folder: &Path) -> Outcome<Self> {
        match (given, hythe_manifest::find(folder)) {
            (Some(given), _) => Self::named(given),
            (None, Err(FindError::NotInFolder(_))) => Ok(Self {
                project: ProjectName::default(),
            }),
            (None, _) => Ok(Self {
                project: manifest_file::project_of(&manifest_file::source(folder)?, None)?,
            }),
        }
    }

    /// The project of this name.
    ///
    /// # Errors
    /// When it is not a name.
    pub(crate) fn named(given: &str) -> Outcome<Self> {
        let project = given
            .parse()
            .map_err(|error| Failure::new(Exit::Usage, format!("--project: {error}")))?;
        Ok(Self { project })
    }

    /// A name as the server knows it: `users`, or `shop.users` outside the default project. A name with a dot
    /// may name its project itself.
    ///
    /// # Errors
    /// When it is not a name.
    pub(crate) fn full(&self, name: &str) -> Outcome<String> {
        let usage = |error: hythe_model::NameError| Failure::new(Exit::Usage, error.to_string());
        if name.contains('.') {
            return Ok(name.parse::<FullName>().map_err(usage)?.to_string());
        }
        let name = name.parse().map_err(usage)?;
        Ok(FullName::new(self.project.clone(), name).to_string())
    }

    /// The services named, `all` being every service of the scope that runs here.
    ///
    /// # Errors
    /// When a name is not one, or `all` means nothing.
    pub(crate) fn services(&self, client: &Client, names: &[String]) -> Outcome<Vec<String>> {
        if names.iter().any(|name| name == "all") {
            let services: Vec<ServiceView> = client.get(&format!("/v1/services?project={}", self.project))?;
            let own: Vec<_> = services
                .into_iter()
                .filter(|service| service.kind == "process")
                .map(|service| service.name)
                .collect();
            if own.is_empty() {
                let message = format!("project `{}` has no services", self.project);
                return Err(Failure::new(Exit::NotFound, message));
            }
            return Ok(own);
        }
        names.iter().map(|name| self.full(name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_wins() {
        let folder = tempfile::tempdir().unwrap();
        let project = |given| Scope::resolve(given, folder.path()).unwrap().project.to_string();
        assert_eq!(project(None), "default");
        std::fs::write(
            folder.path().join("hythe.yaml"),
            "{\"name\": \"shop\", serivces: 7} # y\n",
        )
        .unwrap();
        assert_eq!(project(None), "shop");
        assert_eq!(project(Some("other")), "other");
        std::fs::write(folder.path().join("hythe.yaml"), "name: shop\n  bad: [\n").unwrap();
        assert_eq!(Scope::resolve(None, folder.path()).unwrap_err().exit, Exit::Usage);
        assert!(Scope::resolve(Some("Not A Name"), folder.path()).is_err());
    }

    #[test]
    fn names_get_their_project() {
        let scope = |project: &str| Scope {
            project: project.parse().unwrap(),
        };
        assert_eq!(scope("default").full("users").unwrap(), "users");
        assert_eq!(scope("shop").full("users").unwrap(), "shop.users");
        assert_eq!(scope("shop").full("other.users").unwrap(), "other.users");
        assert!(scope("shop").full("a b").is_err());
    }
}
