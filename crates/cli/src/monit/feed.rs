//! Where events come from, and where effects go: one thread for each thing that is waited for.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use hythe_api::wire::{ActionRequest, ReplicasText, ScaleRequest};
use hythe_model::view::ChangeView;
use ratatui::crossterm::event::{self, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use serde::Serialize;

use super::model::{Effect, Event, Key};
use crate::Context;
use crate::client::{Client, encode};
use crate::failure::Outcome;
use crate::follow::parse;

/// Time between two looks at what runs.
const EVERY: Duration = Duration::from_secs(1);
/// Lines of a service that are shown at first.
const LINES: usize = 200;

pub(super) struct Feed {
    client: Client,
    events: SyncSender<Event>,
    /// Has what runs looked at now.
    poke: SyncSender<()>,
    /// The connection on which lines come, to be cut when others are wanted.
    following: Mutex<Option<UnixStream>>,
}

impl Feed {
    /// Starts the threads that go on to the end of the process.
    pub(super) fn start(client: Client, services: String, events: SyncSender<Event>) -> io::Result<Self> {
        let (poke, poked) = sync_channel(1);
        let (asking, told) = (client.clone(), events.clone());
        spawn("services", move || look(&asking, &services, &told, &poked))?;
        let told = events.clone();
        spawn("keys", move || read_keys(&told))?;
        Ok(Self {
            client,
            events,
            poke,
            following: Mutex::new(None),
        })
    }

    /// Begins what an effect asks for; what comes of it is an event.
    pub(super) fn carry_out(&self, effect: Effect) {
        let begun = match effect {
            Effect::Follow(number, service) => self.follow(number, &service),
            Effect::Restart(service) => self.act("restart", service),
            Effect::Stop(service) => self.act("stop", service),
            Effect::Start(service) => self.act("start", service),
            Effect::Scale(service, replicas) => {
                let request = ScaleRequest {
                    replicas: ReplicasText::Count(replicas),
                    actor: Some(Context::actor()),
                };
                self.change("scale", service, request)
            }
            Effect::Quit => Ok(()),
        };
        if let Err(error) = begun {
            // Its reader is the thread that is here: it must not wait for itself.
            let _ = self.events.try_send(Event::Told(error.to_string()));
        }
    }

    fn act(&self, verb: &'static str, service: String) -> io::Result<()> {
        let request = ActionRequest {
            actor: Some(Context::actor()),
        };
        self.change(verb, service, request)
    }

    fn change(
        &self,
        verb: &'static str,
        service: String,
        request: impl Serialize + Send + 'static,
    ) -> io::Result<()> {
        let (client, events, poke) = (self.client.clone(), self.events.clone(), self.poke.clone());
        spawn("change", move || {
            let path = format!("/v1/services/{}/{verb}", encode(&service));
            let asked: Outcome<ChangeView> = client.send("POST", &path, &request);
            let told = match asked {
                Ok(_) => format!("{verb} {service}: on its way"),
                Err(failure) => format!("{verb} {service}: {}", failure.message),
            };
            let _ = events.send(Event::Told(told));
            let _ = poke.try_send(());
        })
    }

    fn follow(&self, number: u64, service: &str) -> io::Result<()> {
        let mut following = self.following.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = following.take() {
            // Its thread ends; that the server was faster is as well.
            let _ = before.shutdown(Shutdown::Both);
        }
        let path = format!("/v1/logs?service={}&last={LINES}&follow=true", encode(service));
        let lines = match self.client.lines(&path) {
            Ok(lines) => lines,
            // A service that has only just come may not be known there; the list says what is wrong with others.
            Err(_) => return Ok(()),
        };
        *following = Some(lines.connection()?);
        let events = self.events.clone();
        spawn("lines", move || {
            for line in lines.map_while(Result::ok) {
                let Ok(line) = parse(&line) else { continue };
                if events.send(Event::Line(number, line)).is_err() {
                    return;
                }
            }
        })
    }
}

/// Looks at what runs, every second and when poked.
fn look(client: &Client, path: &str, events: &SyncSender<Event>, poked: &Receiver<()>) {
    loop {
        let _ = poked.recv_timeout(EVERY);
        let event = match client.get(path) {
            Ok(services) => Event::Services(services),
            Err(failure) => Event::Unreachable(failure.message),
        };
        if events.send(event).is_err() {
            return;
        }
    }
}

fn read_keys(events: &SyncSender<Event>) {
    loop {
        let event = match event::read() {
            Ok(event::Event::Key(key)) if key.kind != KeyEventKind::Release => key_of(key).map(Event::Key),
            Ok(event::Event::Resize(..)) => Some(Event::Resized),
            Ok(_) => None,
            // The terminal is gone.
            Err(_) => Some(Event::Ended),
        };
        let Some(event) = event else { continue };
        let last = matches!(event, Event::Ended);
        if events.send(event).is_err() || last {
            return;
        }
    }
}

fn key_of(key: KeyEvent) -> Option<Key> {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    Some(match key.code {
        KeyCode::Char('c') if control => Key::Interrupt,
        KeyCode::Char(_) if control || key.modifiers.contains(KeyModifiers::ALT) => return None,
        KeyCode::Char(character) => Key::Character(character),
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Tab | KeyCode::BackTab => Key::Tab,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        _ => return None,
    })
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_meanings() {
        for (code, modifiers, key) in [
            (KeyCode::Char('c'), KeyModifiers::CONTROL, Some(Key::Interrupt)),
            (KeyCode::Char('c'), KeyModifiers::NONE, Some(Key::Character('c'))),
            (KeyCode::Char('G'), KeyModifiers::SHIFT, Some(Key::Character('G'))),
            (KeyCode::Char('x'), KeyModifiers::ALT, None),
            (KeyCode::BackTab, KeyModifiers::SHIFT, Some(Key::Tab)),
            (KeyCode::F(1), KeyModifiers::NONE, None),
        ] {
            assert_eq!(key_of(KeyEvent::new(code, modifiers)), key, "{code:?}");
        }
    }
}
