//! Which name a client asks for in TLS that ends behind us.
//!
//! The client's first message is read, understood by rustls as it would be by a server, and passed on as it came. What
//! is not TLS, or says something that cannot be, is refused.

use hythe_upstream::Buffer;
use rustls::server::Acceptor;

use crate::link::Reader;

/// The most of a first message that is read, bytes.
const MOST: usize = 64 * 1024;
/// Bytes of one read; nearly every first message is shorter.
const CHUNK: usize = 4096;

/// There is no first message, or none that can be understood, or it did not come in time.
#[derive(Debug)]
pub(crate) struct NoHello;

/// The name, in lower case, if the client asks for one. What was read stands in `early`.
///
/// # Errors
/// When there is nothing to go by. The reader's deadline holds for all of it.
pub(crate) async fn server_name(
    reader: &mut Reader<'_>,
    early: &mut Buffer,
) -> Result<Option<String>, NoHello> {
    let mut acceptor = Acceptor::default();
    while early.len() < MOST {
        let seen = early.len();
        let count = reader.read(early, CHUNK).await.map_err(|_| NoHello)?;
        if count == 0 {
            return Err(NoHello);
        }
        let mut fresh = early.bytes().get(seen..).unwrap_or_default();
        while !fresh.is_empty() {
            acceptor.read_tls(&mut fresh).map_err(|_| NoHello)?;
            if let Some(accepted) = acceptor.accept().map_err(|_| NoHello)? {
                let name = accepted.client_hello().server_name().map(str::to_ascii_lowercase);
                return Ok(name);
            }
        }
    }
    Err(NoHello)
}
