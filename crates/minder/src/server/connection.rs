//! One client's connection. It is read only when everything written to it has gone out, so a client
//! costs at most one frame in each direction, however slow it is. A subscriber is read at all times: its
//! acknowledgements have no answer, and it may send them while it is behind with reading.

use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use rustix::{event::epoll::EventFlags, process::Pid};
use serde::Serialize;

use crate::protocol::{self, Decoder, FrameError, Request};

const READ_BUFFER: usize = 8 * 1024;

/// How many descriptors may wait for the request that they belong to.
const MAX_DESCRIPTORS: usize = 4;

/// A connection and how far its conversation has come.
pub(super) struct Connection {
    stream: UnixStream,
    peer: Pid,
    decoder: Decoder,
    descriptors: Vec<OwnedFd>,
    outgoing: Vec<u8>,
    sent: usize,
    outgoing_descriptor: Option<OwnedFd>,
    /// The last registered interest.
    pub(super) interest: EventFlags,
    /// Hello has been said.
    pub(super) greeted: bool,
    /// Carries events.
    pub(super) subscribed: bool,
    /// Ends once everything has gone out.
    pub(super) closing: bool,
}

impl Connection {
    /// Takes a stream that does not block, of this process.
    pub(super) fn new(stream: UnixStream, peer: Pid) -> Self {
        Self {
            stream,
            peer,
            decoder: Decoder::default(),
            descriptors: Vec::new(),
            outgoing: Vec::new(),
            sent: 0,
            outgoing_descriptor: None,
            interest: EventFlags::IN,
            greeted: false,
            subscribed: false,
            closing: false,
        }
    }

    /// The process that connected.
    pub(super) fn peer(&self) -> Pid {
        self.peer
    }

    /// Whether everything written has gone out.
    pub(super) fn is_idle(&self) -> bool {
        self.outgoing.is_empty()
    }

    pub(super) fn is_finished(&self) -> bool {
        self.closing && self.is_idle()
    }

    /// Whether another request may be heard.
    pub(super) fn is_heard(&self) -> bool {
        !self.closing && (self.subscribed || self.is_idle())
    }

    /// What it waits for.
    pub(super) fn wanted_interest(&self) -> EventFlags {
        let mut wanted = EventFlags::empty();
        wanted.set(EventFlags::IN, self.is_heard());
        wanted.set(EventFlags::OUT, !self.is_idle());
        wanted
    }

    /// Reads once. An end is an error, nothing there is not.
    pub(super) fn receive(&mut self) -> io::Result<()> {
        let mut buffer = [0; READ_BUFFER];
        match protocol::receive(&self.stream, &mut buffer, &mut self.descriptors) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) if self.descriptors.len() > MAX_DESCRIPTORS => Err(io::ErrorKind::QuotaExceeded.into()),
            Ok(read) => {
                self.decoder.feed(&buffer[..read]);
                Ok(())
            }
            Err(error) => ignore_waiting(error),
        }
    }

    /// The next complete request.
    pub(super) fn next_request(&mut self) -> Result<Option<Request>, FrameError> {
        self.decoder.take()
    }

    /// The oldest descriptor that has come.
    pub(super) fn take_descriptor(&mut self) -> Option<OwnedFd> {
        (!self.descriptors.is_empty()).then(|| self.descriptors.remove(0))
    }

    /// Sends a descriptor beside the next message.
    pub(super) fn attach(&mut self, descriptor: OwnedFd) {
        self.outgoing_descriptor = Some(descriptor);
    }

    /// Writes a message. The connection must be idle.
    pub(super) fn send<T: Serialize>(&mut self, message: &T) -> io::Result<()> {
        self.outgoing = protocol::encode(message).map_err(io::Error::other)?;
        self.flush()
    }

    /// Sends what the socket takes.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while self.sent < self.outgoing.len() {
            let descriptor = self.outgoing_descriptor.as_ref().map(AsFd::as_fd);
            match protocol::send(&self.stream, &self.outgoing[self.sent..], descriptor) {
                Ok(sent) => {
                    self.sent += sent;
                    self.outgoing_descriptor = None;
                }
                Err(error) => return ignore_waiting(error),
            }
        }
        self.outgoing = Vec::new();
        self.sent = 0;
        Ok(())
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn ignore_waiting(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(()),
        _ => Err(error),
    }
}
