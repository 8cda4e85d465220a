//! One run: in every round every scenario, in every scenario every candidate, each started anew, alone beside
//! the backend.
//!
//! ```text
//! backend up -> half of nginx's saturation -> rounds -> idle connections -> footprint
//!                                             |
//!      per candidate: start -> warm up -> load (CPU, requests/s) -> fixed rate (p99) -> end
//! ```
//!
//! The order turns by one each round, so that none profits from its neighbour. The first failure ends the
//! run: a table with a hole compares nothing.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;

use crate::candidates::{self, Candidate, Running, Site};
use crate::certificate::Certificate;
use crate::closed_loop;
use crate::cores::Cores;
use crate::footprint::{self, Footprint};
use crate::http2_loop;
use crate::idle;
use crate::machine::{self, Machine};
use crate::open_loop::Latency;
use crate::probe;
use crate::processes::{ProcessTree, cpu_time};
use crate::programs::pinned;
use crate::scenario::Scenario;
use crate::series::Series;
use crate::throughput::Throughput;

const WARM_UP_SECONDS: u32 = 1;
/// A load average from here on makes figures doubtful.
const BUSY: f64 = 0.5;

/// What to measure.
pub(crate) struct RunConfig {
    /// How often each candidate is measured.
    pub(crate) rounds: u32,
    /// Length of each measurement.
    pub(crate) seconds: u32,
    /// Which, in the order of the tables.
    pub(crate) candidates: Vec<Candidate>,
    /// What is asked of them.
    pub(crate) scenarios: Vec<Scenario>,
    /// Requests per second of the latency column; half of nginx's saturation when not given.
    pub(crate) rate: Option<u32>,
    /// The hythe binary.
    pub(crate) hythe: PathBuf,
    /// This binary.
    pub(crate) this_binary: PathBuf,
}

/// What was measured.
pub(crate) struct Results {
    /// On what.
    pub(crate) machine: Machine,
    /// How often.
    pub(crate) rounds: u32,
    /// Length of each measurement.
    pub(crate) seconds: u32,
    /// Requests per second of the latency column.
    pub(crate) rate: u32,
    /// One per scenario and candidate, in the order asked for.
    pub(crate) rows: Vec<Row>,
    /// Memory per idle connection, bytes.
    pub(crate) idle: Vec<(Candidate, f64)>,
    /// Present when a hythe row is.
    pub(crate) footprint: Option<Footprint>,
}

/// One candidate's figures in one scenario, a value per round.
pub(crate) struct Row {
    /// Of what.
    pub(crate) scenario: Scenario,
    /// Whose.
    pub(crate) candidate: Candidate,
    /// CPU time per request in microseconds, user and system.
    pub(crate) cpu_us: Series,
    /// Requests per second when saturated.
    pub(crate) requests_per_second: Series,
    /// 99th percentile in microseconds at the fixed rate, where it is measured.
    pub p99_us: Option<Series>,
}

impl Results {
    /// The row of a candidate in a scenario, if it took part.
    pub(crate) fn row(&self, scenario: Scenario, candidate: Candidate) -> Option<&Row> {
        self.rows
            .iter()
            .find(|row| row.scenario == scenario && row.candidate == candidate)
    }
}

/// Measures everything, telling on standard error how far it is.
pub(crate) async fn run(config: RunConfig) -> Result<Results> {
    let bench = Bench::prepare(config).await?;
    let rate = bench.fixed_rate().await?;
    let rows = bench.rounds(rate).await?;
    let idle = bench.idle().await?;
    let footprint = bench.footprint().await?;
    Ok(Results {
        machine: machine::describe(&bench.config, &bench.site.hythe),
        rounds: bench.config.rounds,
        seconds: bench.config.seconds,
        rate,
        rows,
        idle,
        footprint,
    })
}

struct Bench {
    config: RunConfig,
    cores: Cores,
    site: Site,
    processes: ProcessTree,
}

struct Measurement {
    cpu_us: f64,
    requests_per_second: f64,
    p99_us: Option<f64>,
}

