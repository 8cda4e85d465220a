//! Reads a manifest and shows what is wrong with it.

use std::path::Path;

use hythe_manifest::{CertificateProblem, DiskFiles, Inputs, Problem, Severity, Source};
use hythe_model::{ProjectName, ProjectSpec};

use crate::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::scope::Scope;

/// A manifest that was read.
pub(crate) struct Manifest {
    pub(crate) source: Source,
    pub(crate) project: Option<ProjectSpec>,
    pub(crate) problems: Vec<Problem>,
}

/// The text of the manifest at `path`, a file or a folder.
pub(crate) fn source(path: &Path) -> Outcome<Source> {
    let found = hythe_manifest::find(path);
    let path = found.map_err(|error| {
        Failure::new(Exit::Usage, error.to_string()).hint("name a folder with a hythe.yaml, or a manifest")
    })?;
    let path = std::path::absolute(&path)?;
    let text = std::fs::read_to_string(&path)
        .map_err(|error| Failure::new(Exit::Usage, format!("read {}: {error}", path.display())))?;
    Ok(Source { path, text })
}

/// The project that a manifest names. Mistakes elsewhere in it do not matter.
///
/// # Errors
/// When that cannot be read; it was shown then.
pub(crate) fn name_in(source: &Source) -> Outcome<Option<ProjectName>> {
    hythe_manifest::project_name(source).map_err(|problems| {
        show(&problems, source);
        Failure::told(Exit::Usage)
    })
}

/// The project of a manifest. `given` (`-p`) is for one that does not name its own.
///
/// # Errors
/// When the two contradict one another, or one cannot be read.
pub(crate) fn project_of(source: &Source, given: Option<&str>) -> Outcome<ProjectName> {
    let given = given.map(Scope::named).transpose()?.map(|scope| scope.project);
    match (name_in(source)?, given) {
        (Some(own), Some(given)) if own != given => {
            let path = source.path.display();
            let message =
                format!("{path} is of project `{own}`, and --project or HYTHE_PROJECT says `{given}`");
            Err(Failure::new(Exit::Usage, message).hint("a project that has a `name:` needs no other"))
        }
        (own, given) => Ok(own.or(given).unwrap_or_default()),
    }
}

fn show(problems: &[Problem], source: &Source) {
    let color = std::io::IsTerminal::is_terminal(&std::io::stderr());
    anstream::eprint!("{}", hythe_manifest::render(problems, source, color));
}

/// What is wrong with a certificate now, in the manifest's words.
pub(crate) fn check_certificate(certificate: &str, key: Option<&str>) -> Vec<CertificateProblem> {
    let now = i64::try_from(hythe_stdx::unix_ms() / 1000).unwrap_or(i64::MAX);
    let problem = |complaint: hythe_tls::Complaint| CertificateProblem {
        of_key: complaint.of_key,
        fatal: complaint.fatal,
        message: complaint.message,
    };
    hythe_tls::complaints(certificate, key, now)
        .into_iter()
        .map(problem)
        .collect()
}

impl Manifest {
    /// Reads the manifest at `path`, a file or a folder.
    pub(crate) fn read(context: &Context, path: &Path, profiles: &[String]) -> Outcome<Self> {
        let source = source(path)?;
        let inputs = Inputs {
            environment: std::env::vars().collect(),
            profiles: profiles.to_vec(),
            plugin_check: &context.hooks.check_plugin,
            certificate_check: &check_certificate,
            files: &DiskFiles,
        };
        let parsed = hythe_manifest::parse(&source, &inputs);
        Ok(Self {
            source,
            project: parsed.project,
            problems: parsed.problems,
        })
    }

    /// Shows every problem on stderr; the project if there is no error among them.
    pub(crate) fn accept(self, context: &Context) -> Outcome<(Source, ProjectSpec)> {
        self.show();
        let mut spec = self.project.ok_or_else(|| Failure::told(Exit::Usage))?;
        spec.project = project_of(&self.source, context.project.as_deref())?;
        Ok((self.source, spec))
    }

    pub(crate) fn show(&self) {
        show(&self.problems, &self.source);
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.problems
            .iter()
            .any(|problem| problem.severity == Severity::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_is_named_once() {
        let project = |text: &str, given: Option<&str>| {
            let source = Source {
                path: "/shop/hythe.yaml".into(),
                text: text.to_owned(),
            };
            project_of(&source, given).map(|project| project.to_string())
        };
        assert_eq!(project("services: {}", None).unwrap(), "default");
        assert_eq!(project("services: {}", Some("shop")).unwrap(), "shop");
        assert_eq!(project("name: shop", Some("shop")).unwrap(), "shop");
        for own in ["shop", "default"] {
            let refused = project(&format!("name: {own}"), Some("other")).unwrap_err();
            assert_eq!(refused.exit, Exit::Usage);
            assert!(refused.message.contains(own) && refused.message.contains("other"));
        }
        assert_eq!(project("name: [", None).unwrap_err().exit, Exit::Usage);
        assert_eq!(project("", Some("No Name")).unwrap_err().exit, Exit::Usage);
    }
}
