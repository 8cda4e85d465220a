use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::sync::mpsc::{Receiver, sync_channel};

use hythe_minder::segments;
use hythe_model::desired::{DocumentChange, Kind as _};
use hythe_model::{LogRules, Workload};
use hythe_ports::Logs as _;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::entry::Source;
use crate::splitter::Splitter;

const RUN: &str = "users-1.7";

/// A folder for raw segments and log files, and the minder's part of the work.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("raw")).unwrap();
        Self { folder }
    }

    fn raw(&self) -> PathBuf {
        self.folder.path().join("raw")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("logs/default.users.log")
    }

    fn config(&self) -> Config {
        Config::new(self.folder.path().join("logs"), self.raw())
    }

    /// Appends output, to the newest segment or a new one.
    fn produce(&self, run: &str, stream: Stream, bytes: &[u8], new_segment: bool) {
        let newest = segments::list(&self.raw(), run, stream).unwrap().last().copied();
        let start = newest.map_or(0, |last| {
            if new_segment {
                last.start + last.len
            } else {
                last.start
            }
        });
        let path = segments::path(&self.raw(), run, stream, start);
        File::options()
            .append(true)
            .create(true)
            .open(path)
            .unwrap()
            .write_all(bytes)
            .unwrap();
    }

    /// Deletes what is consumed, as the minder does; the newest segment stays.
    fn consume(&self, stream: Stream, up_to: u64) {
        let mut finished = segments::list(&self.raw(), RUN, stream).unwrap();
        finished.pop();
        for segment in finished
            .iter()
            .filter(|segment| segment.start + segment.len <= up_to)
        {
            fs::remove_file(segments::path(&self.raw(), RUN, stream, segment.start)).unwrap();
        }
    }
}

fn users() -> FullName {
    "users".parse().unwrap()
}

/// A service `users` whose logs have these rules.
fn desired(rules: LogRules) -> Latest<Desired> {
    let mut workload = Workload::new(vec!["users".to_owned()], "/".into());
    workload.logs = rules;
    let body = serde_json::to_value(workload).unwrap();
    let change = DocumentChange {
        kind: Workload::KIND,
        scope: "default",
        name: "users",
        uid: "1",
        generation: 1,
        created_at: 1,
        body: Some(&body),
    };
    let mut desired = Desired::default();
    desired.apply(&change).unwrap();
    hythe_spine::constant(desired)
}

fn output(run: &str, from: Offsets, resumed: bool) -> RunOutput {
    let instance = run.split('.').next().unwrap();
    RunOutput {
        run: run.to_owned(),
        instance: InstanceId(instance.into()),
        service: users(),
        slot: Some(0),
        from,
        resumed,
    }
}

fn messages(lines: &[LogLine]) -> Vec<&str> {
    lines.iter().map(|line| line.message.as_str()).collect()
}

/// A collector without its thread.
struct Bench {
    hub: Arc<Mutex<Hub>>,
    collector: Collector,
    progress: Receiver<Progress>,
}

impl Bench {
    fn open(place: &Place, file_bytes: u64) -> Self {
        let rules = LogRules {
            max_size: file_bytes,
            max_files: 200,
            ..LogRules::default()
        };
        Self::open_with(place, rules, 1 << 30)
    }

    fn open_with(place: &Place, rules: LogRules, budget: u64) -> Self {
        let recent_limits = RecentLimits {
            lines: 5,
            bytes: 10_000,
        };
        let hub = Hub::open(place.config().dir, budget, recent_limits, desired(rules)).unwrap();
        let hub = Arc::new(Mutex::new(hub));
        let (sender, progress) = sync_channel(10_000);
        let tell = Box::new(move |progress| sender.send(progress).unwrap());
        Self {
            collector: Collector::new(Arc::clone(&hub), place.raw(), tell),
            hub,
            progress,
        }
    }

    fn work(&mut self) {
        while self.collector.turn() {}
    }

