//! What the figures were taken on and with.

use std::fs;
use std::path::Path;

use crate::candidates::Candidate;
use crate::programs::program;
use crate::run::RunConfig;
use crate::scenario::Scenario;

/// The machine and the versions, as text for people.
pub(crate) struct Machine {
    /// The day, as `2026-01-31` (UTC).
    pub(crate) date: String,
    /// Processor, cores, memory, system.
    pub(crate) hardware: String,
    /// One version per program that takes part.
    pub(crate) versions: Vec<String>,
}

/// Looks around; what cannot be found out reads "unknown".
pub(crate) fn describe(config: &RunConfig, hythe: &Path) -> Machine {
    Machine {
        date: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
        hardware: hardware(),
        versions: versions(config, hythe),
    }
}

fn hardware() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let processor = field("/proc/cpuinfo", "model name");
    let memory = memory();
    let system = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let system = system
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .unwrap_or("unknown system");
    let kernel = rustix::system::uname();
    let kernel = kernel.release().to_string_lossy();
    format!(
        "{processor}, {cores} cores, {memory}, {}, Linux {kernel}",
        system.trim_matches('"')
    )
}

fn memory() -> String {
    let total = field("/proc/meminfo", "MemTotal");
    let kilobytes = total
        .strip_suffix(" kB")
        .and_then(|kilobytes| kilobytes.parse::<f64>().ok());
    kilobytes.map_or(total, |kilobytes| format!("{:.0} GB", kilobytes * 1024.0 / 1e9))
}

/// The load average of the last minute, 0 when unknown.
pub(crate) fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ')
        .next()
        .and_then(|minute| minute.parse().ok())
        .unwrap_or_default()
}

/// The value of the first `name : value` line of a file.
fn field(path: &str, name: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let value = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name);
    value.map_or_else(|| format!("unknown {name}"), |(_, value)| value.trim().to_owned())
}

fn versions(config: &RunConfig, hythe: &Path) -> Vec<String> {
    let candidates = &config.candidates;
    let mut versions = vec![first_line("wrk", "-v")];
    if candidates.iter().any(|candidate| candidate.is_hythe()) {
        versions.push(first_line(&hythe.to_string_lossy(), "--version"));
    }
    if candidates.contains(&Candidate::Nginx) {
        versions.push(first_line("nginx", "-v"));
    }
    if candidates.contains(&Candidate::Haproxy) {
        versions.push(first_line("haproxy", "-v"));
    }
    if candidates.contains(&Candidate::Node) {
        versions.push(format!("Node.js {}", first_line("node", "--version")));
    }
    if config.scenarios.contains(&Scenario::Http2) {
        versions.push(first_line("h2load", "--version"));
    }
    versions
}

/// What a program says of itself first, wherever it says it.
fn first_line(name: &str, flag: &str) -> String {
    let output = program(name)
        .arg(flag)
        .output()
        .map(|output| [output.stdout, output.stderr].concat());
    let text = String::from_utf8_lossy(&output.unwrap_or_default()).into_owned();
    text.lines().next().map_or_else(
        || format!("{name}: unknown version"),
        |line| line.trim().to_owned(),
    )
}
