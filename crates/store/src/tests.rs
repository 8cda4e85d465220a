//! The conformance suite, and what is this backend's own: files, locks, versions, copies.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use hythe_ports::documents::{Put, TagFilter};
use hythe_testkit::store_suite::gate::Gate;
use hythe_testkit::store_suite::{Backend, NOW, Opened};
use serde_json::json;
use tempfile::TempDir;

use super::*;

struct Sqlite;

impl Backend for Sqlite {
    fn open(&self) -> BoxFuture<'_, Opened> {
        let home = tempfile::tempdir().unwrap();
        let gate = Arc::new(Gate::default());
        let pass = Arc::clone(&gate);
        // The clock is asked within the transaction, after the generation was taken.
        let clock: Clock = Arc::new(move || {
            pass.pass();
            NOW
        });
        let store = open(Config {
            clock,
            ..config(&home)
        })
        .unwrap();
        let opened = Opened {
            documents: Arc::new(store),
            second_node: None,
            gate,
            keep: Box::new(home),
        };
        Box::pin(std::future::ready(opened))
    }
}

mod suite {
    hythe_testkit::store_suite!(super::Sqlite);
}

fn config(home: &TempDir) -> Config {
    Config::new(home.path().join("store"), NodeId("one".to_owned()))
}

fn database(home: &TempDir) -> PathBuf {
    home.path().join("store").join(DATABASE)
}

fn put(name: &str, body: impl Into<serde_json::Value>) -> Put {
    Put::new(Identity::new("thing", "", name), body.into())
}

async fn write(store: &Store, put: Put) -> u64 {
    let (actor, owner, reason) = ("alice".to_owned(), "cli".to_owned(), "a test".to_owned());
    store
        .commit(Transaction {
            actor,
            owner,
            reason,
            writes: vec![put.into()],
        })
        .await
        .unwrap()
        .generation
}

