//! What is wrong, with which app and where.

use std::fmt;
use std::ops::Range;

use hythe_stdx::Lines;

/// Where something stands in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// Bytes of the text.
    pub span: Range<usize>,
}

impl Place {
    pub(crate) fn of(lines: &Lines<'_>, span: Range<usize>) -> Self {
        let (line, column) = lines.position(span.start);
        Self { line, column, span }
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// It can, but perhaps not as meant: PM2 would drop this without a word.
    Warning,
    /// It is accepted, and has no effect here.
    Note,
}

/// One mistake, doubt or remark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Whether the file can be used all the same.
    pub severity: Severity,
    /// The app: its name, or else which one of the file (`number 2`).
    pub app: Option<String>,
    /// The field by PM2's main name for it, or a key as it was written if no field has that name.
    pub field: Option<String>,
    /// What is wrong, as a lower-case fragment.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Where; values of JavaScript that was evaluated and of flags have none.
    pub place: Option<Place>,
}

impl Problem {
    pub(crate) fn new(severity: Severity, place: Option<Place>, message: impl Into<String>) -> Self {
        Self {
            severity,
            app: None,
            field: None,
            message: message.into(),
            help: None,
            place,
        }
    }

    pub(crate) fn error(place: Option<Place>, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, place, message)
    }

    pub(crate) fn field(self, field: impl Into<String>) -> Self {
        Self {
            field: Some(field.into()),
            ..self
        }
    }

    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        Self {
            help: Some(help.into()),
            ..self
        }
    }
}

impl fmt::Display for Problem {
    /// `line 3, column 5: app `web`: `instances` must be ...`; the help is not part of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Place { line, column, .. }) = &self.place {
            write!(f, "line {line}, column {column}: ")?;
        }
        if let Some(app) = &self.app {
            write!(f, "app `{app}`: ")?;
        }
        if let Some(field) = &self.field {
            write!(f, "`{field}` ")?;
        }
        write!(f, "{}", self.message)
    }
}
