//! The `hythe` binary: command line, server and minder in one.
//!
//! Everything is decided in `hythe-cli`; what only this binary can do, being a server or a minder, it hands in.

use std::path::Path;
use std::process::ExitCode;

use hythe_app::builtin::{NamedService, PluginMistake};
use hythe_cli::Hooks;
use hythe_config::ServerArgs;
use hythe_manifest::{PluginFinding, PluginProblem};

fn main() -> ExitCode {
    let hooks = Hooks {
        run_server,
        run_minder,
        check_plugin,
    };
    hythe_cli::run(std::env::args_os(), hooks)
}

fn run_server(arguments: &ServerArgs, guarded: bool) -> Result<(), String> {
    let config = hythe_config::resolve(arguments).map_err(|problems| problems.to_string())?;
    let program = std::env::current_exe().map_err(|error| format!("find this program: {error}"))?;
    // The alternate form shows what caused what.
    hythe_app::run(config, program, guarded).map_err(|error| format!("{error:#}"))
}

fn run_minder(home: &Path) -> Result<(), String> {
    let options = hythe_minder::server::Options {
        home: home.to_owned(),
    };
    hythe_minder::server::run(&options).map_err(|error| format!("the minder ended: {error}"))
}

fn check_plugin(name: &str, config: &serde_json::Map<String, serde_json::Value>) -> Vec<PluginFinding> {
    let checked = hythe_app::builtin::check_plugin(name, config);
    let problem = |mistake: PluginMistake| PluginProblem {
        path: mistake.path,
        message: mistake.message,
        suggestion: mistake.suggestion,
    };
    let service = |named: NamedService| PluginFinding::Service {
        path: named.path,
        name: named.name,
    };
    let problems = checked
        .mistakes
        .into_iter()
        .map(|mistake| PluginFinding::Problem(problem(mistake)));
    problems
        .chain(checked.services.into_iter().map(service))
        .collect()
}
