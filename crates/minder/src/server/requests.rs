//! What each request does.

use std::{collections::BTreeMap, io, os::fd::OwnedFd};

use rustix::{
    net::sockopt::socket_type,
    process::{Signal, geteuid},
};

use super::{
    channel::{self, Channel, Inherited, Rights},
    child::Outputs,
    connection::Connection,
    given::Given,
    minder::Minder,
    rebind::Rebinding,
    turn::Turn,
};
use crate::protocol::{
    Answer, Farewell, FrameError, Guarded, Hello, MAX_CHILDREN, MAX_LABEL, MAX_SOCKETS, NodeChannel,
    PAGE_CHILDREN, Refusal, Reply, Request, Spawn, Spawned, VERSION, is_name,
};

/// The longest text of a client that is given back in a refusal, in characters.
const QUOTED: usize = 200;

/// Sockets that outlive the server, by name.
pub(super) type KeptSockets = BTreeMap<String, OwnedFd>;

impl Minder {
    /// Answers the requests that have come, as long as the client takes the answers.
    pub(super) fn answer_all(&mut self, slot: usize, connection: &mut Connection) -> io::Result<()> {
        while connection.is_heard() {
            match connection.next_request() {
                Ok(Some(request)) => self.answer(slot, connection, request)?,
                Ok(None) => break,
                Err(_) if connection.subscribed => return Err(io::ErrorKind::InvalidData.into()),
                Err(error) => refuse(connection, malformed(&error))?,
            }
        }
        Ok(())
    }

    fn answer(&mut self, slot: usize, connection: &mut Connection, request: Request) -> io::Result<()> {
        if connection.subscribed {
            return self.acknowledge(slot, &request);
        }
        if !connection.greeted && !matches!(request, Request::Hello { .. }) {
            return refuse(connection, Refusal::HelloFirst {});
        }
        let answer = self.execute(slot, connection, request);
        connection.send(&answer)
    }

    /// The only request of a subscriber: an answer among events would have no address.
    fn acknowledge(&mut self, slot: usize, request: &Request) -> io::Result<()> {
        let Request::Acknowledge { id, stream } = request else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        if let Ok(child) = self.children.named(id) {
            child.output(*stream).unacknowledged.remove(slot);
            self.owed.insert(slot);
        }
        Ok(())
    }

    fn execute(&mut self, slot: usize, connection: &mut Connection, request: Request) -> Answer {
        match request {
            Request::Hello { .. } => {
                connection.greeted = true;
                return Ok(Reply::Hello(self.hello()));
            }
            Request::Spawn(spawn) => return self.spawn(*spawn),
            Request::Signal { id, signal, group } => self.signal(&id, signal, group)?,
            Request::List { after } => return Ok(self.list(after)),
            Request::Label { id, label } => self.label(&id, label)?,
            Request::Forget { id, discard_output } => self.forget(&id, discard_output)?,
            Request::Consumed { id, stream, up_to } => {
                self.children.named(&id)?.output(stream).consume(up_to);
            }
            Request::KeepSocket { name, replace } => {
                self.keep_socket(name, replace, connection.take_descriptor())?;
            }
            Request::TakeSocket { name } => {
                connection.attach(self.take_socket(&name)?);
                return Ok(Reply::Socket {});
            }
            Request::DropSocket { name } => self.drop_socket(&name)?,
            Request::ListSockets {} => {
                return Ok(Reply::Sockets {
                    names: self.sockets.keys().cloned().collect(),
                });
            }
            Request::Guard { server } => self.guard(connection, server)?,
            Request::Part { id, farewell } => self.say_farewell(&id, &farewell)?,
            Request::Replace { server, fallback } => {
                self.replace_server(*server, fallback.map(|server| *server))?;
            }
            Request::HandOver { exe } => return Err(self.hand_over(&exe)),
            Request::Shutdown { force } => self.shutdown(force)?,
            Request::Subscribe { binds } => {
                connection.subscribed = true;
                self.subscribe(slot, binds);
            }
            Request::Acknowledge { .. } => {
                return Err(Refusal::Malformed {
                    reason: "acknowledge without subscribe".to_owned(),
                });
            }
        }
        Ok(Reply::Done {})
    }

