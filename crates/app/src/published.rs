//! What the gateway serves beside the documents: services where their programs mean to listen, and those that sleep.
//!
//! A program that is written for port 3000 listens there at an address that only its instance has; its clients know
//! `localhost:3000`. So the gateway listens there for it. Where that is, instances show when they bind it, so it stands
//! in no document: this makes a listener of each place, and a service for a pool that has none, beside what is desired.
//! Requests for a service that sleeps wait until it is awake, and those for a program with a listener of its own while it is
//! started again, as its clients cannot know that there is a gateway.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use hythe_model::{Desired, Entry, FullName, Instances, Listener, ListenerProtocol, Name, Service};
use hythe_spine::{Latest, Spine, latest};

/// The desired state of the gateway, which follows both. Places are remembered in `file`: a service that sleeps, or is just
/// starting again, when a server begins is listened for all the same.
pub(crate) fn follow(
    desired: &Latest<Desired>,
    instances: &Latest<Instances>,
    file: PathBuf,
    spine: &Spine,
) -> Latest<Desired> {
    let (mut desired, mut instances) = (desired.clone(), instances.clone());
    let mut places = Places::open(file);
    let mut served = desired.get_and_mark();
    places.take_in(&served, &instances.get_and_mark());
    let (publisher, with_published) = latest(with_published(&served, &places.known));
    spine.spawn("published services", |shutdown| async move {
        let follow = async {
            loop {
                tokio::select! {
                    () = desired.changed() => {}
                    () = instances.changed() => {}
                }
                // Both may have changed, whichever woke us.
                let now = desired.get_and_mark();
                let moved = places.take_in(&now, &instances.get_and_mark());
                if moved || !Arc::ptr_eq(&now, &served) {
                    publisher.publish(self::with_published(&now, &places.known));
                    served = now;
                }
            }
        };
        shutdown.unless_requested(follow).await;
    });
    with_published
}

/// Where the programs of services mean to listen.
type Known = BTreeMap<FullName, Vec<SocketAddr>>;

/// What is known of that, also from earlier servers.
struct Places {
    known: Known,
    file: PathBuf,
}

impl Places {
    /// What an earlier server knew; a file that cannot be read is as none, since instances tell again.
    fn open(file: PathBuf) -> Self {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let written: BTreeMap<String, Vec<SocketAddr>> = serde_json::from_str(&text).unwrap_or_default();
        let known = written
            .into_iter()
            .filter_map(|(service, places)| Some((service.parse().ok()?, places)))
            .collect();
        Self { known, file }
    }

    /// Learns what instances tell, and forgets what is not to be served any more; whether anything is another than before.
    fn take_in(&mut self, desired: &Desired, instances: &Instances) -> bool {
        let before = self.known.clone();
        for (service, running) in &instances.services {
            if !running.published.is_empty() {
                self.known.insert(service.clone(), running.published.clone());
            }
        }
        self.known.retain(|service, _| {
            let workload = desired.workloads.get(service).map(|entry| &entry.spec);
            workload.is_some_and(|workload| workload.publish && !workload.stopped)
        });
        let moved = self.known != before;
        if moved {
            self.write();
        }
        moved
    }

    fn write(&self) {
        let written: BTreeMap<String, &Vec<SocketAddr>> = self
            .known
            .iter()
            .map(|(service, places)| (service.to_string(), places))
            .collect();
        let text = serde_json::to_vec(&written).unwrap_or_default();
        if let Err(error) = hythe_stdx::write_atomically_unsynced(&self.file, &text) {
            tracing::warn!(%error, "the next server will not know at once where services are listened for");
        }
    }
}

/// How long a request waits for a service that sleeps; programs that take longer to start say so themselves.
const WAKING_MS: u64 = 60_000;
/// How long a request waits for a program that has ended and is started again.
const RESTARTING_MS: u64 = 5_000;

fn with_published(desired: &Desired, places: &Known) -> Desired {
    let mut desired = desired.clone();
    let sleepers = desired.workloads.iter();
    let sleepers: Vec<FullName> = sleepers
        .filter(|(_, entry)| entry.spec.sleep_after_ms.is_some() && !entry.spec.stopped)
        .map(|(name, _)| name.clone())
        .collect();
    for service in sleepers {
        hold(&mut desired, &service, WAKING_MS);
    }
    let places = places
        .iter()
        .flat_map(|(service, places)| places.iter().map(move |address| (service, address)));
    for (service, address) in places {
        let Some(listener) = listener_name(service, *address) else {
            continue;
        };
        if !desired.services.contains_key(service) {
            let spec = Service::at(service.name.as_str());
            Arc::make_mut(&mut desired.services).insert(service.clone(), beside(spec));
        }
        let spec = Listener {
            protocol: ListenerProtocol::Auto,
            service: Some(service.name.clone()),
            ..Listener::at(*address)
        };
        Arc::make_mut(&mut desired.listeners).insert(listener, beside(spec));
        hold(&mut desired, service, RESTARTING_MS);
    }
    desired
}