async fn body(store: &Store, name: &str) -> Option<serde_json::Value> {
    store
        .get("thing", "", name)
        .await
        .unwrap()
        .map(|document| document.body)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn sql(path: &Path, statement: &str) {
    rusqlite::Connection::open(path)
        .unwrap()
        .execute_batch(statement)
        .unwrap();
}

#[tokio::test]
async fn what_was_written_is_there_after_reopening() {
    let home = tempfile::tempdir().unwrap();
    let store = open(config(&home)).unwrap();
    write(&store, put("a", json!({"port": 80}))).await;
    write(&store, put("b", 1)).await;
    let before = store.list(Query::new("thing")).await.unwrap();
    drop(store);
    let store = open(config(&home)).unwrap();
    assert_eq!(store.list(Query::new("thing")).await.unwrap(), before);
    assert_eq!(*store.watch().borrow(), 2);
    assert_eq!(
        store
            .changes_since(0, Reach::Here, 10)
            .await
            .unwrap()
            .changes
            .len(),
        2
    );
    assert_eq!(write(&store, put("c", 1)).await, 3);
}

#[tokio::test]
async fn files_are_their_owners_alone() {
    let home = tempfile::tempdir().unwrap();
    let store = open(config(&home)).unwrap();
    write(&store, put("a", 1)).await;
    let directory = home.path().join("store");
    assert_eq!(mode(&directory), 0o700);
    let files: Vec<_> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(files.len(), 4, "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    drop(store);
    fs::set_permissions(database(&home), fs::Permissions::from_mode(0o644)).unwrap();
    let _store = open(config(&home)).unwrap();
    assert_eq!(mode(&database(&home)), 0o600);
}

#[tokio::test]
async fn a_second_owner_is_refused_by_name() {
    let home = tempfile::tempdir().unwrap();
    let store = open(config(&home)).unwrap();
    let refused = open(config(&home)).err().unwrap().to_string();
    let directory = home.path().join("store");
    let expected = format!(
        "{} is in use by process {}",
        directory.display(),
        std::process::id()
    );
    assert_eq!(refused, expected);
    assert!(restore(Path::new("/nonexistent"), &directory).is_err());
    store.close().await;
    open(config(&home)).unwrap();
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let home = tempfile::tempdir().unwrap();
    let store = open(config(&home)).unwrap();
    let mut watched = store.watch();
    let queued = tokio::spawn({
        let store = store.clone();
        async move { write(&store, put("a", 1)).await }
    });
    watched.changed().await.unwrap();
    assert_eq!(queued.await.unwrap(), 1);
    store.close().await;
    store.close().await;
    assert!(watched.changed().await.is_err());
    let (actor, owner, reason, writes) = Default::default();
    let commit = store
        .commit(Transaction {
            actor,
            owner,
            reason,
            writes,
        })
        .await;
    assert!(matches!(commit, Err(CommitError::Closed)));
    assert!(matches!(
        store.get("thing", "", "a").await,
        Err(ReadError::Closed)
    ));
    assert!(matches!(store.generation().await, Err(ReadError::Closed)));
    assert!(matches!(store.compact(0).await, Err(MaintenanceError::Closed)));
    assert!(matches!(
        store.backup(&home.path().join("b")).await,
        Err(MaintenanceError::Closed)
    ));
}

/// Closing on the runtime's only thread must not wait for futures that this thread would have to poll.
#[tokio::test]
async fn closing_does_not_wait_for_unpolled_commits() {
    let home = tempfile::tempdir().unwrap();
    let gate = Arc::new(Gate::default());
    let pass = Arc::clone(&gate);
    let clock: Clock = Arc::new(move || {
        pass.pass();
        NOW
    });
    let store = open(Config {
        clock,
        ..config(&home)
    })
    .unwrap();
    let held = gate.close();
    let mut commits = tokio::task::JoinSet::new();
    for number in 0..3_000 {
        let store = store.clone();
        commits.spawn(async move {
            let (actor, owner, reason) = Default::default();
            let writes = vec![put(&number.to_string(), 1).into()];
            store
                .commit(Transaction {
                    actor,
                    owner,
                    reason,
                    writes,
                })
                .await
                .is_ok()
        });
    }
    held.reached().await;
    drop(held);
    let running = store.shared.running().take();
    drop(running);
    let acknowledged = commits
        .join_all()
        .await
        .into_iter()
        .filter(|acknowledged| *acknowledged)
        .count();
    let reopened = open(config(&home)).unwrap();
    assert_eq!(reopened.generation().await.unwrap(), acknowledged as u64);
}

#[tokio::test]
async fn a_strange_or_newer_file_is_refused_and_left_alone() {
    let rows = [
        ("CREATE TABLE diary (entry TEXT)", "is not a store"),
        ("PRAGMA application_id = 7", "is not a store"),
        ("PRAGMA user_version = 1", "is not a store"),
    ];
    for (statement, expected) in rows {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("store")).unwrap();
        sql(&database(&home), statement);
        let before = fs::read(database(&home)).unwrap();
        let refused = open(config(&home)).err().unwrap().to_string();
        assert_eq!(
            refused,
            format!("{} {expected}", database(&home).display()),
            "{statement}"
        );
        assert_eq!(fs::read(database(&home)).unwrap(), before);
    }

    let home = tempfile::tempdir().unwrap();
    drop(open(config(&home)).unwrap());
    sql(&database(&home), "PRAGMA user_version = 99");
    let refused = open(config(&home)).err().unwrap().to_string();
    let known = schema::MIGRATIONS.len();
    let expected = format!(
        "{} has schema version 99, this version knows {known}",
        database(&home).display()
    );
    assert_eq!(refused, expected);

    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("store")).unwrap();
    fs::write(
        database(&home),
        "not a database, but long enough to look at".repeat(100),
    )
    .unwrap();
    let refused = open(config(&home)).err().unwrap();
    assert!(matches!(refused, OpenError::NotAStore { .. }), "{refused}");
}

