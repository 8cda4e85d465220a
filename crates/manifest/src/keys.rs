//! What a table of known keys is made of.
//!
//! Each block of the manifest has one [`Table`]. The reader takes ranges, choices and suggestions from it,
//! the JSON Schema and the reference are written from it, so the three cannot say different things.

/// The keys of one kind of block.
pub(crate) struct Table {
    /// Its name in the schema and the reference.
    pub(crate) name: &'static str,
    /// How messages call it, with an article.
    pub(crate) title: &'static str,
    pub(crate) doc: &'static str,
    /// Whether `${VARIABLES}` are replaced in its values.
    pub(crate) interpolated: bool,
    pub(crate) keys: &'static [Key],
}

pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    pub(crate) status: Status,
    pub(crate) doc: &'static str,
}

/// What a value may be.
pub(crate) enum Shape {
    Text,
    /// From, to.
    Integer(i64, i64),
    Number,
    Boolean,
    /// `1m30s`; a bare number means seconds.
    Duration,
    /// `64M`; a bare number means bytes.
    Size,
    OneOf(&'static [&'static str]),
    List(&'static Shape),
    Map(&'static Shape),
    Block(&'static Table),
    Either(&'static [Shape]),
    Anything,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Enforced,
    /// Accepted with a warning.
    NotYet,
    /// Accepted in silence: it says nothing that matters here.
    Ignored,
}

impl Table {
    pub(crate) fn find(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

pub(crate) const fn key(name: &'static str, shape: Shape, doc: &'static str) -> Key {
    Key {
        name,
        shape,
        status: Status::Enforced,
        doc,
    }
}

pub(crate) const fn not_yet(name: &'static str, shape: Shape, doc: &'static str) -> Key {
    Key {
        name,
        shape,
        status: Status::NotYet,
        doc,
    }
}

pub(crate) const fn ignored(name: &'static str, shape: Shape, doc: &'static str) -> Key {
    Key {
        name,
        shape,
        status: Status::Ignored,
        doc,
    }
}

/// A text or a list of texts.
pub(crate) const TEXT_OR_LIST: Shape = Shape::Either(&[Shape::Text, Shape::List(&Shape::Text)]);
pub(crate) const TEXTS: Shape = Shape::List(&Shape::Text);
pub(crate) const PORT: Shape = Shape::Integer(1, 65_535);
/// Kong's timeouts.
pub(crate) const MILLISECONDS: Shape = Shape::Integer(1, i32::MAX as i64 - 1);
pub(crate) const TAGS_DOC: &str = "Labels for people and tools.";
