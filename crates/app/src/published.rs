//! What the gateway serves beside the documents: services where their programs mean to listen, and those that sleep.
//!
//! A program that is written for port 3000 listens there at an address that only its instance has; its clients know
//! `localhost:3000`. So the gateway listens there for it. Where that is, instances show when they bind it, so it stands
//! in no document: this makes a listener of each place, and a service for a pool that has none, beside what is desired.
//! Requests for a service that sleeps wait until it is awake, and those for a program with a listener of its own while it is
//! started again, as its clients cannot know that there is a gateway.

use std::net::SocketAddr;
use std::sync::Arc;

use hythe_model::{Desired, Entry, FullName, Instances, Listener, ListenerProtocol, Name, Service};
use hythe_spine::{Latest, Publisher, Shutdown, Spine, latest};

/// The desired state of the gateway, which follows both.
pub(crate) fn follow(
    desired: &Latest<Desired>,
    instances: &Latest<Instances>,
    spine: &Spine,
) -> Latest<Desired> {
    let (mut desired, mut instances) = (desired.clone(), instances.clone());
    let mut places = places(&instances.get_and_mark());
    let (publisher, with_published) = latest(with_published(&desired.get_and_mark(), &places));
    spine.spawn("published services", |shutdown| async move {
        keep_following(&mut desired, &mut instances, &mut places, &publisher, &shutdown).await;
    });
    with_published
}

async fn keep_following(
    desired: &mut Latest<Desired>,
    instances: &mut Latest<Instances>,
    places: &mut Vec<Place>,
    publisher: &Publisher<Desired>,
    shutdown: &Shutdown,
) {
    let follow = async {
        loop {
            let is_desired = tokio::select! {
                () = desired.changed() => true,
                () = instances.changed() => false,
            };
            let now = self::places(&instances.get_and_mark());
            if is_desired || now != *places {
                *places = now;
                publisher.publish(with_published(&desired.get_and_mark(), places));
            }
        }
    };
    shutdown.unless_requested(follow).await;
}

/// How long a request waits for a service that sleeps; programs that take longer to start say so themselves.
const WAKING_MS: u64 = 60_000;
/// How long a request waits for a program that has ended and is started again.
const RESTARTING_MS: u64 = 5_000;

/// Where a service's programs mean to listen.
type Place = (FullName, SocketAddr);

fn places(instances: &Instances) -> Vec<Place> {
    let of_service = |(name, service): (&FullName, &hythe_model::instance::ServiceInstances)| {
        let places = service.published.iter();
        places.map(|address| (name.clone(), *address)).collect::<Vec<_>>()
    };
    instances.services.iter().flat_map(of_service).collect()
}

fn with_published(desired: &Desired, places: &[Place]) -> Desired {
    let mut desired = desired.clone();
    let sleepers = desired.workloads.iter();
    let sleepers: Vec<FullName> = sleepers
        .filter(|(_, entry)| entry.spec.sleep_after_ms.is_some() && !entry.spec.stopped)
        .map(|(name, _)| name.clone())
        .collect();
    for service in sleepers {
        hold(&mut desired, &service, WAKING_MS);
    }
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
    use std::collections::BTreeMap;

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
        let desired = with_published(&desired, &places(&instances));
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
        let mut followed = follow(&desired_reader, &running_reader, &spine);
        assert!(listeners(&followed.get()).is_empty());
        running.publish(instances(&[("app", "[::]:3000")]));
        followed.wait_for(|now| now.listeners.len() == 1).await;
        desired.publish(Desired {
            generation: 7,
            ..Desired::default()
        });
        followed
            .wait_for(|now| now.generation == 7 && now.listeners.len() == 1)
            .await;
        running.publish(instances(&[]));
        followed.wait_for(|now| now.listeners.is_empty()).await;
    }
}
