//! What the dashboard knows, and what becomes of it: state and event in, state and effect out. No terminal, no clock, no
//! server.

use std::collections::{BTreeMap, VecDeque};

use hythe_model::view::{LogLine, ServiceView};

/// Samples that are kept for the graphs: one a second, more than a screen is wide.
const SAMPLES: usize = 240;
/// Lines of the selected service that are kept.
const LINES: usize = 2_000;
/// How far one key of a page goes.
const PAGE: usize = 10;

/// What happened.
#[derive(Debug)]
pub(super) enum Event {
    /// What runs, once a second.
    Services(Vec<ServiceView>),
    /// The server does not answer, and why.
    Unreachable(String),
    /// A line of the service whose lines were asked for last with this number.
    Line(u64, LogLine),
    /// What came of something that was asked for.
    Told(String),
    Key(Key),
    /// The terminal has another size.
    Resized,
    /// A signal.
    Ended,
}

/// A key that means something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Tab,
    Enter,
    Escape,
    Backspace,
    /// Ctrl-C.
    Interrupt,
    Character(char),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// Show the lines of this service, under this number.
    Follow(u64, String),
    Restart(String),
    Stop(String),
    Start(String),
    Scale(String, u32),
    Quit,
}

/// What keys mean at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mode {
    Usual,
    Help,
    /// Typing what names must contain.
    Filter,
    /// A question, and what follows a yes.
    Confirm(String, Effect),
}

/// Where the arrows go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Focus {
    Services,
    Lines,
}

/// A line of the list: a service, or one of its instances.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row {
    pub(super) service: String,
    pub(super) instance: Option<String>,
}

/// What something has used, oldest first.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    /// Thousandths of a core.
    pub(super) cpu: VecDeque<u64>,
    /// Bytes.
    pub(super) memory: VecDeque<u64>,
    pub(super) in_flight: VecDeque<u64>,
}

#[derive(Debug)]
pub(super) struct Dashboard {
    pub(super) services: Vec<ServiceView>,
    pub(super) histories: BTreeMap<Row, History>,
    pub(super) selected: Option<Row>,
    pub(super) focus: Focus,
    pub(super) mode: Mode,
    pub(super) filter: String,
    pub(super) lines: VecDeque<LogLine>,
    /// Lines below the last one that is shown.
    pub(super) scrolled: usize,
    /// What was told last.
    pub(super) told: Option<String>,
    /// Why the server does not answer.
    pub(super) unreachable: Option<String>,
    /// The service whose lines are shown, and the number they come under.
    following: Option<(u64, String)>,
    follows: u64,
}

impl Dashboard {
    pub(super) fn new() -> Self {
        Self {
            services: Vec::new(),
            histories: BTreeMap::new(),
            selected: None,
            focus: Focus::Services,
            mode: Mode::Usual,
            filter: String::new(),
            lines: VecDeque::new(),
            scrolled: 0,
            told: None,
            unreachable: None,
            following: None,
            follows: 0,
        }
    }

    /// Takes an event in.
    pub(super) fn take(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = match event {
            Event::Services(services) => {
                self.observe(services);
                Vec::new()
            }
            Event::Unreachable(why) => {
                self.unreachable = Some(why);
                Vec::new()
            }
            Event::Line(number, line) => {
                self.keep(number, line);
                Vec::new()
            }
            Event::Told(text) => {
                self.told = Some(text);
                Vec::new()
            }
            Event::Key(key) => self.press(key).into_iter().collect(),
            Event::Resized => Vec::new(),
            Event::Ended => vec![Effect::Quit],
        };
        effects.extend(self.follow_selected());
        effects
    }

    /// The lines of the list.
    pub(super) fn rows(&self) -> Vec<Row> {
        let wanted = |service: &&ServiceView| service.name.contains(&self.filter);
        self.services.iter().filter(wanted).flat_map(rows_of).collect()
    }

    /// The place of the selected row among them.
    pub(super) fn selected_index(&self) -> Option<usize> {
        let selected = self.selected.as_ref()?;
        self.rows().iter().position(|row| row == selected)
    }

    /// The service that is selected, or whose instance is.
    pub(super) fn service(&self) -> Option<&ServiceView> {
        let selected = self.selected.as_ref()?;
        self.services
            .iter()
            .find(|service| service.name == selected.service)
    }

    fn observe(&mut self, services: Vec<ServiceView>) {
        self.unreachable = None;
        let mut histories = std::mem::take(&mut self.histories);
        for service in &services {
            for row in rows_of(service) {
                let mut history = histories.remove(&row).unwrap_or_default();
                let of_row = |id: &String| row.instance.as_ref().is_none_or(|instance| instance == id);
                let instances = service.instances.iter().filter(|instance| of_row(&instance.id));
                let [cpu, memory, in_flight] =
                    instances.fold([0; 3], |[cpu, memory, in_flight], instance| {
                        [
                            cpu + u64::from(instance.cpu_millis),
                            memory + instance.memory_bytes,
                            in_flight + instance.in_flight,
                        ]
                    });
                push(&mut history.cpu, cpu, SAMPLES);
                push(&mut history.memory, memory, SAMPLES);
                push(&mut history.in_flight, in_flight, SAMPLES);
                self.histories.insert(row, history);
            }
        }
        // A selected instance that is gone leaves its service selected.
        let before = self.selected_index().unwrap_or(0);
        self.services = services;
        if self.selected_index().is_none() {
            let service = self.selected.take().map(|row| Row {
                instance: None,
                ..row
            });
            self.selected = service;
            if self.selected_index().is_none() {
                self.select(before);
            }
        }
    }

