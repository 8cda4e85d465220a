//! The dashboard as characters.
//!
//! ```text
//! title
//! services and instances, the selected one marked
//! graphs of the selected one
//! its service's lines
//! what keys do, a question, or what was told
//! ```

use std::borrow::Cow;
use std::collections::VecDeque;

use hythe_model::view::{InstanceView, LogLine, ServiceView};
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Flex, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{
    Block, Cell, Clear, HighlightSpacing, Paragraph, Row as TableRow, Sparkline, Table, TableState,
};

use super::model::{Dashboard, Focus, Mode, Row};
use crate::listing::{service_state, tone};
use crate::terminal::Tone;

const HEADING: [&str; 7] = ["NAME", "STATE", "READY", "CPU", "MEMORY", "IN FLIGHT", "RESTARTS"];
const WIDTHS: [Constraint; 7] = [
    Constraint::Min(20),
    Constraint::Length(11),
    Constraint::Length(7),
    Constraint::Length(8),
    Constraint::Length(8),
    Constraint::Length(9),
    Constraint::Length(8),
];
const KEYS: &str = " ? keys  ↑↓ select  tab lines  r restart  s stop/start  + - scale  / find  q quit";
const HELP: [(&str, &str); 10] = [
    ("↑ ↓ j k", "select, or scroll the lines"),
    ("PgUp PgDn g G", "further, to the first, to the last"),
    ("tab", "between services and lines"),
    ("r", "restart the service, one instance after another"),
    ("s", "stop it, or start it again"),
    ("+ -", "one instance more, or fewer"),
    ("/", "only services whose name contains something"),
    ("esc", "all services, newest lines"),
    ("?", "this"),
    ("q", "leave; everything runs on"),
];

/// Lines of a terminal below which the graphs are left out.
const ROOM_FOR_GRAPHS: u16 = 16;

/// Whether there are colours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint {
    pub(super) colours: bool,
}

pub(super) fn draw(frame: &mut Frame<'_>, dashboard: &Dashboard, paint: Paint) {
    let area = frame.area();
    let [title, list, graphs, lines, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Fill(4),
        Constraint::Length(if area.height < ROOM_FOR_GRAPHS { 0 } else { 4 }),
        Constraint::Fill(5),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(title_of(dashboard, paint), title);
    draw_list(frame, list, dashboard, paint);
    draw_graphs(frame, graphs, dashboard, paint);
    draw_lines(frame, lines, dashboard, paint);
    frame.render_widget(footer(dashboard, paint), keys);
    if dashboard.mode == Mode::Help {
        draw_help(frame, area);
    }
}

fn title_of(dashboard: &Dashboard, paint: Paint) -> Line<'static> {
    let instances: usize = dashboard
        .services
        .iter()
        .map(|service| service.instances.len())
        .sum();
    let text = format!(
        " hythe monit   {} services, {instances} instances",
        dashboard.services.len()
    );
    let mut spans = vec![Span::styled(text, Modifier::BOLD)];
    if let Some(why) = &dashboard.unreachable {
        spans.push(Span::styled(format!("   {}", shown(why)), paint.of(Tone::Bad)));
    } else if !dashboard.filter.is_empty() || dashboard.mode == Mode::Filter {
        spans.push(Span::raw(format!("   /{}", dashboard.filter)));
    }
    Line::from(spans)
}

fn draw_list(frame: &mut Frame<'_>, area: Rect, dashboard: &Dashboard, paint: Paint) {
    let rows = dashboard.rows();
    let table_rows: Vec<TableRow<'_>> = rows
        .iter()
        .filter_map(|row| table_row(dashboard, row, paint))
        .collect();
    let empty = table_rows.is_empty();
    let table = Table::new(table_rows, WIDTHS)
        .header(TableRow::new(HEADING).style(Modifier::BOLD))
        .row_highlight_style(Modifier::REVERSED)
        .highlight_symbol("▸")
        .highlight_spacing(HighlightSpacing::Always)
        .block(framed("services", dashboard.focus == Focus::Services));
    let mut state = TableState::new().with_selected(dashboard.selected_index());
    frame.render_stateful_widget(table, area, &mut state);
    if empty {
        let text = if dashboard.services.is_empty() {
            "nothing runs; `hythe up` starts services"
        } else {
            "no service has that in its name"
        };
        let [_, _, middle] =
            Layout::vertical([Constraint::Length(2), Constraint::Length(1), Constraint::Fill(1)]).areas(area);
        frame.render_widget(Paragraph::new(text).alignment(Alignment::Center), middle);
    }
}

fn table_row<'a>(dashboard: &'a Dashboard, row: &Row, paint: Paint) -> Option<TableRow<'a>> {
    let service = dashboard
        .services
        .iter()
        .find(|service| service.name == row.service)?;
    let Some(id) = &row.instance else {
        return Some(service_row(service, paint));
    };
    let instance = service.instances.iter().find(|instance| instance.id == *id)?;
    Some(instance_row(instance, paint))
}

fn service_row(service: &ServiceView, paint: Paint) -> TableRow<'_> {
    let (state, tone) = service_state(service);
    TableRow::new([
        Cell::from(Span::styled(shown(&service.name), Modifier::BOLD)),
        Cell::from(Span::styled(state, paint.of(tone))),
        format!("{}/{}", service.ready, service.desired).into(),
    ])
}

