//! Every directive of nginx 1.22 with its default modules: where it may stand, and what it takes.
//!
//! `data/directives.tsv` has a row for each meaning of a name (`server` is a block of `http` and a line of `upstream`).
//! A directive that stands there is never called unknown; whether we act on it is another question
//! (a report tells).

use std::collections::HashMap;
use std::sync::LazyLock;

/// Where a directive stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Context {
    pub(crate) module: Module,
    pub(crate) place: &'static str,
}

/// Families of modules; a name means different things in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Module {
    Core,
    Events,
    Http,
    Stream,
    Mail,
}

impl Context {
    pub(crate) const MAIN: Self = Self::of(Module::Core, "main");
    pub(crate) const SERVER: Self = Self::of(Module::Http, "server");
    pub(crate) const LOCATION: Self = Self::of(Module::Http, "location");

    const fn of(module: Module, place: &'static str) -> Self {
        Self { module, place }
    }

    /// What the block of `name`, which stands here, is to the directives inside. `None`: its lines are data.
    pub(crate) fn inside(self, name: &str) -> Option<Self> {
        Some(match (self.module, name) {
            (Module::Core, "events") => Self::of(Module::Events, "events"),
            (Module::Core, "http") => Self::of(Module::Http, "http"),
            (Module::Core, "stream") => Self::of(Module::Stream, "stream"),
            (Module::Core, "mail") => Self::of(Module::Mail, "mail"),
            (Module::Http, "server") => Self::SERVER,
            (Module::Http, "location") => Self::LOCATION,
            (Module::Http, "limit_except") => Self::of(Module::Http, "limit_except"),
            (Module::Http, "if") if self.place == "server" => Self::of(Module::Http, "server-if"),
            (Module::Http, "if") => Self::of(Module::Http, "location-if"),
            (module, "server") => Self::of(module, "server"),
            (module, "upstream") => Self::of(module, "upstream"),
            _ => return None,
        })
    }
}

/// One meaning of a name.
pub(crate) struct Row {
    module: Module,
    contexts: &'static str,
    arguments: &'static str,
    pub(crate) block: bool,
    /// What its argument must be, for those that take a plain value.
    pub(crate) value: Value,
}

/// Plain values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value {
    /// Checked elsewhere or not at all, and may be repeated.
    Any,
    /// Any text, once.
    Once,
    /// `on` or `off`.
    Flag,
    Time,
    Size,
    Number,
    /// A number and a size.
    Buffers,
    /// One of these, separated by `|`.
    Choice(&'static str),
    /// Some of these.
    Choices(&'static str),
}

const ROWS: &str = include_str!("../data/directives.tsv");

static TABLE: LazyLock<HashMap<&'static str, Vec<Row>>> = LazyLock::new(|| {
    let mut table: HashMap<_, Vec<_>> = HashMap::new();
    for line in ROWS.lines().skip(1) {
        if let [module, name, contexts, arguments, value] = line.split('\t').collect::<Vec<_>>()[..] {
            let row = Row {
                module: module_of(module),
                contexts,
                arguments: arguments.trim_end_matches('{'),
                block: arguments.ends_with('{'),
                value: value_of(value),
            };
            table.entry(name).or_default().push(row);
        }
    }
    table
});

/// The meanings of a name; empty if nginx does not know it.
pub(crate) fn meanings(name: &str) -> &'static [Row] {
    TABLE.get(name).map_or(&[], Vec::as_slice)
}

impl Row {
    /// Whether it may stand there.
    pub(crate) fn allowed_in(&self, context: Context) -> bool {
        self.contexts == "any"
            || (self.module == context.module && self.contexts.split(',').any(|place| place == context.place))
    }

    /// Whether it takes as many arguments.
    pub(crate) fn takes(&self, arguments: usize) -> bool {
        match self.arguments {
            "any" => true,
            "flag" => arguments == 1,
            "1+" => arguments >= 1,
            "2+" => arguments >= 2,
            counts => counts
                .bytes()
                .any(|count| usize::from(count.wrapping_sub(b'0')) == arguments),
        }
    }
}

fn module_of(text: &str) -> Module {
    match text {
        "events" => Module::Events,
        "http" => Module::Http,
        "stream" => Module::Stream,
        "mail" => Module::Mail,
        _ => Module::Core,
    }
}

fn value_of(text: &'static str) -> Value {
    match text {
        "flag" => Value::Flag,
        "time" => Value::Time,
        "size" => Value::Size,
        "number" => Value::Number,
        "buffers" => Value::Buffers,
        "text" | "once" => Value::Once,
        _ => match text.split_once(':') {
            Some(("enum", choices)) => Value::Choice(choices),
            Some((_, choices)) => Value::Choices(choices),
            None => Value::Any,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{Context, ROWS, meanings};

    #[test]
    fn every_row_is_read() {
        let rows = ROWS.lines().skip(1).count();
        let mut names: Vec<_> = ROWS
            .lines()
            .skip(1)
            .filter_map(|line| line.split('\t').nth(1))
            .collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.iter().map(|name| meanings(name).len()).sum::<usize>(), rows);
        assert!(rows > 600);
    }

    #[test]
    fn a_name_means_what_its_place_says() {
        let in_server = |name: &str| meanings(name).iter().any(|row| row.allowed_in(Context::SERVER));
        assert!(in_server("listen") && in_server("include"));
        assert!(!in_server("proxy_pass") && !in_server("worker_processes"));
    }
}
