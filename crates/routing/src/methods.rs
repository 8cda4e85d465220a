//! Methods as bits, so that a route's list is one word.

/// The methods that the routes of a table list; each is a bit.
#[derive(Debug, Clone, Default)]
pub(crate) struct Methods {
    names: Vec<Box<str>>,
}

/// A set of methods of one table.
pub(crate) type MethodSet = u64;

/// Every method, listed by some route or not.
pub(crate) const ANY: MethodSet = MethodSet::MAX;
/// The bit of methods that no route lists.
const UNLISTED: MethodSet = 1 << MOST;
/// How many different methods a table may list.
pub(crate) const MOST: usize = 63;

impl Methods {
    /// The set of these methods; none listed means any. `None`: more than [`MOST`] in the table.
    pub(crate) fn set(&mut self, listed: &[String]) -> Option<MethodSet> {
        if listed.is_empty() {
            return Some(ANY);
        }
        listed
            .iter()
            .try_fold(0, |set, method| Some(set | self.learn(method)?))
    }

    /// Whether names that nobody lists any more might keep others from having a bit.
    pub(crate) fn are_many(&self) -> bool {
        self.names.len() > MOST / 2
    }

    /// The bit of a request's method.
    pub(crate) fn bit(&self, method: &[u8]) -> MethodSet {
        let place = self.names.iter().position(|name| name.as_bytes() == method);
        place.map_or(UNLISTED, |place| 1 << place)
    }

    fn learn(&mut self, method: &str) -> Option<MethodSet> {
        let known = self.bit(method.as_bytes());
        if known != UNLISTED {
            return Some(known);
        }
        if self.names.len() == MOST {
            return None;
        }
        self.names.push(method.into());
        Some(1 << (self.names.len() - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::{ANY, MOST, Methods};

    #[test]
    fn methods_are_bits() {
        let mut methods = Methods::default();
        let read = methods.set(&["GET".to_owned(), "HEAD".to_owned()]).unwrap();
        assert_eq!(methods.set(&[]), Some(ANY));
        for (method, in_read) in [("GET", true), ("HEAD", true), ("POST", false), ("get", false)] {
            let bit = methods.bit(method.as_bytes());
            assert_eq!(read & bit != 0, in_read, "{method}");
            assert_ne!(ANY & bit, 0, "{method}");
        }
    }

    #[test]
    fn there_is_a_bound() {
        let mut methods = Methods::default();
        let names: Vec<String> = (0..=MOST).map(|number| format!("M{number}")).collect();
        assert!(methods.set(&names[..MOST]).is_some());
        assert!(methods.set(&names).is_none());
    }
}
