//! The event loop.

use std::{
    collections::BTreeMap,
    io,
    os::{fd::AsRawFd, unix::net::UnixStream},
    path::Path,
    rc::Rc,
    time::{Duration, Instant},
};

use rustix::{
    event::{
        Timespec,
        epoll::{self, EventData, EventFlags},
    },
    io::Errno,
    net::{SocketFlags, accept_with, sockopt::socket_peercred},
    process::{Pid, Signal, WaitOptions, geteuid, wait},
};

use super::{
    channel::{Channel, News},
    child::Children,
    connection::Connection,
    ground::Ground,
    guard::Guard,
    handover::{self, Estate},
    launch::Launcher,
    note,
    output::Pipe,
    rebind::Rebinding,
    requests::KeptSockets,
    signals,
    slots::Slots,
    turn::Turn,
    unix_ms,
};
use crate::{
    home,
    protocol::{Bound, MAX_CONNECTIONS, Refusal, Stream},
};

/// How much of one output is moved before others get their turn, in bytes.
const TURN: u64 = 256 * 1024;

/// More than a pipe can hold, unless someone enlarged it: all that a process wrote before it ended.
const WHOLE_PIPE: u64 = 1024 * 1024;

/// How long something that was refused for want of resources waits for its next try.
const RETRY: Duration = Duration::from_secs(1);

/// How long memory that was needed for a request is kept: others often follow.
const IDLE: Duration = Duration::from_secs(2);

/// How long children have between SIGTERM and SIGKILL when the minder ends.
const GRACE: Duration = Duration::from_secs(10);

/// How long they have to vanish after SIGKILL.
const LAST_GRACE: Duration = Duration::from_secs(2);

const EVENTS_AT_ONCE: usize = 64;

/// Everything there is.
pub(super) struct Minder {
    pub(super) epoll: rustix::fd::OwnedFd,
    pub(super) ground: Ground,
    pub(super) launcher: Launcher,
    pub(super) raw: Rc<Path>,
    pub(super) started_at_ms: u64,
    pub(super) children: Children,
    pub(super) sockets: KeptSockets,
    connections: [Option<Connection>; MAX_CONNECTIONS],
    pub(super) subscribers: Slots,
    /// Those who are told of binds.
    pub(super) hear_binds: Slots,
    /// Subscribers for whom there may be news.
    pub(super) owed: Slots,
    /// The binds of children, also forgotten ones, while somebody is left who could make one.
    pub(super) rebindings: BTreeMap<u64, Rebinding>,
    /// The channels of children, while they are open.
    pub(super) channels: BTreeMap<u64, Channel>,
    /// The server, to be started again when it dies.
    pub(super) guard: Option<Guard>,
    /// A child of this process like no other.
    pub(super) launched_server: Option<Pid>,
    retry_at: Option<Instant>,
    /// When memory that is not needed any more is given back.
    tidy_at: Option<Instant>,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Minding,
    Stopping { kill_at: Instant },
    Killing { leave_at: Instant },
}

/// What a registered descriptor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Signals,
    Listener,
    Connection(usize),
    Output(u64, Stream),
    /// With its process id.
    Server(u64),
    Binds(u64),
    Channel(u64),
}