    fn keep(&mut self, number: u64, line: LogLine) {
        if self
            .following
            .as_ref()
            .is_some_and(|(current, _)| *current == number)
        {
            push(&mut self.lines, line, LINES);
            if self.scrolled > 0 {
                // What is being read stays where it is.
                self.scrolled = (self.scrolled + 1).min(self.lines.len());
            }
        }
    }

    fn press(&mut self, key: Key) -> Option<Effect> {
        if key == Key::Interrupt {
            return Some(Effect::Quit);
        }
        match std::mem::replace(&mut self.mode, Mode::Usual) {
            Mode::Usual => self.press_usual(key),
            Mode::Help => None,
            Mode::Filter => {
                self.press_in_filter(key);
                None
            }
            Mode::Confirm(_, effect) => {
                let agreed = matches!(key, Key::Character('y' | 'Y') | Key::Enter);
                self.told = (!agreed).then(|| "nothing was done".to_owned());
                agreed.then_some(effect)
            }
        }
    }

    fn press_usual(&mut self, key: Key) -> Option<Effect> {
        self.told = None;
        match key {
            Key::Up | Key::Character('k') => self.go(-1),
            Key::Down | Key::Character('j') => self.go(1),
            Key::PageUp => self.go(-(PAGE as isize)),
            Key::PageDown => self.go(PAGE as isize),
            Key::Home | Key::Character('g') => self.go(isize::MIN),
            Key::End | Key::Character('G') => self.go(isize::MAX),
            Key::Tab => {
                self.focus = match self.focus {
                    Focus::Services => Focus::Lines,
                    Focus::Lines => Focus::Services,
                }
            }
            Key::Character('?') => self.mode = Mode::Help,
            Key::Character('/') => self.mode = Mode::Filter,
            Key::Escape => {
                self.filter.clear();
                self.scrolled = 0;
            }
            Key::Character('q') => return Some(Effect::Quit),
            Key::Character(character) => return self.act(character),
            Key::Enter | Key::Backspace | Key::Interrupt => {}
        }
        None
    }

    fn press_in_filter(&mut self, key: Key) {
        match key {
            Key::Enter => return,
            Key::Escape => {
                self.filter.clear();
                return;
            }
            Key::Backspace => {
                self.filter.pop();
            }
            Key::Character(character) => self.filter.push(character),
            _ => {}
        }
        self.mode = Mode::Filter;
        if self.selected_index().is_none() {
            self.select(0);
        }
    }

    /// What changes the selected service. What takes something away is asked about first.
    fn act(&mut self, key: char) -> Option<Effect> {
        let service = self.service()?;
        let name = service.name.clone();
        if service.kind != "process" {
            self.told = Some(format!("{name} does not run here"));
            return None;
        }
        let (desired, stopped) = (service.desired, service.stopped);
        let (question, effect) = match key {
            'r' => return Some(Effect::Restart(name)),
            's' if stopped => return Some(Effect::Start(name)),
            's' => (format!("stop {name}?"), Effect::Stop(name)),
            '+' | '=' => scaled(name, desired, desired.saturating_add(1)),
            '-' => scaled(name, desired, desired.saturating_sub(1)),
            _ => return None,
        };
        self.mode = Mode::Confirm(question, effect);
        None
    }

    fn go(&mut self, by: isize) {
        match self.focus {
            Focus::Services => {
                let index = self.selected_index().unwrap_or(0);
                self.select(index.saturating_add_signed(by));
            }
            Focus::Lines => {
                // Up is back in time.
                let most = self.lines.len().saturating_sub(1);
                self.scrolled = self.scrolled.saturating_add_signed(by.saturating_neg()).min(most);
            }
        }
    }

    fn select(&mut self, index: usize) {
        let mut rows = self.rows();
        let last = rows.len().saturating_sub(1);
        self.selected = (!rows.is_empty()).then(|| rows.swap_remove(index.min(last)));
    }

    /// Asks for the lines of the selected service when it is another one than before.
    fn follow_selected(&mut self) -> Option<Effect> {
        let wanted = self.selected.as_ref().map(|row| &row.service)?;
        if self
            .following
            .as_ref()
            .is_some_and(|(_, service)| service == wanted)
        {
            return None;
        }
        let wanted = wanted.clone();
        self.follows += 1;
        self.following = Some((self.follows, wanted.clone()));
        self.lines.clear();
        self.scrolled = 0;
        Some(Effect::Follow(self.follows, wanted))
    }
}

fn scaled(name: String, from: u32, to: u32) -> (String, Effect) {
    (
        format!("scale {name} from {from} to {to}?"),
        Effect::Scale(name, to),
    )
}

fn rows_of(service: &ServiceView) -> impl Iterator<Item = Row> {
    let row = |instance: Option<String>| Row {
        service: service.name.clone(),
        instance,
    };
    let instances = service
        .instances
        .iter()
        .map(move |instance| row(Some(instance.id.clone())));
    std::iter::once(row(None)).chain(instances)
}

/// Adds what is newest, and lets the oldest go.
fn push<T>(queue: &mut VecDeque<T>, item: T, most: usize) {
    queue.push_back(item);
    if queue.len() > most {
        queue.pop_front();
    }
}
