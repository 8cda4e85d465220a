//! What runs here: the program, its folder, and how it is stopped and started again.

use std::path::PathBuf;

use hythe_model::Workload;
use hythe_model::workload::{ListensBy, RestartPolicy, RunAs};

use crate::context::Context;
use crate::draft::Draft;
use crate::keys::Shape;
use crate::node::Node;
use crate::problem::Finding;
use crate::reader::Block;
use crate::service::Service;
use crate::{autoscale, dependency, deploy, environment, healthcheck, logs, rules, signal, words};

pub(crate) const RESTART: Shape = Shape::Either(&[
    Shape::OneOf(&["no", "always", "on-failure", "unless-stopped"]),
    Shape::Text,
]);
pub(crate) const STOP_SIGNAL: Shape = Shape::Either(&[Shape::Text, Shape::Integer(1, 64)]);

/// What only a shell gives a meaning to.
const OF_SHELLS: [&str; 9] = ["&&", "||", "|", ";", "&", ">", ">>", "<", "2>&1"];

/// `None` if there is nothing to run; what is wrong is reported.
pub(crate) fn read(service: &Service<'_>, draft: &mut Draft) -> Option<Workload> {
    let block = &service.block;
    let command = command(service);
    let mut workload = Workload::new(command.unwrap_or_default(), working_dir(block));
    workload.environment = environment::read(service);
    workload.port = block.integer("port");
    workload.publish = block.boolean("publish").unwrap_or_default();
    workload.listens = listens(block);
    workload.autoscale = autoscale::read(block);
    workload.sleep_after_ms = block.duration("sleep");
    workload.stop_signal = stop_signal(block).unwrap_or(workload.stop_signal);
    workload.stop_grace_period_ms = block
        .duration("stop_grace_period")
        .unwrap_or(workload.stop_grace_period_ms);
    workload.healthcheck = healthcheck::read(block, "healthcheck");
    workload.logs = logs::read(block);
    workload.depends_on = dependency::read(service, draft);
    let restart = restart(block);
    let condition;
    deploy::Deploy {
        replicas: workload.replicas,
        update: workload.update,
        limits: workload.limits,
        condition,
        restart_rules: workload.restart_rules,
    } = deploy::read(block);
    workload.user = user(block);
    workload.restart = condition.or(restart).unwrap_or_default();
    rules::read(block, &mut workload);
    Some(workload).filter(|workload| !workload.command.is_empty())
}

/// How it comes to listen; reports what does not go with that.
fn listens(block: &Block<'_>) -> ListensBy {
    let listens = match block.choice("listens") {
        Some("port") => ListensBy::Port,
        Some("socket") => ListensBy::Socket,
        _ => ListensBy::Auto,
    };
    if listens == ListensBy::Socket
        && !block.has("port")
        && let Some(value) = block.get("listens")
    {
        let finding = value.error("`listens: socket` needs `port`");
        block
            .cx
            .report(finding.help("`port` says at which port the socket listens"));
    }
    if listens != ListensBy::Auto
        && block.boolean("publish") == Some(true)
        && let Some(value) = block.get("publish")
    {
        let finding = value.error("`publish` needs `listens: auto`: it goes by what the program binds");
        block
            .cx
            .report(finding.help("a listener (`listeners`) has the gateway listen on a port of its own"));
    }
    listens
}

/// `entrypoint` followed by `command`.
fn command(service: &Service<'_>) -> Option<Vec<String>> {
    let block = &service.block;
    let mut words = Vec::new();
    for key in ["entrypoint", "command"] {
        if let Some(node) = block.get(key) {
            words.extend(command_words(block.cx, node)?);
        }
    }
    if words.first().is_none_or(String::is_empty) {
        let entry = block.entry("command").or_else(|| block.entry("entrypoint"))?;
        block.cx.report(Finding::error(
            entry.key_span,
            "there is nothing to run: the command is empty",
        ));
        return None;
    }
    Some(words)
}

/// A list as it is, a text split as a shell would.
fn command_words(cx: &Context<'_>, node: &Node) -> Option<Vec<String>> {
    if let Some(items) = node.list() {
        return items
            .iter()
            .map(|item| cx.text(item).map(str::to_owned))
            .collect();
    }
    let words = match words::split(cx.text(node)?) {
        Ok(words) => words,
        Err(error) => {
            cx.report(node.error(error.to_string()));
            return None;
        }
    };
    if let Some(word) = words
        .iter()
        .find(|word| !word.quoted && OF_SHELLS.contains(&word.text.as_str()))
    {
        let finding = node.warning(format!(
            "no shell runs this: `{}` is passed on as an argument",
            word.text
        ));
        cx.report(finding.help("write `[sh, -c, \"...\"]` for a shell"));
    }
    Some(words.into_iter().map(|word| word.text).collect())
}

fn working_dir(block: &Block<'_>) -> PathBuf {
    let folder = &block.cx.folder;
    let Some(text) = block.text("working_dir") else {
        return folder.clone();
    };
    let joined = folder.join(text);
    std::path::absolute(&joined).unwrap_or(joined)
}

fn restart(block: &Block<'_>) -> Option<RestartPolicy> {
    let node = block.get("restart")?;
    if node.is_boolean() && node.boolean() == Some(false) {
        let finding = node.warning("`false` is read as `no`: an exit is final");
        block.cx.report(finding.help("write `restart: \"no\"`"));
        return Some(RestartPolicy::No);
    }
    let text = block.cx.text(node)?;
    let policy = match text {
        "no" => Some(RestartPolicy::No),
        "always" => Some(RestartPolicy::Always),
        "unless-stopped" => Some(RestartPolicy::UnlessStopped),
        // As in Docker, where 0 means without limit.
        "on-failure" | "on-failure:0" => Some(RestartPolicy::OnFailure),
        _ => text
            .strip_prefix("on-failure:")
            .and_then(|most| most.parse().ok())
            .map(RestartPolicy::OnFailureAtMost),
    };
    if policy.is_none() {
        let message = format!(
            "expected `no`, `always`, `on-failure`, `on-failure:N` or `unless-stopped`, found `{text}`"
        );
        block.cx.report(node.error(message));
    }
    policy
}

/// Whether there are such a user and group is known where it is started.
fn user(block: &Block<'_>) -> Option<RunAs> {
    let node = block.get("user")?;
    let text = block.cx.text(node)?;
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let is_name = |name: &str| !name.is_empty() && !name.contains(':');
    if !is_name(user) || !group.is_none_or(is_name) {
        let message = format!("expected `user` or `user:group`, found `{text}`");
        block.cx.report(node.error(message));
        return None;
    }
    Some(RunAs {
        user: user.to_owned(),
        group: group.map(str::to_owned),
    })
}

fn stop_signal(block: &Block<'_>) -> Option<i32> {
    let node = block.get("stop_signal")?;
    let text = block.cx.text(node)?;
    let number = signal::number(text);
    if number.is_none() {
        let finding = node.error(format!("`{text}` is not a signal"));
        block
            .cx
            .report(finding.help("write a name such as `SIGTERM`, or a number from 1 to 64"));
    }
    number
}