impl Minder {
    pub(super) fn new(ground: Ground, launcher: Launcher) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &ground.signals, Token::Signals.encode(), EventFlags::IN)?;
        epoll::add(&epoll, &ground.listener, Token::Listener.encode(), EventFlags::IN)?;
        Ok(Self {
            epoll,
            raw: home::raw_folder(&ground.home).into(),
            ground,
            launcher,
            started_at_ms: unix_ms(),
            children: Children::default(),
            sockets: KeptSockets::default(),
            connections: [const { None }; MAX_CONNECTIONS],
            subscribers: Slots::default(),
            hear_binds: Slots::default(),
            owed: Slots::default(),
            rebindings: BTreeMap::new(),
            channels: BTreeMap::new(),
            guard: None,
            launched_server: None,
            retry_at: None,
            tidy_at: Some(Instant::now() + IDLE),
            phase: Phase::Minding,
        })
    }

    /// With what an earlier binary in this process has left. What ended meanwhile is reaped first.
    pub(super) fn with_estate(mut self, estate: Estate) -> io::Result<Self> {
        self.started_at_ms = estate.started_at_ms;
        self.children.go_on_after(estate.last_serial);
        for child in estate.children {
            let serial = child.serial;
            self.children.insert_left(&self.raw, child)?;
            self.watch_outputs(serial);
        }
        for (serial, descriptor, turn) in estate.rebindings {
            let rebinding = Rebinding::new(handover::take(descriptor), Turn::left(turn));
            self.watch_binds(serial, rebinding);
        }
        for (serial, descriptor, channel) in estate.channels {
            self.watch_channel(serial, Channel::left(handover::take(descriptor), channel));
        }
        let sockets = estate.sockets.into_iter();
        self.sockets = sockets
            .map(|(name, descriptor)| (name, handover::take(descriptor)))
            .collect();
        self.guard = estate.guard.map(|guard| self.guard_left(guard));
        self.launched_server = estate.launched_server.and_then(Pid::from_raw);
        self.pump_all();
        self.reap();
        Ok(self)
    }

    /// What was read by the binary before and is in no file yet is written without waiting for more.
    fn pump_all(&mut self) {
        let serials: Vec<u64> = self.children.iter().map(super::child::Child::serial).collect();
        for serial in serials {
            for stream in Stream::ALL {
                self.pump(serial, stream, TURN);
            }
        }
    }

    fn to_leave(&self) -> Estate {
        Estate {
            started_at_ms: self.started_at_ms,
            lock: self.ground.lock.as_raw_fd(),
            listener: self.ground.listener.as_raw_fd(),
            launcher: self.launcher.to_leave(),
            last_serial: self.children.last_serial(),
            children: self.children.iter().map(super::child::Child::to_leave).collect(),
            rebindings: self
                .rebindings
                .iter()
                .map(|(serial, binds)| {
                    (
                        *serial,
                        binds.notifications().as_raw_fd(),
                        binds.turn().to_leave(),
                    )
                })
                .collect(),
            channels: self
                .channels
                .iter()
                .map(|(serial, channel)| (*serial, channel.socket().as_raw_fd(), channel.to_leave()))
                .collect(),
            sockets: self
                .sockets
                .iter()
                .map(|(name, socket)| (name.clone(), socket.as_raw_fd()))
                .collect(),
            guard: self.guard.as_ref().map(Guard::to_leave),
            launched_server: self.launched_server.map(|pid| pid.as_raw_nonzero().get()),
        }
    }

    /// Goes on as another binary, in this process. Returns only when that could not be done.
    pub(super) fn hand_over(&self, exe: &Path) -> Refusal {
        if self.is_stopping() {
            return Refusal::Stopping {};
        }
        let error = self.to_leave().hand_over(exe, &self.ground.home);
        note(format_args!("cannot go on as {}: {error}", exe.display()));
        Refusal::Failed {
            what: format!("executing {}", exe.display()),
            errno: error.raw_os_error().unwrap_or(0),
        }
    }

    /// Runs until it has been told to end and nobody is left.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS_AT_ONCE);
        while !self.is_done() {
            events.clear();
            let timeout = self
                .timeout()
                .and_then(|timeout| Timespec::try_from(timeout).ok());
            match epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                timeout.as_ref(),
            ) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                self.handle(Token::decode(event.data), event.flags)?;
            }
            self.pass_time(Instant::now());
            self.deliver_news();
        }
        self.leave();
        Ok(())
    }

    fn handle(&mut self, token: Token, flags: EventFlags) -> io::Result<()> {
        match token {
            Token::Signals => self.see_signals()?,
            Token::Listener => self.accept(),
            Token::Connection(slot) => self.attend(slot, flags),
            Token::Output(serial, stream) => self.pump(serial, stream, TURN),
            Token::Server(pid) => self.server_ended(pid),
            Token::Binds(serial) => self.answer_bind(serial, flags),
            Token::Channel(serial) => self.attend_channel(serial),
        }
        Ok(())
    }

    fn see_signals(&mut self) -> io::Result<()> {
        let seen = signals::take(&self.ground.signals)?;
        if seen.child {
            self.reap();
        }
        if seen.stop {
            self.stop();
        }
        Ok(())
    }

    /// Takes every ended process, also orphans that came to this subreaper.
    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            self.launched_server.take_if(|server| *server == pid);
            let Some(child) = self.children.running_as(pid) else {
                continue;
            };
            let serial = child.serial();
            for stream in Stream::ALL {
                self.pump(serial, stream, WHOLE_PIPE);
            }
            if let Some(child) = self.children.get(serial) {
                child.exited(status, self.subscribers);
                self.owed = self.subscribers;
            }
        }
    }

    /// Begins to answer a new child's binds. Where that cannot be, the kernel refuses them all, which is better than to
    /// hold them up; says whether it can.
    pub(super) fn watch_binds(&mut self, serial: u64, rebinding: Rebinding) -> bool {
        let token = Token::Binds(serial).encode();
        let watched = epoll::add(&self.epoll, rebinding.notifications(), token, EventFlags::IN).is_ok();
        if watched {
            self.rebindings.insert(serial, rebinding);
        }
        watched
    }

    /// Begins to hear what a new child says; one that cannot be heard is not told anything either.
    pub(super) fn watch_channel(&mut self, serial: u64, channel: Channel) {
        let token = Token::Channel(serial).encode();
        if epoll::add(&self.epoll, channel.socket(), token, EventFlags::IN).is_ok() {
            self.channels.insert(serial, channel);
        }
    }

    fn attend_channel(&mut self, serial: u64) {
        let Some(channel) = self.channels.get_mut(&serial) else {
            return;
        };
        let Some(news) = channel.attend(&self.sockets) else {
            self.channels.remove(&serial);
            return;
        };
        for news in news {
            match news {
                News::Ready => self.child_is_ready(serial),
                News::Bound(bound) => self.child_has_bound(serial, bound),
            }
        }
    }

    fn child_is_ready(&mut self, serial: u64) {
        if let Some(child) = self.children.get(serial).filter(|child| !child.ready) {
            child.ready = true;
            child.ready_news = self.hear_binds;
            self.owed = self.subscribers;
        }
    }

    fn child_has_bound(&mut self, serial: u64, bound: Bound) {
        if let Some(child) = self.children.get(serial).filter(|child| child.bound.is_none()) {
            child.bound = Some(bound);
            child.bound_news = self.hear_binds;
            self.owed = self.subscribers;
        }
    }

    /// Begins to watch a new child's pipes.
    pub(super) fn watch_outputs(&mut self, serial: u64) {
        let Some(child) = self.children.get(serial) else {
            return;
        };
        for (output, stream) in child.outputs().iter().zip(Stream::ALL) {
            let Some(pipe) = output.pipe() else { continue };
            let token = Token::Output(serial, stream).encode();
            if epoll::add(&self.epoll, pipe, token, EventFlags::IN).is_err() {
                self.retry_at.get_or_insert_with(|| Instant::now() + RETRY);
            }
        }
    }

    fn pump(&mut self, serial: u64, stream: Stream, budget: u64) {
        let Some(child) = self.children.get(serial) else {
            return;
        };
        let output = child.output(stream);
        let was_stalled = output.is_stalled();
        if output.pump(budget, self.subscribers) == Pipe::Stalled {
            self.retry_at.get_or_insert_with(|| Instant::now() + RETRY);
            // Its pipe stays readable and would wake the loop for ever.
            if let Some(pipe) = output.pipe()
                && !was_stalled
            {
                let _ = epoll::delete(&self.epoll, pipe);
            }
        }
        self.owed = self.subscribers;
    }

    fn answer_bind(&mut self, serial: u64, flags: EventFlags) {
        if !flags.contains(EventFlags::IN) {
            self.rebindings.remove(&serial);
            return;
        }
        let bound = self.rebindings.get_mut(&serial).and_then(Rebinding::answer);
        if let Some(bound) = bound {
            self.child_has_bound(serial, bound);
        }
    }

    fn retry(&mut self) {
        let _ = epoll::modify(
            &self.epoll,
            &self.ground.listener,
            Token::Listener.encode(),
            EventFlags::IN,
        );
        let serials: Vec<u64> = self.children.iter().map(super::child::Child::serial).collect();
        for serial in serials {
            for stream in Stream::ALL {
                self.resume(serial, stream);
            }
        }
    }

    fn resume(&mut self, serial: u64, stream: Stream) {
        let was_stalled = self
            .children
            .get(serial)
            .is_some_and(|child| child.output(stream).is_stalled());
        if was_stalled {
            self.pump(serial, stream, TURN);
        }
        if let Some(child) = self.children.get(serial)
            && let output = child.output(stream)
            && !output.is_stalled()
            && let Some(pipe) = output.pipe()
        {
            // Whoever is watched already stays so.
            let _ = epoll::add(
                &self.epoll,
                pipe,
                Token::Output(serial, stream).encode(),
                EventFlags::IN,
            );
        }
    }

    fn accept(&mut self) {
        match accept_with(
            &self.ground.listener,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        ) {
            Ok(stream) => self.welcome(stream.into()),
            Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS) => {
                let listener = &self.ground.listener;
                let _ = epoll::modify(
                    &self.epoll,
                    listener,
                    Token::Listener.encode(),
                    EventFlags::empty(),
                );
                self.retry_at.get_or_insert_with(|| Instant::now() + RETRY);
            }
            // The client has gone again, or there was none.
            Err(_) => {}
        }
    }

    fn welcome(&mut self, stream: UnixStream) {
        let Ok(peer) = socket_peercred(&stream) else {
            return;
        };
        if !peer.uid.is_root() && peer.uid != geteuid() {
            note(format_args!("refused a client of user {}", peer.uid.as_raw()));
            return;
        }
        let Some(slot) = self.connections.iter().position(Option::is_none) else {
            return;
        };
        if epoll::add(
            &self.epoll,
            &stream,
            Token::Connection(slot).encode(),
            EventFlags::IN,
        )
        .is_ok()
        {
            self.connections[slot] = Some(Connection::new(stream, peer.pid));
        }
    }

    /// Hears and answers one client. Whatever goes wrong ends this conversation and nothing else.
    fn attend(&mut self, slot: usize, flags: EventFlags) {
        let Some(mut connection) = self.connections[slot].take() else {
            return;
        };
        let outcome = self.converse(slot, &mut connection, flags);
        let may_have_been_large = !connection.subscribed;
        self.put_back(slot, connection, outcome.is_ok());
        if may_have_been_large {
            self.tidy_at.get_or_insert_with(|| Instant::now() + IDLE);
        }
    }

    fn converse(&mut self, slot: usize, connection: &mut Connection, flags: EventFlags) -> io::Result<()> {
        connection.flush()?;
        self.answer_all(slot, connection)?;
        if connection.is_heard() && flags != EventFlags::OUT {
            connection.receive()?;
            self.answer_all(slot, connection)?;
        }
        Ok(())
    }

    fn put_back(&mut self, slot: usize, mut connection: Connection, alive: bool) {
        if !alive || connection.is_finished() {
            return self.part(slot);
        }
        let wanted = connection.wanted_interest();
        if wanted != connection.interest {
            connection.interest = wanted;
            if epoll::modify(&self.epoll, &connection, Token::Connection(slot).encode(), wanted).is_err() {
                return self.part(slot);
            }
        }
        self.connections[slot] = Some(connection);
    }

    fn part(&mut self, slot: usize) {
        self.subscribers.remove(slot);
        self.hear_binds.remove(slot);
        self.owed.remove(slot);
        for child in self.children.iter_mut() {
            child.part(slot);
        }
    }

    fn deliver_news(&mut self) {
        if self.owed.is_empty() {
            return;
        }
        for slot in 0..MAX_CONNECTIONS {
            if self.owed.contains(slot)
                && let Some(mut connection) = self.connections[slot].take()
            {
                let outcome = self.tell(slot, &mut connection);
                self.put_back(slot, connection, outcome.is_ok());
            }
        }
    }

    fn tell(&mut self, slot: usize, connection: &mut Connection) -> io::Result<()> {
        while connection.is_idle() {
            let Some(event) = self.children.iter_mut().find_map(|child| child.take_news(slot)) else {
                self.owed.remove(slot);
                return Ok(());
            };
            connection.send(&event)?;
        }
        Ok(())
    }

    /// Ends the children, then the minder.
    pub(super) fn stop(&mut self) {
        if self.phase == Phase::Minding {
            self.phase = Phase::Stopping {
                kill_at: Instant::now() + GRACE,
            };
            self.guard = None;
            self.signal_all(Signal::TERM);
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.phase != Phase::Minding
    }

    fn signal_all(&self, signal: Signal) {
        for child in self.children.iter() {
            // A group that is gone needs no signal.
            let _ = child.signal_group(signal);
        }
        self.signal_strays(signal);
    }

    fn pass_time(&mut self, now: Instant) {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.retry();
        }
        self.start_server_again(now);
        if self.tidy_at.take_if(|at| *at <= now).is_some() {
            hythe_memory::give_back();
        }
        if let Phase::Stopping { kill_at } = self.phase
            && kill_at <= now
        {
            self.phase = Phase::Killing {
                leave_at: now + LAST_GRACE,
            };
        }
        // Again whenever something ended: its children may be strays now.
        if matches!(self.phase, Phase::Killing { .. }) {
            self.signal_all(Signal::KILL);
        }
    }

    fn timeout(&self) -> Option<Duration> {
        let phase_end = match self.phase {
            Phase::Minding => None,
            Phase::Stopping { kill_at } => Some(kill_at),
            Phase::Killing { leave_at } => Some(leave_at),
        };
        let server = self.guard.as_ref().and_then(Guard::starts_at);
        let next = [self.retry_at, self.tidy_at, phase_end, server]
            .into_iter()
            .flatten()
            .min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    fn is_done(&self) -> bool {
        match self.phase {
            Phase::Minding => false,
            Phase::Killing { leave_at } if leave_at <= Instant::now() => true,
            _ => !self.children.iter().any(super::child::Child::group_exists) && self.strays().is_empty(),
        }
    }

    fn leave(&mut self) {
        for child in self.children.iter_mut() {
            for output in child.outputs_mut() {
                output.pump(WHOLE_PIPE, Slots::default());
            }
            child.remove_groups();
        }
        let _ = crate::segments::remove(&home::socket(&self.ground.home));
    }
}

