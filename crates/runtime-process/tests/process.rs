//! Real processes under a real minder.

mod confinement;
mod world;

use std::error::Error;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use hythe_minder::protocol::Stream;
use hythe_minder::segments;
use hythe_ports::{LogQuery, Logs as _};
use hythe_runtime_process::{OutputEvent, ShutdownError};
use hythe_supervisor::runtime::{Listens, ProbeSpec, Runtime, RuntimeError, RuntimeEvent, StartSpec};
use world::{
    Home, Server, collect, environment, in_time, instance, kill, lives, record, shell, start_stubborn, until,
};

#[tokio::test]
async fn exits_are_told_and_remembered_until_forgotten() {
    let home = Home::new();
    let mut server = home.server().await;
    for (id, script, code, signal) in [
        ("a-1", "exit 0", Some(0), None),
        ("a-2", "exit 3", Some(3), None),
        ("a-3", "kill -9 $$", None, Some(9)),
    ] {
        let pid = server.start(id, script).await;
        let exit = server.exit_of(id).await;
        assert_eq!((exit.code, exit.signal), (code, signal), "{id}");
        let found = server
            .list()
            .await
            .into_iter()
            .find(|found| found.record.id == instance(id))
            .unwrap();
        assert_eq!((found.pid, found.exit), (pid, Some(exit)));
        assert_eq!(found.record, record(id, None));
    }
    server.start("a-1", "exec sleep 1000").await;
    let found = server.list().await;
    assert_eq!(found.len(), 3, "a new start takes the place of an ended one");
    for id in ["a-1", "a-2", "a-3"] {
        server.runtime.forget(&instance(id)).await.unwrap();
        let again = server.runtime.forget(&instance(id)).await;
        assert!(matches!(again, Err(RuntimeError::Unknown(unknown)) if unknown == instance(id)));
    }
    assert!(server.list().await.is_empty());
    assert!(
        !lives(found.iter().find(|found| found.exit.is_none()).unwrap().pid),
        "a running one is killed"
    );
}

