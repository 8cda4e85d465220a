//! Words of PM2 that mean nothing here, and what to do instead.

use std::ffi::OsString;

use super::{Pm2, words};
use crate::failure::{Exit, Failure, Outcome};

/// Words, why there is no such thing, and what to do.
const REFUSED: &[(&[&str], &str, &str)] = &[
    (
        &[
            "link",
            "unlink",
            "plus",
            "register",
            "login",
            "logout",
            "open",
            "monitor",
            "unmonitor",
            "web",
        ],
        "PM2's paid service is not connected",
        "`hythe monit` and `hythe top` watch what runs here, GET /metrics is for Prometheus",
    ),
    (
        &[
            "install",
            "uninstall",
            "module:install",
            "module:uninstall",
            "module:update",
            "module:generate",
            "module:publish",
            "publish",
            "package",
            "unpackage",
            "autoinstall",
            "slist",
            "sysinfos",
        ],
        "PM2's modules are not loaded",
        "logs are rotated without one; start any other program as an app",
    ),
    (
        &["logrotate"],
        "no configuration for the system's logrotate is written",
        "logs are rotated by the server itself",
    ),
    (
        &["trigger"],
        "actions need PM2's library inside of the app",
        "`pm2 sendSignal` or a request to the app can tell it something",
    ),
    (
        &["send", "attach"],
        "an app has no terminal to write to",
        "a request to the app, or `pm2 sendSignal`, can tell it something",
    ),
    (
        &["inspect", "profile:cpu", "profile:mem", "profile", "install-otel"],
        "apps are not instrumented",
        "start the app with `--node-args --inspect`, or send SIGUSR1 to it",
    ),
    (
        &["pull", "forward", "backward"],
        "apps are not updated through their version control",
        "`hythe deploy` puts a version on a server, and takes it back",
    ),
    (
        &["report"],
        "no report is written",
        "`hythe status` tells about the server",
    ),
    (&["imonit"], "there is one dashboard", "`hythe monit`"),
    (
        &["deepUpdate", "create", "boilerplate", "sample"],
        "nothing is fetched",
        "`pm2 init` writes a file to begin with",
    ),
    (
        &["multiset"],
        "several values at once are not taken",
        "`pm2 set module:key value` for each",
    ),
];

/// Refuses a word, or shows how words are used.
pub(crate) fn answer(pm2: &mut Pm2, typed: &[OsString]) -> Outcome {
    let word = typed
        .first()
        .map(|word| word.to_string_lossy().into_owned())
        .unwrap_or_default();
    match reason(&word) {
        Some((why, instead)) => {
            let message = format!("`pm2 {word}` is not offered: {why}");
            Err(Failure::new(Exit::Failed, message).hint(instead))
        }
        None => {
            pm2.context.out.line("[PM2][ERROR] Command not found\n")?;
            pm2.context.out.line(words::USAGE)?;
            Err(Failure::told(Exit::Failed))
        }
    }
}

fn reason(word: &str) -> Option<(&'static str, &'static str)> {
    let entry = REFUSED.iter().find(|(words, ..)| words.contains(&word));
    entry.map(|(_, why, instead)| (*why, *instead))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_word_is_refused_once() {
        let words: Vec<&str> = REFUSED
            .iter()
            .flat_map(|(words, ..)| words.iter().copied())
            .collect();
        assert_eq!(words.iter().collect::<BTreeSet<_>>().len(), words.len());
        assert!(reason("link").is_some());
        assert!(reason("frobnicate").is_none());
    }
}
