//! `listen` and `server_name`: which server takes a request.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::variables::Variables;
use super::{Checked, Checker};
use crate::tree::{Directive, Mistake};
use crate::value;

/// The addresses of all servers, and who answers there.
#[derive(Default)]
pub(super) struct Servers<'a> {
    listening: BTreeMap<SocketAddr, Listening<'a>>,
    current: Option<Current<'a>>,
    all: Vec<Current<'a>>,
}

#[derive(Default)]
struct Listening<'a> {
    servers: Vec<&'a Directive>,
    default: bool,
}

struct Current<'a> {
    server: &'a Directive,
    names: Vec<&'a str>,
    addresses: Vec<SocketAddr>,
}

/// Parameters of `listen` that take no value.
const WORDS: [&str; 13] = [
    "default",
    "default_server",
    "bind",
    "ssl",
    "http2",
    "spdy",
    "proxy_protocol",
    "deferred",
    "reuseport",
    "quic",
    "multipath",
    "udp",
    "ipv6only",
];
/// Parameters of `listen` with a value.
const PAIRS: [&str; 9] = [
    "setfib",
    "fastopen",
    "backlog",
    "rcvbuf",
    "sndbuf",
    "accept_filter",
    "ipv6only",
    "so_keepalive",
    "ssl",
];

impl<'a> Servers<'a> {
    pub(super) fn begin(&mut self, server: &'a Directive) {
        self.keep();
        self.current = Some(Current {
            server,
            names: Vec::new(),
            addresses: Vec::new(),
        });
    }

    fn keep(&mut self) {
        self.all.extend(self.current.take());
    }

    pub(super) fn listen(&mut self, directive: &'a Directive) -> Checked {
        let text = directive.arg(0);
        let address = value::listen(text)
            .map_err(|why| directive.mistake(format!("{why} in \"{text}\" of the \"listen\" directive")))?;
        parameters(directive)?;
        let (Some(address), Some(current)) = (address, &mut self.current) else {
            return Ok(());
        };
        let listening = self.listening.entry(address).or_default();
        if listening
            .servers
            .iter()
            .any(|server| std::ptr::eq(*server, current.server))
        {
            return Err(directive.mistake(format!("a duplicate listen {address}")));
        }
        listening.servers.push(current.server);
        if is_default(directive) && std::mem::replace(&mut listening.default, true) {
            return Err(directive.mistake(format!("a duplicate default server for {address}")));
        }
        current.addresses.push(address);
        Ok(())
    }

    pub(super) fn names(&mut self, directive: &'a Directive, variables: &mut Variables) -> Checked {
        for name in &directive.args {
            if let Some(pattern) = name.strip_prefix('~') {
                if pattern.is_empty() {
                    return Err(directive.mistake("empty regex in server name \"~\""));
                }
                variables.take_pattern(directive, pattern)?;
                continue;
            }
            let bad_star = name.starts_with('*') && !name.starts_with("*.");
            if bad_star || (name.starts_with('.') && name.len() < 2) {
                return Err(directive.mistake(format!("server name \"{name}\" is invalid")));
            }
        }
        if let Some(current) = &mut self.current {
            current.names.extend(directive.args.iter().map(String::as_str));
        }
        Ok(())
    }

    /// Names that two servers of one address have; nginx goes on with the first.
    pub(super) fn conflicts(&mut self, warnings: &mut Vec<Mistake>) {
        self.keep();
        let everywhere = SocketAddr::from(([0, 0, 0, 0], 80));
        let mut taken: BTreeMap<SocketAddr, Vec<&str>> = BTreeMap::new();
        for server in &self.all {
            let addresses = match server.addresses.as_slice() {
                [] => &[everywhere],
                addresses => addresses,
            };
            let names = if server.names.is_empty() {
                &[""]
            } else {
                server.names.as_slice()
            };
            for address in addresses {
                let taken = taken.entry(*address).or_default();
                for name in names {
                    if taken.contains(name) {
                        let message = format!("conflicting server name \"{name}\" on {address}, ignored");
                        warnings.push(Mistake::anywhere(message));
                    } else {
                        taken.push(name);
                    }
                }
            }
        }
        self.all.clear();
        self.listening.clear();
    }
}

/// Whether `listen` makes its server the one for requests that name no other.
pub(crate) fn is_default(directive: &Directive) -> bool {
    directive.says("default_server") || directive.says("default")
}

fn parameters(directive: &Directive) -> Checked {
    for parameter in directive.args.iter().skip(1) {
        let known = match parameter.split_once('=') {
            Some((name, _)) => PAIRS.contains(&name),
            None => WORDS.contains(&parameter.as_str()),
        };
        if !known {
            return Err(directive.mistake(format!("invalid parameter \"{parameter}\"")));
        }
    }
    Ok(())
}

/// A server that speaks TLS needs a certificate that can be read. Certificates may stand in `http`.
pub(super) fn certificates(http: &Directive, server: &Directive, checker: &Checker<'_>) -> Checked {
    let setting = |name| server.last(name).or_else(|| http.last(name));
    let tls = server.all("listen").any(|listen| listen.says("ssl"))
        || server.last("ssl").is_some_and(|ssl| ssl.arg(0) == "on");
    if !tls {
        return Ok(());
    }
    let Some(certificate) = setting("ssl_certificate") else {
        if setting("ssl_reject_handshake").is_some_and(|reject| reject.arg(0) == "on") {
            return Ok(());
        }
        let message = "no \"ssl_certificate\" is defined for the \"listen ... ssl\" directive";
        return Err(server.mistake(message));
    };
    let Some(key) = setting("ssl_certificate_key") else {
        let file = certificate.arg(0);
        let message = format!("no \"ssl_certificate_key\" is defined for certificate \"{file}\"");
        return Err(Mistake::anywhere(message));
    };
    readable(certificate.arg(0), "certificate", checker)?;
    readable(key.arg(0), "certificate key", checker)
}

/// nginx tells the words of OpenSSL.
fn readable(file: &str, what: &str, checker: &Checker<'_>) -> Checked {
    if file.contains('$') || file.starts_with("data:") || file.starts_with("engine:") {
        return Ok(());
    }
    let path = checker.path(file);
    let Err(error) = checker.world.read(&path) else {
        return Ok(());
    };
    let path = path.display();
    let why = crate::files::system(&error);
    let words = why
        .trim_start_matches(|byte: char| !byte.is_ascii_alphabetic())
        .trim_end_matches(')');
    let code = 0x8000_0000_u32
        + error
            .raw_os_error()
            .and_then(|number| u32::try_from(number).ok())
            .unwrap_or(0);
    let reason = match error.kind() {
        std::io::ErrorKind::NotFound => "error:10000080:BIO routines::no such file",
        _ => "error:10080002:BIO routines::system lib",
    };
    Err(Mistake::anywhere(format!(
        "cannot load {what} \"{path}\": BIO_new_file() failed (SSL: error:{code:08X}:system library::{words}:\
         calling fopen({path}, r) {reason})"
    )))
}
