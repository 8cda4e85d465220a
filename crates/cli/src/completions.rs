//! `completions`: a script for a shell.

use clap_complete::Shell;

use crate::Context;
use crate::arguments::Arguments;
use crate::failure::Outcome;

pub(crate) fn run(context: &mut Context, shell: Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::definition(), "hythe", &mut script);
    context.out.raw(&String::from_utf8_lossy(&script))
}
