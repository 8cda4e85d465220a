//! Every plugin there is: one line each. Nothing registers itself.

use hythe_api::PluginFindings;
use hythe_gateway::PluginKind;
use hythe_gateway::plugin::{
    basic_auth, canary, compression, concurrency_limit, configured, correlation_id, files, ip_restriction,
    mirror, redirect, request_rules, request_size_limiting, request_termination, request_transformer,
    response_transformer, rewrite, stub_status,
};
use hythe_model::Name;
use serde_json::{Map, Value};

/// The plugins, in the order in which help shows them.
pub const PLUGINS: &[PluginKind] = &[
    basic_auth::KIND,
    canary::KIND,
    compression::KIND,
    concurrency_limit::KIND,
    correlation_id::KIND,
    files::KIND,
    ip_restriction::KIND,
    mirror::KIND,
    redirect::KIND,
    request_rules::KIND,
    request_size_limiting::KIND,
    request_termination::KIND,
    request_transformer::KIND,
    response_transformer::KIND,
    rewrite::KIND,
    stub_status::KIND,
];

/// A mistake in how a plugin is set up: where in its `config`, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginMistake {
    /// Path inside `config`; empty when the plugin itself is meant.
    pub path: Vec<String>,
    /// What is wrong.
    pub message: String,
    /// What to do instead.
    pub suggestion: Option<String>,
}

/// A service that a plugin may send requests to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedService {
    /// Path inside `config` to its name.
    pub path: Vec<String>,
    /// Its name, in the plugin's project.
    pub name: Name,
}

/// What is known of a plugin's settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckedPlugin {
    /// What is wrong.
    pub mistakes: Vec<PluginMistake>,
    /// Services that are named, if nothing is wrong.
    pub services: Vec<NamedService>,
}

/// Reads the settings of the plugin called `name`.
pub fn check_plugin(name: &str, config: &Map<String, Value>) -> CheckedPlugin {
    let Some(kind) = PLUGINS.iter().find(|kind| kind.name == name) else {
        let known: Vec<_> = PLUGINS.iter().map(|kind| kind.name).collect();
        let suggestion = Some(format!("there are: {}", known.join(", ")));
        let mistake = PluginMistake {
            path: Vec::new(),
            message: configured::not_enabled(name),
            suggestion,
        };
        return CheckedPlugin {
            mistakes: vec![mistake],
            ..CheckedPlugin::default()
        };
    };
    let mistake = |problem: hythe_gateway::SettingProblem| PluginMistake {
        path: problem.path,
        message: problem.message,
        suggestion: problem.suggestion,
    };
    match (kind.parse)(config) {
        Ok(plugin) => CheckedPlugin {
            services: plugin
                .destinations()
                .iter()
                .map(|name| named_service(name, config))
                .collect(),
            ..CheckedPlugin::default()
        },
        Err(problems) => CheckedPlugin {
            mistakes: problems.into_iter().map(mistake).collect(),
            ..CheckedPlugin::default()
        },
    }
}

/// Where in the settings a service is named. Every plugin calls such a setting `service`.
fn named_service(name: &Name, config: &Map<String, Value>) -> NamedService {
    let mut path = Vec::new();
    find(name.as_str(), config, &mut path);
    let name = name.clone();
    NamedService { path, name }
}

/// Leads `path` to the first `service` of this name; whether there is one.
fn find(name: &str, fields: &Map<String, Value>, path: &mut Vec<String>) -> bool {
    for (key, value) in fields {
        path.push(key.clone());
        let found = match value {
            Value::String(text) => key == "service" && text == name,
            Value::Object(fields) => find(name, fields, path),
            Value::Array(items) => find_in_list(name, items, path),
            _ => false,
        };
        if found {
            return true;
        }
        path.pop();
    }
    false
}

fn find_in_list(name: &str, items: &[Value], path: &mut Vec<String>) -> bool {
    for (index, item) in items.iter().enumerate() {
        path.push(index.to_string());
        if item.as_object().is_some_and(|fields| find(name, fields, path)) {
            return true;
        }
        path.pop();
    }
    false
}

/// The same in words, for the API.
pub fn plugin_findings(name: &str, config: &Map<String, Value>) -> PluginFindings {
    let complaint = |mistake: PluginMistake| match mistake.path.as_slice() {
        [] => mistake.message,
        path => format!("config.{}: {}", path.join("."), mistake.message),
    };
    let CheckedPlugin { mistakes, services } = check_plugin(name, config);
    PluginFindings {
        problems: mistakes.into_iter().map(complaint).collect(),
        services: services.into_iter().map(|service| service.name).collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn services_are_found_where_they_are_named() {
        let config = json!({"header": "b", "splits": [
            {"service": "a", "percentage": 1}, {"service": "b", "percentage": 1}
        ]});
        let checked = check_plugin("canary", config.as_object().unwrap());
        let places: Vec<_> = checked
            .services
            .iter()
            .map(|service| format!("{} {}", service.path.join("."), service.name))
            .collect();
        assert_eq!(checked.mistakes, []);
        assert_eq!(places, ["splits.0.service a", "splits.1.service b"]);
    }
}
