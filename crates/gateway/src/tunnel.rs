//! After a `101`: bytes both ways, until both sides have said that they are done or neither says anything.

use std::cell::Cell;
use std::time::Duration;

use hythe_upstream::{Buffer, WireError};
use tokio::time::Instant;

use crate::link::{Reader, Writer};

/// What went through a tunnel.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Moved {
    pub(crate) from_client: u64,
    pub(crate) to_client: u64,
}

/// Both directions at once. A side that finishes is passed on as such (half-close) and the other goes on.
/// `quiet`: silence in both directions that ends the tunnel (nginx: `proxy_read_timeout`). What was moved counts also when the tunnel is given up.
///
/// # Errors
/// The first failure of either side, which ends both; the silence, too.
pub(crate) async fn run(
    client: (&mut Reader<'_>, &mut Writer<'_>),
    upstream: (&mut Reader<'_>, &mut Writer<'_>),
    buffers: (&mut Buffer, &mut Buffer),
    quiet: Duration,
    moved: &mut Moved,
) -> Result<(), WireError> {
    let last = Cell::new(Instant::now());
    let upward = copy(
        client.0,
        upstream.1,
        buffers.0,
        &last,
        quiet,
        &mut moved.from_client,
    );
    let downward = copy(
        upstream.0,
        client.1,
        buffers.1,
        &last,
        quiet,
        &mut moved.to_client,
    );
    // An error on either side ends both: `try_join` drops the other direction.
    futures_util::future::try_join(upward, downward).await.map(|_| ())
}

async fn copy(
    reader: &mut Reader<'_>,
    writer: &mut Writer<'_>,
    buffer: &mut Buffer,
    last: &Cell<Instant>,
    quiet: Duration,
    moved: &mut u64,
) -> Result<(), WireError> {
    loop {
        if !buffer.is_empty() {
            writer.allow(quiet);
            writer.write_all(buffer.bytes()).await?;
            *moved += buffer.len() as u64;
            buffer.clear();
        }
        reader.set_deadline(last.get() + quiet);
        match reader.read(buffer, 16 * 1024).await {
            Ok(0) => break,
            Ok(_) => last.set(Instant::now()),
            // The other direction may have moved since.
            Err(WireError::TimedOut) if last.get() + quiet > Instant::now() => {}
            Err(error) => return Err(error),
        }
    }
    writer.finish().await;
    Ok(())
}
