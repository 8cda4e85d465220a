use proptest::prelude::*;
use serde_json::json;

use super::*;

#[test]
fn names() {
    let long = "a".repeat(128);
    let too_long = "a".repeat(129);
    for (text, valid) in [
        ("web", true),
        ("web-1.canary_2", true),
        ("..", true),
        (&long, true),
        ("", false),
        (&too_long, false),
        ("a/b", false),
        ("a b", false),
        ("käse", false),
        ("a\0", false),
    ] {
        assert_eq!(is_name(text), valid, "{text:?}");
    }
}

#[test]
fn wire_form() {
    for (message, json) in [
        (Request::Hello { version: 1 }, json!({"hello": {"version": 1}})),
        (
            Request::Subscribe { binds: true },
            json!({"subscribe": {"binds": true}}),
        ),
        (
            Request::Acknowledge {
                id: "a".into(),
                stream: Stream::Err,
            },
            json!({"acknowledge": {"id": "a", "stream": "err"}}),
        ),
    ] {
        assert_eq!(serde_json::to_value(&message).unwrap(), json);
    }
    let answer: Answer = Err(Refusal::SpawnFailed {
        step: SpawnStep::Exec,
        errno: 2,
    });
    assert_eq!(
        serde_json::to_value(&answer).unwrap(),
        json!({"Err": {"spawn_failed": {"step": "exec", "errno": 2}}})
    );
}

#[test]
fn a_spawn_of_an_older_server_gets_the_defaults() {
    let spawn: Spawn =
        serde_json::from_value(json!({"id": "a", "argv": ["x"], "cwd": "/", "env": [], "new_field": 1}))
            .unwrap();
    assert_eq!(spawn, Spawn::new("a", vec!["x".into()]));
}

#[test]
fn refusals_read_as_fragments() {
    let refusal = Refusal::SpawnFailed {
        step: SpawnStep::Chdir,
        errno: 2,
    };
    assert_eq!(
        refusal.to_string(),
        "chdir failed: No such file or directory (os error 2)"
    );
}

#[test]
fn too_long_frames_are_refused_before_they_arrive() {
    let mut decoder = Decoder::default();
    decoder.feed(&u32::try_from(MAX_FRAME + 1).unwrap().to_be_bytes());
    assert!(matches!(decoder.take::<Request>(), Err(FrameError::TooLong(_))));
    let label = serde_json::Value::String("x".repeat(MAX_FRAME));
    assert!(matches!(
        encode(&Request::Label {
            id: "a".into(),
            label
        }),
        Err(FrameError::TooLong(_))
    ));
}

#[test]
fn a_page_of_the_largest_children_fits_into_a_frame() {
    let label = serde_json::Value::String("x".repeat(MAX_LABEL - 2));
    let stream = StreamStatus {
        start: u64::MAX,
        end: u64::MAX,
        consumed: u64::MAX,
        dropped: u64::MAX,
        closed: false,
        stalled_errno: Some(i32::MAX),
    };
    let child = ChildStatus {
        serial: u64::MAX,
        id: "x".repeat(128),
        pid: i32::MAX,
        start_time: u64::MAX,
        label,
        state: ChildState::Exited(Exit {
            code: Some(255),
            signal: None,
            at_ms: u64::MAX,
        }),
        out: stream,
        err: stream,
        ready: true,
        bound: Some(Bound {
            asked: "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535".parse().unwrap(),
            to: "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535".parse().unwrap(),
        }),
    };
    let answer: Answer = Ok(Reply::Children {
        children: vec![child; PAGE_CHILDREN],
        more: true,
    });
    encode(&answer).unwrap();
}

proptest! {
    #[test]
    fn messages_survive_any_splitting(
        names in prop::collection::vec("[a-z]{0,40}", 0..8),
        cuts in prop::collection::vec(1usize..30, 1..60),
    ) {
        let sent: Vec<_> = names.into_iter().map(|name| Request::TakeSocket { name }).collect();
        let bytes: Vec<u8> = sent.iter().flat_map(|request| encode(request).unwrap()).collect();
        let mut decoder = Decoder::default();
        let mut received = Vec::new();
        let mut rest = &bytes[..];
        for cut in cuts.into_iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, tail) = rest.split_at(cut.min(rest.len()));
            decoder.feed(piece);
            rest = tail;
            while let Some(request) = decoder.take::<Request>().unwrap() {
                received.push(request);
            }
        }
        prop_assert_eq!(received, sent);
    }

    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut decoder = Decoder::default();
        decoder.feed(&bytes);
        while let Ok(Some(_)) = decoder.take::<Request>() {}
    }
}