    fn lines(&self) -> Vec<Arc<Line>> {
        let query = LogQuery::default();
        read(lock(&self.hub).select(&query).unwrap(), &query).unwrap()
    }

    fn texts(&self) -> Vec<String> {
        self.lines().iter().map(|line| line.message.to_string()).collect()
    }
}

#[derive(Debug, Clone)]
enum Step {
    Produce {
        stream: bool,
        length: usize,
        new_segment: bool,
    },
    Work,
    Note,
    /// Older files are compressed.
    Tidy,
    /// The server dies; of the last write so many bytes (from 255: all) reached the file.
    Crash {
        written: u8,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let produce =
        (any::<bool>(), 1usize..200, any::<bool>()).prop_map(|(stream, length, new_segment)| Step::Produce {
            stream,
            length,
            new_segment,
        });
    let step = prop_oneof![
        4 => produce,
        4 => Just(Step::Work),
        1 => Just(Step::Note),
        1 => Just(Step::Tidy),
        2 => any::<u8>().prop_map(|written| Step::Crash { written }),
    ];
    prop::collection::vec(step, 1..40)
}

/// Text with the things that matter to a splitter, of a length that does not matter.
fn sample(length: usize, seed: &mut usize) -> Vec<u8> {
    const ALPHABET: &[&[u8]] = &[b"a", b"b", "é".as_bytes(), b"\n", b"\r\n", b"\xff", b"\"", b"z"];
    let mut bytes = Vec::new();
    while bytes.len() < length {
        *seed = seed
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        bytes.extend_from_slice(ALPHABET[(*seed >> 33) % ALPHABET.len()]);
    }
    bytes
}

fn expected(bytes: &[u8]) -> Vec<String> {
    let mut splitter = Splitter::at(0);
    splitter.feed(bytes);
    let mut texts: Vec<_> = std::iter::from_fn(|| splitter.next())
        .map(|piece| piece.text)
        .collect();
    texts.extend(splitter.finish(false).map(|piece| piece.text));
    texts
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_line_once_whatever_crashes(steps in steps(), mut seed in any::<usize>()) {
        let place = Place::new();
        let mut bench = Bench::open(&place, 2000);
        let mut sent: BTreeMap<Stream, Vec<u8>> = Stream::ALL.map(|stream| (stream, Vec::new())).into();
        let mut consumed = Offsets::default();
        let mut notes = 0;
        bench.collector.carry_out(Order::Attach(output(RUN, consumed, false)));
        for step in steps {
            match step {
                Step::Produce { stream, length, new_segment } => {
                    let stream = if stream { Stream::Out } else { Stream::Err };
                    let bytes = sample(length, &mut seed);
                    place.produce(RUN, stream, &bytes, new_segment);
                    sent.get_mut(&stream).unwrap().extend(bytes);
                    bench.collector.wake(RUN, stream, None);
                }
                Step::Work => {
                    bench.work();
                    hear(&place, &bench, &mut consumed);
                }
                Step::Note => {
                    let (instance, message) = ("users-1".to_owned(), "a note".to_owned());
                    bench.collector.carry_out(Order::Note { service: users(), instance, message });
                    hear(&place, &bench, &mut consumed);
                    notes += 1;
                }
                Step::Tidy => keeper::tidy(&bench.hub),
                Step::Crash { written } => {
                    tear_last_write(&place, &mut bench, written);
                    bench = Bench::open(&place, 2000);
                    bench.collector.carry_out(Order::Attach(output(RUN, consumed, true)));
                }
            }
        }
        bench.collector.carry_out(Order::Detach(RUN.to_owned()));
        bench.work();
        let told: Vec<_> = bench.progress.try_iter().collect();
        prop_assert_eq!(told.last(), Some(&Progress::Released { run: RUN.to_owned() }));
        prop_assert_eq!(fs::read_dir(place.raw()).unwrap().count(), 0);
        let lines = bench.lines();
        for (stream, bytes) in sent {
            let source = Source::from(stream);
            let got: Vec<_> =
                lines.iter().filter(|line| line.source == source).map(|line| line.message.to_string()).collect();
            prop_assert_eq!(got, expected(&bytes), "{:?}", stream);
        }
        prop_assert_eq!(lines.iter().filter(|line| line.source == Source::Hythe).count(), notes);
    }
}

fn hear(place: &Place, bench: &Bench, consumed: &mut Offsets) {
    for progress in bench.progress.try_iter() {
        let Progress::Consumed { stream, up_to, .. } = progress else {
            continue;
        };
        place.consume(stream, up_to);
        match stream {
            Stream::Out => consumed.out = up_to,
            Stream::Err => consumed.err = up_to,
        }
    }
}

/// One more turn, of which only a part reaches the file and nothing the minder.
fn tear_last_write(place: &Place, bench: &mut Bench, written: u8) {
    let length = || fs::metadata(place.log()).map_or(0, |metadata| metadata.len());
    let before = length();
    bench.collector.turn();
    let after = length();
    if after > before && written < 255 {
        let kept = before + (after - before) * u64::from(written) / 255;
        File::options()
            .write(true)
            .open(place.log())
            .unwrap()
            .set_len(kept)
            .unwrap();
    }
}

#[test]
fn output_lost_before_it_was_read_is_told() {
    let place = Place::new();
    let mut bench = Bench::open(&place, 2000);
    bench
        .collector
        .carry_out(Order::Attach(output(RUN, Offsets::default(), false)));
    place.produce(RUN, Stream::Out, b"one\ntw", false);
    bench.work();
    place.produce(RUN, Stream::Out, b"o\nthree\n", true);
    place.produce(RUN, Stream::Out, b"four\n", true);
    for start in [0, 6] {
        fs::remove_file(segments::path(&place.raw(), RUN, Stream::Out, start)).unwrap();
    }
    bench.collector.wake(RUN, Stream::Out, Some(19));
    bench.work();
    let lost = "8 bytes of output were lost: more came than is kept unread";
    assert_eq!(bench.texts(), ["one", "tw", lost, "four"]);
}

#[test]
fn a_closed_stream_ends_its_last_line_and_other_streams_wait() {
    let place = Place::new();
    let mut bench = Bench::open(&place, 2000);
    bench
        .collector
        .carry_out(Order::Attach(output(RUN, Offsets::default(), false)));
    place.produce(RUN, Stream::Out, b"out", false);
    place.produce(RUN, Stream::Err, b"err", false);
    bench.collector.wake(RUN, Stream::Out, Some(3));
    bench.collector.wake(RUN, Stream::Err, None);
    bench.work();
    assert_eq!(bench.texts(), ["out"]);
    bench.collector.carry_out(Order::Detach(RUN.to_owned()));
    bench.work();
    assert_eq!(bench.texts(), ["out", "err"]);
}

#[test]
fn what_cannot_be_written_waits_and_is_told_once() {
    let place = Place::new();
    let mut bench = Bench::open(&place, 2000);
    fs::create_dir(place.log()).unwrap();
    bench
        .collector
        .carry_out(Order::Attach(output(RUN, Offsets::default(), false)));
    let follower = lock(&bench.hub).follow(&LogQuery::default());
    place.produce(RUN, Stream::Out, b"one\n", false);
    for _ in 0..3 {
        bench.collector.wake(RUN, Stream::Out, None);
        bench.collector.poll();
        bench.work();
    }
    assert!(
        bench
            .progress
            .try_iter()
            .all(|progress| !matches!(progress, Progress::Consumed { up_to: 4, .. }))
    );
    fs::remove_dir(place.log()).unwrap();
    bench.collector.poll();
    bench.work();
    assert_eq!(bench.texts(), ["one"]);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (sender, mut lines) = mpsc::channel(10);
        tokio::spawn(async move { follower.feed(Vec::new(), sender).await });
        let note = lines.recv().await.unwrap();
        assert_eq!(
            (note.stream.as_str(), note.message.contains("held back")),
            ("hythe", true),
            "{note:?}"
        );
        assert_eq!(lines.recv().await.unwrap().message, "one");
    });
}

