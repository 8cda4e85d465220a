//! From texts of three sources to a [`NodeConfig`].

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use crate::args::ServerArgs;
use crate::node_file::{self, FileSetting};
use crate::problem::{ConfigProblem, ConfigProblems};
use crate::{AccessLog, AccessLogFormat, NodeConfig, ProxyListen, limits, listen, trust};

const EVERYWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const MOST_WORKERS: usize = 1024;
const DNS_PORT: u16 = 53;
const LEAST_LOGS_BUDGET: u64 = 1 << 20;

/// Reads the node file in `args.home`, if there is one, and resolves everything.
///
/// # Errors
/// Every setting that cannot be used.
pub fn resolve(args: &ServerArgs) -> Result<NodeConfig, ConfigProblems> {
    let path = crate::node_file(&args.home);
    match std::fs::read_to_string(&path) {
        Ok(text) => resolve_with_file(args, &text),
        Err(error) if error.kind() == ErrorKind::NotFound => resolve_with_file(args, ""),
        Err(error) => {
            let problem = ConfigProblem {
                origin: path.display().to_string(),
                message: error.to_string(),
            };
            Err(ConfigProblems(vec![problem]))
        }
    }
}

/// The same with the node file's text given.
///
/// # Errors
/// Every setting that cannot be used.
pub fn resolve_with_file(args: &ServerArgs, file: &str) -> Result<NodeConfig, ConfigProblems> {
    let flags = args.settings();
    let known: Vec<&str> = flags.iter().map(|(name, _)| *name).collect();
    let (file, problems) = node_file::read("hythe.toml", file, &known);
    let mut sources = Sources {
        flags,
        file,
        problems,
    };
    let config = NodeConfig {
        home: args.home.clone(),
        proxy_listen: sources.several("proxy_listen", proxy_address).map_or_else(
            || vec![ProxyListen::at(SocketAddr::new(EVERYWHERE, 8000), false)],
            |listens| listens.into_iter().flatten().collect(),
        ),
        proxy_tls_listen: sources
            .several("proxy_tls_listen", |text| match text {
                "off" => Ok(None),
                _ => listen::parse_proxy(text, EVERYWHERE, true).map(Some),
            })
            .map_or_else(
                || vec![ProxyListen::at(SocketAddr::new(EVERYWHERE, 8443), true)],
                |given| given.into_iter().flatten().collect(),
            ),
        trusted_proxies: trust::resolve(&mut sources),
        api_listen: sources
            .one("api_listen", api_address)
            .unwrap_or(Some(SocketAddr::new(LOOPBACK, 8002))),
        workers: sources.one("workers", workers).unwrap_or_else(cores),
        access_log: access_log(&mut sources, &args.home),
        logs_budget: sources.one("logs_budget", logs_budget).unwrap_or(1 << 30),
        drain_timeout: sources
            .one("drain_timeout", duration)
            .unwrap_or(Duration::from_secs(30)),
        resolvers: sources.several("resolver", resolver).unwrap_or_default(),
        limits: limits::resolve(&mut sources),
        log: sources
            .one("log", |text| Ok(text.to_owned()))
            .unwrap_or_else(|| "info".to_owned()),
    };
    if sources.problems.is_empty() {
        Ok(config)
    } else {
        Err(ConfigProblems(sources.problems))
    }
}