impl Token {
    pub(super) fn encode(self) -> EventData {
        let (kind, value) = match self {
            Self::Signals => (0, 0),
            Self::Listener => (1, 0),
            Self::Connection(slot) => (2, slot as u64),
            Self::Output(serial, Stream::Out) => (3, serial),
            Self::Output(serial, Stream::Err) => (4, serial),
            Self::Server(pid) => (5, pid),
            Self::Binds(serial) => (6, serial),
            Self::Channel(serial) => (7, serial),
        };
        EventData::new_u64(value << 3 | kind)
    }

    pub(super) fn decode(data: EventData) -> Self {
        let value = data.u64() >> 3;
        match data.u64() & 7 {
            0 => Self::Signals,
            1 => Self::Listener,
            2 => Self::Connection(value as usize),
            3 => Self::Output(value, Stream::Out),
            4 => Self::Output(value, Stream::Err),
            5 => Self::Server(value),
            6 => Self::Binds(value),
            _ => Self::Channel(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_as_they_went() {
        for token in [
            Token::Signals,
            Token::Listener,
            Token::Connection(31),
            Token::Output(1, Stream::Out),
            Token::Output(u64::MAX >> 3, Stream::Err),
            Token::Server(4711),
            Token::Binds(7),
            Token::Channel(8),
        ] {
            assert_eq!(Token::decode(token.encode()), token);
        }
    }
}