#[tokio::test]
async fn a_migration_keeps_a_copy_and_happens_whole_or_not_at_all() {
    let home = tempfile::tempdir().unwrap();
    let store = open(config(&home)).unwrap();
    write(&store, put("a", 1)).await;
    drop(store);
    let path = database(&home);
    let known = schema::MIGRATIONS.len();
    let with = |migration| [schema::MIGRATIONS, &[migration]].concat();
    let mut connection = schema::plain(&path).unwrap();

    let bad = schema::migrate(
        &mut connection,
        &path,
        &with("CREATE TABLE more (x); CREATE TABLE counter (x)"),
    );
    assert!(matches!(bad, Err(OpenError::Io { .. })), "{bad:?}");
    assert_eq!(schema::format(&connection).unwrap(), schema::Format::Ours(known));
    connection.prepare("SELECT * FROM more").unwrap_err();

    schema::migrate(&mut connection, &path, &with("CREATE TABLE more (x)")).unwrap();
    assert_eq!(
        schema::format(&connection).unwrap(),
        schema::Format::Ours(known + 1)
    );
    connection.prepare("SELECT * FROM more").unwrap();
    drop(connection);
    assert!(matches!(open(config(&home)), Err(OpenError::Newer { .. })));

    let copy = schema::before_migration(&path, known);
    assert_eq!(mode(&copy), 0o600);
    restore(&copy, &home.path().join("other")).unwrap();
    let store = open(Config::new(home.path().join("other"), NodeId("one".to_owned()))).unwrap();
    assert_eq!(body(&store, "a").await, Some(json!(1)));
}

#[tokio::test]
async fn a_copy_is_taken_while_writes_go_on_and_can_be_put_back() {
    let home = tempfile::tempdir().unwrap();
    let store = open(config(&home)).unwrap();
    for number in 0..200 {
        write(&store, put(&number.to_string(), "x".repeat(1_000))).await;
    }
    let writing = tokio::spawn({
        let store = store.clone();
        async move {
            for number in 200..300 {
                write(&store, put(&number.to_string(), 1)).await;
            }
        }
    });
    let copy = home.path().join("copy");
    store.backup(&copy).await.unwrap();
    writing.await.unwrap();
    assert_eq!(mode(&copy), 0o600);
    assert!(matches!(store.backup(&copy).await, Err(MaintenanceError::Exists)));
    let nowhere = store.backup(&home.path().join("none").join("copy")).await;
    assert!(matches!(nowhere, Err(MaintenanceError::Io(_))), "{nowhere:?}");
    assert_eq!(
        fs::read_dir(home.path()).unwrap().count(),
        2,
        "one store, one copy, nothing half done"
    );

    write(&store, put("0", "changed")).await;
    let directory = home.path().join("store");
    assert!(matches!(
        restore(&copy, &directory),
        Err(RestoreError::Directory(OpenError::InUse { .. }))
    ));
    drop(store);
    restore(&copy, &directory).unwrap();
    let store = open(config(&home)).unwrap();
    assert_eq!(body(&store, "0").await, Some(json!("x".repeat(1_000))));
    let count = store.list(Query::new("thing")).await.unwrap().documents.len();
    assert!((200..=300).contains(&count), "{count}");
    // Nobody who followed the replaced store can go on as if nothing had happened.
    assert_eq!(store.generation().await.unwrap(), 302);
    let followed = store.changes_since(301, Reach::Here, 10).await;
    assert!(matches!(followed, Err(ChangesError::TooOld { oldest: 302, .. })));
    drop(store);

    // What was replaced is still there, and can be brought back in the same way.
    restore(&directory.join("store.db.replaced"), &home.path().join("before")).unwrap();
    let store = open(Config::new(home.path().join("before"), NodeId("one".to_owned()))).unwrap();
    assert_eq!(body(&store, "0").await, Some(json!("changed")));
}