    fn hello(&self) -> Hello {
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        Hello {
            pid,
            version: VERSION,
            started_at_ms: self.started_at_ms,
            rebinds: self.launcher.rebinds(),
            guards: true,
            learns: true,
            channels: true,
            hands_over: true,
            confines: true,
            gives_sockets: true,
        }
    }

    fn subscribe(&mut self, slot: usize, binds: bool) {
        self.subscribers.insert(slot);
        self.owed.insert(slot);
        if binds {
            self.hear_binds.insert(slot);
        }
        for child in self.children.iter_mut() {
            child.welcome(slot, binds);
        }
    }

    fn spawn(&mut self, mut spawn: Spawn) -> Answer {
        self.check_spawn(&spawn)?;
        // A worker's binds come over its channel; those it makes itself are none of the cluster's.
        let is_turned_by_channel =
            spawn.rebind.is_some() && spawn.channel.is_some_and(|node| node.worker.is_some());
        let (channel, inherited) = self.channel_for(&mut spawn)?.unzip();
        if spawn.socket.is_some() {
            Given::tell(&mut spawn.env);
        }
        let outputs =
            Outputs::prepare(&self.raw, &spawn).map_err(|error| failed("looking for segments", &error))?;
        let mut launched = self.launcher.launch(&spawn, inherited)?;
        let binds = launched.binds.take();
        let child = self.children.insert(outputs, launched, spawn.label, spawn.groups);
        let (serial, spawned) = (child.serial(), child.spawned());
        self.watch_outputs(serial);
        let rebinding = binds
            .zip(spawn.rebind)
            .map(|(binds, rebind)| Rebinding::new(binds, Turn::new(rebind)));
        if let Some(channel) = channel {
            self.watch_channel(serial, channel);
        }
        let rebinds = rebinding.is_some_and(|rebinding| self.watch_binds(serial, rebinding));
        Ok(Reply::Spawned(Spawned {
            rebinds: rebinds || is_turned_by_channel,
            ..spawned
        }))
    }

    /// Both ends of the channel that a child is to have, whose environment then tells of it.
    fn channel_for(&self, spawn: &mut Spawn) -> Result<Option<(Channel, Inherited)>, Refusal> {
        let Some(NodeChannel { worker }) = spawn.channel else {
            return Ok(None);
        };
        let rights = worker.map(|_| Rights {
            turn: spawn.rebind.take().map(Turn::new),
            is_foreign: spawn
                .user
                .as_ref()
                .is_some_and(|user| user.uid != geteuid().as_raw()),
        });
        let of_others =
            |(name, _): &(String, String)| name.starts_with("NODE_CHANNEL_") || name == "NODE_UNIQUE_ID";
        spawn.env.retain(|variable| !of_others(variable));
        let pair = channel::pair(rights).map_err(|error| failed("making a channel", &error.into()))?;
        spawn.env.extend(pair.1.variables(worker));
        Ok(Some(pair))
    }

