//! Configurations of nginx: any bytes get a verdict, twice the same, that stands somewhere in them; what nginx would
//! start with becomes a manifest that can be read, and notes that stand somewhere, too.

use std::io;
use std::path::{Path, PathBuf};

use hythe_dialect_nginx::{Configuration, Files, Translation, World, check as verdict, load, translate};

use crate::manifests;

const MAIN: &str = "/etc/nginx/nginx.conf";

/// The main file, and no other.
struct Alone<'a>(&'a [u8]);

impl Files for Alone<'_> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        if path == Path::new(MAIN) {
            Ok(self.0.to_vec())
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    fn matching(&self, _: &str) -> Vec<PathBuf> {
        Vec::new()
    }
}

impl World for Alone<'_> {
    fn resolves(&self, host: &str) -> bool {
        !host.contains("invalid")
    }
}

pub(crate) fn check(bytes: &[u8]) {
    let world = Alone(bytes);
    let configuration = load(&world, Path::new(MAIN), "");
    let said = verdict(&configuration, &world);
    assert_eq!(said, verdict(&configuration, &world));
    let lines = 1 + bytes.iter().filter(|byte| **byte == b'\n').count();
    let is_inside = |line: u32| usize::try_from(line).is_ok_and(|line| (1..=lines).contains(&line));
    for mistake in said.error.iter().chain(&said.warnings) {
        let inside = mistake.place.as_ref().is_none_or(|(_, line)| is_inside(*line));
        assert!(inside, "{mistake}");
    }
    if said.error.is_none() {
        let translation = translated(&configuration);
        assert_eq!(translation, translated(&configuration));
        for note in &translation.notes {
            assert!(is_inside(note.place.line), "{note:?}");
        }
        manifests::check(translation.manifest.as_bytes());
    }
}

fn translated(configuration: &Configuration) -> Translation {
    translate(configuration, &|_, _| Vec::new())
}
