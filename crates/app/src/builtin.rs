//! Every plugin there is: one line each. Nothing registers itself.

use hythe_gateway::PluginKind;
use hythe_gateway::plugin::{
    basic_auth, canary, compression, concurrency_limit, configured, correlation_id, files, ip_restriction,
    redirect, request_rules, request_size_limiting, request_termination, request_transformer,
    response_transformer, rewrite, stub_status,
};
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

/// Every mistake in the settings of the plugin called `name`.
pub fn check_plugin(name: &str, config: &Map<String, Value>) -> Vec<PluginMistake> {
    let Some(kind) = PLUGINS.iter().find(|kind| kind.name == name) else {
        let known: Vec<_> = PLUGINS.iter().map(|kind| kind.name).collect();
        let suggestion = Some(format!("there are: {}", known.join(", ")));
        return vec![PluginMistake {
            path: Vec::new(),
            message: configured::not_enabled(name),
            suggestion,
        }];
    };
    let problems = (kind.parse)(config).err().unwrap_or_default();
    let mistake = |problem: hythe_gateway::SettingProblem| PluginMistake {
        path: problem.path,
        message: problem.message,
        suggestion: problem.suggestion,
    };
    problems.into_iter().map(mistake).collect()
}

/// The same in words, for the API.
pub fn plugin_complaints(name: &str, config: &Map<String, Value>) -> Vec<String> {
    let complaint = |mistake: PluginMistake| match mistake.path.as_slice() {
        [] => mistake.message,
        path => format!("config.{}: {}", path.join("."), mistake.message),
    };
    check_plugin(name, config).into_iter().map(complaint).collect()
}
