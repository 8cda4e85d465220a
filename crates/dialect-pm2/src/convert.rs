//! From a value of a file or a flag to what a field means by it.
//!
//! Numbers may be texts, as in PM2, and texts may be numbers. Each function says what it would have taken.

use std::path::PathBuf;

use serde_json::{Map, Value as Json};

use crate::app::{Account, ExecMode, FilterEnv, Instances, Interpreter, LogFile, LogType, Pattern, Watch};
use crate::node::{Node, Value};
use crate::split::split;

/// What a field cannot be, as a lower-case fragment that goes on after its name.
pub(crate) type Converted<T> = Result<T, String>;

pub(crate) fn text(node: &Node) -> Converted<String> {
    match &node.value {
        Value::Text(text) if !text.is_empty() => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        _ => expected("a text", node),
    }
}

pub(crate) fn path(node: &Node) -> Converted<PathBuf> {
    text(node).map(PathBuf::from)
}

pub(crate) fn flag(node: &Node) -> Converted<bool> {
    match (&node.value, node.text()) {
        (Value::Flag(flag), _) => Ok(*flag),
        (_, Some("true")) => Ok(true),
        (_, Some("false")) => Ok(false),
        _ => expected("true or false", node),
    }
}

/// A list as it is, or a text split at its spaces.
pub(crate) fn arguments(node: &Node) -> Converted<Vec<String>> {
    match &node.value {
        Value::Text(text) => Ok(split(text)),
        Value::Number(number) => Ok(vec![number.to_string()]),
        Value::List(items) => items.iter().map(argument).collect(),
        _ => expected("a list of texts, or one text", node),
    }
}

fn argument(node: &Node) -> Converted<String> {
    match &node.value {
        Value::Text(_) | Value::Number(_) | Value::Flag(_) => Ok(node.variable()),
        _ => Err(format!("must be a list of texts, and {} is in it", node.shown())),
    }
}

/// Of one item or of a list of them.
fn items<T>(node: &Node, convert: impl Fn(&Node) -> Converted<T>) -> Converted<Vec<T>> {
    let items = node.list().unwrap_or(std::slice::from_ref(node));
    items.iter().map(convert).collect()
}

fn whole(node: &Node) -> Option<i64> {
    match &node.value {
        Value::Number(number) => number.as_i64(),
        Value::Text(text) => text.trim().parse().ok(),
        _ => None,
    }
}

pub(crate) fn count(node: &Node) -> Converted<u64> {
    let number = whole(node).and_then(|number| u64::try_from(number).ok());
    number.map_or_else(|| expected("a whole number, 0 or more", node), Ok)
}

pub(crate) fn port(node: &Node) -> Converted<u16> {
    let port = whole(node).and_then(|number| u16::try_from(number).ok());
    port.map_or_else(|| expected("a port from 0 to 65535", node), Ok)
}

/// Milliseconds: a number, or a number with `ms`, `s`, `m` or `h`.
pub(crate) fn milliseconds(node: &Node) -> Converted<u64> {
    let parsed = match &node.value {
        Value::Number(number) => number
            .as_f64()
            .filter(|ms| *ms >= 0.0)
            .map(|ms| ms.round() as u64),
        Value::Text(text) => with_unit(
            text.trim(),
            &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("", 1)],
        ),
        _ => None,
    };
    parsed.map_or_else(
        || expected("milliseconds, or a time like `5s`, `1m` or `1h`", node),
        Ok,
    )
}

/// Milliseconds, at least 100.
pub(crate) fn uptime(node: &Node) -> Converted<u64> {
    milliseconds(node).and_then(|ms| match ms {
        100.. => Ok(ms),
        _ => Err(format!("must be at least 100 (milliseconds), not {ms}")),
    })
}

/// Milliseconds, where 0 is the same as nothing.
pub(crate) fn delay(node: &Node) -> Converted<Option<u64>> {
    milliseconds(node).map(|ms| (ms > 0).then_some(ms))
}

/// Bytes: a number, or a number with `K`, `M` or `G` (times 1,024).
pub(crate) fn size(node: &Node) -> Converted<Option<u64>> {
    let parsed = match &node.value {
        Value::Number(number) => number.as_u64(),
        Value::Text(text) => with_unit(
            text.trim(),
            &[("K", 1 << 10), ("M", 1 << 20), ("G", 1 << 30), ("", 1)],
        ),
        _ => None,
    };
    let bytes = parsed.map_or_else(
        || expected("bytes, or a size like `300K`, `200M` or `1G`", node),
        Ok,
    )?;
    Ok((bytes > 0).then_some(bytes))
}

/// The first unit that `text` ends with counts; nothing but digits may stand before it.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (digits, factor) = units
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))?;
    let all = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse::<u64>().ok().filter(|_| all)?.checked_mul(factor)
}

/// A number or `max`. PM2 takes any other text for `max`; the caller warns of that.
pub(crate) fn instances(node: &Node) -> Converted<Instances> {
    match (whole(node), node.text()) {
        (Some(number), _) => i32::try_from(number)
            .map(Instances::of_number)
            .or_else(|_| expected("a number of instances", node)),
        (None, Some(text)) if !text.is_empty() && text.parse::<f64>().is_err() => Ok(Instances::All),
        _ => expected("a whole number or `max`", node),
    }
}

