//! What the keys of a target may say.

use super::{HealthCheck, Host};
use crate::convert::{self, Converted};
use crate::node::{Entry, Node, Value};

/// One line that no program takes for an option.
pub(super) fn plain(node: &Node) -> Converted<String> {
    let text = convert::text(node)?;
    if text.starts_with('-') || text.contains(char::is_control) {
        return Err("must be one line that does not begin with a hyphen".to_owned());
    }
    Ok(text)
}

/// Lines for a shell.
pub(super) fn script(node: &Node) -> Converted<String> {
    let text = convert::text(node)?;
    if text.contains('\0') {
        return Err("must not contain a null character".to_owned());
    }
    Ok(text)
}

pub(super) fn user(node: &Node) -> Converted<String> {
    plain(node).and_then(|user| match user.contains(['@', ':', ' ']) {
        true => Err(format!("must be a name of a user, not `{user}`")),
        false => Ok(user),
    })
}

pub(super) fn texts(node: &Node) -> Converted<Vec<String>> {
    let items = node.list().unwrap_or(std::slice::from_ref(node));
    items.iter().map(plain).collect()
}

pub(super) fn hosts(node: &Node) -> Converted<Vec<Host>> {
    let hosts = texts(node)?;
    if hosts.is_empty() {
        return Err("must name a host".to_owned());
    }
    hosts.iter().map(|text| host(text)).collect()
}

/// `[user@]name[:port]`; an address of IPv6 with a port stands in brackets.
fn host(text: &str) -> Converted<Host> {
    let (user, rest) = match text.rsplit_once('@') {
        Some((user, rest)) => (Some(user), rest),
        None => (None, text),
    };
    let bracketed = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (name, port) = match (bracketed, rest.split_once(':')) {
        (Some((name, "")), _) => (name, None),
        (Some((name, port)), _) => (name, Some(port.strip_prefix(':').unwrap_or(port))),
        (None, Some((name, port))) if !port.contains(':') => (name, Some(port)),
        (None, _) => (rest, None),
    };
    let parsed = port.map(|port| port.parse().ok().filter(|port| *port > 0));
    let is_word = |word: &str| {
        !word.is_empty() && !word.starts_with('-') && !word.contains(|c: char| c.is_whitespace() || c == '@')
    };
    if !is_word(name) || !user.is_none_or(is_word) || parsed == Some(None) {
        return Err(format!(
            "must be `host`, `user@host` or `user@host:port`, not `{text}`"
        ));
    }
    Ok(Host {
        user: user.map(str::to_owned),
        name: name.to_owned(),
        port: parsed.flatten(),
    })
}

pub(super) fn fetch(node: &Node) -> Converted<bool> {
    match node.text() {
        Some("fast") => Ok(true),
        _ => Err(format!("must be `fast` or left out, not {}", node.shown())),
    }
}

pub(super) fn remote_path(node: &Node) -> Converted<String> {
    let path = plain(node)?;
    let others_home = path.starts_with('~') && path != "~" && !path.starts_with("~/");
    let root = path.trim_end_matches('/').is_empty();
    if others_home || root || path.split('/').any(|part| part == "..") {
        return Err(format!(
            "must be a folder like `/var/www/app` or `~/app`, not `{path}`"
        ));
    }
    Ok(path)
}

pub(super) fn positive(node: &Node) -> Converted<usize> {
    match convert::count(node)? {
        0 => Err("must be at least 1".to_owned()),
        count => Ok(usize::try_from(count).unwrap_or(usize::MAX)),
    }
}

pub(super) fn shared(node: &Node) -> Converted<Vec<String>> {
    let paths = texts(node)?;
    let sound = |path: &String| {
        let parts = path.strip_suffix('/').unwrap_or(path);
        parts
            .split('/')
            .all(|part| !matches!(part, "" | "." | ".." | "~" | ".git"))
    };
    match paths.iter().find(|path| !sound(path)) {
        Some(path) => Err(format!("must be paths below the release, and `{path}` is none")),
        None => Ok(paths),
    }
}

/// A URL or a command, alone or as `check` of a map with `retries` and `interval`.
pub(super) fn health_check(node: &Node) -> Converted<HealthCheck> {
    let mut health = HealthCheck {
        check: String::new(),
        tries: 11,
        interval_s: 2,
    };
    let Value::Map(entries) = &node.value else {
        health.check = script(node)?;
        return Ok(health);
    };
    for Entry { key, value, .. } in entries {
        let of_key = |message| format!("has `{key}`, which {message}");
        match key.as_str() {
            "check" => health.check = script(value).map_err(of_key)?,
            "retries" => {
                let retries = convert::count(value).map_err(of_key)?;
                health.tries = u32::try_from(retries.min(1_000)).unwrap_or(1_000) + 1;
            }
            "interval" => {
                let ms = convert::milliseconds(value).map_err(of_key)?;
                health.interval_s = ms.div_ceil(1_000);
            }
            _ => {
                return Err(format!(
                    "has `{key}`, which is none of `check`, `retries`, `interval`"
                ));
            }
        }
    }
    if health.check.is_empty() {
        return Err("must have a URL or a command as `check`".to_owned());
    }
    Ok(health)
}
