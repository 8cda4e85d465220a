//! `hythe-bench`: measures the gateway against nginx, HAProxy, a Node.js gateway and a plain TCP relay, in one
//! interleaved run on one machine, and prints a table for each kind of load. `docs/benchmarks.md` explains the method.
//!
//! The binary is also its own tools: the backend behind every proxy, the relay, and the generators of load at
//! a fixed rate and of TLS handshakes are subcommands that the run starts as processes of their own, so that each has its core.
//! One more, `requests`, is the client of `bench/pm2`.
//!
//! Left out on purpose: no assertion on a time outside `--check`, no history, no remote machines. Linux only,
//! as the figures come from `/proc`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

mod backend;
mod bars;
mod candidates;
mod certificate;
mod closed_loop;
mod cores;
mod footprint;
mod handshakes;
mod http2_loop;
mod hythe_server;
mod idle;
mod machine;
mod open_loop;
mod peers;
mod probe;
mod processes;
mod programs;
mod relay;
mod report;
mod run;
mod scenario;
mod series;
mod strict_client;
mod throughput;

use candidates::Candidate;
use scenario::Scenario;

/// Measure the gateway against nginx, HAProxy and a plain relay.
#[derive(Parser)]
#[command(name = "hythe-bench", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    bench: BenchArgs,
    #[command(subcommand)]
    tool: Option<Tool>,
}

/// What to measure, and how long.
#[derive(Args)]
struct BenchArgs {
    /// How often each candidate is measured; medians and spread are over these
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Length of each measurement, in seconds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Measure these candidates only
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Candidate>,
    /// Measure under these kinds of load only
    #[arg(long, value_enum, value_delimiter = ',')]
    scenario: Vec<Scenario>,
    /// Requests per second for the latency column [default: half of what nginx saturates at]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,
    /// The hythe binary [default: the one beside this binary]
    #[arg(long, value_name = "FILE")]
    hythe: Option<PathBuf>,
    /// Print the table as Markdown, for docs/benchmarks.md
    #[arg(long)]
    markdown: bool,
    /// Compare with the bars, and exit with 1 when a required one is missed
    #[arg(long)]
    check: bool,
}

/// The parts of a run, also useful by hand.
#[derive(Subcommand)]
enum Tool {
    /// Serve 12 bytes (or 1 MB at /large) to every request, over HTTP/1.1 with keep-alive
    Backend {
        /// Where to listen
        #[arg(long)]
        listen: SocketAddr,
    },
    /// Copy bytes both ways without looking at them
    Relay {
        /// Where to listen
        #[arg(long)]
        listen: SocketAddr,
        /// Where to connect
        #[arg(long)]
        upstream: SocketAddr,
    },
    /// Send requests at a fixed rate and print latencies, counted from when each should have been sent
    Load(open_loop::Plan),
    /// Open TLS connections one after another, with one request on each
    Handshakes(handshakes::Plan),
    /// Send each request once, compare each answer, and print a line for each: what a reload costs
    Requests(strict_client::Plan),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.tool {
        None => bench(&cli.bench),
        Some(Tool::Backend { listen }) => backend::run(listen).map(|()| ExitCode::SUCCESS),
        Some(Tool::Relay { listen, upstream }) => relay::run(listen, upstream).map(|()| ExitCode::SUCCESS),
        Some(Tool::Load(plan)) => open_loop::run_and_print(&plan).map(|()| ExitCode::SUCCESS),
        Some(Tool::Handshakes(plan)) => handshakes::run_and_print(&plan).map(|()| ExitCode::SUCCESS),
        Some(Tool::Requests(plan)) => strict_client::run(&plan).map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("hythe-bench: {error:#}");
        ExitCode::FAILURE
    })
}

fn bench(args: &BenchArgs) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let results = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        // Whichever ends first, everything the run started ends with it: `run` owns its processes.
        tokio::select! {
            results = run::run(run_config(args)?) => results,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                anyhow::bail!("interrupted")
            }
            _ = terminate.recv() => anyhow::bail!("terminated"),
        }
    })?;

    print!(
        "{}",
        if args.markdown {
            report::markdown(&results)
        } else {
            report::plain(&results)
        }
    );
    if !args.check {
        return Ok(ExitCode::SUCCESS);
    }
    let verdicts = bars::compare(&results);
    print!("\n{}", bars::render(&verdicts));
    Ok(if bars::all_required_met(&verdicts) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn run_config(args: &BenchArgs) -> Result<run::RunConfig> {
    let this_binary = std::env::current_exe().context("own path unknown")?;
    Ok(run::RunConfig {
        rounds: args.rounds,
        seconds: args.seconds,
        candidates: chosen(&args.only, &Candidate::ALL),
        scenarios: chosen(&args.scenario, &Scenario::ALL),
        rate: args.rate,
        hythe: args
            .hythe
            .clone()
            .unwrap_or_else(|| this_binary.with_file_name("hythe")),
        this_binary,
    })
}

/// What was asked for; everything when nothing was.
fn chosen<T: Clone>(asked: &[T], all: &[T]) -> Vec<T> {
    if asked.is_empty() { all } else { asked }.to_vec()
}