/// Has requests wait so long while the service's pool has nobody, unless it says something about that.
fn hold(desired: &mut Desired, service: &FullName, most_ms: u64) {
    let mut spec = desired
        .upstreams
        .get(service)
        .map(|entry| entry.spec.clone())
        .unwrap_or_default();
    if spec.hold_ms.is_none() {
        spec.hold_ms = Some(most_ms);
        Arc::make_mut(&mut desired.upstreams).insert(service.clone(), beside(spec));
    }
}

/// `users~3000`, or `users~127-0-0-1~3000` for one that is not meant for every address.
fn listener_name(service: &FullName, address: SocketAddr) -> Option<FullName> {
    let ip = address.ip().to_canonical();
    let place = match ip.is_unspecified() {
        true => address.port().to_string(),
        false => format!("{}~{}", ip.to_string().replace([':', '.'], "-"), address.port()),
    };
    let name: Name = format!("{}~{place}", service.name).parse().ok()?;
    Some(FullName::new(service.project.clone(), name))
}

/// As a document that nobody wrote.
fn beside<T>(spec: T) -> Arc<Entry<T>> {
    Arc::new(Entry {
        uid: String::new(),
        generation: 0,
        created_at: 0,
        spec,
    })
}

#[cfg(test)]
mod tests {
    use hythe_model::Workload;
    use hythe_model::instance::ServiceInstances;

    use super::*;

    fn instances(published: &[(&str, &str)]) -> Instances {
        let mut services: BTreeMap<FullName, ServiceInstances> = BTreeMap::new();
        for (service, address) in published {
            let service = services.entry(service.parse().unwrap()).or_default();
            service.published.push(address.parse().unwrap());
        }
        Instances {
            services,
            ..Instances::default()
        }
    }

    fn listeners(desired: &Desired) -> Vec<String> {
        let shown = |(name, entry): (&FullName, &Arc<Entry<Listener>>)| {
            let Listener {
                listen,
                protocol,
                service,
                ..
            } = &entry.spec;
            format!("{name} {listen} {protocol} {}", service.as_ref().unwrap())
        };
        desired.listeners.iter().map(shown).collect()
    }

    #[test]
    fn each_place_becomes_a_listener() {
        let mut desired = Desired::default();
        let known: FullName = "shop.known".parse().unwrap();
        let spec = Service {
            retries: 1,
            ..Service::at("known")
        };
        Arc::make_mut(&mut desired.services).insert(known.clone(), beside(spec));
        let instances = instances(&[
            ("app", "[::]:3000"),
            ("app", "127.0.0.1:3001"),
            ("app", "[::1]:3001"),
            ("shop.known", "0.0.0.0:80"),
        ]);
        let places = instances
            .services
            .iter()
            .map(|(service, running)| (service.clone(), running.published.clone()))
            .collect();
        let desired = with_published(&desired, &places);
        assert_eq!(
            listeners(&desired),
            [
                "app~--1~3001 [::1]:3001 auto app",
                "app~127-0-0-1~3001 127.0.0.1:3001 auto app",
                "app~3000 [::]:3000 auto app",
                "shop.known~80 0.0.0.0:80 auto known",
            ]
        );
        assert_eq!(desired.services.get(&known).unwrap().spec.retries, 1);
        assert_eq!(
            desired.services.get(&"app".parse().unwrap()).unwrap().spec.host,
            "app"
        );
    }

    #[tokio::test]
    async fn it_follows_both() {
        let spine = Spine::default();
        let (desired, desired_reader) = latest(Desired::default());
        let (running, running_reader) = latest(Instances::default());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("published.json");
        let mut followed = follow(&desired_reader, &running_reader, file.clone(), &spine);
        assert!(listeners(&followed.get()).is_empty());
        let mut workload = Workload::new(vec!["app".to_owned()], "/".into());
        workload.publish = true;
        let wanted = |generation, workload: &Workload| {
            let mut wanted = Desired {
                generation,
                ..Desired::default()
            };
            Arc::make_mut(&mut wanted.workloads).insert("app".parse().unwrap(), beside(workload.clone()));
            wanted
        };
        desired.publish(wanted(6, &workload));
        running.publish(instances(&[("app", "[::]:3000")]));
        followed.wait_for(|now| now.listeners.len() == 1).await;
        desired.publish(wanted(7, &workload));
        followed
            .wait_for(|now| now.generation == 7 && now.listeners.len() == 1)
            .await;
        // Whichever of both wakes it first, when both change at once.
        for generation in 100..120 {
            desired.publish(wanted(generation, &workload));
            running.publish(instances(&[("app", "[::]:3000")]));
            followed.wait_for(|now| now.generation == generation).await;
        }
        // Whoever sleeps or is started again is listened for, by the next server too.
        running.publish(instances(&[]));
        let next = follow(&desired_reader, &running_reader, file.clone(), &spine);
        assert_eq!(listeners(&next.get()), ["app~3000 [::]:3000 auto app"]);
        workload.stopped = true;
        desired.publish(wanted(8, &workload));
        followed.wait_for(|now| now.listeners.is_empty()).await;
        let next = follow(&desired_reader, &running_reader, file, &spine);
        assert!(listeners(&next.get()).is_empty());
    }
}
