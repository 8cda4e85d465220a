//! `ip-restriction`: who may come in, by address (Kong 3.9). `rules` is ours: nginx's `allow` and `deny`
//! lines, of which the first that fits decides.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Map, Value};

use super::settings::Settings;
use super::{Plugin, PluginKind, SettingProblem, Verdict};
use crate::exchange::Exchange;

/// Its entry in the list.
pub const KIND: PluginKind = PluginKind {
    name: "ip-restriction",
    priority: 990,
    summary: "lets in, or keeps out, callers by their address",
    parse,
};

struct IpRestriction {
    allow: Vec<IpNet>,
    deny: Vec<IpNet>,
    rules: Vec<Rule>,
    status: u16,
    message: Option<String>,
}

struct Rule {
    allows: bool,
    /// `None`: everybody.
    network: Option<IpNet>,
}

fn parse(config: &Map<String, Value>) -> Result<Box<dyn Plugin>, Vec<SettingProblem>> {
    let mut settings = Settings::of(config);
    let allow = settings.texts("allow", network);
    let deny = settings.texts("deny", network);
    let rules = settings.texts("rules", rule);
    let status = u16::try_from(settings.integer("status", 403, 400, 599)).unwrap_or(403);
    let message = settings.text("message").map(str::to_owned);
    match (
        settings.has("allow") || settings.has("deny"),
        settings.has("rules"),
    ) {
        (true, true) => settings.problem("rules", "rules cannot be used with allow or deny"),
        (false, false) => settings.problem(
            "allow",
            "at least one of these fields must be non-empty: 'allow', 'deny'",
        ),
        _ => {}
    }
    settings.finish()?;
    Ok(Box::new(IpRestriction {
        allow,
        deny,
        rules,
        status,
        message,
    }))
}

fn network(text: &str) -> Result<IpNet, String> {
    let one = text.parse::<IpAddr>().map(IpNet::from);
    one.or_else(|_| text.parse::<IpNet>())
        .map_err(|_| format!("invalid ip or cidr range: '{text}'"))
}

fn rule(text: &str) -> Result<Rule, String> {
    let (verb, who) = text.split_once(' ').unwrap_or((text, ""));
    let allows = match verb {
        "allow" => true,
        "deny" => false,
        _ => return Err("expected `allow` or `deny`, and an address, a network or `all`".to_owned()),
    };
    let network = match who.trim() {
        "all" => None,
        who => Some(network(who)?),
    };
    Ok(Rule { allows, network })
}

impl IpRestriction {
    fn lets_in(&self, caller: IpAddr) -> bool {
        let holds = |list: &[IpNet]| list.iter().any(|network| network.contains(&caller));
        let fits = |rule: &&Rule| rule.network.is_none_or(|network| network.contains(&caller));
        match self.rules.iter().find(fits) {
            Some(rule) => rule.allows,
            None => !holds(&self.deny) && (self.allow.is_empty() || holds(&self.allow)),
        }
    }
}

impl Plugin for IpRestriction {
    fn before(&self, exchange: &mut Exchange<'_>) -> Verdict {
        if self.lets_in(exchange.peer) {
            return Verdict::Continue;
        }
        let reply = match &self.message {
            Some(message) => exchange.page(self.status, message),
            None => exchange.page(self.status, &format!("IP address not allowed: {}", exchange.peer)),
        };
        Verdict::Respond(reply)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plugin::fixture::{Fixture, settings};

    #[test]
    fn addresses_are_let_in_or_not() {
        let office = json!({"allow": ["10.0.0.0/8", "2001:db8::/32"]});
        let mixed = json!({"allow": ["10.0.0.0/8"], "deny": ["10.6.6.6"]});
        let nginx =
            json!({"rules": ["deny 192.168.1.1", "allow 192.168.1.0/24", "allow 2001:db8::/32", "deny all"]});
        let open = json!({"rules": ["deny 192.168.1.1"]});
        let rows = [
            (&office, "10.1.2.3", true),
            (&office, "11.1.2.3", false),
            (&office, "2001:db8::1", true),
            (&office, "2001:db9::1", false),
            (&mixed, "10.6.6.6", false),
            (&mixed, "10.6.6.7", true),
            (&nginx, "192.168.1.1", false),
            (&nginx, "192.168.1.2", true),
            (&nginx, "192.168.2.1", false),
            (&nginx, "2001:db8::5", true),
            (&nginx, "::1", false),
            (&open, "1.2.3.4", true),
        ];
        for (config, peer, passes) in rows {
            let plugin = parse(&settings(config.clone())).unwrap();
            let answer = Fixture::get("/", &["Accept: text/plain"])
                .from(peer)
                .run(&*plugin);
            let refused = (403, format!("IP address not allowed: {peer}\nrequest_id: 0123\n"));
            assert_eq!(answer, (!passes).then_some(refused), "{config} {peer}");
        }
    }

    #[test]
    fn status_and_message_are_the_users() {
        let config = json!({"deny": ["::1"], "status": 404, "message": "nothing here"});
        let plugin = parse(&settings(config)).unwrap();
        let answer = Fixture::get("/", &["Accept: text/plain"])
            .from("::1")
            .run(&*plugin);
        assert_eq!(answer, Some((404, "nothing here\nrequest_id: 0123\n".to_owned())));
    }

    #[test]
    fn mistakes_are_placed() {
        let rows = [
            (
                json!({}),
                "config.allow: at least one of these fields must be non-empty: 'allow', 'deny'",
            ),
            (
                json!({"deny": ["::1", "10.0.0.0/33"]}),
                "config.deny.1: invalid ip or cidr range: '10.0.0.0/33'",
            ),
            (json!({"allow": "::1"}), "config.allow: expected an array"),
            (
                json!({"rules": ["all"]}),
                "config.rules.0: expected `allow` or `deny`, and an address, a network or `all`",
            ),
            (
                json!({"rules": ["deny all"], "allow": ["::1"]}),
                "config.rules: rules cannot be used with allow or deny",
            ),
        ];
        for (config, message) in rows {
            let problems = parse(&settings(config.clone())).err().unwrap();
            assert_eq!(problems[0].to_string(), message, "{config}");
        }
    }
}
