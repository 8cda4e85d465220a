//! The model by scripts of events, and screens as golden files: `UPDATE_GOLDEN=1` writes them anew.

use std::fs;
use std::path::Path;

use hythe_model::view::{LogLine, ServiceView};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::json;

use super::model::{Dashboard, Effect, Event, Focus, Key, Mode};
use super::screen::{self, Paint};

/// A service with so many instances, of which each uses something of its own.
fn service(name: &str, instances: u32, change: impl FnOnce(&mut ServiceView)) -> ServiceView {
    let instance = |slot: u32| {
        json!({
            "id": format!("{name}-{}", slot + 1), "slot": slot, "pid": 100 + slot, "address": "127.0.0.1:20000",
            "state": "ready", "restarts": slot, "revision": "0123456789abcdef", "started_at": 1, "last_exit": null,
            "message": null, "cpu_millis": 125 * (slot + 1), "memory_bytes": 40_000_000 * u64::from(slot + 1),
            "in_flight": 3 * slot,
        })
    };
    let view = json!({
        "name": name, "project": "default", "kind": "process", "ready": instances, "desired": instances,
        "settled": true, "stopped": false, "failure": null, "routes": [],
        "instances": (0..instances).map(instance).collect::<Vec<_>>(),
    });
    let mut view = serde_json::from_value(view).unwrap();
    change(&mut view);
    view
}

fn world() -> Vec<ServiceView> {
    vec![
        service("users", 2, |_| ()),
        service("web", 1, |web| web.settled = false),
        service("jobs", 0, |jobs| jobs.stopped = true),
        service("search", 0, |search| search.kind = "external".to_owned()),
    ]
}

fn line(instance: &str, stream: &str, message: &str) -> LogLine {
    LogLine {
        at: 0,
        service: "users".to_owned(),
        instance: instance.to_owned(),
        stream: stream.to_owned(),
        message: message.to_owned(),
    }
}

/// One that has seen the world, with effects that are of no interest.
fn dashboard() -> Dashboard {
    let mut dashboard = Dashboard::new();
    assert_eq!(
        dashboard.take(Event::Services(world())),
        [Effect::Follow(1, "users".to_owned())]
    );
    dashboard
}

/// Types: `↑↓⇥⏎⎋⌫` are those keys, every other character is itself.
fn press(dashboard: &mut Dashboard, keys: &str) -> Vec<Effect> {
    let key = |character| match character {
        '↑' => Key::Up,
        '↓' => Key::Down,
        '⇥' => Key::Tab,
        '⏎' => Key::Enter,
        '⎋' => Key::Escape,
        '⌫' => Key::Backspace,
        character => Key::Character(character),
    };
    keys.chars()
        .flat_map(|character| dashboard.take(Event::Key(key(character))))
        .collect()
}

#[test]
fn keys_and_what_follows() {
    let users = || "users".to_owned();
    let follow = |number, service: &str| Effect::Follow(number, service.to_owned());
    for (keys, effects) in [
        ("r", vec![Effect::Restart(users())]),
        ("sy", vec![Effect::Stop(users())]),
        ("s⏎", vec![Effect::Stop(users())]),
        ("sn", vec![]),
        ("s⎋", vec![]),
        ("+y", vec![Effect::Scale(users(), 3)]),
        ("-y", vec![Effect::Scale(users(), 1)]),
        ("↓-y", vec![Effect::Scale(users(), 1)]),
        ("↓↓↓", vec![follow(2, "web")]),
        (
            "jjjjjs",
            vec![
                follow(2, "web"),
                follow(3, "jobs"),
                Effect::Start("jobs".to_owned()),
            ],
        ),
        ("Gr", vec![follow(2, "search")]),
        ("/we⏎r", vec![follow(2, "web"), Effect::Restart("web".to_owned())]),
        ("/wx⌫⎋", vec![follow(2, "web")]),
        ("?r", vec![]),
        ("⇥↓", vec![]),
        ("q", vec![Effect::Quit]),
        ("/q", vec![]),
    ] {
        assert_eq!(press(&mut dashboard(), keys), effects, "{keys}");
    }
    let mut asked = dashboard();
    press(&mut asked, "/");
    assert_eq!(asked.take(Event::Key(Key::Interrupt)), [Effect::Quit]);
    assert_eq!(asked.take(Event::Ended), [Effect::Quit]);
}

