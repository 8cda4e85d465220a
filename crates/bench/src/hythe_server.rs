//! A Hythe server with a home of its own, and what is applied to it.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::certificate::Certificate;
use crate::probe;
use crate::programs::{pinned, program};

/// The path of a route that is there among ten and more.
pub(crate) const ROUTED_PATH: &str = "/r7";
/// How many services the `ls` row lists.
const LISTED_SERVICES: usize = 100;

/// A server, not necessarily running.
pub(crate) struct Server {
    hythe: PathBuf,
    home: PathBuf,
    proxy: SocketAddr,
    proxy_tls: Option<SocketAddr>,
    api: SocketAddr,
    access_log: bool,
}

impl Server {
    /// With its home in `folder`, proxying on `proxy`.
    pub(crate) fn new(hythe: &Path, folder: &Path, proxy: SocketAddr, access_log: bool) -> Result<Self> {
        ensure!(
            hythe.is_file(),
            "no hythe binary at {}: build it, or name it with --hythe",
            hythe.display()
        );
        Ok(Self {
            hythe: hythe.to_owned(),
            home: folder.join("home"),
            proxy,
            proxy_tls: None,
            api: probe::free_address()?,
            access_log,
        })
    }

    /// The same, also listening for TLS.
    pub(crate) fn with_tls(mut self, address: SocketAddr) -> Self {
        self.proxy_tls = Some(address);
        self
    }

    /// The command that runs it in the foreground, pinned to a core or not.
    pub(crate) fn command(&self, core: Option<usize>) -> Command {
        let mut command = match core {
            Some(core) => pinned(core, &self.hythe),
            None => program(&self.hythe),
        };
        command.args(["server", "run", "--workers", "1"]);
        command.args(["--max-connections", "16384"]);
        command.args(["--access-log", if self.access_log { "json" } else { "off" }]);
        command.arg("--home").arg(&self.home);
        command.arg("--proxy-listen").arg(self.proxy.to_string());
        let tls = self
            .proxy_tls
            .map_or_else(|| "off".to_owned(), |address| address.to_string());
        command.arg("--proxy-tls-listen").arg(tls);
        command.arg("--api-listen").arg(self.api.to_string());
        command
    }

    /// Applies a manifest to the running server.
    pub(crate) async fn apply(&self, manifest: &str) -> Result<()> {
        self.apply_as("hythe.yaml", manifest).await
    }

    /// Applies manifests of several projects.
    pub(crate) async fn apply_all(&self, manifests: &[String]) -> Result<()> {
        for (number, manifest) in manifests.iter().enumerate() {
            self.apply_as(&format!("hythe-{number}.yaml"), manifest).await?;
        }
        Ok(())
    }

    async fn apply_as(&self, name: &str, manifest: &str) -> Result<()> {
        let file = self.home.with_file_name(name);
        fs::write(&file, manifest).context("cannot write the manifest")?;
        let file = file.to_string_lossy();
        self.ask(&["up", "-d", &file]).await
    }

    /// Runs a client command to its end.
    pub(crate) async fn ask(&self, args: &[&str]) -> Result<()> {
        let mut client = tokio::process::Command::new(&self.hythe);
        client.args(args).env("HYTHE_HOME", &self.home).kill_on_drop(true);
        let output = client
            .output()
            .await
            .with_context(|| format!("cannot run {}", self.hythe.display()))?;
        ensure!(
            output.status.success(),
            "hythe {} failed: {}{}",
            args.join(" "),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }
}

/// How many routes one manifest has at most; more are spread over projects.
const PROJECT_ROUTES: usize = 2500;

/// The manifests, a project each, of so many routes to one service (one: a route that takes everything). The first
/// has the route that is measured and a certificate.
pub(crate) fn manifests(backend: SocketAddr, routes: usize, certificate: &Certificate) -> Vec<String> {
    let others = (PROJECT_ROUTES..routes).step_by(PROJECT_ROUTES);
    let other = |first: usize| {
        let last = routes.min(first + PROJECT_ROUTES);
        format!("name: from-{first}\n{}", routed_manifest(backend, first..last))
    };
    std::iter::once(first_manifest(backend, routes.min(PROJECT_ROUTES), certificate))
        .chain(others.map(other))
        .collect()
}

fn first_manifest(backend: SocketAddr, routes: usize, certificate: &Certificate) -> String {
    let (cert, key) = (certificate.cert.display(), certificate.key.display());
    let tls = format!("certificates:\n  - {{cert_file: {cert}, key_file: {key}, snis: [\"*\"]}}\n");
    if routes == 1 {
        return plain_manifest(backend) + &tls;
    }
    routed_manifest(backend, 0..routes) + &tls
}

/// One service, one route that takes everything.
fn plain_manifest(backend: SocketAddr) -> String {
    format!(
        "services:\n  backend: {{url: \"http://{backend}\"}}\nroutes:\n  - {{name: all, service: backend, paths: [/]}}\n"
    )
}

/// One service, many routes to it.
fn routed_manifest(backend: SocketAddr, routes: Range<usize>) -> String {
    let mut manifest = format!("services:\n  backend: {{url: \"http://{backend}\"}}\nroutes:\n");
    for route in routes {
        let _ = writeln!(
            manifest,
            "  - {{name: r{route}, service: backend, paths: [/r{route}], strip_path: true}}"
        );
    }
    manifest
}

/// The plain manifest with services to list.
pub(crate) fn listed_manifest(backend: SocketAddr) -> String {
    let mut services = String::new();
    for service in 1..LISTED_SERVICES {
        let _ = writeln!(services, "  service-{service}: {{url: \"http://{backend}\"}}");
    }
    plain_manifest(backend).replacen("routes:", &format!("{services}routes:"), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 81))
    }

    #[test]
    fn the_plain_manifest() {
        let expected = "services:
  backend: {url: \"http://127.0.0.1:81\"}
routes:
  - {name: all, service: backend, paths: [/]}
";
        assert_eq!(plain_manifest(backend()), expected);
    }

    #[test]
    fn the_measured_route_is_among_the_others() {
        for routes in [10, 1000] {
            let manifest = routed_manifest(backend(), 0..routes);
            assert_eq!(manifest.matches("strip_path: true").count(), routes);
            assert_eq!(manifest.matches(&format!("[{ROUTED_PATH}]")).count(), 1);
        }
    }

    #[test]
    fn the_listed_manifest_has_a_hundred_services_and_a_route() {
        let manifest = listed_manifest(backend());
        assert_eq!(manifest.matches("url:").count(), LISTED_SERVICES);
        assert!(manifest.ends_with("routes:\n  - {name: all, service: backend, paths: [/]}\n"));
    }
}
