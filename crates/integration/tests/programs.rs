//! Programs of others that walkthroughs run as clients and services.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

use hythe_testkit::home::Home;

use crate::world::is_long;

/// What the standard output of a program was; it must succeed, and in time.
#[track_caller]
pub(crate) fn run(home: &Home, program: &str, args: &[&str]) -> String {
    let patience = if is_long() { "900" } else { "60" };
    let output = Command::new("timeout")
        .args([patience, program])
        .args(args)
        .current_dir(home.folder())
        .output()
        .unwrap();
    let missing = output.status.code() == Some(127);
    assert!(!missing, "{program} is missing: run `scripts/setup test`");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{program} {args:?}: {}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// The interpreter of the environment that has the packages of `python/requirements.txt`.
pub(crate) fn python() -> String {
    let test = env::current_exe().unwrap();
    let mut beside = test
        .ancestors()
        .skip(1)
        .take(4)
        .map(|folder| folder.join("python"));
    let environment = beside.find(|folder| folder.join("complete").is_file());
    let environment = environment.expect("Python's packages are missing: run `scripts/setup test`");
    environment.join("bin/python").to_string_lossy().into_owned()
}

/// Runs a file of `python/` with arguments; it must succeed.
#[track_caller]
pub(crate) fn run_python(home: &Home, file: &str, args: &[&str]) -> String {
    let file = file_of_python(file);
    run(home, &python(), &[&[file.as_str()], args].concat())
}

/// A line for `command` of a manifest that runs a file of `python/`.
pub(crate) fn python_command(file: &str) -> String {
    format!("{} {}", python(), file_of_python(file))
}

/// Where a file of `python/` is.
pub(crate) fn file_of_python(file: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("python");
    fs::canonicalize(folder.join(file))
        .unwrap()
        .to_string_lossy()
        .into_owned()
}