#[test]
fn a_reader_that_does_not_keep_up_is_told_how_much_it_missed() {
    let place = Place::new();
    let mut bench = Bench::open(&place, 1 << 20);
    let follower = lock(&bench.hub).follow(&LogQuery::default());
    bench
        .collector
        .carry_out(Order::Attach(output(RUN, Offsets::default(), false)));
    place.produce(RUN, Stream::Out, "x\n".repeat(5000).as_bytes(), false);
    bench.collector.wake(RUN, Stream::Out, None);
    bench.work();
    place.produce(RUN, Stream::Out, b"later\n", false);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (sender, mut lines) = mpsc::channel(10);
        tokio::spawn(async move { follower.feed(Vec::new(), sender).await });
        for _ in 0..4096 {
            assert_eq!(lines.recv().await.unwrap().message, "x");
        }
        let missed = lines.recv().await.unwrap();
        assert_eq!(
            missed.message,
            "904 lines were missed: the reader did not keep up"
        );
        bench.collector.wake(RUN, Stream::Out, None);
        bench.work();
        assert_eq!(lines.recv().await.unwrap().message, "later");
        drop(lines);
        assert_eq!(Arc::strong_count(&bench.hub), 2);
    });
}

async fn until<T>(mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        tokio::task::yield_now().await;
    }
}

