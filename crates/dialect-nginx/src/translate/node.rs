//! `set_real_ip_from` and its like: which proxies in front are believed.
//!
//! That is said to a node and not to a manifest, and it holds for every server: proxies that only some servers believe
//! are believed by none.

use ipnet::IpNet;

use super::Draft;
use crate::report::Effect;
use crate::tree::Directive;

/// Settings of a node (`hythe server run --help`) that a configuration asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeSettings {
    /// Addresses and networks of proxies that are believed: `--trusted-proxies`.
    pub trusted_proxies: Vec<String>,
    /// The field that names the client: `--real-ip-header`.
    pub real_ip_header: Option<String>,
    /// Whether believed proxies in that field are passed over: `--real-ip-recursive`.
    pub real_ip_recursive: bool,
}

impl<'a> Draft<'a> {
    pub(super) fn real_ip(&mut self, http: &'a Directive) {
        let servers: Vec<&'a Directive> = http.all("server").collect();
        let alone = match servers.as_slice() {
            [only] => Some(*only),
            _ => None,
        };
        for server in servers {
            self.believed_by_some(server, alone.is_some());
        }
        let setting = |name| {
            alone
                .and_then(|server| server.last(name))
                .or_else(|| http.last(name))
        };
        if let Some(header) = setting("real_ip_header") {
            match header.arg(0).to_ascii_lowercase().as_str() {
                name @ ("x-real-ip" | "x-forwarded-for") => self.node.real_ip_header = Some(name.to_owned()),
                "proxy_protocol" => {
                    let why = "whoever connects to a listener with `proxy_protocol` is believed";
                    return self.note(header, Effect::Differs, why);
                }
                _ => {
                    let why = "`X-Real-IP` and `X-Forwarded-For` are read; nobody is believed, requests have the proxy's address";
                    return self.not_applied(header, why);
                }
            }
        }
        let recursive = setting("real_ip_recursive").is_some_and(|recursive| recursive.arg(0) == "on");
        self.node.real_ip_recursive = recursive;
        for block in [Some(http), alone].into_iter().flatten() {
            for from in block.all("set_real_ip_from") {
                self.believe(from);
            }
        }
    }

    fn believe(&mut self, from: &'a Directive) {
        let text = from.arg(0);
        if text.parse::<IpNet>().is_ok() || text.parse::<std::net::IpAddr>().is_ok() {
            self.node.trusted_proxies.push(text.to_owned());
        } else {
            self.not_applied(from, "write an address or a network");
        }
    }

    /// What stands further inside is not applied.
    fn believed_by_some(&mut self, block: &'a Directive, alone: bool) {
        for inner in block.inside() {
            match inner.name.as_str() {
                "set_real_ip_from" | "real_ip_header" | "real_ip_recursive" if !alone => {
                    self.not_applied(
                        inner,
                        "proxies are believed by the whole node: write it in `http`",
                    );
                }
                "location" => self.believed_by_some(inner, false),
                _ => {}
            }
        }
    }
}
