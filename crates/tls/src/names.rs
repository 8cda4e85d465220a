//! What belongs to which name of a server.

use std::collections::HashMap;

/// Values by the name that a client asks for (SNI): the name as it is, then the wildcard of its parent
/// (`*.example.com` is for one label, as in certificates), then whatever is for everybody else.
#[derive(Debug, Clone)]
pub struct ServerNames<T> {
    exact: HashMap<String, T>,
    /// By what stands behind the `*.`.
    wildcard: HashMap<String, T>,
    other: Option<T>,
}

impl<T> Default for ServerNames<T> {
    fn default() -> Self {
        Self {
            exact: HashMap::new(),
            wildcard: HashMap::new(),
            other: None,
        }
    }
}

impl<T> ServerNames<T> {
    /// Names without any; all of them have `other`.
    pub fn all(other: Option<T>) -> Self {
        Self {
            other,
            ..Self::default()
        }
    }

    /// Gives `name` a value: `example.com`, `*.example.com`, or `*`, which replaces that of everybody else. `false`:
    /// it has one already, which stays.
    pub fn add(&mut self, name: &str, value: T) -> bool {
        let name = name.to_ascii_lowercase();
        if name == "*" {
            self.other = Some(value);
            return true;
        }
        let (names, name) = match name.strip_prefix("*.") {
            Some(parent) => (&mut self.wildcard, parent.to_owned()),
            None => (&mut self.exact, name),
        };
        if names.contains_key(&name) {
            return false;
        }
        names.insert(name, value);
        true
    }

    /// The value for a client that asks for `name`, or for none.
    pub fn find(&self, name: Option<&str>) -> Option<&T> {
        let found = name.and_then(|name| {
            // Clients send lower case, as a rule.
            let lower;
            let name = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
                lower = name.to_ascii_lowercase();
                lower.as_str()
            } else {
                name
            };
            let parent = || name.split_once('.').map(|(_, parent)| parent);
            self.exact.get(name).or_else(|| self.wildcard.get(parent()?))
        });
        found.or(self.other.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_as_it_is_then_by_its_parent_then_for_all() {
        let mut names = ServerNames::all(Some("default"));
        for name in ["a.test", "*.a.test", "B.a.Test"] {
            assert!(names.add(name, name));
        }
        assert!(!names.add("A.test", "late") && !names.add("*.A.test", "late"));
        let rows = [
            (None, "default"),
            (Some("a.test"), "a.test"),
            (Some("A.TEST"), "a.test"),
            (Some("x.a.test"), "*.a.test"),
            (Some("b.a.test"), "B.a.Test"),
            (Some("y.x.a.test"), "default"),
            (Some("test"), "default"),
            (Some("other.test"), "default"),
        ];
        for (asked, expected) in rows {
            assert_eq!(names.find(asked), Some(&expected), "{asked:?}");
        }
        assert!(names.add("*", "star"));
        assert_eq!(names.find(None), Some(&"star"));
        assert_eq!(ServerNames::<u8>::default().find(Some("a.test")), None);
    }
}
