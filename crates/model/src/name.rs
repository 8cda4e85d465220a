//! Names: parsed once at the door, compared and shown everywhere else.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The name of a thing inside its project: 1 to 128 of letters, digits, `.`, `-`, `_`, `~`, starting with
/// a letter or digit (Kong's alphabet for names, so that its entities keep theirs).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Arc<str>);

/// The name of a project: Compose's rule, `[a-z0-9][a-z0-9_-]*`, 63 at most.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProjectName(Arc<str>);

/// A name with its project. Shown as `name` in the default project and `project.name` elsewhere.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FullName {
    /// The project.
    pub project: ProjectName,
    /// The name inside it.
    pub name: Name,
}

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing where a name is needed.
    #[error("a name must not be empty")]
    Empty,
    /// Longer than its kind allows.
    #[error("`{0}` is longer than {1} characters")]
    TooLong(String, usize),
    /// A character its kind does not allow.
    #[error("`{0}` must start with a letter or digit and hold only letters, digits, `.`, `-`, `_` and `~`")]
    Name(String),
    /// Not a project name.
    #[error("`{0}` must be lower case: a letter or digit, then letters, digits, `-` and `_`")]
    Project(String),
}

const DEFAULT_PROJECT: &str = "default";

impl Name {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Name {
    /// This name with something behind a `~`, for what is derived from a named thing. May be longer than
    /// what people may write.
    #[must_use]
    pub fn derived(&self, suffix: &str) -> Self {
        Self(format!("{self}~{suffix}").into())
    }
}

impl ProjectName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the project of manifests that name none.
    pub fn is_default(&self) -> bool {
        &*self.0 == DEFAULT_PROJECT
    }
}

impl Default for ProjectName {
    fn default() -> Self {
        Self(DEFAULT_PROJECT.into())
    }
}

impl FullName {
    /// `name` in `project`.
    pub fn new(project: ProjectName, name: Name) -> Self {
        Self { project, name }
    }
}

impl FromStr for Name {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        check_length(text, 128)?;
        let mut bytes = text.bytes();
        let starts_well = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if starts_well && bytes.all(|byte| byte.is_ascii_alphanumeric() || b".-_~".contains(&byte)) {
            Ok(Self(text.into()))
        } else {
            Err(NameError::Name(text.to_owned()))
        }
    }
}

impl FromStr for ProjectName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        check_length(text, 63)?;
        let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let mut bytes = text.bytes();
        if bytes.next().is_some_and(lower) && bytes.all(|byte| lower(byte) || byte == b'-' || byte == b'_') {
            Ok(Self(text.into()))
        } else {
            Err(NameError::Project(text.to_owned()))
        }
    }
}

/// Reads what [`fmt::Display`] shows. A name with a dot in the default project must be written
/// `default.a.b`, which is also how it is shown.
impl FromStr for FullName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        if let Some((project, name)) = text.split_once('.') {
            Ok(Self {
                project: project.parse()?,
                name: name.parse()?,
            })
        } else {
            Ok(Self {
                project: ProjectName::default(),
                name: text.parse()?,
            })
        }
    }
}

impl fmt::Display for FullName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.project.is_default() && !self.name.as_str().contains('.') {
            f.write_str(self.name.as_str())
        } else {
            write!(f, "{}.{}", self.project, self.name)
        }
    }
}

fn check_length(text: &str, most: usize) -> Result<(), NameError> {
    match text.len() {
        0 => Err(NameError::Empty),
        length if length > most => Err(NameError::TooLong(text.to_owned(), most)),
        _ => Ok(()),
    }
}

macro_rules! text_conversions {
    ($($name:ty),*) => {$(
        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.to_string()
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "`{self}`")
            }
        }
    )*};
}
text_conversions!(Name, ProjectName, FullName);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Display for ProjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_names_are_shown_as_they_are_read() {
        for text in ["users", "shop.users", "default.a.b", "shop.a.b"] {
            assert_eq!(text.parse::<FullName>().unwrap().to_string(), text);
        }
        assert_eq!("default.users".parse::<FullName>().unwrap().to_string(), "users");
    }

    #[test]
    fn bad_names_are_refused() {
        for text in ["", "-a", "a b", "a/b", &"x".repeat(129)] {
            assert!(text.parse::<Name>().is_err(), "{text}");
        }
        for text in ["", "A", "a.b", "_a", &"x".repeat(64)] {
            assert!(text.parse::<ProjectName>().is_err(), "{text}");
        }
    }
}
