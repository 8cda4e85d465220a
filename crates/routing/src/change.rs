//! From one table to the next.
//!
//! Reading a route is what costs most: a regex takes as long to compile as a thousand routes to compare. So a route
//! that the table has read, the very same `Arc`, is not read again.

use std::sync::Arc;

use hythe_model::{FullName, Route};

use crate::host_index::IndexEdit;
use crate::methods::{self, MethodSet};
use crate::ranked::Ranked;
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

/// Most bytes that the hosts and paths of all routes may need in the trees.
const LARGEST_INDEX: usize = 1 << 30;

/// A table on its way, with what its index does not know yet.
struct Next<T> {
    table: RouteTable<T>,
    edit: IndexEdit<T>,
}

/// The table after `changes`. A route that cannot be read stays what it is.
pub(crate) fn after<T>(
    table: &RouteTable<T>,
    changes: impl IntoIterator<Item = RouteChange<T>>,
) -> (RouteTable<T>, Vec<CompileProblem>) {
    let mut next = Next {
        table: table.clone(),
        edit: IndexEdit::default(),
    };
    let mut problems = Vec::new();
    for change in changes {
        match change {
            RouteChange::Serve(entry) => problems.extend(next.serve(entry)),
            RouteChange::Drop(name) => next.drop(&name),
        }
    }
    let Next { mut table, edit } = next;
    table.hosts.edit(edit);
    (table, problems)
}

/// What keeps routes from being in the table; those that are there as they are need no look.
pub(crate) fn problems<'a, T>(
    table: &RouteTable<T>,
    routes: impl IntoIterator<Item = (FullName, &'a Route)>,
) -> Vec<CompileProblem> {
    let mut next = Next {
        table: table.clone(),
        edit: IndexEdit::default(),
    };
    let mut problems = Vec::new();
    for (name, route) in routes {
        let before = table.routes.get(&name);
        if before.is_some_and(|before| *before.entry.route == *route) {
            continue;
        }
        let read = RouteMatcher::parse(&name, route);
        let counted = read.and_then(|_| next.count(route, before).map_err(|message| vec![message]));
        let messages = counted.err().unwrap_or_default();
        problems.extend(in_words(&name, messages));
    }
    problems
}

fn in_words(route: &FullName, messages: Vec<String>) -> impl Iterator<Item = CompileProblem> {
    messages.into_iter().map(|message| CompileProblem {
        route: route.clone(),
        message,
    })
}

impl<T> Next<T> {
    fn drop(&mut self, name: &FullName) {
        if let Some(before) = self.table.routes.remove(name) {
            self.discount(&before);
            self.edit.remove(&before);
        }
    }

    /// Puts a route in the place of the one of its name, or tells what is wrong with it.
    fn serve(&mut self, entry: RouteEntry<T>) -> Vec<CompileProblem> {
        let name = entry.name.clone();
        let before = self.table.routes.get(&name).cloned();
        match self.read(entry, before.as_ref()) {
            Ok(route) => {
                let route = Arc::new(route);
                if let Some(before) = before {
                    self.edit.remove(&before);
                }
                self.edit.add(&route);
                self.table.routes.insert(name, route);
                Vec::new()
            }
            Err(messages) => in_words(&name, messages).collect(),
        }
    }

    fn read(
        &mut self,
        entry: RouteEntry<T>,
        before: Option<&Arc<Ranked<T>>>,
    ) -> Result<Ranked<T>, Vec<String>> {
        let known = before.filter(|before| Arc::ptr_eq(&before.entry.route, &entry.route));
        if let Some(known) = known {
            return Ok(Ranked::new(entry, Arc::clone(&known.matcher), known.methods));
        }
        let matcher = RouteMatcher::parse(&entry.name, &entry.route)?;
        let methods = self
            .count(&entry.route, before)
            .map_err(|message| vec![message])?;
        Ok(Ranked::new(entry, Arc::new(matcher), methods))
    }

    /// Counts a route instead of the one before, among what all routes share.
    fn count(&mut self, route: &Route, before: Option<&Arc<Ranked<T>>>) -> Result<MethodSet, String> {
        if let Some(before) = before {
            self.discount(before);
        }
        let counted = self.count_new(route);
        if let (Err(_), Some(before)) = (&counted, before) {
            // There is room for it: it has only just been taken out.
            let _ = self.count_new(&before.entry.route);
        }
        counted
    }

    fn count_new(&mut self, route: &Route) -> Result<MethodSet, String> {
        let size = self.table.index_size + index_size(route);
        if size > LARGEST_INDEX {
            return Err(format!(
                "the hosts and paths of all routes with this one need more than {LARGEST_INDEX} bytes"
            ));
        }
        let methods = self.table.methods.count(&route.methods).ok_or_else(|| {
            let most = methods::MOST;
            format!("all routes together list more than {most} different methods")
        })?;
        self.table.index_size = size;
        Ok(methods)
    }

    fn discount(&mut self, route: &Ranked<T>) {
        let route = &route.entry.route;
        self.table.methods.discount(&route.methods);
        self.table.index_size -= index_size(route);
    }
}

/// A bound of the bytes that a route needs in the trees: every path may stand under every host.
fn index_size(route: &Route) -> usize {
    let of = |texts: &[String]| texts.iter().map(|text| text.len() + 1).sum::<usize>().max(1);
    of(&route.hosts).saturating_mul(of(&route.paths))
}
