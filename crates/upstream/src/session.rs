//! TLS between a socket and whoever reads and writes plaintext.
//!
//! Ciphertext is read in large pieces into the stack and fed to rustls, which decrypts one record at a time; what
//! it cannot take yet (it holds about one record of plaintext) is kept and fed first the next time. Plaintext is
//! encrypted up to [`SEND`] bytes at a time and written in one vectored write. So a connection that moves nothing
//! holds little, and one that moves a body holds a bounded amount of it.
//!
//! The end of the stream counts only if the other side said so (`close_notify`): otherwise anybody on the way
//! could end a message early. Who reads past the last byte without it gets an error.
//!
//! Left out on purpose: early data (it can be replayed), renegotiation (rustls has none), secrets in the
//! kernel (kTLS needs a kernel module and loses to one copy only for large bodies).

use std::io::{self, BufRead, Write};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::pki_types::CertificateDer;
use rustls::{Connection, HandshakeKind};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use crate::{Buffer, socket};

/// What both sides agreed on when they shook hands.
#[derive(Debug, Clone)]
pub struct Negotiated {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// The cipher suite, by its IANA name.
    pub cipher: String,
    /// The application's protocol (ALPN), if one was agreed on: `h2`, `http/1.1`.
    pub alpn: Option<Vec<u8>>,
    /// The name the client asked for (SNI), in lower case; never set on our own connections to upstreams.
    pub server_name: Option<String>,
    /// The other side's own certificate.
    pub peer_certificate: Option<CertificateDer<'static>>,
    /// Whether an earlier session was taken up again.
    pub resumed: bool,
}

/// One side of a TLS connection, and the ciphertext that waits for it.
#[derive(Debug)]
pub(crate) struct Session {
    connection: Connection,
    unfed: Buffer,
}

/// Ciphertext of one read: two records of the largest kind, or many small ones.
const RECEIVE: usize = 32 * 1024;
/// Plaintext that is encrypted before it is written: four records.
const SEND: usize = 64 * 1024;

impl Session {
    pub(crate) fn new(connection: impl Into<Connection>) -> Self {
        let mut connection = connection.into();
        connection.set_buffer_limit(Some(SEND));
        Self {
            connection,
            unfed: Buffer::default(),
        }
    }

