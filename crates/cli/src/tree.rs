//! `ls --tree`: the processes of services, below whoever started them, as `pstree` draws them.
//!
//! Which process is an instance's the server knows; what that has started stands in `/proc`, so this shows the machine
//! that it runs on.

use std::collections::BTreeMap;
use std::fs;

use hythe_model::view::{ServiceView, StatusView};
use serde::Serialize;

use crate::Context;
use crate::failure::Outcome;
use crate::terminal::Tone;

/// A process, or something that processes stand below.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Node {
    /// What it is: a service, an instance, or a command.
    name: String,
    /// Its process id, if it is a process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    /// Program and arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<String>,
    /// What stands below.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    children: Vec<Node>,
}

pub(crate) fn show(context: &mut Context, services: &[ServiceView], json: bool) -> Outcome {
    let status: StatusView = context.client.get("/v1/status")?;
    let tree = tree(&status, services, &Processes::read());
    if json {
        return context.out.json(&tree);
    }
    let mut lines = Vec::new();
    for root in &tree {
        draw(root, "", "", &mut lines);
    }
    lines.into_iter().try_for_each(|line| context.out.line(line))
}

/// Every process that there is: its parent and its command.
#[derive(Debug, Default)]
struct Processes {
    by_parent: BTreeMap<u32, Vec<u32>>,
    commands: BTreeMap<u32, String>,
}

impl Processes {
    /// Those of this machine. One that ends meanwhile is left out.
    fn read() -> Self {
        let mut processes = Self::default();
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        for pid in pids {
            if let Some((parent, command)) = about(pid) {
                processes.add(pid, parent, command);
            }
        }
        processes
    }

    fn add(&mut self, pid: u32, parent: u32, command: String) {
        self.by_parent.entry(parent).or_default().push(pid);
        self.commands.insert(pid, command);
    }

    /// The processes below `pid`, those that are instances themselves left out.
    fn below(&self, pid: u32, instances: &[u32]) -> Vec<Node> {
        let mut children = self.by_parent.get(&pid).cloned().unwrap_or_default();
        children.retain(|child| !instances.contains(child));
        children.sort_unstable();
        children
            .into_iter()
            .map(|child| Node {
                name: self.commands.get(&child).cloned().unwrap_or_default(),
                pid: Some(child),
                command: None,
                children: self.below(child, instances),
            })
            .collect()
    }
}

/// Parent and command of a process.
fn about(pid: u32) -> Option<(u32, String)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, parentheses too.
    let (before, after) = stat.rsplit_once(") ")?;
    let parent = after.split(' ').nth(1)?.parse().ok()?;
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = arguments.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    let words: Vec<_> = words
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    let command = match words.as_slice() {
        [] => format!("[{}]", before.split_once('(')?.1),
        words => words.join(" "),
    };
    Some((parent, command))
}

/// The server, and the minder with what it is the parent of.
fn tree(status: &StatusView, services: &[ServiceView], processes: &Processes) -> Vec<Node> {
    let instances: Vec<u32> = services
        .iter()
        .flat_map(|service| service.instances.iter().filter_map(|instance| instance.pid))
        .collect();
    let service = |service: &ServiceView| Node {
        name: service.name.clone(),
        pid: None,
        command: None,
        children: of_service(service, &instances, processes),
    };
    let server = Node {
        name: "hythe server".to_owned(),
        pid: Some(status.server.pid),
        command: None,
        children: Vec::new(),
    };
    let minder = Node {
        name: "hythe minder".to_owned(),
        pid: status.minder.pid,
        command: None,
        children: services
            .iter()
            .filter(|service| service.kind == "process")
            .map(service)
            .collect(),
    };
    vec![server, minder]
}

fn of_service(service: &ServiceView, instances: &[u32], processes: &Processes) -> Vec<Node> {
    let running = service
        .instances
        .iter()
        .filter_map(|instance| Some((instance, instance.pid?)));
    running
        .map(|(instance, pid)| Node {
            name: instance.id.clone(),
            pid: Some(pid),
            command: processes.commands.get(&pid).cloned(),
            children: processes.below(pid, instances),
        })
        .collect()
}

fn draw(node: &Node, branch: &str, indent: &str, lines: &mut Vec<String>) {
    let name = match node.pid {
        None => Tone::Strong.paint(&node.name),
        Some(_) => node.name.clone(),
    };
    let command = node.command.as_ref().map(|command| format!(": {command}"));
    let pid = node
        .pid
        .map(|pid| Tone::Faint.paint(&format!(" ({pid})")))
        .unwrap_or_default();
    lines.push(format!("{branch}{name}{}{pid}", command.unwrap_or_default()));
    let last = node.children.len().saturating_sub(1);
    for (place, child) in node.children.iter().enumerate() {
        let (corner, below) = match place == last {
            true => ("└─ ", "   "),
            false => ("├─ ", "│  "),
        };
        draw(
            child,
            &format!("{indent}{corner}"),
            &format!("{indent}{below}"),
            lines,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, pid: Option<u32>, command: Option<&str>, children: Vec<Node>) -> Node {
        Node {
            name: name.to_owned(),
            pid,
            command: command.map(str::to_owned),
            children,
        }
    }

    #[test]
    fn branches_are_drawn_as_pstree_does() {
        let mut processes = Processes::default();
        for (pid, parent, command) in [
            (11, 10, "node app.js"),
            (12, 10, "sh -c 'node b.js'"),
            (13, 12, "node b.js"),
            (14, 13, "node worker.js"),
            (15, 12, "sleep 1"),
        ] {
            processes.add(pid, parent, command.to_owned());
        }
        let instances = [11, 12];
        assert_eq!(processes.below(10, &instances), []);
        let app = |id: &str, pid| {
            node(
                id,
                Some(pid),
                processes.commands.get(&pid).map(String::as_str),
                processes.below(pid, &instances),
            )
        };
        let service = node("app", None, None, vec![app("app-1", 11), app("app-2", 12)]);
        let minder = node(
            "hythe minder",
            Some(10),
            None,
            vec![service, node("idle", None, None, Vec::new())],
        );
        let mut lines = Vec::new();
        draw(&minder, "", "", &mut lines);
        let plain: Vec<String> = lines
            .iter()
            .map(|line| anstream::adapter::strip_str(line).to_string())
            .collect();
        assert_eq!(
            plain,
            [
                "hythe minder (10)",
                "├─ app",
                "│  ├─ app-1: node app.js (11)",
                "│  └─ app-2: sh -c 'node b.js' (12)",
                "│     ├─ node b.js (13)",
                "│     │  └─ node worker.js (14)",
                "│     └─ sleep 1 (15)",
                "└─ idle",
            ]
        );
    }

    #[test]
    fn this_process_is_found_below_its_parent() {
        let own = std::process::id();
        let (parent, command) = about(own).unwrap();
        assert!(!command.is_empty());
        assert!(Processes::read().by_parent[&parent].contains(&own));
    }
}
