use std::{fs, path::Path};

use rustix::pipe::{PipeFlags, pipe_with};

use super::{super::segment_writer::SegmentLimits, *};
use crate::segments;

const LIMITS: SegmentLimits = SegmentLimits {
    segment: 100,
    unread: 1_000_000,
};

const EVERYTHING: u64 = u64::MAX;

fn output(folder: &Path, mover: Mover) -> (Output, OwnedFd) {
    let writer = SegmentWriter::adopt(folder.into(), "web".into(), Stream::Out, LIMITS).unwrap();
    let (reading, writing) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
    let mut output = Output {
        mover,
        ..Output::new(Stream::Out, writer)
    };
    output.attach(reading);
    (output, writing)
}

fn content(folder: &Path) -> Vec<u8> {
    let read = |segment: segments::Segment| segments::path(folder, "web", Stream::Out, segment.start);
    let segments = segments::list(folder, "web", Stream::Out).unwrap();
    segments
        .into_iter()
        .flat_map(|segment| fs::read(read(segment)).unwrap())
        .collect()
}

fn movers() -> [Mover; 2] {
    [Mover::Splice, Mover::Copy(Vec::new())]
}

#[test]
fn both_ways_move_every_byte_and_see_the_end() {
    for mover in movers() {
        let folder = tempfile::tempdir().unwrap();
        let (mut output, writing) = output(folder.path(), mover);
        assert_eq!(output.pump(EVERYTHING, Slots::default()), Pipe::Open);
        assert!(
            segments::list(folder.path(), "web", Stream::Out)
                .unwrap()
                .is_empty(),
            "no bytes, no file"
        );
        let bytes: Vec<u8> = (0..1000).map(|index| (index % 251) as u8).collect();
        rustix::io::write(&writing, &bytes).unwrap();
        assert_eq!(output.pump(EVERYTHING, Slots::default()), Pipe::Open);
        assert_eq!(content(folder.path()), bytes);
        assert_eq!(
            segments::list(folder.path(), "web", Stream::Out).unwrap().len(),
            10
        );
        drop(writing);
        assert_eq!(output.pump(EVERYTHING, Slots::default()), Pipe::Closed);
        assert_eq!(output.pump(EVERYTHING, Slots::default()), Pipe::Closed);
        assert!(output.status().closed);
    }
}

#[test]
fn without_a_place_to_write_the_bytes_wait_in_the_pipe() {
    for mover in movers() {
        let folder = tempfile::tempdir().unwrap();
        let raw = folder.path().join("raw");
        fs::create_dir(&raw).unwrap();
        let (mut output, writing) = output(&raw, mover);
        fs::remove_dir(&raw).unwrap();
        rustix::io::write(&writing, b"precious").unwrap();
        for _ in 0..2 {
            assert_eq!(output.pump(EVERYTHING, Slots::default()), Pipe::Stalled);
            assert!(output.is_stalled());
        }
        assert_eq!(output.status().stalled_errno, Some(Errno::NOENT.raw_os_error()));
        fs::create_dir(&raw).unwrap();
        assert_eq!(output.pump(EVERYTHING, Slots::default()), Pipe::Open);
        assert_eq!(output.status().stalled_errno, None);
        assert_eq!(content(&raw), b"precious");
    }
}

#[test]
fn a_file_that_splice_refuses_is_written_by_copying() {
    let folder = tempfile::tempdir().unwrap();
    let (mut output, writing) = output(folder.path(), Mover::Splice);
    rustix::io::write(&writing, b"one").unwrap();
    output.pump(EVERYTHING, Slots::default());
    let (file, _) = output.writer.room().unwrap();
    rustix::fs::fcntl_setfl(file, rustix::fs::OFlags::APPEND).unwrap();
    rustix::io::write(&writing, b" two").unwrap();
    assert_eq!(output.pump(EVERYTHING, Slots::default()), Pipe::Open);
    assert!(matches!(output.mover, Mover::Copy(_)));
    assert_eq!(content(folder.path()), b"one two");
}

#[test]
fn a_subscriber_is_told_once_until_it_acknowledges() {
    let folder = tempfile::tempdir().unwrap();
    let (mut output, writing) = output(folder.path(), Mover::Splice);
    let mut subscribers = Slots::default();
    subscribers.insert(3);
    let end_told = |output: &mut Output, slot| match output.take_news(slot, "web") {
        Some(Event::Output { end, closed, .. }) => Some((end, closed)),
        _ => None,
    };
    rustix::io::write(&writing, b"one").unwrap();
    output.pump(EVERYTHING, subscribers);
    assert_eq!(end_told(&mut output, 4), None);
    assert_eq!(end_told(&mut output, 3), Some((3, false)));
    rustix::io::write(&writing, b"two").unwrap();
    output.pump(EVERYTHING, subscribers);
    drop(writing);
    output.pump(EVERYTHING, subscribers);
    assert_eq!(end_told(&mut output, 3), None);
    output.unacknowledged.remove(3);
    assert_eq!(end_told(&mut output, 3), Some((6, true)));
    output.unacknowledged.remove(3);
    assert_eq!(end_told(&mut output, 3), None);
}