async fn tail(logs: &Logs, since: Option<u64>, last: Option<usize>) -> Vec<LogLine> {
    logs.tail(&LogQuery {
        services: vec![users()],
        since,
        last,
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn tail_reads_memory_then_files() {
    let place = Place::new();
    let spine = Spine::default();
    let config = Config {
        tail_lines: 3,
        ..place.config()
    };
    let rules = LogRules {
        max_size: 400,
        max_files: 3,
        ..LogRules::default()
    };
    let logs = Logs::open(config, desired(rules), |_| {}, &spine).unwrap();
    for number in 0..20 {
        let run = format!("users-1.{number}");
        place.produce(&run, Stream::Out, format!("line {number}\n").as_bytes(), false);
        logs.attach(output(&run, Offsets::default(), false));
        let line = format!("line {number}");
        until(async || {
            let lines = tail(&logs, None, Some(1)).await;
            (messages(&lines) == [line.as_str()]).then_some(())
        })
        .await;
    }
    let all = tail(&logs, None, None).await;
    assert!(
        (8..20).contains(&all.len()),
        "the oldest file went: {}",
        all.len()
    );
    let expected: Vec<String> = (20 - all.len()..20)
        .map(|number| format!("line {number}"))
        .collect();
    assert_eq!(messages(&all), expected);
    for last in [0, 1, 3, 4, 8] {
        let lines = tail(&logs, None, Some(last)).await;
        assert_eq!(
            messages(&lines),
            &expected[expected.len() - last..],
            "the last {last}"
        );
    }
    let since = all[5].at;
    let lines = tail(&logs, Some(since), None).await;
    assert!(lines.iter().all(|line| line.at >= since) && lines.len() >= all.len() - 5);
    assert!(tail(&logs, Some(u64::MAX), None).await.is_empty());
    let other = LogQuery {
        services: vec!["other".parse().unwrap()],
        ..LogQuery::default()
    };
    assert!(logs.tail(&other).await.unwrap().is_empty());
    drop(logs);
    assert!(spine.stop(std::time::Duration::from_secs(10)).await);
}

#[tokio::test]
async fn follow_has_no_gap_and_no_double() {
    let place = Place::new();
    let spine = Spine::default();
    let logs = Logs::open(
        Config {
            tail_lines: 10,
            ..place.config()
        },
        hythe_spine::constant(Desired::default()),
        |_| {},
        &spine,
    )
    .unwrap();
    let raw = place.raw();
    logs.attach(output(RUN, Offsets::default(), false));
    let writer = std::thread::spawn(move || {
        let path = segments::path(&raw, RUN, Stream::Out, 0);
        let mut file = File::options().append(true).create(true).open(path).unwrap();
        for number in 0..3000 {
            writeln!(file, "{number}").unwrap();
        }
    });
    for _ in 0..3 {
        logs.wake(RUN, Stream::Out, None);
        let mut lines = logs.follow(&LogQuery::default()).await.unwrap();
        for number in 0..3000 {
            let line = loop {
                match lines.try_recv() {
                    Ok(line) => break line,
                    Err(_) => logs.wake(RUN, Stream::Out, None),
                }
                tokio::task::yield_now().await;
            };
            assert_eq!(line.message, number.to_string());
        }
    }
    writer.join().unwrap();
    logs.note(&users(), "users-1", "exited with code 0");
    let mut lines = logs
        .follow(&LogQuery {
            last: Some(0),
            ..LogQuery::default()
        })
        .await
        .unwrap();
    logs.note(&users(), "users-1", "started");
    let last = until(async || lines.recv().await.filter(|line| line.message == "started")).await;
    assert_eq!((last.service.as_str(), last.stream.as_str()), ("users", "hythe"));
    assert!(spine.stop(std::time::Duration::from_secs(10)).await);
    assert!(lines.recv().await.is_none());
}

#[test]
fn logs_of_the_last_server_are_found() {
    let place = Place::new();
    {
        let mut bench = Bench::open(&place, 2000);
        place.produce(RUN, Stream::Out, b"one\n", false);
        bench
            .collector
            .carry_out(Order::Attach(output(RUN, Offsets::default(), false)));
        bench.work();
    }
    let bench = Bench::open(&place, 2000);
    assert_eq!(bench.texts(), ["one"]);
}

/// Every file of the folder of logs, with its size.
fn files(place: &Place) -> BTreeMap<String, u64> {
    fs::read_dir(place.config().dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            (
                entry.file_name().into_string().unwrap(),
                entry.metadata().unwrap().len(),
            )
        })
        .collect()
}

#[test]
fn a_flood_of_several_services_stays_in_the_budget() {
    const BUDGET: u64 = 300_000;
    let place = Place::new();
    let rules = LogRules {
        max_size: 40_000,
        max_files: 100,
        ..LogRules::default()
    };
    let mut bench = Bench::open_with(&place, rules, BUDGET);
    let instances = [("users", "users-1.1"), ("web", "web-2.1"), ("jobs", "jobs-3.1")];
    for (service, run) in instances {
        let mut output = output(run, Offsets::default(), false);
        output.service = service.parse().unwrap();
        bench.collector.carry_out(Order::Attach(output));
    }
    let mut most = 0;
    for round in 0..60 {
        for (service, run) in instances {
            let text = format!("{service} {round} {}\n", "x".repeat(100)).repeat(100);
            place.produce(run, Stream::Out, text.as_bytes(), false);
            bench.collector.wake(run, Stream::Out, None);
            bench.work();
            most = most.max(files(&place).values().sum());
        }
        if round % 7 == 0 {
            keeper::tidy(&bench.hub);
        }
    }
    assert!((BUDGET / 2..=BUDGET).contains(&most), "{most}");
    let names = files(&place);
    for service in ["users", "web", "jobs"] {
        assert!(names.contains_key(&format!("default.{service}.log")), "{names:?}");
    }
    let newest = bench.texts();
    assert!(
        newest.iter().any(|line| line.starts_with("users 59 ")),
        "the newest are there"
    );
    assert!(
        !newest.iter().any(|line| line.contains(" 0 x")),
        "the oldest are not"
    );
    drop(bench);
    let smaller = Bench::open_with(&place, LogRules::default(), 1000);
    assert!(
        files(&place).values().sum::<u64>() <= 1000,
        "a smaller budget counts at once"
    );
    assert!(smaller.lines().len() < 10);
}

#[test]
fn lines_are_read_from_compressed_files() {
    let place = Place::new();
    let mut bench = Bench::open(&place, 1000);
    let attach = |resumed| Order::Attach(output(RUN, Offsets::default(), resumed));
    bench.collector.carry_out(attach(false));
    for number in 0..30 {
        place.produce(
            RUN,
            Stream::Out,
            format!("line {number} {}\n", "x".repeat(200)).as_bytes(),
            false,
        );
        bench.collector.wake(RUN, Stream::Out, None);
        bench.work();
    }
    let before = bench.lines();
    keeper::tidy(&bench.hub);
    let names = files(&place);
    let compressed = names.keys().filter(|name| name.ends_with(".gz")).count();
    assert_eq!(compressed, names.len() - 1, "{names:?}");
    assert_eq!((bench.lines().len(), bench.lines()), (30, before.clone()));
    // The run's last line is in a compressed file, and nothing is taken over twice.
    let mut log = lock(&bench.hub);
    log.flush(&["other".parse().unwrap()]).unwrap();
    drop(log);
    fs::rename(place.log(), place.folder.path().join("away")).unwrap();
    let mut again = Bench::open(&place, 1000);
    again.collector.carry_out(attach(true));
    again.work();
    assert_eq!(again.lines().len(), before.len());
}

#[test]
fn old_lines_go_and_flushing_takes_all() {
    let place = Place::new();
    let rules = LogRules {
        max_age_ms: Some(60_000),
        ..LogRules::default()
    };
    let mut bench = Bench::open_with(&place, rules, 1 << 30);
    bench
        .collector
        .carry_out(Order::Attach(output(RUN, Offsets::default(), false)));
    let say = |bench: &mut Bench, text: &str| {
        place.produce(RUN, Stream::Out, text.as_bytes(), false);
        bench.collector.wake(RUN, Stream::Out, None);
        bench.work();
    };
    say(&mut bench, "one\n");
    let soon = hythe_stdx::unix_ms() + 50_000;
    lock(&bench.hub).forget_old(soon);
    assert!(
        !files(&place).contains_key("default.users.log.1"),
        "it is not old"
    );
    lock(&bench.hub).forget_old(soon + 20_000);
    assert_eq!(files(&place).len(), 0, "{:?}", files(&place));
    say(&mut bench, "two\n");
    assert_eq!(bench.texts(), ["one", "two"], "in memory it stays");
    lock(&bench.hub).flush(&[]).unwrap();
    assert!(bench.lines().is_empty() && files(&place).is_empty());
    say(&mut bench, "three\n");
    assert_eq!(bench.texts(), ["three"]);
}

#[test]
fn a_service_may_write_to_its_own_files_or_to_none() {
    let place = Place::new();
    let own = place.folder.path().join("own/out.log");
    let rules = |disabled| LogRules {
        out_file: Some(own.clone()),
        per_instance: true,
        disabled,
        ..LogRules::default()
    };
    for disabled in [false, true] {
        let mut bench = Bench::open_with(&place, rules(disabled), 1 << 30);
        bench
            .collector
            .carry_out(Order::Attach(output(RUN, Offsets { out: 4, err: 0 }, true)));
        place.produce(RUN, Stream::Out, b"one\n", false);
        place.produce(RUN, Stream::Out, b"two\n", false);
        bench.collector.wake(RUN, Stream::Out, None);
        bench.work();
        assert_eq!(bench.texts().last().unwrap(), "two");
        let said = bench
            .progress
            .try_iter()
            .any(|progress| matches!(progress, Progress::Consumed { up_to: 8 | 16, .. }));
        assert!(said, "it counts as taken over");
        let first = place.folder.path().join("own/out-0.log");
        assert_eq!(fs::read_to_string(&first).unwrap(), "two\n");
        assert_eq!(fs::read_to_string(place.log()).unwrap().lines().count(), 1);
    }
}