    fn say_farewell(&mut self, id: &str, farewell: &Farewell) -> Result<(), Refusal> {
        let serial = self.children.named(id)?.serial();
        let told = self.channels.get(&serial).map(|channel| channel.part(farewell));
        match told {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) | None => Err(Refusal::NoChannel { id: id.to_owned() }),
        }
    }

    fn check_spawn(&self, spawn: &Spawn) -> Result<(), Refusal> {
        if self.is_stopping() {
            return Err(Refusal::Stopping {});
        }
        check_name(&spawn.id)?;
        check_label(&spawn.label)?;
        if spawn.segment_limit == 0 {
            return Err(Refusal::BadField {
                field: "segment_limit".to_owned(),
            });
        }
        if self.children.contains(&spawn.id) {
            return Err(Refusal::ChildExists { id: spawn.id.clone() });
        }
        if self.children.len() >= MAX_CHILDREN {
            return Err(Refusal::TooMany {
                what: "children".to_owned(),
            });
        }
        Ok(())
    }

    fn signal(&mut self, id: &str, signal: i32, group: bool) -> Result<(), Refusal> {
        let child = self.children.named(id)?;
        let bad = || Refusal::BadField {
            field: "signal".to_owned(),
        };
        child.signal(Signal::from_named_raw(signal).ok_or_else(bad)?, group)
    }

    fn list(&self, after: u64) -> Reply {
        let mut rest = self.children.after(after);
        let children = rest
            .by_ref()
            .take(PAGE_CHILDREN)
            .map(super::child::Child::status)
            .collect();
        Reply::Children {
            children,
            more: rest.next().is_some(),
        }
    }

    fn label(&mut self, id: &str, label: serde_json::Value) -> Result<(), Refusal> {
        check_label(&label)?;
        self.children.named(id)?.label = label;
        Ok(())
    }

    fn forget(&mut self, id: &str, discard_output: bool) -> Result<(), Refusal> {
        let child = self.children.named(id)?;
        if child.is_running() {
            return Err(Refusal::ChildRunning { id: id.to_owned() });
        }
        if discard_output {
            child
                .outputs_mut()
                .iter_mut()
                .for_each(super::output::Output::discard);
        }
        let serial = child.serial();
        self.children.remove(serial);
        self.channels.remove(&serial);
        if let Some(rebinding) = self.rebindings.get_mut(&serial) {
            rebinding.release();
        }
        Ok(())
    }

    fn keep_socket(&mut self, name: String, replace: bool, socket: Option<OwnedFd>) -> Result<(), Refusal> {
        check_name(&name)?;
        let socket = socket
            .filter(|socket| socket_type(socket).is_ok())
            .ok_or(Refusal::MissingSocket {})?;
        let exists = self.sockets.contains_key(&name);
        if exists && !replace {
            return Err(Refusal::SocketExists { name });
        }
        if !exists && self.sockets.len() >= MAX_SOCKETS {
            return Err(Refusal::TooMany {
                what: "sockets".to_owned(),
            });
        }
        self.sockets.insert(name, socket);
        Ok(())
    }

    fn take_socket(&self, name: &str) -> Result<OwnedFd, Refusal> {
        let socket = self
            .sockets
            .get(name)
            .ok_or_else(|| Refusal::NoSocket { name: quoted(name) })?;
        socket
            .try_clone()
            .map_err(|error| failed("duplicating the socket", &error))
    }

    fn drop_socket(&mut self, name: &str) -> Result<(), Refusal> {
        self.sockets
            .remove(name)
            .map(drop)
            .ok_or_else(|| Refusal::NoSocket { name: quoted(name) })
    }

    fn guard(&mut self, connection: &Connection, server: Option<Box<Guarded>>) -> Result<(), Refusal> {
        if self.is_stopping() {
            return Err(Refusal::Stopping {});
        }
        let guarded = server.map(|server| self.guarded_by(connection.peer(), *server));
        self.guard = guarded.transpose()?;
        Ok(())
    }

    fn shutdown(&mut self, force: bool) -> Result<(), Refusal> {
        let running = self.children.running();
        if running > 0 && !force {
            return Err(Refusal::ChildrenRunning { running });
        }
        self.stop();
        Ok(())
    }
}

fn refuse(connection: &mut Connection, refusal: Refusal) -> io::Result<()> {
    connection.closing = true;
    connection.send::<Answer>(&Err(refusal))
}

fn malformed(error: &FrameError) -> Refusal {
    let reason = match error {
        FrameError::Json(source) => source.to_string(),
        FrameError::TooLong(_) => error.to_string(),
    };
    Refusal::Malformed {
        reason: quoted(&reason),
    }
}

fn check_name(name: &str) -> Result<(), Refusal> {
    if is_name(name) {
        Ok(())
    } else {
        Err(Refusal::BadName { name: quoted(name) })
    }
}

fn check_label(label: &serde_json::Value) -> Result<(), Refusal> {
    let length = label.to_string().len();
    if length <= MAX_LABEL {
        Ok(())
    } else {
        Err(Refusal::BadField {
            field: "label".to_owned(),
        })
    }
}

fn quoted(text: &str) -> String {
    text.chars().take(QUOTED).collect()
}

fn failed(what: &str, error: &io::Error) -> Refusal {
    Refusal::Failed {
        what: what.to_owned(),
        errno: error.raw_os_error().unwrap_or(0),
    }
}
