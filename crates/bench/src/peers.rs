//! The programs Hythe is compared with, each set up as its documentation says and tuned no further.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use rustix::process::geteuid;

use crate::candidates::{Listens, Site};
use crate::programs::pinned;

/// The relay, which is this binary.
pub(crate) fn relay(site: &Site, listens: &Listens<'_>) -> Command {
    let mut command = pinned(site.core, &site.this_binary);
    command.args(["relay", "--listen", &listens.address.to_string()]);
    command.args(["--upstream", &site.backend.to_string()]);
    command
}

/// The classic gateway of Node.js tutorials, with its packages in `node_modules` beside its script.
pub(crate) fn node(site: &Site, listens: &Listens<'_>) -> Result<Command> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("node");
    ensure!(
        folder.join("node_modules/http-proxy").is_dir(),
        "the Node.js gateway's packages are missing: run scripts/setup bench"
    );
    let mut command = pinned(site.core, "node");
    command
        .arg(folder.join("gateway.js"))
        .arg(listens.address.to_string())
        .arg(site.backend.to_string());
    Ok(command)
}

/// Debian's nginx with one worker.
pub(crate) fn nginx(site: &Site, listens: &Listens<'_>) -> Result<Command> {
    let (address, tls_address, home) = (listens.address, listens.tls_address, listens.folder);
    let (cert, key) = (site.certificate.cert.display(), site.certificate.key.display());
    // Its workers give up root unless told otherwise, and then could not write into our folder.
    let user = if geteuid().is_root() { "user root;" } else { "" };
    let folder = home.display();
    let backend = site.backend;
    let config = format!(
        "{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    tcp_nodelay on;
    keepalive_timeout 600s;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream backend {{
        server {backend};
        keepalive 64;
        keepalive_timeout 600s;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {address};
        listen {tls_address} ssl http2;
        ssl_certificate {cert};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.3;
        location / {{
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
        }}
    }}
}}
"
    );
    let file = home.join("nginx.conf");
    fs::write(&file, config)?;
    let mut command = pinned(site.core, "nginx");
    command
        .arg("-e")
        .arg("stderr")
        .arg("-p")
        .arg(home)
        .arg("-c")
        .arg(file);
    Ok(command)
}

/// Debian's HAProxy with one thread.
pub(crate) fn haproxy(site: &Site, listens: &Listens<'_>) -> Result<Command> {
    let (address, tls_address, home) = (listens.address, listens.tls_address, listens.folder);
    let both = site.certificate.both.display();
    let backend = site.backend;
    let config = format!(
        "global
    nbthread 1
    maxconn 4096
defaults
    mode http
    option http-keep-alive
    http-reuse always
    timeout connect 5s
    timeout client 600s
    timeout server 600s
frontend front
    bind {address}
    bind {tls_address} ssl crt {both} alpn h2,http/1.1 ssl-min-ver TLSv1.3
    default_backend back
backend back
    server backend {backend}
"
    );
    let file = home.join("haproxy.cfg");
    fs::write(&file, config)?;
    let mut command = pinned(site.core, "haproxy");
    command.arg("-db").arg("-f").arg(file);
    Ok(command)
}
