//! The minder alone, for tests: `hythe-runtime-process-minder minder --home FOLDER`.

use std::process::ExitCode;

use hythe_minder::server::{self, Options};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(verb), Some(_), Some(home)) = (arguments.next(), arguments.next(), arguments.next()) else {
        return ExitCode::from(2);
    };
    if verb != "minder" {
        return ExitCode::from(2);
    }
    match server::run(&Options { home: home.into() }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("minder: {error}");
            ExitCode::FAILURE
        }
    }
}
