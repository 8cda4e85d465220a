//! Services coming up: a live table on a terminal, a line for each change elsewhere.

use std::collections::BTreeMap;
use std::time::Duration;

use hythe_model::InstanceState;
use hythe_model::view::ServiceView;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::failure::Outcome;
use crate::terminal::{Terminal, Tone};

/// Shows services as they change.
pub(crate) struct Progress {
    form: Form,
    shown: BTreeMap<String, String>,
}

enum Form {
    Silent,
    Lines,
    Spinners {
        all: MultiProgress,
        bars: BTreeMap<String, ProgressBar>,
    },
}

impl Progress {
    /// In the form that fits standard output.
    pub(crate) fn start() -> Self {
        let form = if Terminal::is_interactive() {
            Form::Spinners {
                all: MultiProgress::new(),
                bars: BTreeMap::new(),
            }
        } else {
            Form::Lines
        };
        Self {
            form,
            shown: BTreeMap::new(),
        }
    }

    /// Shows nothing.
    pub(crate) fn silent() -> Self {
        Self {
            form: Form::Silent,
            shown: BTreeMap::new(),
        }
    }

    /// Shows what is new.
    pub(crate) fn show(&mut self, out: &mut Terminal, services: &[ServiceView]) -> Outcome {
        for service in services {
            let text = describe(service);
            if self.shown.insert(service.name.clone(), text.clone()).as_ref() == Some(&text) {
                continue;
            }
            match &mut self.form {
                Form::Silent => {}
                Form::Lines => out.line(format!("{}: {text}", service.name))?,
                Form::Spinners { all, bars } => update(all, bars, service, &text),
            }
        }
        Ok(())
    }

    /// Leaves what is shown as it is.
    pub(crate) fn end(&mut self) {
        if let Form::Spinners { bars, .. } = &self.form {
            for bar in bars.values().filter(|bar| !bar.is_finished()) {
                bar.abandon();
            }
        }
    }
}

fn update(all: &MultiProgress, bars: &mut BTreeMap<String, ProgressBar>, service: &ServiceView, text: &str) {
    let bar = bars.entry(service.name.clone()).or_insert_with(|| {
        let bar = all.add(ProgressBar::new_spinner());
        // The template is ours and sound; without it the bar keeps its usual look.
        if let Ok(style) = ProgressStyle::with_template("  {spinner} {prefix:16} {msg}") {
            bar.set_style(style.tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ "));
        }
        bar.set_prefix(service.name.clone());
        bar.enable_steady_tick(Duration::from_millis(80));
        bar
    });
    let tone = match (service.settled, &service.failure) {
        (_, Some(_)) => Tone::Bad,
        (true, None) => Tone::Good,
        (false, None) => Tone::Busy,
    };
    bar.set_message(tone.paint(text));
    if service.settled {
        bar.finish();
    }
}

/// `1/2 ready, users-2 starting`.
fn describe(service: &ServiceView) -> String {
    if service.kind == "external" {
        return format!("{} of {} endpoints usable", service.ready, service.desired);
    }
    if service.stopped && service.instances.is_empty() {
        return "stopped".to_owned();
    }
    let mut text = format!("{}/{} ready", service.ready, service.desired);
    let others = service
        .instances
        .iter()
        .filter(|instance| instance.state != InstanceState::Ready);
    for instance in others.take(3) {
        text.push_str(&format!(", {} {}", instance.id, instance.state));
        if let Some(message) = &instance.message {
            text.push_str(&format!(" ({message})"));
        }
    }
    text
}
