//! What nginx would say of a configuration: its first mistake, in its words, at its line.
//!
//! nginx acts on directives while it reads them and ends at the first that it cannot take; blocks are looked at as a
//! whole when they end, names are resolved and variables looked up at the end of `http`. The same is done here in
//! the same order, so that of several mistakes the same one is told.
//!
//! What is left out: what only matters to directives we do not act on (their order, their files), and what needs the
//! machine (whether an address can be bound). Directives of NGINX Plus and of later versions are taken where we
//! know what they mean.

mod locations;
mod patterns;
mod servers;
mod streams;
mod upstreams;
mod variables;
mod zones;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::check::servers::Servers;
use crate::check::variables::Variables;
use crate::files::{Configuration, Files};
use crate::table::{Context, Module, Row, Value, meanings};
use crate::tree::{Block, Directive, Mistake};
use crate::value;

/// What a configuration may depend on beside its text.
pub trait World: Files {
    /// Whether a host name has an address.
    fn resolves(&self, host: &str) -> bool;
}

/// What nginx says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What it starts with all the same.
    pub warnings: Vec<Mistake>,
    /// What it would not start with.
    pub error: Option<Mistake>,
}

pub(crate) use locations::{Shape, shape, without_parentheses};
pub(crate) use servers::is_default;
pub(crate) use upstreams::{METHODS, split_authority, split_scheme};
pub(crate) use variables::{hundredths, names_in};

type Checked = Result<(), Mistake>;

/// Checks a configuration.
pub fn check(configuration: &Configuration, world: &dyn World) -> Verdict {
    let mut checker = Checker {
        world,
        folder: &configuration.folder,
        servers: Servers::default(),
        upstreams: Vec::new(),
        references: Vec::new(),
        variables: Variables::new(Module::Http),
        formats: vec!["combined".to_owned()],
        warnings: Vec::new(),
    };
    let checked = checker.whole(&configuration.main);
    Verdict {
        warnings: checker.warnings,
        error: checked.err(),
    }
}

struct Checker<'a> {
    world: &'a dyn World,
    folder: &'a Path,
    servers: Servers<'a>,
    /// Names of the `upstream` blocks of the module.
    upstreams: Vec<&'a str>,
    /// Hosts that are named outside of upstreams.
    references: Vec<(String, &'a Directive)>,
    variables: Variables,
    formats: Vec<String>,
    warnings: Vec<Mistake>,
}

/// Where the checker is.
#[derive(Clone, Copy)]
struct Within<'a> {
    context: Context,
    /// The block, unless it is the file.
    block: Option<&'a Directive>,
    /// The innermost `location`.
    location: Option<&'a Directive>,
}

impl<'a> Checker<'a> {
    fn whole(&mut self, main: &'a Block) -> Checked {
        let within = Within {
            context: Context::MAIN,
            block: None,
            location: None,
        };
        self.block(main, within, &mut HashSet::new())?;
        if !main.flat().iter().any(|directive| directive.name == "events") {
            return Err(Mistake::anywhere("no \"events\" section in configuration"));
        }
        zones::sized(main)
    }

    /// The directives of a block or an included file; `seen` are those of the block that came before.
    fn block(&mut self, block: &'a Block, within: Within<'a>, seen: &mut HashSet<&'a str>) -> Checked {
        for directive in &block.directives {
            self.directive(directive, within, seen)?;
        }
        block.end.clone().map(|_| ())
    }

    fn directive(
        &mut self,
        directive: &'a Directive,
        within: Within<'a>,
        seen: &mut HashSet<&'a str>,
    ) -> Checked {
        let row = meaning(directive, within.context)?;
        if let (true, Some(included)) = (directive.is_include(), &directive.block) {
            return self.block(included, within, seen);
        }
        plain_value(directive, row, !seen.insert(&directive.name))?;
        self.enter(directive, within, seen)?;
        if let Some(block) = &directive.block {
            match within.context.inside(&directive.name) {
                Some(context) => {
                    let location = (directive.name == "location")
                        .then_some(directive)
                        .or(within.location);
                    let block_of = Some(directive);
                    let inside = Within {
                        context,
                        block: block_of,
                        location,
                    };
                    self.block(block, inside, &mut HashSet::new())?;
                }
                None => data_block(block)?,
            }
            self.leave(directive, block, within)?;
        }
        Ok(())
    }

