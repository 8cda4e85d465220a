//! Every property with a bounded number of mutated seeds; `HYTHE_FUZZ_RUNS` sets another number for each.
//!
//! The n-th input of a target is always the same, so a failure is found again by running the test again.

use std::collections::BTreeSet;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use fastrand::Rng;
use hythe_fuzzing::{TARGETS, Target};

const RUNS: u64 = 5_000;
/// Longest input, so that runs cost about the same.
const LONGEST: usize = 2_048;

#[test]
fn properties_hold_for_mutated_seeds() {
    let runs = std::env::var("HYTHE_FUZZ_RUNS").map_or(RUNS, |text| text.parse().expect("a number"));
    std::thread::scope(|scope| {
        for target in TARGETS {
            scope.spawn(move || run(target, runs));
        }
    });
}

#[test]
fn every_target_has_a_program_and_seeds() {
    let names = |folder: &str| -> BTreeSet<String> {
        let stem = |path: &PathBuf| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        entries(&root().join(folder)).iter().filter_map(stem).collect()
    };
    let targets: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(names("fuzz_targets"), targets);
    assert_eq!(names("seeds"), targets);
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("the manifest of the programs");
    for name in targets {
        assert!(
            manifest.contains(&format!("name = \"{name}\"")),
            "{name} is not in fuzz/Cargo.toml"
        );
    }
}

fn run(target: &Target, runs: u64) {
    let seeds = seeds(target.name);
    assert!(!seeds.is_empty(), "{}: no seeds", target.name);
    for seed in &seeds {
        check(target, "as it is", seed);
    }
    for number in 0..runs {
        let input = mutated(&seeds, &mut Rng::with_seed(number));
        check(target, &format!("number {number}"), &input);
    }
}

fn check(target: &Target, which: &str, input: &[u8]) {
    if catch_unwind(|| (target.check)(input)).is_err() {
        panic!(
            "{} does not hold for the seed {which}:\n{}",
            target.name,
            input.escape_ascii()
        );
    }
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let files = entries(&root().join("seeds").join(name));
    files
        .iter()
        .map(|file| std::fs::read(file).expect("a seed"))
        .collect()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

/// A seed, changed in one to four places.
fn mutated(seeds: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut input = pick(seeds, rng).clone();
    for _ in 0..rng.usize(1..=4) {
        mutate(&mut input, seeds, rng);
    }
    input.truncate(LONGEST);
    input
}

fn mutate(input: &mut Vec<u8>, seeds: &[Vec<u8>], rng: &mut Rng) {
    let at = rng.usize(0..=input.len());
    let end = input.len().min(at + rng.usize(0..20));
    match rng.u8(0..7) {
        0 => input.truncate(at),
        1 => drop(input.drain(at..end)),
        2 => drop(input.splice(at..at, telling(rng).iter().copied())),
        3 => drop(input.splice(at..end, telling(rng).iter().copied())),
        4 => input.extend_from_within(at..end),
        5 => {
            let other = pick(seeds, rng);
            let from = rng.usize(0..=other.len());
            input.truncate(at);
            input.extend_from_slice(other.get(from..).unwrap_or_default());
        }
        _ => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << rng.u8(0..8);
            }
        }
    }
}

fn pick<'a, T>(of: &'a [T], rng: &mut Rng) -> &'a T {
    rng.choice(of).expect("something to choose from")
}

/// Bytes at which parsers decide.
fn telling(rng: &mut Rng) -> &'static [u8] {
    const TELLING: &[&[u8]] = &[
        b"\r\n",
        b"\r",
        b"\n",
        b"\0",
        b"\t",
        b" ",
        b":",
        b";",
        b",",
        b"/",
        b"/../",
        b"//",
        b"%2e",
        b"%2F",
        b"%00",
        b"%",
        b"?",
        b"#",
        b"*",
        b"0\r\n\r\n",
        b"ffffffffffffffff",
        b"\x7f",
        b"\xc3\xa9",
        b"\xff",
        b"chunked",
        b"close",
        b"Content-Length: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: x, upgrade\r\n",
        b"X_Forwarded_For: 1\r\n",
        b"X-Consumer-ID: 1\r\n",
        b"Via: 1.1 a\r\n",
        b"Host: b\r\n",
        b"Upgrade: websocket\r\n",
        b"&a ",
        b"*a ",
        b"<<: ",
        b"- ",
        b"{",
        b"[",
        b"\"",
        b"'",
        b"${",
        b"|\n",
        b"  ",
        b"services:\n",
        b"location / {",
        b"}",
        b"$host",
        b"PROXY TCP6 ",
    ];
    pick::<&[u8]>(TELLING, rng)
}
