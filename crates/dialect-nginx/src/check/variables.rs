//! Variables: which there are, and which are used without being there.

use std::collections::HashSet;
use std::sync::LazyLock;

use super::Checked;
use crate::table::Module;
use crate::tree::{Directive, Mistake};

/// Variables of nginx 1.22 with its default modules, by module.
const BUILT_IN: &str = include_str!("../../data/variables.tsv");

/// What variables of no fixed name begin with.
const PREFIXES: [&str; 8] = [
    "arg_",
    "cookie_",
    "http_",
    "sent_http_",
    "sent_trailer_",
    "upstream_cookie_",
    "upstream_http_",
    "upstream_trailer_",
];

/// Built-in variables that `set` may change.
const CHANGEABLE: [&str; 2] = ["args", "limit_rate"];

/// Directives whose words may hold variables.
const EXPANDED: [&str; 49] = [
    "access_log",
    "add_header",
    "add_trailer",
    "alias",
    "auth_basic",
    "auth_basic_user_file",
    "auth_request",
    "auth_request_set",
    "charset",
    "error_page",
    "expires",
    "fastcgi_cache_key",
    "fastcgi_param",
    "fastcgi_pass",
    "grpc_set_header",
    "hash",
    "if",
    "index",
    "limit_conn_zone",
    "limit_rate",
    "limit_req_zone",
    "log_format",
    "map",
    "mirror",
    "proxy_bind",
    "proxy_cache_bypass",
    "proxy_cache_key",
    "proxy_cookie_domain",
    "proxy_cookie_path",
    "proxy_method",
    "proxy_no_cache",
    "proxy_pass",
    "proxy_redirect",
    "proxy_set_body",
    "proxy_set_header",
    "proxy_ssl_name",
    "return",
    "rewrite",
    "root",
    "scgi_param",
    "secure_link",
    "secure_link_md5",
    "set",
    "split_clients",
    "ssl_certificate",
    "ssl_certificate_key",
    "sub_filter",
    "try_files",
    "uwsgi_param",
];

static HTTP: LazyLock<HashSet<&str>> = LazyLock::new(|| built_in("http"));
static STREAM: LazyLock<HashSet<&str>> = LazyLock::new(|| built_in("stream"));

fn built_in(module: &str) -> HashSet<&'static str> {
    let rows = BUILT_IN.lines().filter_map(|line| line.split_once('\t'));
    rows.filter(|(of, _)| *of == module)
        .map(|(_, name)| name)
        .collect()
}

/// The variables of `http` or of `stream`.
pub(super) struct Variables {
    module: Module,
    defined: HashSet<String>,
    /// In the order of their first use.
    used: Vec<String>,
}

impl Variables {
    pub(super) fn new(module: Module) -> Self {
        Self {
            module,
            defined: HashSet::new(),
            used: Vec::new(),
        }
    }

    /// Notes what a directive defines and uses.
    pub(super) fn take(&mut self, directive: &Directive) -> Checked {
        let name = directive.name.as_str();
        if !EXPANDED.contains(&name) && name != "geo" {
            return Ok(());
        }
        let (defines, uses): (Option<&str>, &[String]) = match name {
            "set" | "auth_request_set" => (
                Some(directive.arg(0)),
                directive.args.get(1..).unwrap_or_default(),
            ),
            "map" | "split_clients" => (
                Some(directive.arg(1)),
                directive.args.get(..1).unwrap_or_default(),
            ),
            "geo" => (directive.args.last().map(String::as_str), &[]),
            "rewrite" => (None, directive.args.get(1..).unwrap_or_default()),
            // Its words are read one by one, and may hold a regex.
            "if" => (None, &[]),
            _ => (None, &directive.args),
        };
        if let Some(variable) = defines {
            self.define(directive, variable)?;
        }
        for text in uses {
            self.take_text(directive, text)?;
        }
        Ok(())
    }

    /// Notes the variables that `text` uses.
    pub(super) fn take_text(&mut self, directive: &Directive, text: &str) -> Checked {
        let names = names_in(text).map_err(|message| directive.mistake(message))?;
        self.used.extend(names);
        Ok(())
    }