    /// What nginx looks at when it has read the words of a directive.
    fn enter(&mut self, directive: &'a Directive, within: Within<'a>, seen: &HashSet<&'a str>) -> Checked {
        match (within.context.module, directive.name.as_str()) {
            (Module::Core, _) => self.core(directive),
            (Module::Events, "worker_connections") => number_of(directive, 0),
            (Module::Http, _) => self.http(directive, within, seen),
            (Module::Stream, _) => self.stream_directive(directive, within),
            _ => Ok(()),
        }
    }

    /// What nginx looks at when a block has ended.
    fn leave(&mut self, directive: &'a Directive, block: &'a Block, within: Within<'a>) -> Checked {
        let end = block.end.clone().unwrap_or(directive.line);
        match (within.context.module, directive.name.as_str()) {
            (Module::Http | Module::Stream, "upstream") => upstreams::finished(directive, end),
            (Module::Core, "http") => self.http_finished(directive),
            (Module::Core, "stream") => self.stream_finished(directive),
            (Module::Http, "split_clients") => variables::split(directive),
            _ => Ok(()),
        }
    }

    fn core(&mut self, directive: &'a Directive) -> Checked {
        match directive.name.as_str() {
            "worker_processes" if directive.arg(0) != "auto" => match value::number(directive.arg(0)) {
                Some(1..) => Ok(()),
                _ => Err(invalid(directive, "invalid value")),
            },
            "user" => self.user(directive),
            _ => Ok(()),
        }
    }

    fn user(&self, directive: &Directive) -> Checked {
        let known = |file: &str, name: &str| {
            let Ok(bytes) = self.world.read(Path::new(file)) else {
                return true;
            };
            let text = String::from_utf8_lossy(&bytes);
            text.lines().any(|line| line.split(':').next() == Some(name))
        };
        if !known("/etc/passwd", directive.arg(0)) {
            return Err(directive.mistake(format!("getpwnam(\"{}\") failed", directive.arg(0))));
        }
        let group = directive.args.get(1).map_or(directive.arg(0), String::as_str);
        if !known("/etc/group", group) {
            return Err(directive.mistake(format!("getgrnam(\"{group}\") failed")));
        }
        Ok(())
    }

    fn http(&mut self, directive: &'a Directive, within: Within<'a>, seen: &HashSet<&'a str>) -> Checked {
        self.variables.take(directive)?;
        match (within.context.place, directive.name.as_str()) {
            ("http", "server") => {
                self.servers.begin(directive);
                Ok(())
            }
            ("http", "upstream") => self.upstream(directive),
            ("upstream", _) => self.upstream_line(directive, within),
            (_, "listen") => self.servers.listen(directive),
            (_, "server_name") => self.servers.names(directive, &mut self.variables),
            (_, "location") => self.location(directive, within),
            (_, "proxy_pass") => self.proxy_pass(directive, within),
            (_, "root" | "alias") => locations::root(directive, seen),
            (_, "return") => locations::answer(directive),
            (_, "rewrite") => locations::rewrite(directive, &mut self.variables),
            (_, "if") => locations::condition(directive, &mut self.variables),
            (_, "allow" | "deny") => locations::access(directive),
            (_, "keepalive_timeout") => times(directive),
            (_, "gzip_comp_level") => between(directive, 1, 9),
            (_, "log_format") => {
                self.formats.push(directive.arg(0).to_owned());
                Ok(())
            }
            (_, "access_log") => self.access_log(directive),
            _ => Ok(()),
        }
    }

    fn access_log(&self, directive: &Directive) -> Checked {
        match directive.args.get(1) {
            Some(format) if directive.arg(0) != "off" && !format.contains('=') => {
                if self.formats.contains(format) {
                    Ok(())
                } else {
                    Err(directive.mistake(format!("unknown log format \"{format}\"")))
                }
            }
            _ => Ok(()),
        }
    }

    /// The end of `http`, in nginx's order: names, then servers one by one, then variables and server names.
    fn http_finished(&mut self, http: &'a Directive) -> Checked {
        self.resolve_references()?;
        for server in http.all("server") {
            servers::certificates(http, server, self)?;
        }
        for server in http.all("server") {
            locations::duplicates(server)?;
        }
        self.variables.finished()?;
        self.servers.conflicts(&mut self.warnings);
        self.upstreams.clear();
        Ok(())
    }

    /// Hosts that no upstream is named after must have an address.
    fn resolve_references(&mut self) -> Checked {
        for (host, directive) in std::mem::take(&mut self.references) {
            let known = self.upstreams.contains(&host.as_str()) || value::ip(&host).is_some();
            if !known && !self.world.resolves(&host) {
                return Err(directive.mistake(format!("host not found in upstream \"{host}\"")));
            }
        }
        Ok(())
    }

