//! The system calls of a commit: its frames are written to the log, the log is synced, and only then it is
//! acknowledged.

use std::collections::BTreeMap;
use std::process::Command;

use super::child;

const WRITES: u64 = 50;

#[test]
fn every_acknowledgement_comes_after_a_sync_of_the_log() {
    let home = tempfile::tempdir().unwrap();
    let (directory, trace) = (home.path().join("store"), home.path().join("trace"));
    let mut command = Command::new("strace");
    command.args([
        "-f",
        "-y",
        "-s",
        "64",
        "-e",
        "trace=fdatasync,fsync,write,pwrite64",
        "-o",
    ]);
    command
        .arg(&trace)
        .arg(std::env::current_exe().unwrap())
        .args(child::ARGUMENTS);
    child::configure(&mut command, &directory, 1, WRITES);
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("apt-get install strace ({error})"));
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let trace = std::fs::read_to_string(&trace).unwrap();
    let unsynced = judge(&trace);
    assert_eq!(unsynced, Ok(WRITES), "{trace}");
}

/// Counts the acknowledgements in a trace, or names the first that came too early.
fn judge(trace: &str) -> Result<u64, String> {
    let mut log = Log::Untouched;
    let mut count = 0;
    // What each thread is in the middle of.
    let mut unfinished = BTreeMap::new();
    for line in trace.lines() {
        let (thread, call) = line.trim_start().split_once(' ').ok_or(line)?;
        let call = call.trim_start();
        let resumed = call.starts_with("<...");
        let began = if resumed {
            unfinished.remove(thread).unwrap_or_default()
        } else {
            call
        };
        let ended = !call.ends_with("<unfinished ...>");
        if !ended {
            unfinished.insert(thread, call);
        }
        let on_log = began.contains("store.db-wal>");
        let sync = began.starts_with("fsync(") || began.starts_with("fdatasync(");
        if on_log && began.starts_with("pwrite64(") {
            log = Log::Written;
        } else if on_log && sync && ended && call.trim_end().ends_with("= 0") && log == Log::Written {
            log = Log::Synced;
        } else if !resumed && began.starts_with("write(1<") && began.contains("acknowledged ") {
            if log != Log::Synced {
                return Err(format!("{log:?} at {line}"));
            }
            log = Log::Untouched;
            count += 1;
        }
    }
    Ok(count)
}

/// What happened to the log since the last acknowledgement.
#[derive(Debug, PartialEq, Eq)]
enum Log {
    Untouched,
    Written,
    Synced,
}

#[test]
fn a_trace_is_read_strictly() {
    let write = "7 pwrite64(5</s/store.db-wal>, \"x\", 24, 0) = 24\n";
    let sync = "7 fdatasync(5</s/store.db-wal>) = 0\n";
    let split = "7 fdatasync(5</s/store.db-wal> <unfinished ...>\n";
    let resumed = "7 <... fdatasync resumed>) = 0\n";
    let failed = "7 fdatasync(5</s/store.db-wal>) = -1 EIO\n";
    let other = "7 fdatasync(4</s/store.db>) = 0\n";
    let said = "6 write(1<pipe:[1]>, \"acknowledged 1 a\\n\", 17) = 17\n";
    let rows: [(&[&str], Option<u64>); 9] = [
        (&[write, sync, said], Some(1)),
        (&[write, split, resumed, said, write, sync, said], Some(2)),
        (&[write, write, sync, said], Some(1)),
        (&[said], None),
        (&[write, said], None),
        (&[write, failed, said], None),
        (&[write, other, said], None),
        (&[write, split, said, resumed], None),
        (&[write, sync, write, said], None),
    ];
    for (lines, expected) in rows {
        assert_eq!(judge(&lines.concat()).ok(), expected, "{lines:?}");
    }
}