/// Where settings come from, and what is wrong with them.
pub(crate) struct Sources {
    /// Flags and environment, which clap has merged, by the setting's name.
    flags: Vec<(&'static str, Vec<String>)>,
    file: Vec<FileSetting>,
    problems: Vec<ConfigProblem>,
}

impl Sources {
    /// The texts of the source that wins, and what to call it. Empty texts count as not given, so that an
    /// empty environment variable is none.
    fn given(&self, name: &str) -> Option<(String, Vec<String>)> {
        let texts = |values: &[String]| -> Vec<String> {
            values
                .iter()
                .map(|text| text.trim().to_owned())
                .filter(|text| !text.is_empty())
                .collect()
        };
        let flag = self
            .flags
            .iter()
            .find(|(flag, _)| *flag == name)
            .map(|(_, values)| texts(values));
        if let Some(values) = flag.filter(|values| !values.is_empty()) {
            let origin = format!(
                "--{} (HYTHE_{})",
                name.replace('_', "-"),
                name.to_ascii_uppercase()
            );
            return Some((origin, values));
        }
        let setting = self.file.iter().find(|setting| setting.key == name)?;
        Some((setting.origin.clone(), texts(&setting.values))).filter(|(_, values)| !values.is_empty())
    }

    pub(crate) fn one<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let (origin, values) = self.given(name)?;
        let parsed = match values.as_slice() {
            [value] => parse(value),
            _ => Err("takes one value".to_owned()),
        };
        parsed
            .map_err(|message| self.problems.push(ConfigProblem { origin, message }))
            .ok()
    }

    /// A setting that may be given several times.
    pub(crate) fn several<T>(
        &mut self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let (origin, values) = self.given(name)?;
        let mut parsed = Vec::new();
        for value in &values {
            match parse(value) {
                Ok(value) => parsed.push(value),
                Err(message) => self.problems.push(ConfigProblem {
                    origin: origin.clone(),
                    message,
                }),
            }
        }
        Some(parsed)
    }
}

/// `None`: only where listeners that are applied say so.
fn proxy_address(text: &str) -> Result<Option<ProxyListen>, String> {
    match text {
        "off" => Ok(None),
        _ => listen::parse_proxy(text, EVERYWHERE, false).map(Some),
    }
}

fn api_address(text: &str) -> Result<Option<SocketAddr>, String> {
    match text {
        "off" => Ok(None),
        _ => listen::parse(text, LOOPBACK).map(Some),
    }
}

/// A DNS server, at its usual port unless another is given.
fn resolver(text: &str) -> Result<SocketAddr, String> {
    let bare = text.trim_matches(['[', ']']).parse::<IpAddr>();
    let address = bare
        .map(|ip| SocketAddr::new(ip, DNS_PORT))
        .or_else(|_| text.parse());
    let address = address.ok().filter(|address| address.port() > 0);
    address.ok_or_else(|| {
        format!("`{text}` is not the address of a DNS server; write it like `10.0.0.2` or `10.0.0.2:5353`")
    })
}

fn workers(text: &str) -> Result<usize, String> {
    let number = text
        .parse()
        .ok()
        .filter(|number| (1..=MOST_WORKERS).contains(number));
    number.ok_or_else(|| format!("`{text}` is not a number of workers, 1 to {MOST_WORKERS}"))
}

fn logs_budget(text: &str) -> Result<u64, String> {
    let bytes = hythe_stdx::parse_size(text).map_err(|error| error.to_string())?;
    if bytes < LEAST_LOGS_BUDGET {
        return Err(format!("`{text}` is too little for logs: at least 1M"));
    }
    Ok(bytes)
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    hythe_stdx::parse_duration(text).map_err(|error| error.to_string())
}

fn access_log(sources: &mut Sources, home: &Path) -> Option<AccessLog> {
    let path = sources.one("access_log_path", |path| Ok(home.join(path)));
    let format = sources.one("access_log", |text| match text {
        "json" => Ok(Some(AccessLogFormat::Json)),
        "combined" => Ok(Some(AccessLogFormat::Combined)),
        "off" => Ok(None),
        _ => Err(format!("`{text}` is none of json, combined, off")),
    });
    let format = format.unwrap_or(Some(AccessLogFormat::Json))?;
    Some(AccessLog {
        format,
        path: path.unwrap_or_else(|| home.join("logs/access.log")),
    })
}

fn cores() -> usize {
    std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(MOST_WORKERS)
}
