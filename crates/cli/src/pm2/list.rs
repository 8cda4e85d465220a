//! `list`: the table of processes, as wide as the terminal lets it be, or a few lines for each with `-m`.

use std::io::IsTerminal;
use std::time::Duration;

use super::processes::{Process, Processes, Service, Status};
use super::words::ListWords;
use super::{Pm2, json};
use crate::failure::{Exit, Failure, Outcome};
use crate::terminal::Tone;

/// The order that nobody asks for.
const USUAL: &str = "name";

/// A text with how it is shown.
pub(crate) type Styled = (String, Tone);

pub(crate) fn list(pm2: &mut Pm2, words: &ListWords, mini: bool) -> Outcome {
    let mut processes = pm2.processes()?;
    sort(&mut processes, words.sort.as_deref().unwrap_or(USUAL))?;
    let now = hythe_stdx::unix_ms();
    if mini {
        return pm2.context.out.raw(&minimal(&processes, now));
    }
    show_table(pm2, &processes, now)
}

/// The list at the end of a verb that has changed something.
pub(crate) fn show(pm2: &mut Pm2) -> Outcome {
    if pm2.silent {
        return Ok(());
    }
    let mut processes = pm2.processes()?;
    sort(&mut processes, USUAL)?;
    show_table(pm2, &processes, hythe_stdx::unix_ms())
}

fn show_table(pm2: &mut Pm2, processes: &Processes, now: u64) -> Outcome {
    let rows: Vec<Vec<Styled>> = processes
        .list
        .iter()
        .filter_map(|process| Some(row(process, processes.service(process)?, now)))
        .collect();
    for line in table(&rows, columns()) {
        pm2.context.out.line(line)?;
    }
    match host() {
        Some(host) => pm2.context.out.line(host),
        None => Ok(()),
    }
}

/// The columns: heading, narrowest width, and the layouts that have them (0 full, 1 condensed, 2 smallest).
const COLUMNS: [(&str, usize, u8); 13] = [
    ("id", 4, 2),
    ("name", 8, 2),
    ("namespace", 13, 0),
    ("version", 9, 0),
    ("mode", 9, 1),
    ("pid", 10, 0),
    ("uptime", 8, 0),
    ("↺", 6, 1),
    ("status", 11, 2),
    ("cpu", 10, 2),
    ("mem", 10, 2),
    ("user", 10, 0),
    ("watching", 10, 0),
];

fn row(process: &Process, service: &Service, now: u64) -> Vec<Styled> {
    let (watching, watching_tone) = match json::is_watched(service) {
        true => ("enabled", Tone::Good),
        false => ("disabled", Tone::Faint),
    };
    let plain = |text: String| (text, Tone::Plain);
    vec![
        (process.id.to_string(), Tone::Strong),
        plain(service.name.clone()),
        plain(service.namespace.clone()),
        plain(json::version(service)),
        (service.mode().to_owned(), Tone::Strong),
        plain(process.pid.unwrap_or(0).to_string()),
        plain(uptime(process, now)),
        plain(process.restarts.to_string()),
        (process.status.to_string(), tone(process.status)),
        plain(format!("{}%", process.cpu_millis / 10)),
        plain(memory(process.memory_bytes)),
        (json::user(service), Tone::Strong),
        (watching.to_owned(), watching_tone),
    ]
}

/// How wide the terminal is; `None`: nobody looks, or it is not known.
fn columns() -> Option<usize> {
    let stdout = std::io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&stdout).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// The table in the widest layout that fits.
fn table(rows: &[Vec<Styled>], columns: Option<usize>) -> Vec<String> {
    let widths: Vec<usize> = (0..COLUMNS.len()).map(|column| width(rows, column)).collect();
    let total = |layout: u8| -> usize {
        let shown = widths
            .iter()
            .zip(COLUMNS)
            .filter(|(_, (_, _, least))| *least >= layout);
        shown.map(|(width, _)| width + 1).sum::<usize>() + 1
    };
    let fits = |layout: &u8| columns.is_none_or(|columns| total(*layout) <= columns);
    let layout = (0..2).find(fits).unwrap_or(2);
    let shown: Vec<usize> = (0..COLUMNS.len())
        .filter(|column| COLUMNS.get(*column).is_some_and(|(_, _, least)| *least >= layout))
        .collect();
    let pick = |cells: &[Styled]| -> Vec<Styled> {
        shown
            .iter()
            .filter_map(|column| cells.get(*column).cloned())
            .collect()
    };
    let widths: Vec<usize> = shown
        .iter()
        .filter_map(|column| widths.get(*column).copied())
        .collect();
    let heading = COLUMNS.map(|(heading, ..)| (heading.to_owned(), Tone::Strong));
    boxed(
        Some(&pick(&heading)),
        &rows.iter().map(|row| pick(row)).collect::<Vec<_>>(),
        &widths,
    )
}

