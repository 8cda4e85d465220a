//! A runtime, a gateway and logs that do what a test tells them and write down what they are asked.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Mutex;

use hythe_model::view::LogLine;
use hythe_model::workload::Limits;
use hythe_model::{Exit, FullName, InstanceId};
use hythe_ports::{BoxFuture, LogQuery, Logs, Traffic};
use tokio::sync::{Semaphore, mpsc};

use crate::runtime::{
    Bound, Found, Listens, ProbeResult, ProbeSpec, Record, Runtime, RuntimeError, RuntimeEvent, StartSpec,
    Started, Usage,
};

/// Instances without processes.
pub(super) struct FakeRuntime {
    state: Mutex<State>,
    /// Starts of services named here wait for a permit.
    held: BTreeMap<&'static str, Semaphore>,
}

#[derive(Default)]
struct State {
    found: BTreeMap<InstanceId, Found>,
    specs: BTreeMap<InstanceId, StartSpec>,
    asked: Vec<String>,
    listeners: Vec<mpsc::Sender<RuntimeEvent>>,
    next_pid: u32,
    down: bool,
    /// Instances that do not end when they are asked to.
    deaf: BTreeSet<InstanceId>,
    /// Services whose process ends before its start is answered.
    stillborn: BTreeSet<String>,
    /// Services whose health check command fails.
    sick: BTreeSet<String>,
    /// Instances whose liveness check fails, until they are started again.
    hung: BTreeSet<InstanceId>,
    /// What instances use, in bytes, if not a page.
    memory: BTreeMap<InstanceId, u64>,
}

impl FakeRuntime {
    pub(super) fn new(held: &[&'static str]) -> Self {
        let held = held.iter().map(|service| (*service, Semaphore::new(0))).collect();
        Self {
            state: Mutex::default(),
            held,
        }
    }

    /// What was asked, in order.
    pub(super) fn asked(&self) -> Vec<String> {
        self.state.lock().unwrap().asked.clone()
    }

    /// How often `what` was asked.
    pub(super) fn count(&self, what: &str) -> usize {
        self.asked()
            .iter()
            .filter(|asked| asked.starts_with(what))
            .count()
    }

    pub(super) fn environment(&self, id: &str) -> BTreeMap<String, String> {
        self.state.lock().unwrap().specs[&InstanceId(id.into())]
            .environment
            .clone()
    }

    pub(super) fn record_of(&self, id: &str) -> Record {
        self.state.lock().unwrap().found[&InstanceId(id.into())]
            .record
            .clone()
    }

    pub(super) fn release(&self, service: &str) {
        self.held[service].add_permits(1);
    }

    pub(super) fn add(&self, found: Found) {
        self.state
            .lock()
            .unwrap()
            .found
            .insert(found.record.id.clone(), found);
    }

    pub(super) fn make_deaf(&self, id: &str) {
        self.state.lock().unwrap().deaf.insert(InstanceId(id.into()));
    }

    pub(super) fn make_stillborn(&self, service: &str, stillborn: bool) {
        let stillborns = &mut self.state.lock().unwrap().stillborn;
        if stillborn {
            stillborns.insert(service.to_owned())
        } else {
            stillborns.remove(service)
        };
    }

    pub(super) fn make_sick(&self, service: &str, sick: bool) {
        let all = &mut self.state.lock().unwrap().sick;
        if sick {
            all.insert(service.to_owned())
        } else {
            all.remove(service)
        };
    }

    pub(super) fn make_hang(&self, id: &str) {
        self.state.lock().unwrap().hung.insert(InstanceId(id.into()));
    }

    pub(super) fn use_memory(&self, id: &str, bytes: u64) {
        let id = InstanceId(id.into());
        self.state.lock().unwrap().memory.insert(id, bytes);
    }

    /// Answers nothing any more, or again.
    pub(super) fn set_down(&self, down: bool) {
        let mut state = self.state.lock().unwrap();
        state.down = down;
        if down {
            for listener in state.listeners.drain(..) {
                let _ = listener.try_send(RuntimeEvent::Lost);
            }
        }
    }

    /// The process of `id` ends.
    pub(super) fn exit(&self, id: &str, code: i32) {
        let exit = Exit {
            code: Some(code),
            signal: None,
            at: 0,
            out_of_memory: None,
        };
        self.state.lock().unwrap().end(&InstanceId(id.into()), exit);
    }

    /// The process of `id` means to listen at `asked` and does at `address`.
    pub(super) fn bind(&self, id: &str, asked: &str, address: &str) {
        let bound = Bound {
            asked: asked.parse().unwrap(),
            address: address.parse().unwrap(),
        };
        self.state.lock().unwrap().tell(id, |found| {
            found.bound = Some(bound);
            RuntimeEvent::Bound {
                id: found.record.id.clone(),
                pid: found.pid,
                bound,
            }
        });
    }

    /// The process of `id` says that it is ready.
    pub(super) fn say_ready(&self, id: &str) {
        self.state.lock().unwrap().tell(id, |found| {
            found.said_ready = true;
            RuntimeEvent::SaidReady {
                id: found.record.id.clone(),
                pid: found.pid,
            }
        });
    }

    /// The process of `id` ends and nobody hears of it.
    pub(super) fn exit_unheard(&self, id: &str) {
        let exit = Exit {
            code: Some(1),
            signal: None,
            at: 0,
            out_of_memory: None,
        };
        self.state
            .lock()
            .unwrap()
            .found
            .get_mut(&InstanceId(id.into()))
            .unwrap()
            .exit = Some(exit);
    }

    fn launch(&self, spec: StartSpec, service: &str) -> Result<Started, RuntimeError> {
        let id = spec.record.id.clone();
        let mut state = self.ask(format!("start {id}"))?;
        assert!(!state.found.contains_key(&id), "{id} was started twice");
        state.hung.remove(&id);
        state.next_pid += 1;
        let pid = state.next_pid;
        state.found.insert(
            id.clone(),
            Found {
                record: spec.record.clone(),
                pid,
                exit: None,
                bound: None,
                said_ready: false,
            },
        );
        state.specs.insert(id.clone(), spec);
        if state.stillborn.contains(service) {
            state.end(
                &id,
                Exit {
                    code: Some(9),
                    signal: None,
                    at: 0,
                    out_of_memory: None,
                },
            );
        }
        Ok(Started { pid })
    }

    fn ask(&self, what: String) -> Result<std::sync::MutexGuard<'_, State>, RuntimeError> {
        let mut state = self.state.lock().unwrap();
        state.asked.push(what);
        if state.down {
            return Err(RuntimeError::Unreachable {
                runtime: "fake",
                source: "down".into(),
            });
        }
        Ok(state)
    }
}

