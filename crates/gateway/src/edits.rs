//! Changes to a head, kept as a list beside the bytes that came in.

use std::borrow::Cow;

use hythe_http1::Known;

use crate::heads::tells_of_the_way;

/// What plugins want changed in a head. Most requests have none, and then this allocates nothing.
///
/// Fields that frame the message or speak to the next hop only are not theirs to change: edits of these are
/// left out.
#[derive(Debug, Default)]
pub struct Edits {
    list: Vec<Edit>,
}

/// One change. Names are lower case when compared, and sent as given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Replaces every field of this name by one.
    Set(Cow<'static, str>, Vec<u8>),
    /// Adds a field.
    Append(Cow<'static, str>, Vec<u8>),
    /// Removes every field of this name.
    Remove(Cow<'static, str>),
}

impl Edits {
    /// Replaces every field of this name by one. A value that would break the framing is left out.
    pub fn set(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Vec<u8>>) {
        let (name, value) = (name.into(), value.into());
        if is_editable(&name) && is_value(&value) {
            self.list.push(Edit::Set(name, value));
        }
    }

    /// Adds a field; one that the gateway writes itself, and that there can be only one of, is replaced. A
    /// value that would break the framing is left out.
    pub fn append(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Vec<u8>>) {
        let (name, value) = (name.into(), value.into());
        if is_ours(&name) {
            self.set(name, value);
        } else if is_editable(&name) && is_value(&value) {
            self.list.push(Edit::Append(name, value));
        }
    }

    /// Removes every field of this name.
    pub fn remove(&mut self, name: impl Into<Cow<'static, str>>) {
        let name = name.into();
        if is_editable(&name) {
            self.list.push(Edit::Remove(name));
        }
    }

    /// Takes all of `other` in, after what is here.
    pub fn merge(&mut self, other: Self) {
        self.list.extend(other.list);
    }

    /// Whether nothing is to change.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many changes there are.
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// Forgets all changes but the first ones.
    pub(crate) fn truncate(&mut self, first: usize) {
        self.list.truncate(first);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.list.clear();
    }

    /// Whether a field of the original head is dropped or replaced.
    pub(crate) fn drops(&self, name: &[u8]) -> bool {
        self.list.iter().any(|edit| match edit {
            Edit::Set(edited, _) | Edit::Remove(edited) => edited.as_bytes().eq_ignore_ascii_case(name),
            Edit::Append(..) => false,
        })
    }

    /// The fields that are added, each with the last value set for it.
    pub(crate) fn added(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.list.iter().enumerate().filter_map(|(at, edit)| match edit {
            Edit::Append(name, value) if !self.undone_later(at, name) => Some((&**name, &**value)),
            Edit::Set(name, value) if !self.undone_later(at, name) => Some((&**name, &**value)),
            _ => None,
        })
    }

    fn undone_later(&self, at: usize, name: &str) -> bool {
        self.list.iter().skip(at + 1).any(|edit| match edit {
            Edit::Set(later, _) | Edit::Remove(later) => later.eq_ignore_ascii_case(name),
            Edit::Append(..) => false,
        })
    }
}

/// Whether a field of this name may be edited: it is a name, and neither frames the message, nor says where it
/// goes, nor speaks to the next hop only. Names that some backends cannot tell from these, because of
/// their underscores, may not be edited either.
pub(crate) fn is_editable(name: &str) -> bool {
    let fixed = |known: Known| {
        known.is_hop_by_hop()
            || matches!(
                known,
                Known::ContentLength | Known::Expect | Known::Host | Known::UnderscoreTwin
            )
    };
    is_name(name) && !Known::of(name.as_bytes()).is_some_and(fixed)
}

/// Whether the gateway writes one line of this name itself.
fn is_ours(name: &str) -> bool {
    Known::of(name.as_bytes())
        .is_some_and(|known| tells_of_the_way(known) || matches!(known, Known::Date | Known::Server))
}

/// Whether a text can be the name of a field (RFC 9110: a token).
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn is_value(value: &[u8]) -> bool {
    value
        .iter()
        .all(|byte| (*byte >= b' ' && *byte != 0x7f) || *byte == b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_counts() {
        let mut edits = Edits::default();
        edits.set("a", "1");
        edits.append("b", "2");
        edits.set("A", "3");
        edits.append("c", "4");
        edits.remove("c");
        edits.set("bad", "x\r\ny: z");
        edits.append("bad name", "x");
        let added: Vec<_> = edits.added().collect();
        assert_eq!(added, [("b", &b"2"[..]), ("A", &b"3"[..])]);
        assert!(edits.drops(b"a") && edits.drops(b"C") && !edits.drops(b"b"));
    }

    #[test]
    fn what_frames_the_message_is_not_edited() {
        let fixed = [
            "content-length",
            "Transfer-Encoding",
            "CONNECTION",
            "Host",
            "Upgrade",
            "TE",
            "Trailer",
            "Keep-Alive",
            "Expect",
            "Proxy",
            "Proxy-Authenticate",
            "Proxy-Authorization",
            "Proxy-Connection",
            "Content_Length",
        ];
        for name in fixed {
            let mut edits = Edits::default();
            edits.set(name, "5");
            edits.append(name, "5");
            edits.remove(name);
            assert!(edits.is_empty(), "{name}");
        }
    }

    #[test]
    fn what_is_written_once_is_replaced() {
        let mut edits = Edits::default();
        edits.append("Via", "1.1 other");
        edits.append("date", "today");
        edits.append("x-forwarded-for", "10.0.0.1");
        assert!(edits.drops(b"via") && edits.drops(b"Date") && edits.drops(b"X-Forwarded-For"));
    }
}