#[tokio::test]
async fn what_is_no_sound_copy_is_not_put_back() {
    let home = tempfile::tempdir().unwrap();
    let store = open(config(&home)).unwrap();
    for number in 0..100 {
        write(&store, put(&number.to_string(), "x".repeat(1_000))).await;
    }
    let copy = home.path().join("copy");
    store.backup(&copy).await.unwrap();
    drop(store);
    let spoilt = |name: &str, spoil: &dyn Fn(&Path)| {
        let path = home.path().join(name);
        fs::copy(&copy, &path).unwrap();
        spoil(&path);
        restore(&path, &home.path().join("store")).unwrap_err()
    };
    let refusals = [
        spoilt("text", &|path| fs::write(path, "text").unwrap()),
        spoilt("empty", &|path| fs::write(path, "").unwrap()),
        spoilt("newer", &|path| sql(path, "PRAGMA user_version = 99")),
        spoilt("short", &|path| {
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            file.set_len(fs::metadata(path).unwrap().len() / 2).unwrap();
        }),
        spoilt("garbled", &|path| {
            sql(path, "UPDATE documents SET document = '{}'");
        }),
        spoilt("missing", &|path| fs::remove_file(path).unwrap()),
    ];
    let kinds = refusals.map(|refusal| match refusal {
        RestoreError::NotAStore { .. } => "not a store",
        RestoreError::Newer { .. } => "newer",
        RestoreError::Corrupt { .. } => "corrupt",
        RestoreError::Io { .. } => "unreadable",
        RestoreError::Directory(_) => "directory",
    });
    assert_eq!(
        kinds,
        [
            "not a store",
            "not a store",
            "newer",
            "corrupt",
            "corrupt",
            "unreadable"
        ]
    );
    let store = open(config(&home)).unwrap();
    assert_eq!(
        store.list(Query::new("thing")).await.unwrap().documents.len(),
        100
    );
}

#[tokio::test]
async fn compaction_gives_space_back() {
    let home = tempfile::tempdir().unwrap();
    let store = open(config(&home)).unwrap();
    for number in 0..300 {
        write(&store, put("a", format!("{number}{}", "x".repeat(10_000)))).await;
    }
    store.compact(300).await.unwrap();
    let before = fs::metadata(database(&home)).unwrap().len();
    store.compact(1).await.unwrap();
    let after = fs::metadata(database(&home)).unwrap().len();
    assert!(before > 3_000_000 && after < 300_000, "{before} to {after}");
}

#[tokio::test]
async fn the_history_and_the_log_stay_short_by_themselves() {
    let home = tempfile::tempdir().unwrap();
    let store = open(Config {
        history_keep: 50,
        ..config(&home)
    })
    .unwrap();
    for number in 0..1_500 {
        write(&store, put("a", format!("{number}{}", "x".repeat(10_000)))).await;
    }
    let answer = store.changes_since(0, Reach::Here, 1).await;
    let Err(ChangesError::TooOld {
        oldest,
        generation: 1_500,
    }) = answer
    else {
        panic!("{answer:?}")
    };
    assert!((1_000..=1_450).contains(&oldest), "{oldest}");
    assert_eq!(
        store
            .changes_since(1_450, Reach::Here, 100)
            .await
            .unwrap()
            .changes
            .len(),
        50
    );
    let log = fs::metadata(home.path().join("store").join("store.db-wal"))
        .unwrap()
        .len();
    assert!(log < 8 << 20, "{log}");
}

#[tokio::test]
async fn damage_is_told_and_spreads_no_further() {
    let home = tempfile::tempdir().unwrap();
    let store = open(config(&home)).unwrap();
    write(&store, put("a", 1)).await;
    write(&store, put("b", 1)).await;
    drop(store);
    sql(
        &database(&home),
        "UPDATE documents SET document = '{' WHERE name = 'a'",
    );
    let store = open(config(&home)).unwrap();
    assert!(matches!(
        store.get("thing", "", "a").await,
        Err(ReadError::Corrupt(_))
    ));
    let list = Query {
        tags: TagFilter::default(),
        ..Query::new("thing")
    };
    assert!(matches!(store.list(list).await, Err(ReadError::Corrupt(_))));
    assert_eq!(body(&store, "b").await, Some(json!(1)));
    assert_eq!(write(&store, put("c", 1)).await, 3);
}
