//! `[FILE] ENV [VERB ...]`, as PM2 has it.

use std::path::{Path, PathBuf};

use hythe_deploy::Operation;
use hythe_dialect_pm2::file::format_of;

use crate::failure::{Exit, Failure, Outcome};

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    /// `None`: the one of the folder.
    pub(super) file: Option<PathBuf>,
    /// The target.
    pub(super) environment: String,
    pub(super) act: Act,
    /// What to deploy instead of the target's `ref`.
    pub(super) reference: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Act {
    Do(Operation),
    Current,
    Previous,
    List,
    /// A text for the hosts' shell.
    Execute(String),
}

impl Request {
    /// A first word that has the name of an ecosystem file is one.
    pub(super) fn read(words: &[String]) -> Outcome<Self> {
        let (file, rest) = match words.split_first() {
            Some((first, rest)) if format_of(Path::new(first)).is_some() => (Some(first.into()), rest),
            _ => (None, words),
        };
        let Some((environment, rest)) = rest.split_first() else {
            return Err(usage("which target? name one of the file's `deploy`"));
        };
        let mut request = Self {
            file,
            environment: environment.clone(),
            act: Act::Do(Operation::Deploy),
            reference: None,
        };
        let (verb, rest) = rest
            .split_first()
            .map_or(("update", rest), |(verb, rest)| (verb, rest));
        request.read_verb(verb, rest)?;
        Ok(request)
    }

    fn read_verb(&mut self, verb: &str, rest: &[String]) -> Outcome {
        self.act = match (verb, rest) {
            ("update", []) => Act::Do(Operation::Deploy),
            ("ref", [reference]) => {
                self.reference = Some(reference.clone());
                Act::Do(Operation::Deploy)
            }
            ("ref", _) => return Err(usage("`ref` takes one branch, tag or commit")),
            ("setup", []) => Act::Do(Operation::Setup),
            ("revert", []) => Act::Do(Operation::Revert(1)),
            ("revert", [steps]) => Act::Do(Operation::Revert(back(steps)?)),
            ("revert", _) => return Err(usage("`revert` takes one number")),
            ("curr" | "current", []) => Act::Current,
            ("prev" | "previous", []) => Act::Previous,
            ("list", []) => Act::List,
            ("exec" | "run", []) => return Err(usage("`exec` takes a command: `exec 'ls $HOME'`")),
            ("exec" | "run", words) => Act::Execute(words.join(" ")),
            (verb @ ("update" | "setup" | "curr" | "current" | "prev" | "previous" | "list"), _) => {
                return Err(usage(&format!("`{verb}` takes no more words")));
            }
            (other, _) => {
                return Err(usage(&format!("`{other}` is none of its verbs")).hint(
                    "setup, update, revert N, curr, prev, list, ref REF, exec COMMAND; nothing is update",
                ));
            }
        };
        Ok(())
    }
}

fn back(steps: &str) -> Outcome<usize> {
    let number = steps.parse().ok().filter(|steps| *steps > 0);
    number.ok_or_else(|| {
        usage(&format!(
            "`revert` goes back by a number from 1, not by `{steps}`"
        ))
    })
}

fn usage(message: &str) -> Failure {
    Failure::new(Exit::Usage, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &str) -> Outcome<Request> {
        Request::read(&words.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn words_are_those_of_pm2() {
        let deploy = Act::Do(Operation::Deploy);
        let rows = [
            ("production", None, deploy.clone(), None),
            ("production update", None, deploy.clone(), None),
            ("eco.json production", Some("eco.json"), deploy.clone(), None),
            (
                "a/ecosystem.config.js p setup",
                Some("a/ecosystem.config.js"),
                Act::Do(Operation::Setup),
                None,
            ),
            ("production ref feature/x", None, deploy, Some("feature/x")),
            ("production revert", None, Act::Do(Operation::Revert(1)), None),
            ("production revert 3", None, Act::Do(Operation::Revert(3)), None),
            ("production curr", None, Act::Current, None),
            ("production previous", None, Act::Previous, None),
            ("production list", None, Act::List, None),
            (
                "production run ls -la",
                None,
                Act::Execute("ls -la".to_owned()),
                None,
            ),
        ];
        for (words, file, act, reference) in rows {
            let request = read(words).expect(words);
            assert_eq!(request.file.as_deref(), file.map(Path::new), "{words}");
            assert_eq!(
                (request.act, request.reference.as_deref()),
                (act, reference),
                "{words}"
            );
        }
    }

    #[test]
    fn other_words_are_refused() {
        for words in [
            "eco.json",
            "p revert 0",
            "p revert x",
            "p revert 1 2",
            "p setup now",
            "p ref",
            "p exec",
            "p deploi",
        ] {
            assert_eq!(read(words).expect_err(words).exit, Exit::Usage, "{words}");
        }
    }
}
