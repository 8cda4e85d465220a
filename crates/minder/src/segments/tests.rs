use std::{ffi::OsStr, fs, io::Write};

use proptest::prelude::*;

use super::*;

fn write(folder: &Path, start: u64, content: &[u8]) {
    fs::write(path(folder, "web", Stream::Out, start), content).unwrap();
}

fn append(folder: &Path, start: u64, content: &[u8]) {
    let path = path(folder, "web", Stream::Out, start);
    fs::OpenOptions::new()
        .append(true)
        .open(path)
        .unwrap()
        .write_all(content)
        .unwrap();
}

fn delete(folder: &Path, start: u64) {
    fs::remove_file(path(folder, "web", Stream::Out, start)).unwrap();
}

fn reader(folder: &Path, from: u64) -> SegmentReader {
    SegmentReader::open(folder, "web", Stream::Out, from).unwrap()
}

fn rest(reader: &mut SegmentReader) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 3];
    loop {
        match reader.read(&mut buffer).unwrap() {
            0 => return String::from_utf8(text).unwrap(),
            read => text.extend_from_slice(&buffer[..read]),
        }
    }
}

#[test]
fn file_names() {
    let zeros = "00000000000000000000";
    for (name, parsed) in [
        (format!("web.out.{zeros}"), Some(("web", Stream::Out, 0))),
        (
            format!("a.b.err.{}", "00000000000000000042"),
            Some(("a.b", Stream::Err, 42)),
        ),
        ("web.out.42".into(), None),
        (format!("web.log.{zeros}"), None),
        (format!("out.{zeros}"), None),
        (format!(".out.{zeros}"), None),
        ("web.out.99999999999999999999".into(), None),
    ] {
        let parsed = parsed.map(|(id, stream, start)| (id.to_owned(), stream, start));
        assert_eq!(parse(OsStr::new(&name)), parsed, "{name}");
    }
}

#[test]
fn reads_over_boundaries_and_goes_on_as_files_grow() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut reader = reader(folder, 0);
    assert_eq!(rest(&mut reader), "");
    write(folder, 0, b"hello");
    assert_eq!(rest(&mut reader), "hello");
    append(folder, 0, b" you");
    write(folder, 9, b" there");
    write(folder, 15, b"");
    assert_eq!(rest(&mut reader), " you there");
    append(folder, 15, b"!");
    assert_eq!(rest(&mut reader), "!");
    assert_eq!((reader.offset(), reader.lost()), (16, 0));
}

#[test]
fn begins_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 10, b"abcde");
    write(folder.path(), 15, b"fgh");
    for (from, text, lost) in [
        (0, "abcdefgh", 10),
        (10, "abcdefgh", 0),
        (12, "cdefgh", 0),
        (15, "fgh", 0),
        (18, "", 0),
    ] {
        let mut reader = reader(folder.path(), from);
        assert_eq!(
            (rest(&mut reader).as_str(), reader.lost()),
            (text, lost),
            "from {from}"
        );
    }
}

#[test]
fn deleted_output_is_skipped_and_counted_but_an_open_file_is_read_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write(folder, 0, b"abc");
    let mut reader = reader(folder, 0);
    assert_eq!(rest(&mut reader), "abc");
    append(folder, 0, b"de");
    write(folder, 5, b"fgh");
    write(folder, 8, b"ijk");
    delete(folder, 0);
    delete(folder, 5);
    assert_eq!(rest(&mut reader), "deijk");
    assert_eq!(reader.lost(), 3);
}

proptest! {
    #[test]
    fn any_cutting_reads_back_whole(
        sizes in prop::collection::vec(1usize..20, 1..12),
        from in 0usize..60,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let total: usize = sizes.iter().sum();
        let text: String = (0..total).map(|index| char::from(b'a' + (index % 26) as u8)).collect();
        let mut start = 0;
        for size in sizes {
            write(folder.path(), start as u64, &text.as_bytes()[start..start + size]);
            start += size;
        }
        let from = from.min(total);
        prop_assert_eq!(rest(&mut reader(folder.path(), from as u64)), &text[from..]);
    }
}
