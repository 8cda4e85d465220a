//! Load of new TLS 1.3 connections: each does a full handshake, asks once and is closed. Nothing is resumed,
//! and the key exchange is X25519, which every candidate knows.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::processes;
use crate::throughput::Throughput;

const PATIENCE: Duration = Duration::from_secs(10);

/// What to connect to, and for how long.
#[derive(Args, Clone, Debug)]
pub(crate) struct Plan {
    /// Where to connect
    #[arg(long)]
    pub(crate) address: SocketAddr,
    /// The certificate to trust, PEM
    #[arg(long)]
    pub(crate) trust: PathBuf,
    /// For how long, in seconds
    #[arg(long, default_value_t = 5)]
    pub(crate) seconds: u32,
    /// How many connections at a time
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) connections: u32,
}

/// Runs the plan and prints its [`Throughput`] as a line of JSON.
pub(crate) fn run_and_print(plan: &Plan) -> Result<()> {
    processes::end_with_parent()?;
    println!("{}", serde_json::to_string(&run(plan)?)?);
    Ok(())
}

/// Runs the plan; any connection that fails fails the whole.
pub(crate) fn run(plan: &Plan) -> Result<Throughput> {
    let config = Arc::new(client_config(plan)?);
    let started = Instant::now();
    let until = started + Duration::from_secs(plan.seconds.into());
    let threads: Vec<_> = (0..plan.connections)
        .map(|_| {
            let (config, address) = (Arc::clone(&config), plan.address);
            thread::spawn(move || connect_until(until, address, &config))
        })
        .collect();
    let mut requests = 0;
    for thread in threads {
        requests += thread.join().ok().context("a connecting thread panicked")??;
    }
    Ok(Throughput {
        requests,
        requests_per_second: requests as f64 / started.elapsed().as_secs_f64(),
    })
}

fn client_config(plan: &Plan) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&plan.trust).context("cannot read the certificate")?)?;
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![aws_lc_rs::kx_group::X25519];
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn connect_until(until: Instant, address: SocketAddr, config: &Arc<ClientConfig>) -> Result<u64> {
    let mut requests = 0;
    while Instant::now() < until {
        ask_once(address, config)?;
        requests += 1;
    }
    Ok(requests)
}

fn ask_once(address: SocketAddr, config: &Arc<ClientConfig>) -> Result<()> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let session = ClientConnection::new(Arc::clone(config), ServerName::from(address.ip()))?;
    let mut stream = StreamOwned::new(session, stream);
    write!(
        stream,
        "GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = [0; 1024];
    let count = stream.read(&mut answer).context("no answer over TLS")?;
    ensure!(
        answer.starts_with(b"HTTP/1.1 200"),
        "not a proper answer over TLS: {}",
        String::from_utf8_lossy(answer.get(..count).unwrap_or_default())
    );
    Ok(())
}