/// A scenario with one of its candidates.
type Pairing = (Scenario, Candidate);

impl Bench {
    async fn prepare(config: RunConfig) -> Result<Self> {
        let cores = Cores::choose()?;
        let load = machine::load_average();
        if load >= BUSY {
            eprintln!("note: the load average is {load}: whatever else runs here will show in the figures");
        }
        let mut processes = ProcessTree::take_charge()?;
        let backend = probe::free_address()?;
        let mut command = pinned(cores.load, &config.this_binary);
        command
            .args(["backend", "--listen", &backend.to_string()])
            .stdin(Stdio::null());
        processes.start_helper(&mut command)?;
        let site = Site {
            core: cores.proxy,
            backend,
            this_binary: config.this_binary.clone(),
            hythe: config.hythe.clone(),
            certificate: Certificate::make()?,
        };
        Ok(Self {
            config,
            cores,
            site,
            processes,
        })
    }

    async fn fixed_rate(&self) -> Result<u32> {
        if let Some(rate) = self.config.rate {
            return Ok(rate);
        }
        if !self
            .config
            .scenarios
            .iter()
            .any(|scenario| scenario.has_latency())
        {
            return Ok(0);
        }
        eprintln!("finding the rate nginx saturates at");
        let pairing = (Scenario::Small, Candidate::Nginx);
        let nginx = self.start(Candidate::Nginx).await?;
        self.load(pairing, &nginx, WARM_UP_SECONDS).await?;
        let load = self.load(pairing, &nginx, self.config.seconds).await?;
        self.processes.end_candidate().await?;
        let half = (load.requests_per_second / 2.0) as u32;
        ensure!(
            half > 0,
            "nginx answers too slowly to halve its rate: {}",
            load.requests_per_second
        );
        Ok(half)
    }

    async fn rounds(&self, rate: u32) -> Result<Vec<Row>> {
        let pairings = self.config.pairings();
        let mut measured = Vec::new();
        for round in 1..=self.config.rounds {
            for &scenario in &self.config.scenarios {
                let mut candidates: Vec<_> = pairings
                    .iter()
                    .filter(|(of, _)| *of == scenario)
                    .copied()
                    .collect();
                let first = round as usize % candidates.len().max(1);
                candidates.rotate_left(first);
                for pairing in candidates {
                    let measurement = self.measure(round, pairing, rate).await;
                    measured.push((
                        pairing,
                        measurement.with_context(|| format!("measuring {}", titled(pairing)))?,
                    ));
                }
            }
        }
        pairings
            .into_iter()
            .map(|pairing| row(pairing, &measured))
            .collect()
    }

    async fn measure(&self, round: u32, pairing: Pairing, rate: u32) -> Result<Measurement> {
        eprintln!("round {round} of {}: {}", self.config.rounds, titled(pairing));
        let (scenario, candidate) = pairing;
        let running = self.start(candidate).await?;
        self.load(pairing, &running, WARM_UP_SECONDS).await?;

        let pids = self.processes.candidate()?;
        let before = cpu_time(&pids)?;
        let load = self.load(pairing, &running, self.config.seconds).await?;
        let used = cpu_time(&pids)?.saturating_sub(before);

        let p99_us = if scenario.has_latency() && candidate != Candidate::Node {
            Some(self.load_at(rate, candidate, &running).await?.p99_us)
        } else {
            None
        };
        self.processes.end_candidate().await?;
        Ok(Measurement {
            cpu_us: used.as_secs_f64() * 1e6 / load.requests as f64,
            requests_per_second: load.requests_per_second,
            p99_us,
        })
    }

    async fn start(&self, candidate: Candidate) -> Result<Running> {
        candidates::start(candidate, &self.site, &self.processes).await
    }