fn width(rows: &[Vec<Styled>], column: usize) -> usize {
    let least = COLUMNS.get(column).map_or(0, |(_, least, _)| *least);
    let cells = rows.iter().filter_map(|row| row.get(column));
    let widest = cells.map(|(text, _)| text.chars().count() + 2).max();
    widest.unwrap_or(0).max(least)
}

/// Rows between lines. A width is that of a column with a blank at each side.
pub(crate) fn boxed(heading: Option<&[Styled]>, rows: &[Vec<Styled>], widths: &[usize]) -> Vec<String> {
    let rule = |left: &str, middle: &str, right: &str| {
        let bars: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
        format!("{left}{}{right}", bars.join(middle))
    };
    let mut lines = vec![rule("┌", "┬", "┐")];
    if let Some(heading) = heading {
        lines.push(line(heading, widths));
        if !rows.is_empty() {
            lines.push(rule("├", "┼", "┤"));
        }
    }
    lines.extend(rows.iter().map(|row| line(row, widths)));
    lines.push(rule("└", "┴", "┘"));
    lines
}

fn line(cells: &[Styled], widths: &[usize]) -> String {
    let mut line = "│".to_owned();
    for ((text, tone), width) in cells.iter().zip(widths) {
        let rest = width.saturating_sub(text.chars().count() + 1);
        line.push_str(&format!(" {}{}│", tone.paint(text), " ".repeat(rest)));
    }
    line
}

pub(crate) fn tone(status: Status) -> Tone {
    match status {
        Status::Online => Tone::Good,
        Status::Launching | Status::Stopping | Status::Waiting => Tone::Busy,
        Status::Stopped | Status::Errored => Tone::Bad,
    }
}

/// `3s`, `12m`, `5h`, `2D`; 0 for what does not run.
pub(crate) fn uptime(process: &Process, now: u64) -> String {
    let Some(started_at) = process.started_at else {
        return "0".to_owned();
    };
    let seconds = Duration::from_millis(now.saturating_sub(started_at)).as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}D", seconds / 86_400),
    }
}

/// `52.4mb`.
pub(crate) fn memory(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("gb", 1 << 30), ("mb", 1 << 20), ("kb", 1 << 10)];
    match UNITS.iter().find(|(_, size)| bytes >= *size) {
        None => format!("{bytes}b"),
        Some((unit, size)) => {
            let tenths = bytes.saturating_mul(10) / size;
            format!("{}.{}{unit}", tenths / 10, tenths % 10)
        }
    }
}

/// How busy the machine is.
fn host() -> Option<String> {
    let load = std::fs::read_to_string("/proc/loadavg").ok()?;
    let memory = std::fs::read_to_string("/proc/meminfo").ok()?;
    host_line(&load, &memory)
}

fn host_line(load: &str, memory: &str) -> Option<String> {
    let load = load.split_whitespace().next()?;
    let kibibytes = |name: &str| -> Option<u64> {
        let line = memory.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':')
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .ok()
    };
    let (total, available) = (kibibytes("MemTotal")?, kibibytes("MemAvailable")?);
    let tenths = total
        .saturating_sub(available)
        .saturating_mul(1_000)
        .checked_div(total)?;
    Some(format!(
        "{} | load: {load} | ram usage: {}.{}%",
        Tone::Strong.paint("host metrics"),
        tenths / 10,
        tenths % 10
    ))
}

fn minimal(processes: &Processes, now: u64) -> String {
    let mut text = String::new();
    for process in &processes.list {
        let Some(service) = processes.service(process) else {
            continue;
        };
        let watching = if json::is_watched(service) { "yes" } else { "no" };
        text.push_str(&format!(
            "+--- {}\nnamespace : {}\nversion : {}\npid : {}\npm2 id : {}\nstatus : {}\nmode : {}\nrestarted : {}\n\
             uptime : {}\nmemory usage : {}\nwatching : {watching}\n\n",
            service.name,
            service.namespace,
            json::version(service),
            process.pid.unwrap_or(0),
            process.id,
            process.status,
            service.mode(),
            process.restarts,
            uptime(process, now),
            memory(process.memory_bytes),
        ));
    }
    text
}

