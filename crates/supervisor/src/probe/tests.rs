//! Probes of real sockets.

use tokio::net::TcpListener;

use super::*;

fn teller() -> (Teller, mpsc::Receiver<Event>) {
    let (events, receiver) = mpsc::channel(16);
    (
        Teller {
            id: InstanceId("users-1".into()),
            pid: 1,
            events,
        },
        receiver,
    )
}

async fn next(events: &mut mpsc::Receiver<Event>) -> Option<Verdict> {
    match events.recv().await? {
        Event::Probed { verdict, .. } => Some(verdict),
        other => panic!("not a verdict: {other:?}"),
    }
}

#[tokio::test]
async fn an_address_is_ready_once_it_accepts() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (teller, mut events) = teller();
    let probe = tokio::spawn(run(Subject::Accepts(address), Health::Pending, teller));
    let refused = next(&mut events).await.unwrap();
    assert_eq!(refused.health, Health::Pending);
    assert!(
        refused
            .message
            .unwrap()
            .starts_with(&format!("connect to {address}: "))
    );
    let _listener = TcpListener::bind(address).await.unwrap();
    assert_eq!(
        next(&mut events).await,
        Some(Verdict {
            health: Health::Ready,
            message: None
        })
    );
    probe.await.unwrap();
    assert_eq!(next(&mut events).await, None);
}

#[tokio::test]
async fn a_socket_that_was_given_is_ready_once_its_connection_is_taken() {
    let listener = TcpListener::bind("127.64.11.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (teller, mut events) = teller();
    let probe = tokio::spawn(run(Subject::Takes(address), Health::Pending, teller));
    let waits = next(&mut events).await.unwrap();
    assert_eq!(waits.health, Health::Pending);
    assert_eq!(waits.message.as_deref(), Some(NOT_TAKEN));
    let (connection, _) = listener.accept().await.unwrap();
    let taken = next(&mut events).await.unwrap();
    assert_eq!(
        (taken.health, taken.message),
        (Health::Ready, None),
        "one connection was all"
    );
    drop(connection);
    probe.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_try_that_takes_too_long_has_failed() {
    let timeout = Duration::from_millis(500);
    let result = within(timeout, std::future::pending::<Result<(), String>>()).await;
    assert_eq!(result, Err("no answer within 500ms".to_owned()));
}

#[test]
fn pauses_follow_the_health_check() {
    let check = |start_interval_ms| HealthCheck {
        probe: Probe::Tcp,
        interval_ms: 10_000,
        timeout_ms: 1,
        retries: 1,
        start_period_ms: 0,
        start_interval_ms,
    };
    assert_eq!(pause(&check(0), false), DEFAULT_START_INTERVAL);
    assert_eq!(pause(&check(70), false), Duration::from_millis(70));
    for _ in 0..100 {
        let pause = pause(&check(70), true);
        assert!(
            (Duration::from_secs(9)..=Duration::from_secs(11)).contains(&pause),
            "{pause:?}"
        );
    }
}