    /// As fast as the candidate takes it.
    async fn load(&self, pairing: Pairing, running: &Running, seconds: u32) -> Result<Throughput> {
        let (scenario, candidate) = pairing;
        let (core, path) = (self.cores.load, scenario.path(candidate));
        match scenario {
            Scenario::Small | Scenario::Large => {
                closed_loop::load(core, &format!("http://{}{path}", running.address), seconds).await
            }
            Scenario::Tls => {
                closed_loop::load(core, &format!("https://{}{path}", running.tls_address), seconds).await
            }
            Scenario::Http2 => http2_loop::load(core, running.tls_address, path, seconds).await,
            Scenario::Handshakes => {
                let (address, trust) = (
                    running.tls_address.to_string(),
                    self.site.certificate.cert.display().to_string(),
                );
                let seconds = seconds.to_string();
                let args = [
                    "handshakes",
                    "--address",
                    &address,
                    "--trust",
                    &trust,
                    "--seconds",
                    &seconds,
                ];
                self.run_tool(&args).await
            }
        }
    }

    /// Requests at a fixed rate. Node.js is left out: it does not reach half of nginx's saturation.
    async fn load_at(&self, rate: u32, candidate: Candidate, running: &Running) -> Result<Latency> {
        let (address, rate) = (running.address.to_string(), rate.to_string());
        let milliseconds = (self.config.seconds * 1000).to_string();
        self.run_tool(&[
            "load",
            "--address",
            &address,
            "--path",
            candidate.path(),
            "--rate",
            &rate,
            "--duration-ms",
            &milliseconds,
        ])
        .await
    }

    /// One of our own loads, in a process of its own, so that it shares the load's core and nothing else.
    async fn run_tool<T: DeserializeOwned>(&self, args: &[&str]) -> Result<T> {
        let mut load = tokio::process::Command::from(pinned(self.cores.load, &self.config.this_binary));
        let output = load
            .args(args)
            .kill_on_drop(true)
            .output()
            .await
            .context("cannot run the load")?;
        ensure!(
            output.status.success(),
            "the load failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        serde_json::from_slice(&output.stdout).context("the load printed no figures")
    }

    async fn idle(&self) -> Result<Vec<(Candidate, f64)>> {
        let mut measured = Vec::new();
        for candidate in idle::CANDIDATES {
            if self.config.candidates.contains(&candidate) {
                eprintln!("idle connections: {}", candidate.title());
                let bytes = idle::measure(candidate, &self.site, &self.processes).await;
                measured.push((
                    candidate,
                    bytes.with_context(|| format!("idle connections of {}", candidate.title()))?,
                ));
            }
        }
        Ok(measured)
    }

    async fn footprint(&self) -> Result<Option<Footprint>> {
        if !self
            .config
            .candidates
            .iter()
            .any(|candidate| candidate.is_hythe())
        {
            return Ok(None);
        }
        eprintln!("memory, ls and start of hythe");
        footprint::measure(&self.site, &self.processes).await.map(Some)
    }
}

impl RunConfig {
    /// Every scenario with each candidate that takes part in it, in the order of the tables.
    fn pairings(&self) -> Vec<Pairing> {
        let of = |scenario: Scenario| {
            let takes_part = move |candidate: &&Candidate| scenario.includes(**candidate);
            self.candidates
                .iter()
                .filter(takes_part)
                .map(move |candidate| (scenario, *candidate))
        };
        self.scenarios.iter().copied().flat_map(of).collect()
    }
}

fn titled((scenario, candidate): Pairing) -> String {
    format!("{}: {}", scenario.title(), candidate.title())
}

fn row(pairing: Pairing, measured: &[(Pairing, Measurement)]) -> Result<Row> {
    let series = |figure: fn(&Measurement) -> Option<f64>| {
        let own = measured.iter().filter(|(whose, _)| *whose == pairing);
        Series::new(own.filter_map(|(_, measurement)| figure(measurement)).collect())
    };
    let (scenario, candidate) = pairing;
    Ok(Row {
        scenario,
        candidate,
        cpu_us: series(|measurement| Some(measurement.cpu_us)).context("nothing was measured")?,
        requests_per_second: series(|measurement| Some(measurement.requests_per_second))
            .context("nothing was measured")?,
        p99_us: series(|measurement| measurement.p99_us),
    })
}
