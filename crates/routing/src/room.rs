//! What the routes of a table share and of which there is only so much: bits of methods, bytes in the trees.

use hythe_model::Route;

use crate::methods::{self, MethodSet, Methods};

/// Most bytes that the hosts and paths of all routes may need in the trees.
const LARGEST_INDEX: usize = 1 << 30;

/// What the routes of a table take up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Room {
    methods: Methods,
    /// A bound of the bytes in the trees.
    index_size: usize,
}

/// A route that is to stand where another one stood, or where none did.
pub(crate) struct Move<'a> {
    pub(crate) before: Option<&'a Route>,
    pub(crate) now: &'a Route,
}

/// The methods of a route, or why there is no room for it.
pub(crate) type Place = Result<MethodSet, String>;

impl Room {
    /// The bit of a request's method.
    pub(crate) fn bit(&self, method: &[u8]) -> MethodSet {
        self.methods.bit(method)
    }

    /// Takes a route out.
    pub(crate) fn leave(&mut self, route: &Route) {
        self.methods.discount(&route.methods);
        self.index_size -= index_size(route);
    }

    /// The room after these moves, and the place of each. They happen all at once: what one leaves another may take,
    /// in whichever order they come.
    ///
    /// A route that finds no room is to be served as before, with the very same bits, which others may have been given
    /// by then: so all begins anew, with that route where it was.
    pub(crate) fn settled(&self, moves: &[Move<'_>]) -> (Self, Vec<Place>) {
        let mut staying: Vec<Option<String>> = vec![None; moves.len()];
        loop {
            let (room, places) = self.after(moves, &staying);
            let is_called_back =
                |nth: usize| moves[nth].before.is_some() && places[nth].is_err() && staying[nth].is_none();
            if !(0..moves.len()).any(is_called_back) {
                return (room, places);
            }
            staying = places.into_iter().map(Result::err).collect();
        }
    }

    /// The room after these moves but for those that stay, for the reason given.
    fn after(&self, moves: &[Move<'_>], staying: &[Option<String>]) -> (Self, Vec<Place>) {
        let mut room = self.clone();
        for (route, stays) in moves.iter().zip(staying) {
            if let (Some(before), None) = (route.before, stays) {
                room.leave(before);
            }
        }
        let place = |(route, stays): (&Move<'_>, &Option<String>)| match stays {
            Some(reason) => Err(reason.clone()),
            None => room.enter(route.now),
        };
        let places = moves.iter().zip(staying).map(place).collect();
        (room, places)
    }

    /// Puts a route in. If there is no room for it, nothing is counted.
    fn enter(&mut self, route: &Route) -> Place {
        let size = self.index_size.saturating_add(index_size(route));
        if size > LARGEST_INDEX {
            return Err(format!(
                "the hosts and paths of all routes with this one need more than {LARGEST_INDEX} bytes"
            ));
        }
        let methods = self.methods.count(&route.methods).ok_or_else(|| {
            let most = methods::MOST;
            format!("all routes together list more than {most} different methods")
        })?;
        self.index_size = size;
        Ok(methods)
    }
}

/// A bound of the bytes that a route needs in the trees: every path may stand under every host.
fn index_size(route: &Route) -> usize {
    let of = |texts: &[String]| texts.iter().map(|text| text.len() + 1).sum::<usize>().max(1);
    of(&route.hosts).saturating_mul(of(&route.paths))
}
