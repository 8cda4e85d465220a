//! `sendSignal`: to the main process of each instance, by whoever is its parent, so that no other process can be hit.

use std::collections::BTreeMap;

use hythe_api::wire::SignalRequest;

use super::Pm2;
use super::words::SignalWords;
use crate::client::encode;
use crate::failure::{Exit, Failure, Outcome};

/// The highest number that has a name.
const LAST: i32 = 31;

pub(crate) fn send(pm2: &mut Pm2, words: &SignalWords) -> Outcome {
    let signal = number(&words.signal).ok_or_else(|| {
        Failure::new(Exit::Usage, format!("there is no signal {}", words.signal))
            .hint("write SIGHUP, HUP or 1")
    })?;
    let processes = pm2.processes()?;
    let meant = processes.select(&words.which)?;
    pm2.say(&format!(
        "Sending signal {} to process name {}",
        words.signal, words.which
    ))?;
    let mut instances: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for process in meant {
        if process.pid.is_some() {
            let of_service = instances.entry(&process.service).or_default();
            of_service.push(process.counted.instance.clone());
        }
    }
    for (service, instances) in instances {
        let path = format!("/v1/services/{}/signal", encode(service));
        let request = SignalRequest { signal, instances };
        let _: Vec<String> = pm2.context.client.send("POST", &path, &request)?;
    }
    Ok(())
}

/// `SIGHUP`, `hup`, `1`.
fn number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse() {
        return (1..=LAST).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = format!("SIG{}", upper.trim_start_matches("SIG"));
    (1..=LAST).find(|signal| signal_hook::low_level::signal_name(*signal) == Some(name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, expected) in [
            ("SIGUSR2", Some(12)),
            ("hup", Some(1)),
            ("15", Some(15)),
            ("SIGNOPE", None),
            ("0", None),
            ("99", None),
        ] {
            assert_eq!(number(text), expected, "{text}");
        }
    }
}
