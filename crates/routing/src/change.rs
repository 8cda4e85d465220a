//! From one table to the next.
//!
//! Reading a route is what costs most: a regex takes as long to compile as a thousand routes to compare. So a route
//! that the table has read, the very same `Arc`, is not read again.
//!
//! All changes happen at once. What goes makes room for what comes, wherever it stands among the changes; a route that
//! cannot be read, or for which there is no room, leaves what was served of it untouched.

use std::collections::BTreeMap;
use std::sync::Arc;

use hythe_model::{FullName, Route};

use crate::host_index::IndexEdit;
use crate::methods::MethodSet;
use crate::ranked::Ranked;
use crate::room::{Move, Place, Room};
use crate::route_matcher::RouteMatcher;
use crate::table::{RouteEntry, RouteTable};

/// What becomes of one route.
#[derive(Debug, Clone)]
pub enum RouteChange<T> {
    /// It is this from now on.
    Serve(RouteEntry<T>),
    /// It goes.
    Drop(FullName),
}

/// Something in a route that cannot be matched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("route `{route}`: {message}")]
pub struct CompileProblem {
    /// The route.
    pub route: FullName,
    /// What is wrong, naming the value.
    pub message: String,
}

/// A table on its way, with what its index does not know yet.
struct Next<T> {
    table: RouteTable<T>,
    edit: IndexEdit<T>,
}

/// A route that was read and has no place yet.
struct Read<T> {
    entry: RouteEntry<T>,
    matcher: RouteMatcher,
}

/// The table after `changes`, of which the last of a name counts. A route that cannot be read stays what it is.
pub(crate) fn after<T>(
    table: &RouteTable<T>,
    changes: impl IntoIterator<Item = RouteChange<T>>,
) -> (RouteTable<T>, Vec<CompileProblem>) {
    let mut next = Next {
        table: table.clone(),
        edit: IndexEdit::default(),
    };
    let mut problems = Vec::new();
    let mut read = Vec::new();
    for (name, change) in last_of_each(changes) {
        match change {
            RouteChange::Drop(_) => next.drop(&name),
            RouteChange::Serve(entry) => match next.read(entry) {
                Ok(newcomer) => read.extend(newcomer),
                Err(messages) => problems.extend(in_words(&name, messages)),
            },
        }
    }
    problems.extend(next.serve(read));
    let Next { mut table, edit } = next;
    table.hosts.edit(edit);
    (table, by_route(problems))
}

/// What keeps routes from being in the table; those that are there as they are need no look.
pub(crate) fn problems<'a, T>(
    table: &RouteTable<T>,
    routes: impl IntoIterator<Item = (FullName, &'a Route)>,
) -> Vec<CompileProblem> {
    let mut problems = Vec::new();
    let mut read = Vec::new();
    for (name, route) in routes {
        if route_of(table, &name) == Some(route) {
            continue;
        }
        match RouteMatcher::parse(&name, route) {
            Ok(_) => read.push((name, route)),
            Err(messages) => problems.extend(in_words(&name, messages)),
        }
    }
    let (_, places) = settled(table, read.iter().map(|(name, route)| (name, *route)));
    for ((name, _), place) in read.iter().zip(places) {
        problems.extend(in_words(name, place.err()));
    }
    by_route(problems)
}

/// The changes by name.
fn last_of_each<T>(changes: impl IntoIterator<Item = RouteChange<T>>) -> BTreeMap<FullName, RouteChange<T>> {
    let named = |change: RouteChange<T>| {
        let name = match &change {
            RouteChange::Serve(entry) => &entry.name,
            RouteChange::Drop(name) => name,
        };
        (name.clone(), change)
    };
    changes.into_iter().map(named).collect()
}

fn route_of<'t, T>(table: &'t RouteTable<T>, name: &FullName) -> Option<&'t Route> {
    table.get(name).map(|entry| &*entry.route)
}

/// The room of a table with these routes instead of those of their names, and the place of each.
fn settled<'a, T>(
    table: &'a RouteTable<T>,
    routes: impl Iterator<Item = (&'a FullName, &'a Route)>,
) -> (Room, Vec<Place>) {
    let moves: Vec<Move<'_>> = routes
        .map(|(name, now)| Move {
            before: route_of(table, name),
            now,
        })
        .collect();
    table.room.settled(&moves)
}

fn in_words(
    route: &FullName,
    messages: impl IntoIterator<Item = String>,
) -> impl Iterator<Item = CompileProblem> {
    messages.into_iter().map(|message| CompileProblem {
        route: route.clone(),
        message,
    })
}

/// Those of one route together, in the order in which they were found.
fn by_route(mut problems: Vec<CompileProblem>) -> Vec<CompileProblem> {
    problems.sort_by(|left, right| left.route.cmp(&right.route));
    problems
}

impl<T> Next<T> {
    fn drop(&mut self, name: &FullName) {
        if let Some(before) = self.table.routes.remove(name) {
            self.table.room.leave(&before.entry.route);
            self.edit.remove(&before);
        }
    }

    /// Reads a route, or tells what is wrong with it. One that was read before takes its place at once, and there is
    /// none to be found for it.
    fn read(&mut self, entry: RouteEntry<T>) -> Result<Option<Read<T>>, Vec<String>> {
        let before = self.table.routes.get(&entry.name);
        let known = before.filter(|before| Arc::ptr_eq(&before.entry.route, &entry.route));
        if let Some(known) = known {
            let (matcher, methods) = (Arc::clone(&known.matcher), known.methods);
            self.put(entry, matcher, methods);
            return Ok(None);
        }
        let matcher = RouteMatcher::parse(&entry.name, &entry.route)?;
        Ok(Some(Read { entry, matcher }))
    }

    /// Puts routes in, as far as there is room for them; what is wrong with the others.
    fn serve(&mut self, read: Vec<Read<T>>) -> Vec<CompileProblem> {
        let wanted = read.iter().map(|read| (&read.entry.name, &*read.entry.route));
        let (room, places) = settled(&self.table, wanted);
        self.table.room = room;
        let mut problems = Vec::new();
        for (Read { entry, matcher }, place) in read.into_iter().zip(places) {
            match place {
                Ok(methods) => self.put(entry, Arc::new(matcher), methods),
                Err(message) => problems.extend(in_words(&entry.name, [message])),
            }
        }
        problems
    }

    /// Puts a route in the place of the one of its name.
    fn put(&mut self, entry: RouteEntry<T>, matcher: Arc<RouteMatcher>, methods: MethodSet) {
        let name = entry.name.clone();
        let route = Arc::new(Ranked::new(entry, matcher, methods));
        self.edit.add(&route);
        if let Some(before) = self.table.routes.insert(name, route) {
            self.edit.remove(&before);
        }
    }
}
