//! The server's side: blocking calls, one answer awaited for each.
//!
//! A [`Client`] asks, [`Events`] listens; each has a connection of its own. Nothing reconnects by itself:
//! after a failure of the connection the caller connects anew and compares [`Client::list`] with what it knows,
//! which is the ordinary way of a start.

use std::{
    io::{self, ErrorKind, Write},
    net::Shutdown,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    home,
    protocol::{
        self, Answer, ChildStatus, Decoder, Event, Farewell, FrameError, Guarded, Hello, Refusal, Reply,
        Request, Spawn, Spawned, Stream, VERSION,
    },
};

/// How long an answer may take: starting a program from a slow disk is the longest a minder does.
const PATIENCE: Duration = Duration::from_secs(30);

const READ_BUFFER: usize = 16 * 1024;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No minder answers there.
    #[error("connect to the minder at {}", path.display())]
    Connect {
        /// Its socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The minder speaks another version of the protocol.
    #[error("the minder speaks protocol version {minder}, not {VERSION}")]
    Version {
        /// Its version.
        minder: u32,
    },
    /// The connection failed, now or in an earlier call.
    #[error("talk to the minder")]
    Connection(#[source] io::Error),
    /// What came or should go is no message.
    #[error("exchange a message with the minder")]
    Frame(#[source] FrameError),
    /// The minder answered something else than was asked for.
    #[error("unexpected answer of the minder")]
    UnexpectedAnswer,
    /// The minder did not do it.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// A connection for requests.
#[derive(Debug)]
pub struct Client {
    channel: Channel,
    hello: Hello,
}

/// A connection that carries events: an endless iterator that blocks, until the minder ends.
#[derive(Debug)]
pub struct Events {
    channel: Channel,
}

/// Starts `exe minder --home HOME` in a session of its own and returns when it answers.
///
/// It is nobody's child but init's; its standard error is appended to [`home::log`]. When a minder already runs
/// for this home, the new one gives way and this succeeds all the same.
///
/// # Errors
/// When the program cannot be started, or no minder answers within twenty seconds: its log says why.
pub fn spawn_detached(exe: &Path, home: &Path) -> io::Result<()> {
    crate::detach::spawn_detached(exe, home)
}

impl Client {
    /// Connects to the minder of a home and greets it.
    ///
    /// # Errors
    /// When no minder answers or it speaks another version.
    pub fn connect(home: &Path) -> Result<Self, ClientError> {
        let mut channel = Channel::connect(home)?;
        let hello = match channel.ask(&Request::Hello { version: VERSION }, None)? {
            Reply::Hello(hello) => hello,
            _ => return Err(ClientError::UnexpectedAnswer),
        };
        if hello.version != VERSION {
            return Err(ClientError::Version {
                minder: hello.version,
            });
        }
        Ok(Self { channel, hello })
    }

    /// Who the minder said it is.
    #[must_use]
    pub fn hello(&self) -> Hello {
        self.hello
    }

    /// Starts a child.
    ///
    /// # Errors
    /// [`Refusal::SpawnFailed`] with the step and the error number, another refusal, or a failed connection.
    pub fn spawn(&mut self, spawn: Spawn) -> Result<Spawned, ClientError> {
        match self.channel.ask(&Request::Spawn(Box::new(spawn)), None)? {
            Reply::Spawned(spawned) => Ok(spawned),
            _ => Err(ClientError::UnexpectedAnswer),
        }
    }

    /// Sends a signal to a child, or to all that is left of its process group.
    ///
    /// # Errors
    /// [`Refusal::ChildEnded`] when nobody is there to get it, another refusal, or a failed connection.
    pub fn signal(&mut self, id: &str, signal: i32, group: bool) -> Result<(), ClientError> {
        self.done(&Request::Signal {
            id: id.to_owned(),
            signal,
            group,
        })
    }

    /// All children, running or not forgotten, in the order they were started.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn list(&mut self) -> Result<Vec<ChildStatus>, ClientError> {
        let mut all: Vec<ChildStatus> = Vec::new();
        loop {
            let after = all.last().map_or(0, |child| child.serial);
            let Reply::Children { children, more } = self.channel.ask(&Request::List { after }, None)? else {
                return Err(ClientError::UnexpectedAnswer);
            };
            let stuck = children.is_empty();
            all.extend(children);
            if !more || stuck {
                return Ok(all);
            }
        }
    }

    /// Replaces a child's label.
    ///
    /// # Errors
    /// A refusal or a failed connection.
    pub fn label(&mut self, id: &str, label: serde_json::Value) -> Result<(), ClientError> {
        self.done(&Request::Label {
            id: id.to_owned(),
            label,
        })
    }

    /// Drops an exited child, with its segment files if nobody needs them.
    ///
    /// # Errors
    /// [`Refusal::ChildRunning`], another refusal, or a failed connection.
    pub fn forget(&mut self, id: &str, discard_output: bool) -> Result<(), ClientError> {
        self.done(&Request::Forget {
            id: id.to_owned(),
            discard_output,
        })
    }

    /// Lets segments that lie wholly before the offset be deleted.
    ///
    /// # Errors
    /// A refusal or a failed connection.
    pub fn consumed(&mut self, id: &str, stream: Stream, up_to: u64) -> Result<(), ClientError> {
        self.done(&Request::Consumed {
            id: id.to_owned(),
            stream,
            up_to,
        })
    }

    /// Has a socket kept beyond this process's life.
    ///
    /// # Errors
    /// [`Refusal::SocketExists`], another refusal, or a failed connection.
    pub fn keep_socket(&mut self, name: &str, socket: impl AsFd, replace: bool) -> Result<(), ClientError> {
        let request = Request::KeepSocket {
            name: name.to_owned(),
            replace,
        };
        self.channel
            .ask(&request, Some(socket.as_fd()))
            .and_then(|reply| expect_done(&reply))
    }

    /// A duplicate of a kept socket, which stays kept.
    ///
    /// # Errors
    /// [`Refusal::NoSocket`], another refusal, or a failed connection.
    pub fn take_socket(&mut self, name: &str) -> Result<OwnedFd, ClientError> {
        match self.channel.ask(
            &Request::TakeSocket {
                name: name.to_owned(),
            },
            None,
        )? {
            Reply::Socket {} => self
                .channel
                .descriptors
                .pop()
                .ok_or(ClientError::UnexpectedAnswer),
            _ => Err(ClientError::UnexpectedAnswer),
        }
    }

    /// Closes a kept socket.
    ///
    /// # Errors
    /// [`Refusal::NoSocket`] or a failed connection.
    pub fn drop_socket(&mut self, name: &str) -> Result<(), ClientError> {
        self.done(&Request::DropSocket {
            name: name.to_owned(),
        })
    }

    /// The names of the kept sockets, sorted.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn list_sockets(&mut self) -> Result<Vec<String>, ClientError> {
        match self.channel.ask(&Request::ListSockets {}, None)? {
            Reply::Sockets { names } => Ok(names),
            _ => Err(ClientError::UnexpectedAnswer),
        }
    }

    /// Has this process started again when it dies, or no more.
    ///
    /// # Errors
    /// A refusal or a failed connection.
    pub fn guard(&mut self, server: Option<Guarded>) -> Result<(), ClientError> {
        self.done(&Request::Guard {
            server: server.map(Box::new),
        })
    }

    /// Asks a child to end over its channel.
    ///
    /// # Errors
    /// [`Refusal::NoChannel`], another refusal, or a failed connection.
    pub fn part(&mut self, id: &str, farewell: Farewell) -> Result<(), ClientError> {
        self.done(&Request::Part {
            id: id.to_owned(),
            farewell,
        })
    }

    /// Starts another server, which is guarded from now on; the fallback if it ends before it asks for that itself.
    ///
    /// # Errors
    /// A refusal or a failed connection.
    pub fn replace(&mut self, server: Guarded, fallback: Option<Guarded>) -> Result<(), ClientError> {
        self.done(&Request::Replace {
            server: Box::new(server),
            fallback: fallback.map(Box::new),
        })
    }

    /// Has the minder go on as another binary. Returns when it no longer is the one it was; the connection has ended.
    ///
    /// # Errors
    /// A refusal, after which it goes on as it was, or a failed connection.
    pub fn hand_over(mut self, exe: &Path) -> Result<(), ClientError> {
        let request = Request::HandOver { exe: exe.to_owned() };
        match self.channel.ask(&request, None) {
            Ok(_) => Err(ClientError::UnexpectedAnswer),
            Err(ClientError::Connection(error)) if is_end(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Ends the minder; with force, its children before it. Returns when that has begun:
    /// [`Self::await_end`] waits for its end.
    ///
    /// # Errors
    /// [`Refusal::ChildrenRunning`] or a failed connection.
    pub fn shutdown(&mut self, force: bool) -> Result<(), ClientError> {
        self.done(&Request::Shutdown { force })
    }

    /// Waits until the minder has gone.
    ///
    /// # Errors
    /// When it has not within thirty seconds.
    pub fn await_end(mut self) -> Result<(), ClientError> {
        match self.channel.receive() {
            Ok(()) => Err(ClientError::UnexpectedAnswer),
            Err(error) if is_end(&error) => Ok(()),
            Err(error) => Err(ClientError::Connection(error)),
        }
    }

    fn done(&mut self, request: &Request) -> Result<(), ClientError> {
        self.channel
            .ask(request, None)
            .and_then(|reply| expect_done(&reply))
    }
}

impl Events {
    /// Connects and subscribes. What is unforgotten and unconsumed comes at once.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn subscribe(home: &Path) -> Result<Self, ClientError> {
        let Client { mut channel, .. } = Client::connect(home)?;
        channel
            .ask(&Request::Subscribe { binds: true }, None)
            .and_then(|reply| expect_done(&reply))?;
        channel
            .stream
            .set_read_timeout(None)
            .map_err(ClientError::Connection)?;
        Ok(Self { channel })
    }

    /// Asks for the next output event of a stream, once what was reported has been read. If the connection has
    /// failed, the iterator tells, after the events that had come.
    pub fn acknowledge(&mut self, id: &str, stream: Stream) {
        let _ = self.channel.send(
            &Request::Acknowledge {
                id: id.to_owned(),
                stream,
            },
            None,
        );
    }

    /// The connection and the decoder with what has already come, for a caller that reads in its own way: take
    /// [`Event`]s from the decoder first, write encoded [`Request::Acknowledge`]s.
    #[must_use]
    pub fn into_parts(self) -> (UnixStream, Decoder) {
        (self.channel.stream, self.channel.decoder)
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.stream.as_fd()
    }
}

impl Iterator for Events {
    type Item = Result<Event, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.channel.decoder.take() {
                Ok(Some(event)) => return Some(Ok(event)),
                Ok(None) => {}
                Err(error) => return Some(Err(ClientError::Frame(error))),
            }
            match self.channel.receive() {
                Ok(()) => {}
                Err(error) if is_end(&error) => return None,
                Err(error) => return Some(Err(ClientError::Connection(error))),
            }
        }
    }
}

/// The stream with what has come and was not yet asked for.
#[derive(Debug)]
struct Channel {
    stream: UnixStream,
    decoder: Decoder,
    descriptors: Vec<OwnedFd>,
}

impl Channel {
    fn connect(home: &Path) -> Result<Self, ClientError> {
        let path = home::socket(home);
        let connect = || {
            let stream = UnixStream::connect(&path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(stream)
        };
        match connect() {
            Ok(stream) => Ok(Self {
                stream,
                decoder: Decoder::default(),
                descriptors: Vec::new(),
            }),
            Err(source) => Err(ClientError::Connect { path, source }),
        }
    }

    /// After a failure the connection is shut down: a late answer must not meet the next question.
    fn ask(&mut self, request: &Request, descriptor: Option<BorrowedFd<'_>>) -> Result<Reply, ClientError> {
        self.descriptors.clear();
        self.send(request, descriptor)?;
        let answer: Answer = loop {
            match self.decoder.take() {
                Ok(Some(answer)) => break answer,
                Ok(None) => {}
                Err(error) => {
                    self.give_up();
                    return Err(ClientError::Frame(error));
                }
            }
            if let Err(error) = self.receive() {
                self.give_up();
                return Err(ClientError::Connection(error));
            }
        };
        Ok(answer?)
    }

    fn send(&mut self, request: &Request, descriptor: Option<BorrowedFd<'_>>) -> Result<(), ClientError> {
        let frame = protocol::encode(request).map_err(ClientError::Frame)?;
        let sent = protocol::send(&self.stream, &frame, descriptor)
            .and_then(|sent| (&self.stream).write_all(&frame[sent..]));
        sent.map_err(|error| {
            self.give_up();
            ClientError::Connection(error)
        })
    }

    fn receive(&mut self) -> io::Result<()> {
        let mut buffer = [0; READ_BUFFER];
        loop {
            match protocol::receive(&self.stream, &mut buffer, &mut self.descriptors) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    self.decoder.feed(&buffer[..read]);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn give_up(&mut self) {
        // It may be gone already; either way the next call fails.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

fn expect_done(reply: &Reply) -> Result<(), ClientError> {
    match reply {
        Reply::Done {} => Ok(()),
        _ => Err(ClientError::UnexpectedAnswer),
    }
}

fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
    )
}
