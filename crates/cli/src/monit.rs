//! `monit`: a dashboard in the terminal.
//!
//! ```text
//! keys, signals ──┐
//! services ───────┼─ channel ─► model (pure) ─► effects ─► feed: lines to follow, changes to ask for
//! lines ──────────┤               │
//! answers ────────┘               └──► screen (pure) ─► terminal
//! ```
//!
//! Every source is a thread that waits for one thing; this one takes an event, and whatever came with it, and draws once.
//! The terminal is put back as it was when the verb ends, however it does: key, signal, failure or panic.

mod feed;
mod model;
mod screen;
#[cfg(test)]
mod tests;

use std::io::IsTerminal;
use std::sync::mpsc::{Receiver, sync_channel};

use ratatui::DefaultTerminal;

use self::feed::Feed;
use self::model::{Dashboard, Effect, Event};
use self::screen::Paint;
use crate::Context;
use crate::arguments::MonitOptions;
use crate::client::encode;
use crate::failure::{Exit, Failure, Outcome};
use crate::interrupt::Interrupt;

/// Events that wait to be drawn; whoever has more waits.
const WAITING: usize = 1024;

pub(crate) fn run(context: &mut Context, options: &MonitOptions) -> Outcome {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        let message = "the dashboard needs a terminal";
        return Err(Failure::new(Exit::Usage, message).hint("`hythe top --once` prints what runs"));
    }
    let project = if options.all_projects {
        None
    } else {
        Some(context.scope()?.project.to_string())
    };
    let path = match &project {
        None => "/v1/services".to_owned(),
        Some(project) => format!("/v1/services?project={}", encode(project)),
    };
    // Whether there is a server is said before the screen is taken.
    let services = context.client.get(&path)?;
    let (events, happened) = sync_channel(WAITING);
    let signals = events.clone();
    Interrupt::listen(move || {
        let _ = signals.send(Event::Ended);
    })?;
    let feed = Feed::start(context.client.clone(), path, events)?;
    let mut terminal = ratatui::try_init()?;
    let ended = show(&mut terminal, &feed, &happened, services);
    ratatui::try_restore()?;
    ended
}

fn show(
    terminal: &mut DefaultTerminal,
    feed: &Feed,
    happened: &Receiver<Event>,
    services: Vec<hythe_model::view::ServiceView>,
) -> Outcome {
    let paint = Paint {
        colours: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
    };
    let mut dashboard = Dashboard::new();
    let mut next = Some(Event::Services(services));
    while let Some(event) = next {
        for effect in dashboard.take(event) {
            if effect == Effect::Quit {
                return Ok(());
            }
            feed.carry_out(effect);
        }
        next = happened.try_recv().ok();
        if next.is_none() {
            terminal.draw(|frame| screen::draw(frame, &dashboard, paint))?;
            next = happened.recv().ok();
        }
    }
    Ok(())
}
