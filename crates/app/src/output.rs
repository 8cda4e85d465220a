//! Leads output from the runtime, which knows where raw bytes are, to the logs, which make lines of them.

use anyhow::Context;
use hythe_config::NodeConfig;
use hythe_logs::{Logs, Offsets, Progress, RunOutput};
use hythe_model::Desired;
use hythe_runtime_process::{OutputEvent, ProcessRuntime};
use hythe_spine::{Latest, Spine};
use tokio::sync::mpsc;

/// Opens the logs and has them collect whatever the runtime reports.
pub(crate) fn collect(
    config: &NodeConfig,
    desired: Latest<Desired>,
    runtime: &ProcessRuntime,
    mut events: mpsc::Receiver<OutputEvent>,
    spine: &Spine,
) -> anyhow::Result<std::sync::Arc<Logs>> {
    let home = &config.home;
    let config = hythe_logs::Config {
        budget: config.logs_budget,
        ..hythe_logs::Config::new(home.join("logs"), hythe_minder::home::raw_folder(home))
    };
    let reader = runtime.clone();
    let progress = move |progress| match progress {
        Progress::Consumed { run, stream, up_to } => reader.consumed(&run, stream, up_to),
        Progress::Released { run } => reader.released(&run),
    };
    let logs = Logs::open(config, desired, progress, spine).context("open the logs")?;
    let logs = std::sync::Arc::new(logs);
    let collecting = std::sync::Arc::clone(&logs);
    spine.spawn("output", |shutdown| async move {
        while let Some(Some(event)) = shutdown.unless_requested(events.recv()).await {
            hand_over(&collecting, event);
        }
    });
    Ok(logs)
}

fn hand_over(logs: &Logs, event: OutputEvent) {
    match event {
        OutputEvent::Began {
            run,
            instance,
            service,
            slot,
            out_from,
            err_from,
            adopted,
        } => {
            let from = Offsets {
                out: out_from,
                err: err_from,
            };
            logs.attach(RunOutput {
                run,
                instance,
                service,
                slot,
                from,
                resumed: adopted,
            });
        }
        OutputEvent::Wrote {
            run,
            stream,
            closed_at,
        } => logs.wake(&run, stream, closed_at),
        OutputEvent::Ended { run } => logs.detach(&run),
    }
}
