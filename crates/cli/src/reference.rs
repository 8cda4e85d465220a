//! The reference of the command line, made from its definition.

use clap::{Arg, Command};

use crate::arguments::Arguments;
use crate::failure::EXIT_CODES;

/// `docs/cli.md`.
pub fn reference() -> String {
    let command = Arguments::definition();
    let mut text = String::from(
        "# The command line\n\nMade from the program's own definition; `UPDATE_DOCS=1 cargo test -p hythe-cli` \
         writes it anew.\n",
    );
    text.push_str(&format!("\n{}\n", paragraph(&command)));
    text.push_str("\n## Options of every verb\n\n");
    let global = command.get_arguments().filter(|arg| arg.is_global_set());
    global.for_each(|arg| push_argument(&mut text, arg));
    text.push_str("\n## Exit codes\n\n| code | meaning |\n| --- | --- |\n");
    for (code, meaning) in EXIT_CODES {
        text.push_str(&format!("| {code} | {meaning} |\n"));
    }
    text.push_str(
        "\n## JSON\n\nEvery read takes `--json`. The shapes are those of the API (`GET /openapi.json`), version 1: \
         fields are added, never renamed or removed.\n",
    );
    for verb in command.get_subcommands() {
        push_verb(&mut text, "hythe", verb);
    }
    text
}

fn push_verb(text: &mut String, parent: &str, verb: &Command) {
    if verb.is_hide_set() {
        return;
    }
    let name = format!("{parent} {}", verb.get_name());
    if verb.has_subcommands() {
        for inner in verb.get_subcommands() {
            push_verb(text, &name, inner);
        }
        return;
    }
    let usage = verb.clone().bin_name(&name).render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").trim();
    text.push_str(&format!(
        "\n## {name}\n\n{}\n\n```\n{usage}\n```\n\n",
        paragraph(verb)
    ));
    let shown = |arg: &&Arg| !arg.is_hide_set() && !arg.is_global_set();
    verb.get_arguments()
        .filter(shown)
        .for_each(|arg| push_argument(text, arg));
    if let Some(examples) = verb.get_after_help() {
        text.push_str(&format!("\n```\n{examples}\n```\n"));
    }
}

fn push_argument(text: &mut String, arg: &Arg) {
    let mut names: Vec<String> = Vec::new();
    names.extend(arg.get_short().map(|short| format!("-{short}")));
    names.extend(arg.get_long().map(|long| format!("--{long}")));
    let value = arg
        .get_value_names()
        .filter(|_| arg.get_action().takes_values())
        .map(|names| names.join(" "));
    let title = match (names.is_empty(), value) {
        (true, value) => value.unwrap_or_else(|| arg.get_id().to_string().to_uppercase()),
        (false, Some(value)) => format!("{} {value}", names.join(", ")),
        (false, None) => names.join(", "),
    };
    let mut help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let defaults: Vec<_> = arg
        .get_default_values()
        .iter()
        .map(|value| value.to_string_lossy())
        .collect();
    if !defaults.is_empty() && arg.get_action().takes_values() {
        help.push_str(&format!(" [default: {}]", defaults.join(", ")));
    }
    if let Some(variable) = arg.get_env() {
        help.push_str(&format!(" (`{}`)", variable.to_string_lossy()));
    }
    text.push_str(&format!("- `{title}`: {help}\n"));
}

fn paragraph(command: &Command) -> String {
    command
        .get_long_about()
        .or(command.get_about())
        .map(ToString::to_string)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cli.md");
        let wanted = reference();
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, &wanted).unwrap();
        }
        let have = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            have == wanted,
            "docs/cli.md is out of date; UPDATE_DOCS=1 cargo test -p hythe-cli writes it anew"
        );
    }
}