pub(crate) fn mode(node: &Node) -> Converted<ExecMode> {
    match node.text() {
        Some("cluster" | "cluster_mode") => Ok(ExecMode::Cluster),
        Some("fork" | "fork_mode") => Ok(ExecMode::Fork),
        _ => expected("`cluster` or `fork`", node),
    }
}

pub(crate) fn interpreter(node: &Node) -> Converted<Interpreter> {
    text(node).map(|name| Interpreter::named(&name))
}

pub(crate) fn filter_env(node: &Node) -> Converted<FilterEnv> {
    let names = match &node.value {
        Value::Flag(true) => return Ok(FilterEnv::Everything),
        Value::Flag(false) => return Ok(FilterEnv::Nothing),
        Value::Text(_) | Value::List(_) => items(node, text)?,
        _ => return expected("true, false, a text or a list of texts", node),
    };
    Ok(match names.as_slice() {
        [] => FilterEnv::Nothing,
        [only] if only == "true" => FilterEnv::Everything,
        _ => FilterEnv::Containing(names),
    })
}

pub(crate) fn watch(node: &Node) -> Converted<Watch> {
    match (&node.value, node.text()) {
        (Value::Flag(true), _) | (_, Some("true")) => Ok(Watch::Folder),
        (Value::Flag(false), _) | (_, Some("false")) => Ok(Watch::Off),
        (Value::Text(_), _) => Ok(Watch::Paths(vec![text(node)?])),
        (Value::List(list), _) if list.is_empty() => Ok(Watch::Off),
        (Value::List(_), _) => items(node, text).map(Watch::Paths),
        _ => expected("true, false, a path or a list of paths", node),
    }
}

/// A text is split at its spaces, as arguments are.
pub(crate) fn patterns(node: &Node) -> Converted<Vec<Pattern>> {
    match node.text() {
        Some(text) => Ok(split(text).into_iter().map(Pattern::Glob).collect()),
        None => items(node, pattern),
    }
}

fn pattern(node: &Node) -> Converted<Pattern> {
    match &node.value {
        Value::Text(text) => Ok(Pattern::Glob(text.clone())),
        Value::Regex { source, flags } => Ok(Pattern::Regex {
            source: source.clone(),
            flags: flags.clone(),
        }),
        _ => expected("a path, a glob, a regular expression or a list of them", node),
    }
}

pub(crate) fn object(node: &Node) -> Converted<Map<String, Json>> {
    match node.to_json() {
        Json::Object(map) => Ok(map),
        _ => expected("a map", node),
    }
}

pub(crate) fn exit_codes(node: &Node) -> Converted<Vec<i32>> {
    items(node, |item| {
        let code = whole(item).filter(|code| (0..=255).contains(code));
        let code = code.and_then(|code| i32::try_from(code).ok());
        code.map_or_else(
            || expected("an exit code from 0 to 255, or a list of them", item),
            Ok,
        )
    })
}

/// 0 is the same as nothing.
pub(crate) fn cron(node: &Node) -> Converted<Option<String>> {
    match &node.value {
        Value::Text(text) if text == "0" => Ok(None),
        Value::Text(text) if !text.trim().is_empty() => Ok(Some(text.clone())),
        Value::Number(_) if whole(node) == Some(0) => Ok(None),
        _ => expected("a cron expression, or 0 for none", node),
    }
}

pub(crate) fn log_file(node: &Node) -> Converted<LogFile> {
    match (&node.value, node.text()) {
        (Value::Null, _) | (_, Some("NULL" | "null" | "/dev/null")) => Ok(LogFile::Disabled),
        _ => path(node).map(LogFile::At),
    }
}

/// As [`log_file`], and true is the default file, false none.
pub(crate) fn combined_log(node: &Node) -> Converted<LogFile> {
    match flag(node) {
        Ok(true) => Ok(LogFile::Default),
        Ok(false) => Ok(LogFile::Disabled),
        Err(_) => log_file(node).or_else(|_| expected("a path, true or false", node)),
    }
}

pub(crate) fn log_type(node: &Node) -> Converted<LogType> {
    match node.text() {
        Some("json") => Ok(LogType::Json),
        Some("raw" | "plain" | "") => Ok(LogType::Plain),
        _ => expected("`json` or `raw`", node),
    }
}

pub(crate) fn account(node: &Node) -> Converted<Account> {
    if let Some(id) = whole(node) {
        return u32::try_from(id)
            .map(Account::Id)
            .or_else(|_| expected("a name or a number", node));
    }
    node.text().filter(|name| !name.is_empty()).map_or_else(
        || expected("a name or a number", node),
        |name| Ok(Account::Name(name.to_owned())),
    )
}

fn expected<T>(what: &str, node: &Node) -> Converted<T> {
    Err(format!("must be {what}, not {}", node.shown()))
}