#[tokio::test]
async fn what_cannot_be_started_says_why() {
    let home = Home::new();
    let server = home.server().await;
    server.start("a-1", "exec sleep 1000").await;
    fs::write(home.path().join("text"), "").unwrap();
    fs::write(home.path().join("script"), "#!/no/such/interpreter\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(home.path().join("script"), mode).unwrap();
    let with = |id: &str, program: &str| StartSpec {
        command: vec![program.to_owned()],
        working_dir: home.path().to_owned(),
        ..shell(id, "")
    };
    for (spec, why) in [
        (with("a-2", "nodee"), "program `nodee` was not found in PATH"),
        (with("a-2", "./text"), "`./text` is not executable"),
        (
            with("a-2", "./script"),
            "the interpreter that `./script` names was not found",
        ),
        (
            StartSpec {
                working_dir: home.path().join("gone"),
                ..shell("a-2", "")
            },
            "the folder does not exist",
        ),
        (
            StartSpec {
                command: Vec::new(),
                ..shell("a-2", "")
            },
            "the command is empty",
        ),
        (shell("a-1", "exit 0"), "it is running"),
        (
            StartSpec {
                environment: [("=".to_owned(), String::new())].into(),
                ..shell("a-2", "")
            },
            "unusable env",
        ),
    ] {
        let error = server.try_start(spec).await.unwrap_err();
        assert!(matches!(error, RuntimeError::Start { .. }), "{error:?}");
        assert_eq!(error.source().unwrap().to_string(), why);
    }
    assert_eq!(server.list().await.len(), 1);
    assert!(
        server.runtime.minder_pid().is_some_and(lives),
        "nothing of that hurt the connection"
    );
}

#[tokio::test]
async fn a_later_server_adopts_everything() {
    let home = Home::new();
    let mut first = home.server().await;
    let pid = first.start("a-1", "exec sleep 1000").await;
    first.start("a-2", "exec sleep 1000").await;
    let gated = StartSpec {
        working_dir: home.path().to_owned(),
        ..shell("a-3", "while [ ! -e gate ]; do sleep 0.01; done; exit 5")
    };
    first.try_start(gated).await.unwrap();
    let changed = hythe_supervisor::runtime::Record {
        restarts: 9,
        ..record("a-1", None)
    };
    first.runtime.record(&changed).await.unwrap();
    let minder = first.runtime.minder_pid();
    first.runtime.signal(&instance("a-2"), 9, true).await.unwrap();
    first.exit_of("a-2").await;
    first.vanish().await;
    fs::write(home.path().join("gate"), "").unwrap();

    let mut second = home.server().await;
    assert_eq!(second.runtime.minder_pid(), minder);
    until_exited(&second, "a-3").await;
    let found = second.list().await;
    let of = |id: &str| {
        found
            .iter()
            .find(|found| found.record.id == instance(id))
            .unwrap()
    };
    assert_eq!(
        (of("a-1").pid, of("a-1").exit, &of("a-1").record),
        (pid, None, &changed)
    );
    assert_eq!(of("a-2").exit.unwrap().signal, Some(9));
    assert_eq!(
        of("a-3").exit.unwrap().code,
        Some(5),
        "nobody was there to see it"
    );
    second.runtime.signal(&instance("a-1"), 15, false).await.unwrap();
    assert_eq!(second.exit_of("a-1").await.signal, Some(15));
    second.runtime.signal(&instance("a-1"), 15, false).await.unwrap();
}

async fn until_exited(server: &Server, id: &str) {
    while server
        .list()
        .await
        .iter()
        .any(|found| found.record.id == instance(id) && found.exit.is_none())
    {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn when_the_minder_dies_what_it_leaves_is_killed_and_a_new_one_is_started() {
    let home = Home::new();
    let mut server = home.server().await;
    let pids = start_stubborn(&home, &server, "a-1").await;
    let minder = server.runtime.minder_pid().unwrap();
    kill(minder);
    assert_eq!(in_time(server.events.recv()).await, Some(RuntimeEvent::Lost));
    assert_eq!(in_time(server.events.recv()).await, None);
    server.events = server.runtime.events();
    assert!(server.list_anew().await.is_empty());
    assert!(!pids.into_iter().any(lives));
    assert_ne!(server.runtime.minder_pid(), Some(minder));
    server.start("a-1", "exit 6").await;
    assert_eq!(server.exit_of("a-1").await.code, Some(6));
}

#[tokio::test]
async fn what_a_dead_minder_left_is_killed_by_the_next_server() {
    let home = Home::new();
    let first = home.server().await;
    let pids = start_stubborn(&home, &first, "a-1").await;
    let minder = first.runtime.minder_pid().unwrap();
    first.vanish().await;
    kill(minder);
    until(|| !lives(minder)).await;
    let mut second = home.server().await;
    assert!(!pids.into_iter().any(lives));
    let began = second.output(|_| true).await;
    let OutputEvent::Began {
        run,
        instance: of,
        adopted: true,
        ..
    } = began
    else {
        panic!("{began:?}")
    };
    assert_eq!(of, instance("a-1"));
    assert_eq!(
        second.output(|_| true).await,
        OutputEvent::Ended { run: run.clone() }
    );
    assert_eq!(home.files("run/instances").len(), 1);
    second.runtime.released(&run);
    assert!(home.files("run/instances").is_empty());
}

#[tokio::test]
async fn forgetting_kills_what_the_main_process_left() {
    let home = Home::new();
    let mut server = home.server().await;
    let script = "sleep 1000 & echo $! > child; exit 0";
    let spec = StartSpec {
        working_dir: home.path().to_owned(),
        ..shell("a-1", script)
    };
    server.try_start(spec).await.unwrap();
    assert_eq!(server.exit_of("a-1").await.code, Some(0));
    let child: u32 = fs::read_to_string(home.path().join("child"))
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    assert!(lives(child));
    server.runtime.forget(&instance("a-1")).await.unwrap();
    until(|| !lives(child)).await;
}

#[tokio::test]
async fn addresses_are_free_and_given_once() {
    let home = Home::new();
    let server = home.server().await;
    let mut given = Vec::new();
    for _ in 0..20 {
        let address = server
            .runtime
            .allocate_address(Listens::AsTold)
            .await
            .unwrap()
            .unwrap();
        assert!(address.ip().is_loopback() && (20000..=32767).contains(&address.port()));
        TcpListener::bind(address).unwrap();
        assert!(!given.contains(&address));
        given.push(address);
    }
    let spec = StartSpec {
        record: record("a-1", Some(given[0])),
        ..shell("a-1", "exec sleep 1000")
    };
    server.try_start(spec).await.unwrap();
    server.runtime.forget(&instance("a-1")).await.unwrap();
}

#[tokio::test]
async fn probes_succeed_fail_and_die_with_their_caller() {
    let home = Home::new();
    let server = home.server().await;
    let probe = |script: &str| ProbeSpec {
        user: None,
        command: ["sh", "-c", script].map(str::to_owned).into(),
        working_dir: home.path().to_owned(),
        environment: environment(),
    };
    for (script, success, output) in [
        (
            "pwd >&2; cat; exit 0",
            true,
            format!("{}\n", home.path().display()),
        ),
        ("echo no; exit 1", false, "no\n".to_owned()),
        ("kill -9 $$", false, String::new()),
        (
            "i=0; while [ $i -lt 2000 ]; do echo 123456789; i=$((i+1)); done",
            true,
            tail_of("123456789\n", 2000),
        ),
        ("sleep 1000 & echo done", true, "done\n".to_owned()),
    ] {
        let result = in_time(server.runtime.probe(probe(script))).await.unwrap();
        assert_eq!((result.success, result.output), (success, output), "{script}");
    }
    let hanging = server
        .runtime
        .probe(probe("sleep 1000 & echo $! > child; echo $$ > main; wait"));
    let read = |name: &str| {
        fs::read_to_string(home.path().join(name))
            .ok()?
            .trim()
            .parse()
            .ok()
    };
    tokio::select! {
        _ = hanging => panic!("it ended"),
        () = until(|| read("main").is_some()) => {}
    }
    let pids = [read("main").unwrap(), read("child").unwrap()];
    until(|| !pids.into_iter().any(lives)).await;
    let missing = ProbeSpec {
        command: vec!["nodee".into()],
        ..probe("")
    };
    let error = server.runtime.probe(missing).await.unwrap_err();
    assert_eq!(
        error.source().unwrap().to_string(),
        "program `nodee` was not found in PATH"
    );
}

fn tail_of(line: &str, times: usize) -> String {
    let all = line.repeat(times);
    all[all.len() - 1024..].to_owned()
}

#[tokio::test]
async fn usage_covers_the_whole_tree() {
    let home = Home::new();
    let mut server = home.server().await;
    let script = "sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; touch busy; sleep 1000' & wait";
    let spec = StartSpec {
        working_dir: home.path().to_owned(),
        ..shell("a-1", script)
    };
    server.try_start(spec).await.unwrap();
    until(|| home.path().join("busy").exists()).await;
    let usage = server.runtime.usage(&instance("a-1")).unwrap();
    assert!(
        usage.cpu_us >= 10_000 && usage.memory_bytes > 1_000_000,
        "{usage:?}"
    );
    server.runtime.signal(&instance("a-1"), 9, true).await.unwrap();
    server.exit_of("a-1").await;
    assert_eq!(server.runtime.usage(&instance("a-1")), None);
    assert_eq!(server.runtime.usage(&instance("other-1")), None);
}

#[tokio::test]
async fn listening_sockets_outlive_the_server() {
    let home = Home::new();
    let first = home.server().await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    first.runtime.keep_listener("http.0", &listener).await.unwrap();
    first.runtime.keep_listener("http.0", &listener).await.unwrap();
    first.runtime.keep_listener("admin.0", &listener).await.unwrap();
    drop(listener);
    first.vanish().await;
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"hello").unwrap();
    drop(client);
    let second = home.server().await;
    let mut taken = second.runtime.take_listeners("http.").await.unwrap();
    assert_eq!(taken.len(), 1);
    let (name, socket) = taken.remove(0);
    assert_eq!(name, "http.0");
    let mut text = String::new();
    TcpListener::from(socket)
        .accept()
        .unwrap()
        .0
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, "hello");
    for name in ["http.0", "http.0", "admin.0"] {
        second.runtime.drop_listener(name).await.unwrap();
    }
    assert!(second.runtime.take_listeners("").await.unwrap().is_empty());
    assert!(TcpStream::connect(address).is_err());
}

#[tokio::test]
async fn the_minder_ends_when_it_is_told_to() {
    let home = Home::new();
    let mut server = home.server().await;
    let pid = server.start("a-1", "exec sleep 1000").await;
    let minder = server.runtime.minder_pid().unwrap();
    let refused = server.runtime.shutdown_minder(false).await;
    assert!(
        matches!(refused, Err(ShutdownError::StillRunning { count: 1 })),
        "{refused:?}"
    );
    in_time(server.runtime.shutdown_minder(true)).await.unwrap();
    assert!(!lives(pid));
    until(|| !lives(minder)).await;
    while in_time(server.events.recv()).await.is_some() {}
    assert_eq!(server.runtime.minder_pid(), None);
    assert!(matches!(
        server.runtime.list().await,
        Err(RuntimeError::Unreachable { .. })
    ));
}

#[tokio::test]
async fn output_is_told_until_it_is_released() {
    let home = Home::new();
    let mut server = home.server().await;
    let script = "echo one; while [ ! -e gate ]; do sleep 0.01; done; echo two";
    let spec = StartSpec {
        working_dir: home.path().to_owned(),
        ..shell("a-1", script)
    };
    server.try_start(spec).await.unwrap();
    let began = server.output(|_| true).await;
    let OutputEvent::Began {
        run,
        adopted: false,
        out_from: 0,
        ..
    } = began
    else {
        panic!("{began:?}")
    };
    let segment = segments::path(&home.path().join("raw"), &run, Stream::Out, 0);
    until(|| fs::read(&segment).is_ok_and(|output| output == b"one\n")).await;
    server.runtime.consumed(&run, Stream::Out, 4);
    fs::write(home.path().join("gate"), "").unwrap();
    let closed = OutputEvent::Wrote {
        run: run.clone(),
        stream: Stream::Out,
        closed_at: Some(8),
    };
    while server.output(|_| true).await != closed {
        server.runtime.consumed(&run, Stream::Out, 4);
    }
    server.runtime.consumed(&run, Stream::Out, 8);
    until(|| !segment.exists()).await;
    server.exit_of("a-1").await;
    server.runtime.forget(&instance("a-1")).await.unwrap();
    server
        .output(|event| *event == OutputEvent::Ended { run: run.clone() })
        .await;
    assert_eq!(home.files("run/instances"), [format!("{run}.json")]);
    server.runtime.released(&run);
    assert!(home.files("run/instances").is_empty());
}

#[tokio::test]
async fn output_that_was_not_read_waits_for_the_next_server() {
    let home = Home::new();
    let mut first = home.server().await;
    first.start("a-1", "echo one").await;
    first.exit_of("a-1").await;
    drop(std::mem::replace(
        &mut first.output,
        tokio::sync::mpsc::channel(1).1,
    ));
    first.runtime.forget(&instance("a-1")).await.unwrap();
    first.vanish().await;
    let mut second = home.server().await;
    let logs = collect(&home, &mut second);
    until(|| home.files("run/instances").is_empty()).await;
    let lines = logs.tail(&LogQuery::default()).await.unwrap();
    assert_eq!(
        lines.iter().map(|line| line.message.as_str()).collect::<Vec<_>>(),
        ["one"]
    );
    assert!(home.files("raw").is_empty());
}

#[tokio::test]
async fn no_line_is_lost_or_doubled_while_servers_come_and_go() {
    let home = Home::new();
    let script = "i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done; printf 'the end'";
    let first = home.server().await;
    first.start("a-1", script).await;
    first.vanish().await;
    for server in 0..4 {
        let mut server_now = home.server().await;
        let logs = collect(&home, &mut server_now);
        let wanted = 2000 * server;
        loop {
            let lines = in_time(logs.tail(&LogQuery::default())).await.unwrap();
            if lines.len() > wanted {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(logs);
        server_now.vanish().await;
    }
    let mut last = home.server().await;
    let logs = collect(&home, &mut last);
    until_exited(&last, "a-1").await;
    last.runtime.forget(&instance("a-1")).await.unwrap();
    until(|| home.files("run/instances").is_empty()).await;
    let lines = logs.tail(&LogQuery::default()).await.unwrap();
    let messages: Vec<_> = lines.into_iter().map(|line| line.message).collect();
    let expected: Vec<_> = (0..20000)
        .map(|number| number.to_string())
        .chain(["the end".to_owned()])
        .collect();
    assert_eq!(messages, expected);
    assert!(home.files("raw").is_empty());
    drop(logs);
    assert!(last.spine.stop(Duration::from_secs(60)).await);
}