    /// Notes the groups of a regex.
    pub(super) fn take_pattern(&mut self, directive: &Directive, pattern: &str) -> Checked {
        self.defined.extend(super::patterns::groups(pattern, directive)?);
        Ok(())
    }

    fn define(&mut self, directive: &Directive, variable: &str) -> Checked {
        let Some(name) = variable.strip_prefix('$').filter(|name| !name.is_empty()) else {
            return Err(directive.mistake(format!("invalid variable name \"{variable}\"")));
        };
        if self.is_built_in(name) && !CHANGEABLE.contains(&name) {
            return Err(directive.mistake(format!("the duplicate \"{name}\" variable")));
        }
        self.defined.insert(name.to_owned());
        Ok(())
    }

    fn is_built_in(&self, name: &str) -> bool {
        match self.module {
            Module::Stream => STREAM.contains(name),
            _ => HTTP.contains(name),
        }
    }

    /// The first use of a variable that is not there.
    pub(super) fn finished(&mut self) -> Checked {
        let missing = self.used.iter().find(|name| {
            let prefixed =
                self.module == Module::Http && PREFIXES.iter().any(|prefix| name.starts_with(prefix));
            !prefixed && !self.is_built_in(name) && !self.defined.contains(*name)
        });
        match missing {
            Some(name) => Err(Mistake::anywhere(format!("unknown \"{name}\" variable"))),
            None => Ok(()),
        }
    }
}

/// The names of the variables in a text, without captures.
///
/// # Errors
/// nginx's words for a `$` that no name follows.
pub(crate) fn names_in(text: &str) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find('$') {
        rest = &rest[start + 1..];
        if let Some(digit) = rest.bytes().next().filter(|byte| (b'1'..=b'9').contains(byte)) {
            rest = &rest[usize::from(digit.is_ascii_digit())..];
            continue;
        }
        let bracketed = rest.strip_prefix('{');
        let word = bracketed.unwrap_or(rest);
        let length = word
            .bytes()
            .take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
            .count();
        let (name, behind) = word.split_at(length);
        rest = behind;
        if bracketed.is_some() {
            rest = behind
                .strip_prefix('}')
                .ok_or_else(|| format!("the closing bracket in \"{name}\" variable is missing"))?;
        }
        if name.is_empty() {
            return Err("invalid variable name".to_owned());
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

/// The shares of a `split_clients` block are a hundred percent at most.
pub(super) fn split(directive: &Directive) -> Checked {
    let mut total = 0;
    for line in directive.inside() {
        if line.name == "*" {
            continue;
        }
        let share = line.name.strip_suffix('%').and_then(hundredths);
        let Some(share @ 1..) = share else {
            return Err(line.mistake(format!("invalid percent value \"{}\"", line.name)));
        };
        total += share;
        if total > 10_000 {
            let block = directive.block.as_ref();
            let end = block
                .and_then(|block| block.end.clone().ok())
                .unwrap_or(line.line);
            let message = "percent total is greater than 100%";
            return Err(Mistake::at(message, &line.place.file, end));
        }
    }
    Ok(())
}

/// A share with up to two decimals.
pub(crate) fn hundredths(text: &str) -> Option<u32> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let part = match part.len() {
        0 => 0,
        1 => part.parse::<u32>().ok()? * 10,
        2 => part.parse().ok()?,
        _ => return None,
    };
    whole.parse::<u32>().ok()?.checked_mul(100)?.checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::names_in;

    #[test]
    fn variables_in_texts() {
        for (text, expected) in [
            ("a $b c", Ok("b")),
            ("${b}c$d", Ok("b d")),
            ("$1$2x", Ok("")),
            ("a.$b-c", Ok("b")),
            ("$", Err("invalid variable name")),
            ("${a", Err("the closing bracket in \"a\" variable is missing")),
        ] {
            let read = names_in(text).map(|names| names.join(" "));
            assert_eq!(read.as_deref().map_err(String::as_str), expected, "{text}");
        }
    }
}
