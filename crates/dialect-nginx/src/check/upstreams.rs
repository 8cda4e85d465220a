//! `upstream` blocks and `proxy_pass`: where requests go.

use super::{Checked, Checker, Within};
use crate::tree::{Directive, Mistake};
use crate::value::{self, Address};

/// Directives that choose how an upstream balances.
pub(crate) const METHODS: [&str; 5] = ["ip_hash", "least_conn", "least_time", "hash", "random"];

/// Methods that have no spare servers (nginx).
const WITHOUT_BACKUP: [&str; 3] = ["ip_hash", "hash", "random"];

const NO_URI: &str = "\"proxy_pass\" cannot have URI part in location given by regular expression, \
     or inside named location, or inside \"if\" statement, or inside \"limit_except\" block";

impl<'a> Checker<'a> {
    pub(super) fn upstream(&mut self, directive: &'a Directive) -> Checked {
        let name = directive.arg(0);
        if self.upstreams.contains(&name) {
            return Err(directive.mistake(format!("duplicate upstream \"{name}\"")));
        }
        self.upstreams.push(name);
        Ok(())
    }

    pub(super) fn upstream_line(&mut self, directive: &'a Directive, within: Within<'a>) -> Checked {
        let before = |name: &str| {
            let lines = within.block.map(Directive::inside).unwrap_or_default();
            let position = lines.iter().position(|line| std::ptr::eq(*line, directive));
            lines
                .into_iter()
                .take(position.unwrap_or(0))
                .any(|line| line.name == name)
        };
        match directive.name.as_str() {
            "server" => {
                let method = METHODS.into_iter().rfind(|method| before(method));
                self.member(directive, within, method)
            }
            "keepalive" if !matches!(value::number(directive.arg(0)), Some(1..)) => {
                let text = directive.arg(0);
                Err(directive.mistake(format!("invalid value \"{text}\" in \"keepalive\" directive")))
            }
            method if METHODS.contains(&method) => {
                if METHODS.into_iter().any(before) || before("keepalive") {
                    self.warnings
                        .push(directive.mistake("load balancing method redefined"));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn member(&mut self, directive: &'a Directive, within: Within<'a>, method: Option<&str>) -> Checked {
        for parameter in directive.args.iter().skip(1) {
            if parameter == "backup" && method.is_some_and(|method| WITHOUT_BACKUP.contains(&method)) {
                let message = "balancing method does not support parameter \"backup\"";
                return Err(directive.mistake(message));
            }
            if !is_member_parameter(parameter) {
                return Err(directive.mistake(format!("invalid parameter \"{parameter}\"")));
            }
        }
        let text = directive.arg(0);
        let wrong = |why: &str| Err(directive.mistake(format!("{why} in upstream \"{text}\"")));
        match value::address(text) {
            Err(why) => wrong(why),
            Ok(Address::Host(_, None)) if within.context.module == crate::table::Module::Stream => {
                wrong("no port")
            }
            Ok(Address::Host(host, _)) => {
                let later = directive.args.iter().any(|parameter| parameter == "resolve");
                if later || value::ip(host).is_some() || self.world.resolves(host) {
                    Ok(())
                } else {
                    wrong("host not found")
                }
            }
            Ok(Address::Unix(_)) => Ok(()),
        }
    }

    pub(super) fn proxy_pass(&mut self, directive: &'a Directive, within: Within<'a>) -> Checked {
        let url = directive.arg(0);
        if url.contains('$') {
            return Ok(());
        }
        let Some((_, rest)) = split_scheme(url) else {
            return Err(directive.mistake("invalid URL prefix"));
        };
        let (authority, uri) = split_authority(rest);
        match value::address(authority) {
            Err(why) => return Err(directive.mistake(format!("{why} in upstream \"{rest}\""))),
            Ok(Address::Host(host, _)) => self.references.push((host.to_owned(), directive)),
            Ok(Address::Unix(_)) => {}
        }
        let replaceable = within.context == crate::table::Context::LOCATION
            && within.location.is_some_and(super::locations::is_prefix);
        if uri.is_some() && !replaceable {
            return Err(directive.mistake(NO_URI));
        }
        Ok(())
    }
}

/// The scheme of a URL to pass requests to, and what follows it.
pub(crate) fn split_scheme(url: &str) -> Option<(&str, &str)> {
    ["http://", "https://"].into_iter().find_map(|scheme| {
        let (start, rest) = url.split_at_checked(scheme.len())?;
        start
            .eq_ignore_ascii_case(scheme)
            .then(|| (&scheme[..scheme.len() - 3], rest))
    })
}

/// The authority, and the URI if there is one. `unix:/path:` ends at its second colon.
pub(crate) fn split_authority(rest: &str) -> (&str, Option<&str>) {
    if let Some(path) = rest.strip_prefix("unix:") {
        return match path.split_once(':') {
            Some((socket, uri)) => (&rest[..5 + socket.len()], Some(uri).filter(|uri| !uri.is_empty())),
            None => (rest, None),
        };
    }
    match rest.find(['/', '?']) {
        Some(start) => (&rest[..start], Some(&rest[start..])),
        None => (rest, None),
    }
}

/// The end of an `upstream` block at `line`.
pub(super) fn finished(directive: &Directive, line: u32) -> Checked {
    if directive.all("server").next().is_some() || directive.last("state").is_some() {
        Ok(())
    } else {
        Err(Mistake::at(
            "no servers are inside upstream",
            &directive.place.file,
            line,
        ))
    }
}

fn is_member_parameter(parameter: &str) -> bool {
    match parameter.split_once('=') {
        Some(("weight", number)) => matches!(value::number(number), Some(1..)),
        Some(("max_fails" | "max_conns", number)) => value::number(number).is_some(),
        Some(("fail_timeout" | "slow_start", time)) => value::milliseconds(time).is_some(),
        Some(("route" | "service", _)) => true,
        Some(_) => false,
        None => ["backup", "down", "resolve", "drain"].contains(&parameter),
    }
}

impl Checker<'_> {
    /// A `proxy_pass` of `stream`: an upstream's name, or an address with its port.
    pub(super) fn stream_target(&self, directive: &Directive) -> Checked {
        let text = directive.arg(0);
        if text.contains('$') || self.upstreams.contains(&text) {
            return Ok(());
        }
        let wrong = |why: &str| Err(directive.mistake(format!("{why} in upstream \"{text}\"")));
        match value::address(text) {
            Err(why) => wrong(why),
            // An upstream may stand further down.
            Ok(Address::Host(_, None) | Address::Unix(_)) => Ok(()),
            Ok(Address::Host(host, Some(_))) if value::ip(host).is_some() || self.world.resolves(host) => {
                Ok(())
            }
            Ok(Address::Host(..)) => wrong("host not found"),
        }
    }
}
