//! Methods as bits, so that a route's list is one word.

/// The methods that the routes of a table list; each has a bit for as long as a route lists it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Methods {
    /// By bit.
    names: Vec<Listed>,
}

#[derive(Debug, Clone)]
struct Listed {
    name: Box<str>,
    /// By how many routes; the bit of one that none lists is free.
    routes: usize,
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
    /// Counts a route that lists these, and tells their set; none listed means any. `None`: more than [`MOST`] in the
    /// table, and nothing was counted.
    pub(crate) fn count(&mut self, listed: &[String]) -> Option<MethodSet> {
        if listed.is_empty() {
            return Some(ANY);
        }
        let mut set = 0;
        for (counted, method) in listed.iter().enumerate() {
            let Some(place) = self.place_for(method) else {
                self.discount(&listed[..counted]);
                return None;
            };
            self.names[place].routes += 1;
            set |= 1 << place;
        }
        Some(set)
    }

    /// Takes a route that lists these out of the count.
    pub(crate) fn discount(&mut self, listed: &[String]) {
        for method in listed {
            if let Some(place) = self.place(method.as_bytes()) {
                self.names[place].routes -= 1;
            }
        }
    }

    /// The bit of a request's method.
    pub(crate) fn bit(&self, method: &[u8]) -> MethodSet {
        self.place(method).map_or(UNLISTED, |place| 1 << place)
    }

    fn place(&self, method: &[u8]) -> Option<usize> {
        let mut names = self.names.iter();
        names.position(|listed| listed.routes > 0 && listed.name.as_bytes() == method)
    }

    /// Where a method stands, if need be from now on.
    fn place_for(&mut self, method: &str) -> Option<usize> {
        let free = |names: &[Listed]| names.iter().position(|listed| listed.routes == 0);
        if let Some(place) = self.place(method.as_bytes()) {
            return Some(place);
        }
        let fresh = Listed {
            name: method.into(),
            routes: 0,
        };
        match free(&self.names) {
            Some(place) => {
                self.names[place] = fresh;
                Some(place)
            }
            None if self.names.len() < MOST => {
                self.names.push(fresh);
                Some(self.names.len() - 1)
            }
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ANY, MOST, Methods};

    fn listed(numbers: std::ops::Range<usize>) -> Vec<String> {
        numbers.map(|number| format!("M{number}")).collect()
    }

    #[test]
    fn methods_are_bits() {
        let mut methods = Methods::default();
        let read = methods.count(&["GET".to_owned(), "HEAD".to_owned()]).unwrap();
        assert_eq!(methods.count(&[]), Some(ANY));
        for (method, in_read) in [("GET", true), ("HEAD", true), ("POST", false), ("get", false)] {
            let bit = methods.bit(method.as_bytes());
            assert_eq!(read & bit != 0, in_read, "{method}");
            assert_ne!(ANY & bit, 0, "{method}");
        }
    }

    #[test]
    fn there_is_a_bound_and_what_nobody_lists_makes_room() {
        let mut methods = Methods::default();
        assert!(methods.count(&listed(0..MOST)).is_some());
        assert_eq!(methods.count(&listed(MOST..MOST + 1)), None);
        assert_eq!(methods.count(&listed(1..MOST + 1)), None);
        assert_eq!(methods.count(&listed(0..2)), Some(3));
        methods.discount(&listed(0..MOST));
        assert_eq!(methods.count(&listed(10..MOST)).map(u64::count_ones), Some(53));
        assert_eq!(
            methods.count(&listed(MOST..MOST + 8)).map(u64::count_ones),
            Some(8)
        );
        assert_eq!(methods.count(&listed(MOST + 8..MOST + 9)), None);
        assert_eq!(methods.bit(b"M1"), 2);
    }
}