/// `name`, `memory:desc`.
fn sort(processes: &mut Processes, order: &str) -> Outcome {
    let (field, direction) = order.split_once(':').unwrap_or((order, "asc"));
    let Processes { services, list } = processes;
    let name = |process: &Process| services.get(&process.service).map(|service| service.name.clone());
    match field {
        "name" => list.sort_by_key(name),
        "id" | "pm_id" => list.sort_by_key(|process| process.id),
        "pid" => list.sort_by_key(|process| process.pid),
        "memory" => list.sort_by_key(|process| process.memory_bytes),
        "cpu" => list.sort_by_key(|process| process.cpu_millis),
        "status" => list.sort_by_key(|process| process.status.as_str()),
        "uptime" => list.sort_by_key(|process| std::cmp::Reverse(process.started_at)),
        _ => {
            let message = format!("--sort: there is no field `{field}`");
            return Err(Failure::new(Exit::Usage, message).hint(
                "use name, id, pid, memory, cpu, status or uptime, with `:desc` for the other way round",
            ));
        }
    }
    match direction {
        "asc" => {}
        "desc" => list.reverse(),
        _ => {
            let message = format!("--sort: `{direction}` is neither `asc` nor `desc`");
            return Err(Failure::new(Exit::Usage, message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use hythe_model::InstanceState;

    use super::*;
    use crate::pm2::processes::tests::{processes, service};

    fn two() -> Processes {
        processes(vec![
            service("api", &[InstanceState::Ready, InstanceState::Starting], false),
            service("web", &[], true),
        ])
    }

    fn plain(columns: Option<usize>) -> String {
        let listed = two();
        let rows: Vec<Vec<Styled>> = listed
            .list
            .iter()
            .map(|process| row(process, listed.service(process).unwrap(), 126_000))
            .collect();
        let lines = table(&rows, columns).join("\n");
        anstream::adapter::strip_str(&lines).to_string()
    }

    #[test]
    fn the_table_is_pm2s() {
        assert_eq!(
            plain(None),
            "\
┌────┬────────┬─────────────┬─────────┬─────────┬──────────┬────────┬──────┬───────────┬──────────┬──────────┬──────────┬──────────┐
│ id │ name   │ namespace   │ version │ mode    │ pid      │ uptime │ ↺    │ status    │ cpu      │ mem      │ user     │ watching │
├────┼────────┼─────────────┼─────────┼─────────┼──────────┼────────┼──────┼───────────┼──────────┼──────────┼──────────┼──────────┤
│ 0  │ api    │ default     │ N/A     │ cluster │ 100      │ 2m     │ 0    │ online    │ 12%      │ 51.6mb   │ web      │ disabled │
│ 1  │ api    │ default     │ N/A     │ cluster │ 101      │ 2m     │ 1    │ launching │ 12%      │ 51.6mb   │ web      │ disabled │
│ 2  │ web    │ default     │ N/A     │ cluster │ 0        │ 0      │ 0    │ stopped   │ 0%       │ 0b       │ web      │ disabled │
└────┴────────┴─────────────┴─────────┴─────────┴──────────┴────────┴──────┴───────────┴──────────┴──────────┴──────────┴──────────┘"
        );
    }

    #[test]
    fn less_is_shown_on_narrow_terminals() {
        let heading = |columns| plain(Some(columns)).lines().nth(1).unwrap().to_owned();
        assert_eq!(
            heading(80),
            "│ id │ name   │ mode    │ ↺    │ status    │ cpu      │ mem      │"
        );
        assert_eq!(heading(50), "│ id │ name   │ status    │ cpu      │ mem      │");
    }

    #[test]
    fn lists_are_sorted() {
        for (order, expected) in [
            ("name:desc", Ok("2 1 0")),
            ("id", Ok("0 1 2")),
            ("status", Ok("1 0 2")),
            ("pid:asc", Ok("2 0 1")),
            ("size", Err("--sort: there is no field `size`")),
            ("id:up", Err("--sort: `up` is neither `asc` nor `desc`")),
        ] {
            let mut listed = two();
            let sorted = sort(&mut listed, order);
            let ids: Vec<String> = listed.list.iter().map(|process| process.id.to_string()).collect();
            let got = sorted.map(|()| ids.join(" ")).map_err(|failure| failure.message);
            assert_eq!(got, expected.map(str::to_owned).map_err(str::to_owned), "{order}");
        }
    }

    #[test]
    fn quantities_are_short() {
        for (bytes, expected) in [
            (0, "0b"),
            (2_048, "2.0kb"),
            (54_946_611, "52.4mb"),
            (3 << 30, "3.0gb"),
        ] {
            assert_eq!(memory(bytes), expected);
        }
        let line = host_line("0.52 1 2", "MemTotal:  1000 kB\nMemAvailable:    943 kB\n").unwrap();
        let line = anstream::adapter::strip_str(&line).to_string();
        assert_eq!(line, "host metrics | load: 0.52 | ram usage: 5.7%");
        assert_eq!(host_line("", ""), None);
    }

    #[test]
    fn the_plainest_form_is_a_line_for_each_field() {
        let text = minimal(&two(), 2_000);
        assert!(text.starts_with(
            "+--- api\nnamespace : default\nversion : N/A\npid : 100\npm2 id : 0\nstatus : online\n"
        ));
        assert_eq!(text.matches("+---").count(), 3);
    }
}
