//! One run: every candidate in every round, each started anew, alone beside the backend.
//!
//! ```text
//! backend up -> half of nginx's saturation -> rounds -> footprint
//!                                             |
//!      per candidate: start -> warm up -> wrk (CPU, requests/s) -> fixed rate (p99) -> end
//! ```
//!
//! The order turns by one each round, so that none profits from its neighbour. The first failure ends the
//! run: a table with a hole compares nothing.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use crate::candidates::{self, Candidate, Running, Site};
use crate::closed_loop;
use crate::cores::Cores;
use crate::footprint::{self, Footprint};
use crate::machine::{self, Machine};
use crate::open_loop::Latency;
use crate::probe;
use crate::processes::{ProcessTree, cpu_time};
use crate::programs::pinned;
use crate::series::Series;

const WARM_UP_SECONDS: u32 = 1;
/// A load average from here on makes figures doubtful.
const BUSY: f64 = 0.5;

/// What to measure.
pub(crate) struct RunConfig {
    /// How often each candidate is measured.
    pub(crate) rounds: u32,
    /// Length of each measurement.
    pub(crate) seconds: u32,
    /// Which, in the order of the table.
    pub(crate) candidates: Vec<Candidate>,
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
    /// One per candidate, in the order asked for.
    pub(crate) rows: Vec<Row>,
    /// Present when a hythe row is.
    pub(crate) footprint: Option<Footprint>,
}

/// One candidate's figures, a value per round.
pub(crate) struct Row {
    /// Whose.
    pub(crate) candidate: Candidate,
    /// CPU time per request in microseconds, user and system.
    pub(crate) cpu_us: Series,
    /// Requests per second when saturated.
    pub(crate) requests_per_second: Series,
    /// 99th percentile in microseconds at the fixed rate.
    pub p99_us: Series,
}

impl Results {
    /// The row of a candidate, if it took part.
    pub(crate) fn row(&self, candidate: Candidate) -> Option<&Row> {
        self.rows.iter().find(|row| row.candidate == candidate)
    }
}

/// Measures everything, telling on standard error how far it is.
pub(crate) async fn run(config: RunConfig) -> Result<Results> {
    let bench = Bench::prepare(config).await?;
    let rate = bench.fixed_rate().await?;
    let rows = bench.rounds(rate).await?;
    let footprint = bench.footprint().await?;
    Ok(Results {
        machine: machine::describe(&bench.config.candidates, &bench.site.hythe),
        rounds: bench.config.rounds,
        seconds: bench.config.seconds,
        rate,
        rows,
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
    p99_us: f64,
}

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
        eprintln!("finding the rate nginx saturates at");
        let nginx = self.start(Candidate::Nginx).await?;
        self.warm_up(Candidate::Nginx, &nginx).await?;
        let load = closed_loop::load(self.cores.load, nginx.address, "/", self.config.seconds).await?;
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
        let mut order = self.config.candidates.clone();
        let mut measured = Vec::new();
        for round in 1..=self.config.rounds {
            for &candidate in &order {
                eprintln!("round {round} of {}: {}", self.config.rounds, candidate.title());
                let measurement = self.measure(candidate, rate).await;
                measured.push((
                    candidate,
                    measurement.with_context(|| format!("measuring {}", candidate.title()))?,
                ));
            }
            order.rotate_left(1);
        }
        self.config
            .candidates
            .iter()
            .map(|&candidate| row(candidate, &measured))
            .collect()
    }

    async fn measure(&self, candidate: Candidate, rate: u32) -> Result<Measurement> {
        let running = self.start(candidate).await?;
        self.warm_up(candidate, &running).await?;

        let pids = self.processes.candidate()?;
        let before = cpu_time(&pids)?;
        let load = closed_loop::load(
            self.cores.load,
            running.address,
            candidate.path(),
            self.config.seconds,
        )
        .await?;
        let used = cpu_time(&pids)?.saturating_sub(before);

        let latency = self.load_at(rate, candidate, &running).await?;
        self.processes.end_candidate().await?;
        Ok(Measurement {
            cpu_us: used.as_secs_f64() * 1e6 / load.requests as f64,
            requests_per_second: load.requests_per_second,
            p99_us: latency.p99_us,
        })
    }

    async fn start(&self, candidate: Candidate) -> Result<Running> {
        candidates::start(candidate, &self.site, &self.processes).await
    }

    async fn warm_up(&self, candidate: Candidate, running: &Running) -> Result<()> {
        closed_loop::load(
            self.cores.load,
            running.address,
            candidate.path(),
            WARM_UP_SECONDS,
        )
        .await?;
        Ok(())
    }

    /// In a process of its own, so that it shares the load's core and nothing else.
    async fn load_at(&self, rate: u32, candidate: Candidate, running: &Running) -> Result<Latency> {
        let mut load = tokio::process::Command::from(pinned(self.cores.load, &self.config.this_binary));
        load.args([
            "load",
            "--address",
            &running.address.to_string(),
            "--path",
            candidate.path(),
        ]);
        load.args([
            "--rate",
            &rate.to_string(),
            "--duration-ms",
            &(self.config.seconds * 1000).to_string(),
        ]);
        let output = load
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

fn row(candidate: Candidate, measured: &[(Candidate, Measurement)]) -> Result<Row> {
    let series = |figure: fn(&Measurement) -> f64| {
        let own = measured.iter().filter(|(whose, _)| *whose == candidate);
        Series::new(own.map(|(_, measurement)| figure(measurement)).collect()).context("nothing was measured")
    };
    Ok(Row {
        candidate,
        cpu_us: series(|measurement| measurement.cpu_us)?,
        requests_per_second: series(|measurement| measurement.requests_per_second)?,
        p99_us: series(|measurement| measurement.p99_us)?,
    })
}
