//! Procfiles: a line `type: command` for each app.
//!
//! ```text
//! # comments and empty lines are skipped
//! web: node server.js --port $PORT
//! ```
//!
//! Commands are run by bash, so that variables and quotes in them work. `.env` files and ports by type are
//! left to the caller.

use std::ops::Range;

use hythe_stdx::Lines;

use crate::app::{App, Interpreter};
use crate::problem::{Place, Problem};

/// The apps of a Procfile, in its order.
///
/// # Errors
/// Every line that is none of a Procfile, each with its place.
pub fn parse(text: &str) -> Result<Vec<App>, Vec<Problem>> {
    let lines = Lines::of(text);
    let mut apps: Vec<App> = Vec::new();
    let mut problems = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        match read_line(line, &apps) {
            Ok(app) => apps.extend(app),
            Err((span, message)) => {
                let place = Place::of(&lines, span.start + start..span.end + start);
                problems.push(Problem::error(Some(place), message).help("write `type: command`"));
            }
        }
        start += line.len();
    }
    if problems.is_empty() {
        Ok(apps)
    } else {
        Err(problems)
    }
}

/// `None` for a line that says nothing; bytes of the line and what is wrong there.
fn read_line(line: &str, before: &[App]) -> Result<Option<App>, (Range<usize>, String)> {
    let trimmed = line.trim();
    if trimmed.is_empty() || trimmed.starts_with('#') {
        return Ok(None);
    }
    let from = line.len() - line.trim_start().len();
    let whole = from..from + trimmed.len();
    let Some((name, command)) = trimmed.split_once(':') else {
        return Err((whole, "there is no colon after the type of a process".to_owned()));
    };
    let of_name = from..from + name.len();
    let name = name.trim_end();
    let is_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if name.is_empty() || !name.chars().all(is_letter) {
        let message = format!("the type `{name}` may only have ASCII letters, digits, `_` and `-`");
        return Err((of_name, message));
    }
    if before.iter().any(|app| app.name == name) {
        return Err((of_name, format!("the type `{name}` is given twice")));
    }
    let command = command.trim();
    if command.is_empty() {
        return Err((whole, format!("the type `{name}` has no command")));
    }
    Ok(Some(App {
        name: name.to_owned(),
        interpreter: Some(Interpreter::Shell),
        ..App::new(command)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_apps() {
        let text =
            "# Heroku's\r\nweb: node server.js --port $PORT\r\n\n  worker-1 :./work.sh\nurl: echo a: b";
        let apps = parse(text).expect("a good file");
        let said: Vec<(&str, &str)> = apps
            .iter()
            .map(|app| (app.name.as_str(), app.script.as_str()))
            .collect();
        let expected = [
            ("web", "node server.js --port $PORT"),
            ("worker-1", "./work.sh"),
            ("url", "echo a: b"),
        ];
        assert_eq!(said, expected);
        assert!(apps.iter().all(|app| app.interpreter == Some(Interpreter::Shell)));
    }

    #[test]
    fn every_mistake_is_told_with_its_place() {
        let problems = parse("web: a\nnothing\n  ä b: x\nweb: b\nx:  \n").expect_err("mistakes");
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let expected = [
            "line 2, column 1: there is no colon after the type of a process",
            "line 3, column 3: the type `ä b` may only have ASCII letters, digits, `_` and `-`",
            "line 4, column 1: the type `web` is given twice",
            "line 5, column 1: the type `x` has no command",
        ];
        assert_eq!(told, expected);
    }
}