#[test]
fn what_is_selected_stays_selected() {
    let mut dashboard = dashboard();
    press(&mut dashboard, "↓↓");
    let selected = |dashboard: &Dashboard| {
        let row = dashboard.selected.clone().unwrap();
        row.instance.unwrap_or(row.service)
    };
    assert_eq!(selected(&dashboard), "users-2");
    let mut fewer = world();
    fewer[0].instances.pop();
    dashboard.take(Event::Services(fewer.clone()));
    assert_eq!(selected(&dashboard), "users", "its instance is gone");
    fewer.insert(0, service("about", 1, |_| ()));
    dashboard.take(Event::Services(fewer));
    assert_eq!(selected(&dashboard), "users", "another came before it");
    assert_eq!(
        dashboard.take(Event::Services(vec![service("web", 1, |_| ())])),
        [Effect::Follow(2, "web".to_owned())]
    );
    dashboard.take(Event::Services(Vec::new()));
    assert_eq!(dashboard.selected, None);
}

#[test]
fn lines_are_those_of_the_selected_service_and_stay_where_they_are_read() {
    let mut dashboard = dashboard();
    dashboard.take(Event::Line(0, line("web-1", "stdout", "of before")));
    for number in 0..3000 {
        dashboard.take(Event::Line(1, line("users-1", "stdout", &number.to_string())));
    }
    assert_eq!(
        (dashboard.lines.len(), dashboard.lines[0].message.as_str()),
        (2000, "1000")
    );
    press(&mut dashboard, "⇥↑↑");
    assert_eq!((dashboard.focus, dashboard.scrolled), (Focus::Lines, 2));
    dashboard.take(Event::Line(1, line("users-1", "stdout", "one more")));
    assert_eq!(dashboard.scrolled, 3);
    press(&mut dashboard, "g");
    assert_eq!(dashboard.scrolled, 1999);
    press(&mut dashboard, "G");
    assert_eq!(dashboard.scrolled, 0);
}

#[test]
fn usage_is_summed_for_a_service_and_bounded() {
    let mut dashboard = dashboard();
    for _ in 0..500 {
        dashboard.take(Event::Services(world()));
    }
    let history = &dashboard.histories[dashboard.selected.as_ref().unwrap()];
    assert_eq!((history.cpu.len(), history.cpu.back()), (240, Some(&375)));
    assert_eq!(history.in_flight.back(), Some(&3));
    assert_eq!(dashboard.histories.len(), 7);
    dashboard.take(Event::Services(Vec::new()));
    assert!(dashboard.histories.is_empty());
}

#[test]
fn screens() {
    let mut usual = dashboard();
    for (instance, stream, message) in [
        ("users-1", "hythe", "started"),
        ("users-1", "stdout", "listening on 3000"),
        (
            "users-2",
            "stderr",
            "\u{1b}[31mred\u{1b}[0m and \u{1b}]0;title\u{7}a\tb",
        ),
    ] {
        usual.take(Event::Line(1, line(instance, stream, message)));
    }
    golden("usual", &usual, (80, 24));
    golden("wide", &usual, (120, 30));
    golden("tiny", &usual, (20, 6));
    press(&mut usual, "+");
    assert!(matches!(usual.mode, Mode::Confirm(..)));
    golden("question", &usual, (80, 24));
    press(&mut usual, "n");
    golden("told", &usual, (80, 24));
    press(&mut usual, "?");
    golden("help", &usual, (80, 24));
    press(&mut usual, "?/se");
    golden("filter", &usual, (80, 24));
    let mut lost = dashboard();
    lost.take(Event::Unreachable("no server is running".to_owned()));
    golden("lost", &lost, (80, 24));
    golden("empty", &Dashboard::new(), (80, 24));
}

#[test]
fn without_colours_there_are_none() {
    let backend = drawn(&dashboard(), (80, 24), false);
    let buffer = backend.buffer();
    let coloured = |cell: &&ratatui::buffer::Cell| cell.fg != ratatui::style::Color::Reset;
    assert_eq!(buffer.content.iter().filter(coloured).count(), 0);
    let backend = drawn(&dashboard(), (80, 24), true);
    assert!(backend.buffer().content.iter().any(|cell| coloured(&cell)));
}

fn drawn(dashboard: &Dashboard, (width, height): (u16, u16), colours: bool) -> TestBackend {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| screen::draw(frame, dashboard, Paint { colours }))
        .unwrap();
    terminal.backend().clone()
}

#[track_caller]
fn golden(name: &str, dashboard: &Dashboard, size: (u16, u16)) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("testdata/monit/{name}.txt"));
    let backend = drawn(dashboard, size, true);
    let cells: Vec<&str> = backend
        .buffer()
        .content
        .iter()
        .map(ratatui::buffer::Cell::symbol)
        .collect();
    let lines = cells
        .chunks(usize::from(size.0))
        .map(|line| line.concat().trim_end().to_owned());
    let text = lines.collect::<Vec<_>>().join("\n") + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        text,
        expected,
        "{} (UPDATE_GOLDEN=1 writes it)\n{text}",
        path.display()
    );
}
