//! How much memory the platform itself takes beside the example application.

use std::fs;

use crate::world::example;

/// Kibibytes; generous, as this is a build for debugging and others share the machine.
const MOST: u64 = 60 * 1024;

#[test]
fn server_and_minder_stay_small() {
    let home = example();
    home.ok(&["up", "-d"]);
    for _ in 0..50 {
        assert_eq!(home.get("/users").status, 200);
    }
    let status = home.status();
    let minder = status.minder.pid.unwrap();
    let (server_pss, minder_pss) = (memory(status.server.pid, "Pss:"), memory(minder, "Pss:"));
    let private = memory(minder, "Private_Clean:") + memory(minder, "Private_Dirty:");
    println!("server {server_pss} KiB, minder {minder_pss} KiB proportional, {private} KiB private");
    assert!(server_pss + minder_pss < MOST);
}

/// A sum over all of a process's memory, kibibytes.
pub(crate) fn memory(pid: u32, what: &str) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = rollup.lines().find_map(|line| line.strip_prefix(what)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