fn instance_row(instance: &InstanceView, paint: Paint) -> TableRow<'_> {
    TableRow::new([
        Cell::from(format!("  {}", shown(&instance.id))),
        Cell::from(Span::styled(
            instance.state.to_string(),
            paint.of(tone(instance.state)),
        )),
        "".into(),
        percent(u64::from(instance.cpu_millis)).into(),
        hythe_stdx::format_size(instance.memory_bytes).into(),
        instance.in_flight.to_string().into(),
        instance.restarts.to_string().into(),
    ])
}

fn draw_graphs(frame: &mut Frame<'_>, area: Rect, dashboard: &Dashboard, paint: Paint) {
    let thirds = Layout::horizontal([Constraint::Fill(1); 3]).areas::<3>(area);
    let history = dashboard
        .selected
        .as_ref()
        .and_then(|row| dashboard.histories.get(row))
        .cloned()
        .unwrap_or_default();
    let newest = |samples: &VecDeque<u64>| samples.back().copied().unwrap_or(0);
    let cpu = format!("cpu {}", percent(newest(&history.cpu)));
    let memory = format!("memory {}", hythe_stdx::format_size(newest(&history.memory)));
    let in_flight = format!("in flight {}", newest(&history.in_flight));
    let graphs = [
        (cpu, &history.cpu, Color::Green),
        (memory, &history.memory, Color::Cyan),
        (in_flight, &history.in_flight, Color::Yellow),
    ];
    for ((title, samples, colour), area) in graphs.into_iter().zip(thirds) {
        let width = usize::from(area.width.saturating_sub(2));
        let shown: Vec<u64> = samples.iter().rev().take(width).rev().copied().collect();
        let graph = Sparkline::default()
            .data(shown)
            .style(paint.coloured(colour))
            .block(Block::bordered().title(format!(" {title} ")));
        frame.render_widget(graph, area);
    }
}

fn draw_lines(frame: &mut Frame<'_>, area: Rect, dashboard: &Dashboard, paint: Paint) {
    let name = dashboard
        .selected
        .as_ref()
        .map_or("lines".into(), |row| shown(&row.service));
    let title = match dashboard.scrolled {
        0 => name.into_owned(),
        lines => format!("{name}, {lines} lines back"),
    };
    let height = usize::from(area.height.saturating_sub(2));
    let width = dashboard
        .lines
        .iter()
        .map(|line| line.instance.len())
        .max()
        .unwrap_or(0);
    let end = dashboard.lines.len() - dashboard.scrolled.min(dashboard.lines.len());
    let visible = dashboard.lines.range(end.saturating_sub(height)..end);
    let lines: Vec<Line<'_>> = visible.map(|line| line_of(line, width, paint)).collect();
    let block = framed(&title, dashboard.focus == Focus::Lines);
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn line_of(line: &LogLine, width: usize, paint: Paint) -> Line<'_> {
    let tone = match line.stream.as_str() {
        "stderr" => Tone::Bad,
        "hythe" => Tone::Faint,
        _ => Tone::Plain,
    };
    Line::from(vec![
        Span::styled(
            format!("{:width$} | ", shown(&line.instance)),
            paint.of(Tone::Faint),
        ),
        Span::styled(shown(&line.message), paint.of(tone)),
    ])
}

fn footer(dashboard: &Dashboard, paint: Paint) -> Line<'_> {
    match (&dashboard.mode, &dashboard.told) {
        (Mode::Confirm(question, _), _) => {
            Line::styled(format!(" {} y/n", shown(question)), Modifier::REVERSED)
        }
        (Mode::Filter, _) => Line::raw(format!(" /{}▏ enter: keep, esc: all services", dashboard.filter)),
        (_, Some(told)) => Line::styled(format!(" {}", shown(told)), Modifier::BOLD),
        _ => Line::styled(KEYS, paint.of(Tone::Faint)),
    }
}

fn draw_help(frame: &mut Frame<'_>, area: Rect) {
    let lines: Vec<Line<'_>> = HELP
        .iter()
        .map(|(keys, meaning)| Line::raw(format!(" {keys:14} {meaning}")))
        .collect();
    let [middle] = Layout::vertical([Constraint::Length(lines.len() as u16 + 2)])
        .flex(Flex::Center)
        .areas(area);
    let [middle] = Layout::horizontal([Constraint::Length(66)])
        .flex(Flex::Center)
        .areas(middle);
    frame.render_widget(Clear, middle);
    frame.render_widget(Paragraph::new(lines).block(framed("keys", true)), middle);
}

fn framed(title: &str, focused: bool) -> Block<'static> {
    let style = if focused {
        Modifier::BOLD
    } else {
        Modifier::empty()
    };
    Block::bordered().title(Span::styled(format!(" {title} "), style))
}

fn percent(millis: u64) -> String {
    format!("{}.{}%", millis / 10, millis % 10)
}

/// What others wrote must not steer the terminal.
fn shown(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return text.into();
    }
    let plain = anstream::adapter::strip_str(text).to_string();
    plain.replace('\t', "    ").replace(char::is_control, "").into()
}

impl Paint {
    fn of(self, tone: Tone) -> Style {
        match tone {
            Tone::Plain => Style::new(),
            Tone::Strong => Style::new().add_modifier(Modifier::BOLD),
            Tone::Faint => Style::new().add_modifier(Modifier::DIM),
            Tone::Good => self.coloured(Color::Green),
            Tone::Busy => self.coloured(Color::Yellow),
            Tone::Bad => self.coloured(Color::Red),
        }
    }

    fn coloured(self, colour: Color) -> Style {
        if self.colours {
            Style::new().fg(colour)
        } else {
            Style::new()
        }
    }
}
