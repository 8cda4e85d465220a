//! A stream of what changes, as server-sent events.
//!
//! Every event says where the subsystems are and which services are not as they were in the event before;
//! the first one has them all. Figures that change all the time (processor, memory, requests in flight) do not make
//! an event. A reader that is behind skips what lies between and gets the newest.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream};
use hythe_model::view::{GenerationsView, ServiceView};
use hythe_model::{Desired, Endpoints, Instances};
use hythe_spine::Latest;

use crate::wire::{ChangeEvent, Problem};
use crate::{Api, GatewayStatus};

/// What changes, as server-sent events named `change`.
#[utoipa::path(
    get, path = "/v1/events", tag = "services",
    responses(
        (status = 200, body = ChangeEvent, content_type = "text/event-stream"),
        (status = "default", response = Problem),
    ),
)]
pub(crate) async fn events(State(api): crate::State) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let watcher = Watcher::new(&api);
    let follower = Follower {
        api,
        watcher,
        seen: None,
    };
    let events = stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        let event = Event::default().event("change").json_data(event).ok()?;
        Some((Ok(event), follower))
    });
    Sse::new(events).keep_alive(KeepAlive::default())
}

/// Wakes when any of the published states changes.
pub(crate) struct Watcher {
    desired: Latest<Desired>,
    instances: Latest<Instances>,
    endpoints: Latest<Endpoints>,
    gateway: Latest<GatewayStatus>,
}

impl Watcher {
    pub(crate) fn new(api: &Api) -> Self {
        Self {
            desired: api.inputs.desired.clone(),
            instances: api.inputs.instances.clone(),
            endpoints: api.inputs.endpoints.clone(),
            gateway: api.inputs.gateway.clone(),
        }
    }

    /// Marks everything as seen; to be called before looking.
    pub(crate) fn mark(&mut self) {
        self.desired.get_and_mark();
        self.instances.get_and_mark();
        self.endpoints.get_and_mark();
        self.gateway.get_and_mark();
    }

    /// Waits until something changed after the mark.
    pub(crate) async fn changed(&mut self) {
        tokio::select! {
            () = self.desired.changed() => {}
            () = self.instances.changed() => {}
            () = self.endpoints.changed() => {}
            () = self.gateway.changed() => {}
        }
    }
}

struct Follower {
    api: Arc<Api>,
    watcher: Watcher,
    seen: Option<Seen>,
}

struct Seen {
    generations: GenerationsView,
    services: BTreeMap<String, ServiceView>,
}

impl Follower {
    /// The next event; none when the server stops.
    async fn next(&mut self) -> Option<ChangeEvent> {
        loop {
            self.watcher.mark();
            let services = self.api.observe(|observed| observed.services(|_| true));
            if let Some(event) = self.take_in(self.api.generations(), services) {
                return Some(event);
            }
            let shutdown = self.api.shutdown.clone();
            shutdown.unless_requested(self.watcher.changed()).await?;
        }
    }

    fn take_in(&mut self, generations: GenerationsView, services: Vec<ServiceView>) -> Option<ChangeEvent> {
        let now: BTreeMap<String, ServiceView> = services
            .into_iter()
            .map(|service| (service.name.clone(), without_figures(service)))
            .collect();
        let now = Seen {
            generations,
            services: now,
        };
        let event = difference(self.seen.as_ref(), &now);
        self.seen = Some(now);
        event
    }
}

fn difference(before: Option<&Seen>, now: &Seen) -> Option<ChangeEvent> {
    let earlier = |name: &str| before.and_then(|before| before.services.get(name));
    let changed = now
        .services
        .iter()
        .filter(|(name, service)| earlier(name) != Some(service));
    let services: Vec<ServiceView> = changed.map(|(_, service)| service.clone()).collect();
    let known = before.into_iter().flat_map(|before| before.services.keys());
    let removed: Vec<String> = known
        .filter(|name| !now.services.contains_key(*name))
        .cloned()
        .collect();
    let same = before.is_some_and(|before| before.generations == now.generations);
    if same && services.is_empty() && removed.is_empty() {
        return None;
    }
    Some(ChangeEvent {
        generations: now.generations.clone(),
        services,
        removed,
    })
}

fn without_figures(mut service: ServiceView) -> ServiceView {
    for instance in &mut service.instances {
        (instance.cpu_millis, instance.memory_bytes, instance.in_flight) = (0, 0, 0);
    }
    for endpoint in &mut service.endpoints {
        endpoint.in_flight = 0;
    }
    service
}