impl State {
    fn tell(&mut self, id: &str, change: impl FnOnce(&mut Found) -> RuntimeEvent) {
        let event = change(self.found.get_mut(&InstanceId(id.into())).unwrap());
        self.listeners
            .retain(|listener| listener.try_send(event.clone()).is_ok());
    }

    fn end(&mut self, id: &InstanceId, exit: Exit) {
        let Some(found) = self.found.get_mut(id).filter(|found| found.exit.is_none()) else {
            return;
        };
        found.exit = Some(exit);
        let event = RuntimeEvent::Exited {
            id: id.clone(),
            pid: found.pid,
            exit,
        };
        self.listeners
            .retain(|listener| listener.try_send(event.clone()).is_ok());
    }
}

impl Runtime for FakeRuntime {
    fn start(&self, spec: StartSpec) -> BoxFuture<'_, Result<Started, RuntimeError>> {
        Box::pin(async move {
            let service = spec.record.service.to_string();
            let started = self.launch(spec, &service)?;
            if let Some(held) = self.held.get(service.as_str()) {
                held.acquire().await.unwrap().forget();
            }
            Ok(started)
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Found>, RuntimeError>> {
        Box::pin(async { Ok(self.ask("list".to_owned())?.found.values().cloned().collect()) })
    }

    fn record<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<(), RuntimeError>> {
        Box::pin(async {
            let flag = if record.stopping { "stopping" } else { "ready" };
            let mut state = self.ask(format!("record {} {flag}", record.id))?;
            let found = state.found.get_mut(&record.id);
            found
                .ok_or_else(|| RuntimeError::Unknown(record.id.clone()))?
                .record = record.clone();
            Ok(())
        })
    }

    fn signal<'a>(
        &'a self,
        id: &'a InstanceId,
        signal: i32,
        group: bool,
    ) -> BoxFuture<'a, Result<(), RuntimeError>> {
        Box::pin(async move {
            let whom = if group { "all of" } else { "main of" };
            let mut state = self.ask(format!("signal {signal} to {whom} {id}"))?;
            let heard = signal == 9 || !state.deaf.contains(id);
            if heard {
                state.end(
                    id,
                    Exit {
                        code: None,
                        signal: Some(signal),
                        at: 0,
                        out_of_memory: None,
                    },
                );
            }
            Ok(())
        })
    }

