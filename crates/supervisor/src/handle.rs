//! What others ask of the supervisor.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

/// Asks things of the supervisor; cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
}

/// What is asked.
#[derive(Debug)]
pub(crate) enum Command {
    StopAll {
        deadline: Duration,
        done: oneshot::Sender<()>,
    },
}

/// After the last kill the exits still have to be heard of.
const MARGIN: Duration = Duration::from_secs(2);

pub(crate) fn handle() -> (Handle, mpsc::Receiver<Command>) {
    let (commands, receiver) = mpsc::channel(8);
    (Handle { commands }, receiver)
}

impl Handle {
    /// Stops every instance, dependents before what they depend on, without touching the desired state,
    /// and starts none from then on. Half of `deadline` may be spent on draining; what is alive at its
    /// end is killed. Returns whether nothing is left.
    pub async fn stop_all(&self, deadline: Duration) -> bool {
        let (done, wait) = oneshot::channel();
        if self
            .commands
            .send(Command::StopAll { deadline, done })
            .await
            .is_err()
        {
            return false;
        }
        matches!(tokio::time::timeout(deadline + MARGIN, wait).await, Ok(Ok(())))
    }
}
