//! A client's connection: streams come in, until either side is done.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use hythe_upstream::Wire;
use tokio::time::Instant;

use crate::flood::Flood;
use crate::guarded::Guarded;
use crate::stream::Stream;
use crate::{CONNECTION_WINDOW, SEND_BUFFER, STREAM_WINDOW};

/// What a client may take of time and memory.
#[derive(Debug, Clone, Copy)]
pub struct ServerLimits {
    /// Streams at the same time.
    pub streams: u32,
    /// A request's fields, with 32 bytes more for each, as HPACK counts.
    pub header_list: u32,
    /// Time for the first reads and writes of a stream, until they are set.
    pub allowed: Duration,
    /// Time for a write to the socket to move at all.
    pub write_timeout: Duration,
}

/// A connection of a client.
pub struct Server {
    connection: h2::server::Connection<Guarded, Bytes>,
    flood: Rc<RefCell<Flood>>,
    flooded: bool,
    allowed: Duration,
}

/// Resets that a client has us make by breaking rules, over the connection's life (MadeYouReset).
const OWN_RESETS: usize = 256;

impl Server {
    /// Takes over a connection from which `early` was read already, and greets.
    ///
    /// # Errors
    /// The client does not speak HTTP/2, or the socket fails. There is no deadline.
    pub async fn greet(wire: Wire, early: &[u8], limits: ServerLimits) -> Result<Self, std::io::Error> {
        let flood = Rc::new(RefCell::new(Flood::new(Instant::now())));
        let socket = Guarded::of_client(wire, early, Rc::clone(&flood), limits.write_timeout);
        let connection = h2::server::Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(limits.header_list)
            .max_send_buffer_size(SEND_BUFFER)
            .max_local_error_reset_streams(Some(OWN_RESETS))
            .handshake(socket)
            .await
            .map_err(std::io::Error::other)?;
        Ok(Self {
            connection,
            flood,
            flooded: false,
            allowed: limits.allowed,
        })
    }

    /// Ready with the next request, or `None` when the connection is over. Everything that happens on its
    /// streams happens while this is polled.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Stream>> {
        loop {
            let polled = self.connection.poll_accept(context);
            if !self.flooded && self.flood.borrow().is_on() {
                self.flooded = true;
                self.connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                continue;
            }
            match polled {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None | Some(Err(_))) => return Poll::Ready(None),
                Poll::Ready(Some(Ok((request, answer)))) => {
                    return Poll::Ready(Some(Stream::of_client(request, answer, self.allowed)));
                }
            }
        }
    }

    /// Whether the connection was ended for sending too much of what costs nothing to send.
    pub fn is_flooded(&self) -> bool {
        self.flooded
    }

    /// Takes no further requests (GOAWAY, twice, so that requests on their way are still served) and ends
    /// when the open ones have.
    pub fn shut_down(&mut self) {
        self.connection.graceful_shutdown();
    }
}
