use std::path::PathBuf;

use clap::Args;

use crate::LimitArgs;

/// The settings of a node as flags or environment variables give them, not parsed yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct ServerArgs {
    /// The data directory; the command line has it as a global flag.
    #[arg(skip)]
    pub home: PathBuf,
    /// Where the gateway listens for HTTP: `ADDRESS:PORT` or `PORT`, with a name for routes in front and options
    /// behind (`internal=127.0.0.1:8010 proxy_protocol`); several with commas or repeated; `off`: only on
    /// `listeners` of manifests [default: 0.0.0.0:8000]
    #[arg(
        long,
        env = "HYTHE_PROXY_LISTEN",
        value_name = "ADDRESS",
        value_delimiter = ','
    )]
    pub proxy_listen: Vec<String>,
    /// Where the gateway listens for HTTPS, or `off` [default: 0.0.0.0:8443]
    #[arg(
        long,
        env = "HYTHE_PROXY_TLS_LISTEN",
        value_name = "ADDRESS",
        value_delimiter = ','
    )]
    pub proxy_tls_listen: Vec<String>,
    /// Addresses of proxies whose word on the client counts, such as `10.0.0.0/8`; several with commas or repeated
    /// [default: none]
    #[arg(
        long,
        env = "HYTHE_TRUSTED_PROXIES",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    pub trusted_proxies: Vec<String>,
    /// The field in which they name the client: `X-Real-IP` or `X-Forwarded-For` [default: X-Real-IP]
    #[arg(
        long,
        env = "HYTHE_REAL_IP_HEADER",
        value_name = "NAME",
        hide_short_help = true
    )]
    pub real_ip_header: Option<String>,
    /// Pass over trusted addresses in `X-Forwarded-For`, from the last on: `on` or `off` [default: off]
    #[arg(
        long,
        env = "HYTHE_REAL_IP_RECURSIVE",
        value_name = "SWITCH",
        hide_short_help = true
    )]
    pub real_ip_recursive: Option<String>,
    /// Where the native API listens, or `off` [default: 127.0.0.1:8002]
    #[arg(long, env = "HYTHE_API_LISTEN", value_name = "ADDRESS")]
    pub api_listen: Option<String>,
    /// Gateway workers [default: one for each core]
    #[arg(long, env = "HYTHE_WORKERS", value_name = "NUMBER")]
    pub workers: Option<String>,
    /// The access log's format: `json`, `combined` or `off` [default: json]
    #[arg(long, env = "HYTHE_ACCESS_LOG", value_name = "FORMAT")]
    pub access_log: Option<String>,
    /// The access log's file [default: logs/access.log in the data directory]
    #[arg(long, env = "HYTHE_ACCESS_LOG_PATH", value_name = "FILE")]
    pub access_log_path: Option<String>,
    /// The most that logs of services may take on the disk, the oldest lines go first: `500M`, `2G` [default: 1G]
    #[arg(long, env = "HYTHE_LOGS_BUDGET", value_name = "SIZE")]
    pub logs_budget: Option<String>,
    /// How long open requests may hold up a stop: `10s`, `1m` [default: 30s]
    #[arg(long, env = "HYTHE_DRAIN_TIMEOUT", value_name = "DURATION")]
    pub drain_timeout: Option<String>,
    /// A DNS server for names of upstreams: `ADDRESS` or `ADDRESS:PORT`; several with commas or repeated
    /// [default: those of /etc/resolv.conf]
    #[arg(long, env = "HYTHE_RESOLVER", value_name = "ADDRESS", value_delimiter = ',')]
    pub resolver: Vec<String>,
    /// What the server logs: `info`, `debug`, `hythe_gateway=debug` [default: info]
    #[arg(long, env = "HYTHE_LOG", value_name = "FILTER")]
    pub log: Option<String>,
    /// Limits of the gateway.
    #[command(flatten)]
    pub limits: LimitArgs,
}

impl ServerArgs {
    /// Every setting that may be given, by its name, with the texts given for it. A flag is the name with `-`
    /// for `_`.
    pub fn settings(&self) -> Vec<(&'static str, Vec<String>)> {
        let one = |value: &Option<String>| value.iter().cloned().collect();
        let mut settings = vec![
            ("proxy_listen", self.proxy_listen.clone()),
            ("proxy_tls_listen", self.proxy_tls_listen.clone()),
            ("trusted_proxies", self.trusted_proxies.clone()),
            ("real_ip_header", one(&self.real_ip_header)),
            ("real_ip_recursive", one(&self.real_ip_recursive)),
            ("api_listen", one(&self.api_listen)),
            ("workers", one(&self.workers)),
            ("access_log", one(&self.access_log)),
            ("access_log_path", one(&self.access_log_path)),
            ("logs_budget", one(&self.logs_budget)),
            ("drain_timeout", one(&self.drain_timeout)),
            ("resolver", self.resolver.clone()),
            ("log", one(&self.log)),
        ];
        settings.extend(self.limits.settings());
        settings
    }
}