    fn ask_to_end<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<(), RuntimeError>> {
        self.signal(&record.id, record.stop_signal, false)
    }

    fn forget<'a>(&'a self, id: &'a InstanceId) -> BoxFuture<'a, Result<(), RuntimeError>> {
        Box::pin(async move {
            let mut state = self.ask(format!("forget {id}"))?;
            let gone = state.found.remove(id);
            gone.map(drop).ok_or_else(|| RuntimeError::Unknown(id.clone()))
        })
    }

    fn allocate_address(&self, listens: Listens) -> BoxFuture<'_, Result<Option<SocketAddr>, RuntimeError>> {
        Box::pin(async move {
            let mut state = self.ask("allocate".to_owned())?;
            state.next_pid += 1;
            let port = match listens {
                Listens::Somewhere => 0,
                _ => 20_000 + u16::try_from(state.next_pid).unwrap(),
            };
            Ok(Some(([127, 0, 0, 1], port).into()))
        })
    }

    fn probe(&self, command: ProbeSpec) -> BoxFuture<'_, Result<ProbeResult, RuntimeError>> {
        Box::pin(async move {
            let state = self.state.lock().unwrap();
            let id = InstanceId(command.environment["HYTHE_INSTANCE"].as_str().into());
            let success = if command.command == ["/bin/alive"] {
                !state.hung.contains(&id)
            } else {
                !state.sick.contains(&command.environment["HYTHE_SERVICE"])
            };
            Ok(ProbeResult {
                success,
                output: "cannot reach the database\n".to_owned(),
            })
        })
    }

    fn unenforced(&self, limits: &Limits) -> Vec<String> {
        let pids = limits
            .pids
            .map(|pids| format!("at most {pids} processes: nobody counts them"));
        pids.into_iter().collect()
    }

    fn usage(&self, id: &InstanceId) -> Option<Usage> {
        let mut state = self.state.lock().unwrap();
        state.asked.push("usage".to_owned());
        // A quarter of a second of CPU between two readings, which are a second apart.
        let readings = state.asked.iter().filter(|asked| *asked == "usage").count() as u64;
        Some(Usage {
            cpu_us: readings * 250_000,
            waited_us: 0,
            memory_bytes: state.memory.get(id).copied().unwrap_or(4096),
        })
    }

    fn events(&self) -> mpsc::Receiver<RuntimeEvent> {
        let (sender, receiver) = mpsc::channel(64);
        self.state.lock().unwrap().listeners.push(sender);
        receiver
    }
}

/// Knows which addresses are in use because it is told.
#[derive(Default)]
pub(super) struct FakeTraffic {
    pub(super) listed: Mutex<BTreeSet<SocketAddr>>,
    pub(super) in_flight: Mutex<BTreeSet<SocketAddr>>,
    pub(super) requests: Mutex<BTreeMap<SocketAddr, u64>>,
    pub(super) awaited: Mutex<BTreeSet<FullName>>,
}

impl Traffic for FakeTraffic {
    fn in_flight(&self, endpoint: SocketAddr) -> u64 {
        u64::from(self.in_flight.lock().unwrap().contains(&endpoint))
    }

    fn requests(&self, endpoint: SocketAddr) -> u64 {
        self.requests.lock().unwrap().get(&endpoint).copied().unwrap_or(0)
    }

    fn is_listed(&self, endpoint: SocketAddr) -> bool {
        self.listed.lock().unwrap().contains(&endpoint)
    }

    fn awaited(&self) -> BoxFuture<'_, BTreeSet<FullName>> {
        Box::pin(async {
            loop {
                let awaited = std::mem::take(&mut *self.awaited.lock().unwrap());
                if !awaited.is_empty() {
                    return awaited;
                }
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        })
    }
}

/// Keeps notes.
#[derive(Default)]
pub(super) struct FakeLogs {
    pub(super) notes: Mutex<Vec<String>>,
}

impl Logs for FakeLogs {
    fn tail<'a>(&'a self, _: &'a LogQuery) -> BoxFuture<'a, std::io::Result<Vec<LogLine>>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn follow<'a>(&'a self, _: &'a LogQuery) -> BoxFuture<'a, std::io::Result<mpsc::Receiver<LogLine>>> {
        Box::pin(async { Ok(mpsc::channel(1).1) })
    }

    fn flush<'a>(&'a self, _: &'a [FullName]) -> BoxFuture<'a, std::io::Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn reopen(&self) {}

    fn note(&self, _: &FullName, instance: &str, message: &str) {
        self.notes.lock().unwrap().push(format!("{instance}: {message}"));
    }
}