    /// The path of a file that a directive names.
    fn path(&self, text: &str) -> PathBuf {
        self.folder.join(text)
    }
}

/// The meaning that a directive has where it stands.
fn meaning(directive: &Directive, context: Context) -> Result<&'static Row, Mistake> {
    let name = &directive.name;
    let rows = meanings(name);
    if rows.is_empty() {
        return Err(directive.mistake(format!("unknown directive \"{name}\"")));
    }
    let Some(row) = rows.iter().find(|row| row.allowed_in(context)) else {
        return Err(directive.mistake(format!("\"{name}\" directive is not allowed here")));
    };
    let opened = directive.block.is_some() && !directive.is_include();
    if opened && !row.block {
        return Err(directive.mistake(format!("directive \"{name}\" is not terminated by \";\"")));
    }
    if row.block && !opened {
        return Err(directive.mistake(format!("directive \"{name}\" has no opening \"{{\"")));
    }
    if !row.takes(directive.args.len()) {
        return Err(directive.mistake(format!("invalid number of arguments in \"{name}\" directive")));
    }
    Ok(row)
}

/// Directives without a plain value that may stand in a block only once.
const ONCE: [&str; 11] = [
    "events",
    "http",
    "stream",
    "mail",
    "user",
    "worker_processes",
    "worker_connections",
    "proxy_pass",
    "root",
    "alias",
    "keepalive_timeout",
];

fn plain_value(directive: &Directive, row: &Row, again: bool) -> Checked {
    let unique = match row.value {
        Value::Any => ONCE.contains(&directive.name.as_str()),
        Value::Choices(_) => false,
        _ => true,
    };
    if again && unique {
        return Err(invalid(directive, "is duplicate"));
    }
    let text = directive.arg(0);
    match row.value {
        Value::Flag if !text.eq_ignore_ascii_case("on") && !text.eq_ignore_ascii_case("off") => {
            let name = &directive.name;
            let message =
                format!("invalid value \"{text}\" in \"{name}\" directive, it must be \"on\" or \"off\"");
            Err(directive.mistake(message))
        }
        Value::Time if value::milliseconds(text).is_none() => Err(invalid(directive, "invalid value")),
        Value::Size if value::bytes(text).is_none() => Err(invalid(directive, "invalid value")),
        Value::Number if value::number(text).is_none() => Err(invalid(directive, "invalid number")),
        Value::Buffers
            if !matches!(value::number(text), Some(1..))
                || !matches!(value::bytes(directive.arg(1)), Some(1..)) =>
        {
            Err(invalid(directive, "invalid value"))
        }
        Value::Choice(choices) => one_of(directive, text, choices),
        Value::Choices(choices) => directive
            .args
            .iter()
            .try_for_each(|text| one_of(directive, text, choices)),
        _ => Ok(()),
    }
}

fn one_of(directive: &Directive, text: &str, choices: &str) -> Checked {
    if choices.split('|').any(|choice| choice.eq_ignore_ascii_case(text)) {
        Ok(())
    } else {
        Err(directive.mistake(format!("invalid value \"{text}\"")))
    }
}

/// nginx's words for what a directive's own reader returns.
fn invalid(directive: &Directive, what: &str) -> Mistake {
    directive.mistake(format!("\"{}\" directive {what}", directive.name))
}

fn number_of(directive: &Directive, index: usize) -> Checked {
    let text = directive.arg(index);
    match value::number(text) {
        Some(_) => Ok(()),
        None => Err(directive.mistake(format!("invalid number \"{text}\""))),
    }
}

fn between(directive: &Directive, least: u64, most: u64) -> Checked {
    match value::number(directive.arg(0)) {
        Some(number) if (least..=most).contains(&number) => Ok(()),
        Some(_) => Err(directive.mistake(format!("value must be between {least} and {most}"))),
        None => Err(invalid(directive, "invalid number")),
    }
}

fn times(directive: &Directive) -> Checked {
    if directive
        .args
        .iter()
        .all(|text| value::milliseconds(text).is_some())
    {
        Ok(())
    } else {
        Err(invalid(directive, "invalid value"))
    }
}

/// Blocks whose lines are data (`types`, `map`...) hold no blocks.
fn data_block(block: &Block) -> Checked {
    for line in &block.directives {
        match &line.block {
            Some(included) if line.is_include() => data_block(included)?,
            Some(_) => return Err(line.mistake("unexpected \"{\"")),
            None => {}
        }
    }
    block.end.clone().map(|_| ())
}
