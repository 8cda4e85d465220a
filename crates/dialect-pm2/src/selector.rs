//! Which processes a word of the command line means.

use regex::Regex;

/// A process as far as selectors know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process<'a> {
    /// Its number.
    pub id: u32,
    /// Its app's name.
    pub name: &'a str,
    /// Its app's namespace.
    pub namespace: &'a str,
}

/// Why a selector means no process.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// Nothing has this name, namespace or id, or matches it.
    #[error("no process has the name, namespace or id `{0}`: `list` shows those there are")]
    Unknown(String),
    /// `all`, and there is none.
    #[error("there is no process: `start` one first")]
    Nothing,
    /// What stands between the slashes is no regular expression.
    #[error("`{asked}` is not a regular expression: {reason}")]
    Regex {
        /// The selector.
        asked: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// The ids that `selector` means, in the order of `processes`; never none.
///
/// `all` is every process, `/regex/` those whose names it matches. Any other word is first a name, then a
/// namespace, then an id, so a number can name an app. Regular expressions are those of Rust: without
/// lookaround and backreferences.
///
/// # Errors
/// Nothing is meant, with what was asked.
pub fn select(selector: &str, processes: &[Process<'_>]) -> Result<Vec<u32>, SelectError> {
    let unknown = || SelectError::Unknown(selector.to_owned());
    if selector == "all" {
        return ids(processes, |_| true).ok_or(SelectError::Nothing);
    }
    if let Some(pattern) = pattern(selector) {
        let regex = Regex::new(pattern).map_err(|error| SelectError::Regex {
            asked: selector.to_owned(),
            reason: reason(&error),
        })?;
        return ids(processes, |process| regex.is_match(process.name)).ok_or_else(unknown);
    }
    let id: Option<u32> = selector.parse().ok();
    ids(processes, |process| process.name == selector)
        .or_else(|| ids(processes, |process| process.namespace == selector))
        .or_else(|| ids(processes, |process| Some(process.id) == id))
        .ok_or_else(unknown)
}

fn pattern(selector: &str) -> Option<&str> {
    selector
        .strip_prefix('/')?
        .strip_suffix('/')
        .filter(|pattern| !pattern.is_empty())
}

/// `None` if there are none.
fn ids(processes: &[Process<'_>], is_meant: impl Fn(&Process<'_>) -> bool) -> Option<Vec<u32>> {
    let ids: Vec<u32> = processes
        .iter()
        .filter(|process| is_meant(process))
        .map(|process| process.id)
        .collect();
    (!ids.is_empty()).then_some(ids)
}

/// The last line of what the library says; those before draw the place.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_before_namespaces_before_ids() {
        let rows = [
            (0, "api", "default"),
            (1, "api", "default"),
            (2, "web", "shop"),
            (3, "shop", "default"),
            (4, "2", "default"),
            (7, "worker-1", "jobs"),
            (8, "worker-2", "jobs"),
        ];
        let processes = rows.map(|(id, name, namespace)| Process { id, name, namespace });
        let rows: [(&str, Result<&[u32], SelectError>); 13] = [
            ("api", Ok(&[0, 1])),
            ("shop", Ok(&[3])),
            ("jobs", Ok(&[7, 8])),
            ("2", Ok(&[4])),
            ("7", Ok(&[7])),
            ("07", Ok(&[7])),
            ("all", Ok(&[0, 1, 2, 3, 4, 7, 8])),
            ("/^w/", Ok(&[2, 7, 8])),
            ("/er-\\d/", Ok(&[7, 8])),
            ("/^x/", Err(SelectError::Unknown("/^x/".to_owned()))),
            ("9", Err(SelectError::Unknown("9".to_owned()))),
            ("-1", Err(SelectError::Unknown("-1".to_owned()))),
            ("//", Err(SelectError::Unknown("//".to_owned()))),
        ];
        for (selector, expected) in rows {
            assert_eq!(
                select(selector, &processes),
                expected.map(<[u32]>::to_vec),
                "{selector}"
            );
        }
    }

    #[test]
    fn nothing_is_an_error_that_says_why() {
        assert_eq!(select("all", &[]), Err(SelectError::Nothing));
        let error = select("/(/", &[]).expect_err("not closed");
        assert_eq!(
            error.to_string(),
            "`/(/` is not a regular expression: unclosed group"
        );
    }
}
