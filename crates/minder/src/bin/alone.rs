//! The minder without the rest of Hythe: `hythe-minder-alone minder --home FOLDER`.

use std::{path::PathBuf, process::ExitCode};

use hythe_minder::server::{self, Options};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [verb, flag, home] = &arguments[..] else {
        return usage();
    };
    if verb != "minder" || flag != "--home" {
        return usage();
    }
    match server::run(&Options {
        home: PathBuf::from(home),
    }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("minder: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: hythe-minder-alone minder --home FOLDER");
    ExitCode::from(2)
}
