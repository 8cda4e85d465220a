//! `top`: a table that renews itself.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use hythe_model::view::ServiceView;

use crate::Context;
use crate::arguments::TopOptions;
use crate::failure::Outcome;
use crate::interrupt::Interrupt;
use crate::listing::{fetch, tone};
use crate::terminal::{Cell, Terminal, Tone, table};

const EVERY: Duration = Duration::from_secs(1);
/// Cursor home; each line clears to its end, and what is below the last one is cleared.
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";
const OTHER_SCREEN: &str = "\x1b[?1049h\x1b[?25l";
const USUAL_SCREEN: &str = "\x1b[?25h\x1b[?1049l";

const HEADING: [&str; 6] = ["INSTANCE", "STATE", "CPU", "MEMORY", "IN FLIGHT", "RESTARTS"];

pub(crate) fn run(context: &mut Context, options: &TopOptions) -> Outcome {
    if options.json {
        let services = fetch(context, options.all_projects)?;
        return context.out.json(&services);
    }
    if options.once || !Terminal::is_interactive() {
        let services = fetch(context, options.all_projects)?;
        return context.out.table(&HEADING, &rows(&services));
    }
    let (told, signals) = mpsc::sync_channel(1);
    Interrupt::listen(move || {
        let _ = told.try_send(());
    })?;
    context.out.raw(OTHER_SCREEN)?;
    let shown = loop {
        if let Err(failure) = draw(context, options.all_projects) {
            break Err(failure);
        }
        match signals.recv_timeout(EVERY) {
            Err(RecvTimeoutError::Timeout) => {}
            _ => break Ok(()),
        }
    };
    context.out.raw(USUAL_SCREEN)?;
    shown
}

fn draw(context: &mut Context, all_projects: bool) -> Outcome {
    let services = fetch(context, all_projects)?;
    let mut screen = String::from(HOME);
    for line in table(&HEADING, &rows(&services)) {
        screen.push_str(&line);
        screen.push_str(CLEAR_LINE);
        screen.push_str("\r\n");
    }
    screen.push_str(CLEAR_BELOW);
    context.out.raw(&screen)
}

fn rows(services: &[ServiceView]) -> Vec<Vec<Cell>> {
    let instances = services.iter().flat_map(|service| &service.instances);
    instances
        .map(|instance| {
            vec![
                Cell::new(&instance.id, Tone::Strong),
                Cell::new(instance.state.to_string(), tone(instance.state)),
                format!("{}.{}%", instance.cpu_millis / 10, instance.cpu_millis % 10).into(),
                hythe_stdx::format_size(instance.memory_bytes).into(),
                instance.in_flight.to_string().into(),
                instance.restarts.to_string().into(),
            ]
        })
        .collect()
}
