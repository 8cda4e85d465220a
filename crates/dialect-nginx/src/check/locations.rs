//! `location` and the directives that answer, rewrite and guard requests.

use std::collections::HashSet;

use ipnet::IpNet;

use super::variables::Variables;
use super::{Checked, Checker, Within};
use crate::tree::{Directive, Mistake};

/// How a location takes requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape<'a> {
    /// `= /path`
    Exact(&'a str),
    /// `^~ /prefix`: regexes are not asked.
    Firm(&'a str),
    /// `/prefix`
    Prefix(&'a str),
    /// `~ regex`, `~* regex`.
    Regex { pattern: &'a str, any_case: bool },
    /// `@name`
    Named(&'a str),
}

/// How a location takes requests. The modifier may stand right before the path.
///
/// # Errors
/// nginx's words for a modifier that is none.
pub(crate) fn shape(location: &Directive) -> Result<Shape<'_>, Mistake> {
    let (modifier, text) = match location.args.as_slice() {
        [modifier, text] => (modifier.as_str(), text.as_str()),
        _ => joined(location.arg(0)),
    };
    Ok(match modifier {
        "=" => Shape::Exact(text),
        "^~" => Shape::Firm(text),
        "~" => Shape::Regex {
            pattern: text,
            any_case: false,
        },
        "~*" => Shape::Regex {
            pattern: text,
            any_case: true,
        },
        "" if text.starts_with('@') => Shape::Named(text),
        "" => Shape::Prefix(text),
        _ => return Err(location.mistake(format!("invalid location modifier \"{modifier}\""))),
    })
}

fn joined(text: &str) -> (&str, &str) {
    let modifier = ["=", "^~", "~*", "~"]
        .into_iter()
        .find(|modifier| text.starts_with(modifier));
    text.split_at(modifier.map_or(0, str::len))
}

/// Whether a location is given by a path that can be replaced.
pub(super) fn is_prefix(location: &Directive) -> bool {
    matches!(
        shape(location),
        Ok(Shape::Exact(_) | Shape::Firm(_) | Shape::Prefix(_))
    )
}

impl<'a> Checker<'a> {
    pub(super) fn location(&mut self, directive: &'a Directive, within: Within<'a>) -> Checked {
        let own = shape(directive)?;
        if let Shape::Regex { pattern, .. } = own {
            self.variables.take_pattern(directive, pattern)?;
        }
        match within.location {
            Some(outer) => nested(directive, own, outer),
            None => Ok(()),
        }
    }
}

fn nested(directive: &Directive, own: Shape<'_>, outer: &Directive) -> Checked {
    let name = text(own);
    let refuse = |why: String| Err(directive.mistake(why));
    match (shape(outer)?, own) {
        (Shape::Exact(outer), _) => refuse(format!(
            "location \"{name}\" cannot be inside the exact location \"{outer}\""
        )),
        (Shape::Named(outer), _) => refuse(format!(
            "location \"{name}\" cannot be inside the named location \"{outer}\""
        )),
        (_, Shape::Named(_)) => refuse(format!(
            "named location \"{name}\" can be on the server level only"
        )),
        (Shape::Prefix(outer) | Shape::Firm(outer), Shape::Prefix(_) | Shape::Firm(_) | Shape::Exact(_))
            if !name.starts_with(outer) =>
        {
            refuse(format!("location \"{name}\" is outside location \"{outer}\""))
        }
        _ => Ok(()),
    }
}

fn text(shape: Shape<'_>) -> &str {
    match shape {
        Shape::Exact(text) | Shape::Firm(text) | Shape::Prefix(text) | Shape::Named(text) => text,
        Shape::Regex { pattern, .. } => pattern,
    }
}

/// Two locations of one block that take the same requests.
pub(super) fn duplicates(block: &Directive) -> Checked {
    let mut seen: HashSet<(bool, &str)> = HashSet::new();
    for location in block.all("location") {
        let key = match shape(location)? {
            Shape::Exact(path) => Some((true, path)),
            Shape::Firm(path) | Shape::Prefix(path) => Some((false, path)),
            Shape::Regex { .. } | Shape::Named(_) => None,
        };
        if let Some(key) = key.filter(|key| !seen.insert(*key)) {
            return Err(location.mistake(format!("duplicate location \"{}\"", key.1)));
        }
        duplicates(location)?;
    }
    Ok(())
}

pub(super) fn root(directive: &Directive, seen: &HashSet<&str>) -> Checked {
    let other = if directive.name == "root" { "alias" } else { "root" };
    if seen.contains(other) {
        let name = &directive.name;
        let message =
            format!("\"{name}\" directive is duplicate, \"{other}\" directive was specified earlier");
        return Err(directive.mistake(message));
    }
    Ok(())
}

/// `return`: a code, a code and a text, or a URL.
pub(super) fn answer(directive: &Directive) -> Checked {
    let text = directive.arg(0);
    let code = text
        .parse::<u32>()
        .ok()
        .filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    let url = ["http://", "https://", "$scheme"]
        .iter()
        .any(|start| text.starts_with(start));
    match code {
        Some(0..=999) => Ok(()),
        None if directive.args.len() == 1 && url => Ok(()),
        _ => Err(directive.mistake(format!("invalid return code \"{text}\""))),
    }
}

pub(super) fn rewrite(directive: &Directive, variables: &mut Variables) -> Checked {
    variables.take_pattern(directive, directive.arg(0))?;
    match directive.args.get(2).map(String::as_str) {
        None | Some("last" | "break" | "redirect" | "permanent") => Ok(()),
        Some(flag) => Err(directive.mistake(format!("invalid parameter \"{flag}\""))),
    }
}

/// The condition of an `if`: a variable, a comparison, a regex or a test of files.
pub(super) fn condition(directive: &Directive, variables: &mut Variables) -> Checked {
    let words = without_parentheses(directive)?;
    let invalid = |word: &str| Err(directive.mistake(format!("invalid condition \"{word}\"")));
    match words.as_slice() {
        [] => invalid(directive.arg(0)),
        [variable] if variable.starts_with('$') => variables.take_text(directive, variable),
        [test, file] if test.starts_with('-') || test.starts_with("!-") => {
            if ["f", "d", "e", "x"].contains(&test.trim_start_matches(['!', '-'])) {
                variables.take_text(directive, file)
            } else {
                invalid(test)
            }
        }
        [variable, "=" | "!=", value] if variable.starts_with('$') => {
            variables.take_text(directive, variable)?;
            variables.take_text(directive, value)
        }
        [variable, "~" | "~*" | "!~" | "!~*", pattern] if variable.starts_with('$') => {
            variables.take_text(directive, variable)?;
            variables.take_pattern(directive, pattern)
        }
        [variable, operator, ..] if variable.starts_with('$') => {
            Err(directive.mistake(format!("unexpected \"{operator}\" in condition")))
        }
        [first, ..] => invalid(first),
    }
}

/// The words of a condition; its parentheses may stand alone or touch the words.
pub(crate) fn without_parentheses(directive: &Directive) -> Result<Vec<&str>, Mistake> {
    let mut words: Vec<&str> = directive.args.iter().map(String::as_str).collect();
    let bad = || directive.mistake(format!("invalid condition \"{}\"", directive.arg(0)));
    let first = words.first_mut().ok_or_else(bad)?;
    *first = first.strip_prefix('(').ok_or_else(bad)?;
    let last = words.last_mut().ok_or_else(bad)?;
    *last = last.strip_suffix(')').ok_or_else(bad)?;
    words.retain(|word| !word.is_empty());
    Ok(words)
}

pub(super) fn access(directive: &Directive) -> Checked {
    let text = directive.arg(0);
    let known = ["all", "unix:"].contains(&text)
        || text.parse::<IpNet>().is_ok()
        || text.parse::<std::net::IpAddr>().is_ok();
    if known {
        Ok(())
    } else {
        Err(directive.mistake(format!("invalid parameter \"{text}\"")))
    }
}
