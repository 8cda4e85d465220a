//! Which changes of watched files count.
//!
//! A path is shown to [`Filter::ignores`] as it is reached from the watched file or folder down, so what is below
//! something that is left out is never asked about, and where the watched folder itself lies does not matter.

use std::path::Path;

use globset::{GlobBuilder, GlobMatcher};
use regex::Regex;

use crate::workload::Watch;

/// The patterns of a [`Watch`].
#[derive(Debug, Clone)]
pub struct Filter {
    ignore: Vec<Pattern>,
    extensions: Vec<String>,
}

/// A text that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}` is not a pattern: {why}")]
pub struct PatternError {
    pattern: String,
    why: String,
}

#[derive(Debug, Clone)]
enum Pattern {
    /// Of the last part of a path, wherever that is.
    Name(GlobMatcher),
    /// Of the path from the working folder; a pattern with a `/` in it.
    Path(GlobMatcher),
    /// Anywhere in the path from the working folder, which has a `/` in front of each part.
    Regex(Regex),
}

/// As PM2 has them: hidden files, and what npm installs.
const ALWAYS_OUT: [&str; 2] = [".*", "node_modules"];

impl Watch {
    /// Reads the patterns. `folder`: the working folder, which absolute patterns may begin with.
    ///
    /// # Errors
    /// The first text that is no pattern.
    pub fn filter(&self, folder: &Path) -> Result<Filter, PatternError> {
        let ignore: Result<Vec<_>, _> = if self.ignore.is_empty() {
            ALWAYS_OUT.iter().map(|text| pattern(text, folder)).collect()
        } else {
            self.ignore.iter().map(|text| pattern(text, folder)).collect()
        };
        let extensions = self
            .extensions
            .iter()
            .map(|text| text.trim_start_matches(['*', '.']).to_owned());
        Ok(Filter {
            ignore: ignore?,
            extensions: extensions.collect(),
        })
    }
}

impl Filter {
    /// Whether `path`, from the working folder, is left out with all that is below it.
    pub fn ignores(&self, path: &Path) -> bool {
        self.ignore.iter().any(|pattern| pattern.matches(path))
    }

    /// Whether a change of the file at `path`, which is not left out, counts.
    pub fn counts(&self, path: &Path) -> bool {
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy())
            .unwrap_or_default();
        let ends = |extension: &String| {
            name.strip_suffix(extension.as_str())
                .is_some_and(|stem| stem.ends_with('.'))
        };
        self.extensions.is_empty() || self.extensions.iter().any(ends)
    }
}

impl Pattern {
    fn matches(&self, path: &Path) -> bool {
        match self {
            Self::Name(glob) => path.file_name().is_some_and(|name| glob.is_match(name)),
            Self::Path(glob) => glob.is_match(path),
            Self::Regex(regex) => regex.is_match(&format!("/{}", path.display()).replace("//", "/")),
        }
    }
}

fn pattern(text: &str, folder: &Path) -> Result<Pattern, PatternError> {
    let fail = |why: String| PatternError {
        pattern: text.to_owned(),
        why,
    };
    if let Some((regex, flags)) = regular_expression(text) {
        let known: String = flags.chars().filter(|flag| "ims".contains(*flag)).collect();
        let flagged = if known.is_empty() {
            regex.to_owned()
        } else {
            format!("(?{known}){regex}")
        };
        let regex = Regex::new(&flagged).map_err(|error| fail(last_line(&error.to_string())))?;
        return Ok(Pattern::Regex(regex));
    }
    let relative = Path::new(text)
        .strip_prefix(folder)
        .ok()
        .and_then(Path::to_str)
        .unwrap_or(text);
    let of_a_path = text.trim_end_matches('/').contains('/');
    let glob = GlobBuilder::new(relative.trim_start_matches("./").trim_end_matches('/'))
        .literal_separator(true)
        .build()
        .map_err(|error| fail(error.kind().to_string()))?
        .compile_matcher();
    Ok(if of_a_path {
        Pattern::Path(glob)
    } else {
        Pattern::Name(glob)
    })
}

/// What is between the slashes of `/.../flags`, as JavaScript writes it.
fn regular_expression(text: &str) -> Option<(&str, &str)> {
    let (regex, flags) = text.strip_prefix('/')?.rsplit_once('/')?;
    let is_flag = |flag: char| "dgimsuvy".contains(flag);
    (!regex.is_empty() && flags.chars().all(is_flag)).then_some((regex, flags))
}

/// The parser draws a picture first and says what is wrong last.
fn last_line(error: &str) -> String {
    let line = error.lines().last().unwrap_or_default();
    line.trim().trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(ignore: &[&str], extensions: &[&str]) -> Filter {
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        let watch = Watch {
            ignore: texts(ignore),
            extensions: texts(extensions),
            ..Watch::default()
        };
        watch.filter(Path::new("/srv/app")).unwrap()
    }

    #[test]
    fn patterns_leave_out_names_paths_and_what_matches() {
        let rows: [(&[&str], &str, bool); 20] = [
            (&[], ".git", true),
            (&[], "src/.env", true),
            (&[], "packages/a/node_modules", true),
            (&[], "src/app.js", false),
            (&["logs"], ".env", false),
            (&["logs"], "a/logs", true),
            (&["./logs/"], "logs", true),
            (&["*.log"], "a/b.log", true),
            (&["public/*.css"], "public/a.css", true),
            (&["public/*.css"], "public/a/b.css", false),
            (&["public/**/*.css"], "public/a/b.css", true),
            (&["**/*.{log,tmp}"], "x.tmp", true),
            (&["/srv/app/data/db"], "data/db", true),
            (&["/srv/app/data"], "src/data", false),
            (&["/node_modules/"], "a/node_modules", true),
            (&[r"/[\/\\]\.|node_modules/"], ".git", true),
            (&[r"/[\/\\]\.|node_modules/"], "a.b", false),
            (&["/^\\/TMP/i"], "tmp", true),
            (&["/^\\/tmp$/"], "src/tmp", false),
            (&["[ab].txt", "c.txt"], "c.txt", true),
        ];
        for (ignore, path, expected) in rows {
            assert_eq!(
                filter(ignore, &[]).ignores(Path::new(path)),
                expected,
                "{ignore:?} {path}"
            );
        }
    }

    #[test]
    fn extensions_choose_files() {
        let rows: [(&[&str], &str, bool); 7] = [
            (&[], "a", true),
            (&["js"], "a.js", true),
            (&[".js"], "a.js", true),
            (&["*.js"], "a.min.js", true),
            (&["test.js"], "a.test.js", true),
            (&["js"], "ajs", false),
            (&["js", "ts"], "a.json", false),
        ];
        for (extensions, path, expected) in rows {
            assert_eq!(
                filter(&[], extensions).counts(Path::new(path)),
                expected,
                "{extensions:?} {path}"
            );
        }
    }

    #[test]
    fn what_is_no_pattern_is_told() {
        for text in ["[a", "{a", "/(/", "/(?<=a)b/"] {
            let watch = Watch {
                ignore: vec![text.to_owned()],
                ..Watch::default()
            };
            let error = watch.filter(Path::new("/srv/app")).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("`{text}` is not a pattern: ")),
                "{error}"
            );
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