    /// Ready when both sides have agreed and what we had to say is written.
    pub(crate) fn poll_handshake(
        &mut self,
        reader: &mut ReadHalf<'_>,
        writer: &mut WriteHalf<'_>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_flush(writer, context))?;
            if !self.connection.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            match self.arrived() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.poll_receive(reader, context))?;
                }
                _ => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            }
        }
    }

    /// What was agreed on.
    pub(crate) fn negotiated(&self) -> Negotiated {
        let connection = &self.connection;
        let version = match connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLSv1.3",
        };
        let cipher = connection
            .negotiated_cipher_suite()
            .and_then(|suite| suite.suite().as_str())
            .unwrap_or_default();
        let server_name = match connection {
            Connection::Server(server) => server.server_name().map(str::to_ascii_lowercase),
            Connection::Client(_) => None,
        };
        let certificates = connection.peer_certificates().unwrap_or_default();
        Negotiated {
            version,
            // What is `TLS13_` in rustls is `TLS_` everywhere else.
            cipher: cipher.replacen("TLS13_", "TLS_", 1),
            alpn: connection.alpn_protocol().map(<[u8]>::to_vec),
            server_name,
            peer_certificate: certificates.first().map(|own| own.clone().into_owned()),
            resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
        }
    }

    /// Moves at least one and at most `most` bytes of plaintext to `buffer`. 0: the other side has finished.
    pub(crate) fn poll_read(
        &mut self,
        half: &mut ReadHalf<'_>,
        context: &mut Context<'_>,
        buffer: &mut Buffer,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_readable(half, context))?;
        Poll::Ready(self.take(buffer, most))
    }

    /// Ready when there is plaintext or the end.
    pub(crate) fn poll_readable(
        &mut self,
        half: &mut ReadHalf<'_>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            match self.arrived() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.poll_receive(half, context))?;
                }
                arrived => return Poll::Ready(arrived),
            }
        }
    }

    /// Encrypts and writes all of `left`.
    pub(crate) fn poll_write_all(
        &mut self,
        half: &mut WriteHalf<'_>,
        context: &mut Context<'_>,
        left: &mut &[u8],
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_flush(half, context))?;
            if left.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let count = self.connection.writer().write(left)?;
            *left = left.get(count..).unwrap_or_default();
        }
    }

    /// Says that nothing more will be written.
    pub(crate) fn poll_finish(
        &mut self,
        half: &mut WriteHalf<'_>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.connection.send_close_notify();
        self.poll_flush(half, context)
    }

    /// `WouldBlock` as long as there is neither plaintext nor the end, `UnexpectedEof` after an end that the other
    /// side did not announce.
    fn arrived(&mut self) -> io::Result<()> {
        self.connection.reader().fill_buf().map(|_| ())
    }

    fn take(&mut self, buffer: &mut Buffer, most: usize) -> io::Result<usize> {
        let mut taken = 0;
        let mut reader = self.connection.reader();
        while taken < most {
            let chunk = match reader.fill_buf() {
                Ok(chunk) => chunk,
                Err(_) if taken > 0 => break,
                Err(error) => return Err(error),
            };
            let count = chunk.len().min(most - taken);
            if count == 0 {
                break;
            }
            buffer
                .room(count)
                .extend_from_slice(chunk.get(..count).unwrap_or_default());
            reader.consume(count);
            taken += count;
        }
        Ok(taken)
    }

    /// Takes in what was kept, or else what the socket has.
    fn poll_receive(&mut self, half: &mut ReadHalf<'_>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.unfed.is_empty() {
            let kept = std::mem::take(&mut self.unfed);
            return Poll::Ready(self.feed(kept.bytes(), half.as_ref()));
        }
        let mut space = [MaybeUninit::uninit(); RECEIVE];
        let mut received = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut *half).poll_read(context, &mut received))?;
        if received.filled().is_empty() {
            self.connection.read_tls(&mut io::empty())?;
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(self.feed(received.filled(), half.as_ref()))
    }

    /// Decrypts what there is room for and keeps the rest. What rustls has to say to it (an alert, new keys) is
    /// written if the socket takes it, and otherwise goes with the next write.
    fn feed(&mut self, ciphertext: &[u8], stream: &TcpStream) -> io::Result<()> {
        let decrypted = self.decrypt(ciphertext);
        if self.connection.wants_write() && (decrypted.is_err() || !self.connection.is_handshaking()) {
            let _ = self.connection.write_tls(&mut Now(stream));
        }
        decrypted
    }

    fn decrypt(&mut self, mut ciphertext: &[u8]) -> io::Result<()> {
        // To rustls, reading nothing would be the end of the stream.
        while !ciphertext.is_empty() {
            match self.connection.read_tls(&mut ciphertext) {
                // The other side has said its last word; what follows means nothing.
                Ok(0) => break,
                Ok(_) => self
                    .connection
                    .process_new_packets()
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?,
                // There is no room as long as nobody takes the plaintext.
                Err(_) if self.arrived().is_ok() => {
                    self.unfed.extend(ciphertext);
                    break;
                }
                Err(error) => return Err(error),
            };
        }
        Ok(())
    }

    fn poll_flush(&mut self, half: &mut WriteHalf<'_>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut Polled { half, context }) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Writes to a socket for somebody who is woken when it takes more.
struct Polled<'a, 'h, 'c> {
    half: &'a mut WriteHalf<'h>,
    context: &'a mut Context<'c>,
}

impl Write for Polled<'_, '_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        or_would_block(Pin::new(&mut *self.half).poll_write(self.context, bytes))
    }

    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        let written = Pin::new(&mut *self.half).poll_write_vectored(self.context, slices);
        if let Poll::Ready(Ok(count)) = written {
            socket::spend(count, self.context);
        }
        or_would_block(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn or_would_block(polled: Poll<io::Result<usize>>) -> io::Result<usize> {
    match polled {
        Poll::Ready(written) => written,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

/// Writes to a socket what it takes at once.
struct Now<'a>(&'a TcpStream);

impl Write for Now<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
