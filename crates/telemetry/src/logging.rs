use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Sends the server's own log to stderr: readable on a terminal, JSON lines elsewhere. `filter` is in
/// the syntax of `tracing-subscriber` (`info`, `hythe_gateway=debug`); an unreadable one counts as `info`.
/// Does nothing when logging was set up before.
pub fn init_logging(filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let terminal = std::io::stderr().is_terminal();
    let people = terminal.then(|| layer().with_writer(std::io::stderr).with_target(false));
    let machines = (!terminal).then(|| layer().json().flatten_event(true).with_writer(std::io::stderr));
    let _ = tracing_subscriber::registry()
        .with(filter)
        .with(people)
        .with(machines)
        .try_init();
}
