//! Reads a manifest and shows what is wrong with it.

use std::path::Path;

use hythe_manifest::{DiskFiles, Inputs, Problem, Severity, Source};
use hythe_model::ProjectSpec;

use crate::Context;
use crate::failure::{Exit, Failure, Outcome};

/// A manifest that was read.
pub(crate) struct Manifest {
    pub(crate) source: Source,
    pub(crate) project: Option<ProjectSpec>,
    pub(crate) problems: Vec<Problem>,
}

impl Manifest {
    /// Reads the manifest at `path`, a file or a folder.
    pub(crate) fn read(context: &Context, path: &Path, profiles: &[String]) -> Outcome<Self> {
        let path = hythe_manifest::find(path).map_err(|error| {
            Failure::new(Exit::Usage, error.to_string())
                .hint("name a folder with a hythe.yaml, or a manifest")
        })?;
        let path = std::path::absolute(&path)?;
        let text = std::fs::read_to_string(&path)
            .map_err(|error| Failure::new(Exit::Usage, format!("read {}: {error}", path.display())))?;
        let source = Source { path, text };
        let inputs = Inputs {
            environment: std::env::vars().collect(),
            profiles: profiles.to_vec(),
            plugin_check: &context.hooks.check_plugin,
            files: &DiskFiles,
        };
        let parsed = hythe_manifest::parse(&source, &inputs);
        Ok(Self {
            source,
            project: parsed.project,
            problems: parsed.problems,
        })
    }

    /// Shows every problem on stderr; the project if there is no error among them. `-p` names the project
    /// of a manifest that does not name one itself.
    pub(crate) fn accept(self, context: &Context) -> Outcome<(Source, ProjectSpec)> {
        self.show();
        let mut project = self.project.ok_or_else(|| Failure::told(Exit::Usage))?;
        if let (true, Some(given)) = (project.project.is_default(), &context.project) {
            project.project = given
                .parse()
                .map_err(|error| Failure::new(Exit::Usage, format!("--project: {error}")))?;
        }
        Ok((self.source, project))
    }

    pub(crate) fn show(&self) {
        let color = std::io::IsTerminal::is_terminal(&std::io::stderr());
        anstream::eprint!("{}", hythe_manifest::render(&self.problems, &self.source, color));
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.problems
            .iter()
            .any(|problem| problem.severity == Severity::Error)
    }
}
