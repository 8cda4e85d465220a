//! What is told of generations.

use hythe_model::instance::ServiceInstances;
use hythe_model::{Route, Workload};
use hythe_testkit::documents::entry;

use super::*;
use crate::names::{Found, Miss};

/// Knows no name.
struct Nobody;

impl LookUp for Nobody {
    fn look_up(&self, _: String) -> impl Future<Output = Result<Found, Miss>> + Send + 'static {
        std::future::ready(Err(Miss::new("there is nobody to ask")))
    }
}

/// A registry with what it reads.
struct Fixture {
    registry: Registry<Nobody>,
    desired: Publisher<Desired>,
    instances: Publisher<Instances>,
}

impl Fixture {
    fn new() -> Self {
        let (desired, desired_reader) = latest(Desired::default());
        let (instances, instances_reader) = latest(Instances::default());
        let (_, observations) = tokio::sync::mpsc::channel(1);
        let registry = Registry {
            desired: desired_reader,
            instances: instances_reader,
            seen: Arc::default(),
            names: Names::new(Nobody),
            merged: Endpoints::default(),
            merged_instances: 0,
            checks: Checks::new(observations),
            publisher: latest(Endpoints::default()).0,
        };
        Self {
            registry,
            desired,
            instances,
        }
    }

    fn desire(&self, generation: u64, change: impl FnOnce(&mut Desired)) {
        let mut desired = Desired::clone(&self.desired.get());
        desired.generation = generation;
        change(&mut desired);
        self.desired.publish(desired);
    }

    /// Instances of a generation, of a service of its own.
    fn run(&self, generation: u64) {
        let mut instances = Instances::clone(&self.instances.get());
        instances.generation = generation;
        let service = format!("s{generation}").parse().unwrap();
        instances.services.insert(service, ServiceInstances::default());
        self.instances.publish(instances);
    }

    /// The generation that is told, and how many pools there are.
    fn told(&self) -> (u64, usize) {
        let endpoints = self.registry.publisher.get();
        (endpoints.generation, endpoints.pools.len())
    }
}

fn add_route(desired: &mut Desired) {
    Arc::make_mut(&mut desired.routes).insert("r".parse().unwrap(), entry(Route::to(None)));
}

fn add_workload(desired: &mut Desired) {
    let mut workload = Workload::new(vec!["node".to_owned()], "/".into());
    workload.port = Some(3000);
    Arc::make_mut(&mut desired.workloads).insert("w".parse().unwrap(), entry(workload));
}

#[tokio::test]
async fn a_change_that_concerns_no_pool_merges_none_and_is_told() {
    let mut fixture = Fixture::new();
    fixture.desire(1, add_workload);
    fixture.run(2);
    fixture.registry.follow_desired();
    assert_eq!(fixture.told(), (1, 2));
    let before = fixture.registry.publisher.get();
    fixture.desire(2, add_route);
    fixture.registry.follow_desired();
    assert_eq!(fixture.told(), (2, 2));
    let after = fixture.registry.publisher.get();
    assert!(!Arc::ptr_eq(&before, &after));
    let mut pools = before.pools.iter().zip(&after.pools);
    assert!(pools.all(|((_, before), (_, after))| Arc::ptr_eq(before, after)));
    // The supervisor is not as far.
    fixture.desire(3, add_route);
    fixture.registry.follow_desired();
    assert_eq!(fixture.told(), (2, 2));
}

#[tokio::test]
async fn no_generation_is_told_whose_instances_are_not_merged() {
    let mut fixture = Fixture::new();
    fixture.desire(1, |_| {});
    fixture.run(1);
    fixture.registry.rebuild();
    assert_eq!(fixture.told(), (1, 1));
    fixture.desire(2, add_route);
    fixture.run(2);
    fixture.registry.follow_desired();
    assert_eq!(fixture.told(), (1, 1));
    fixture.registry.rebuild();
    assert_eq!(fixture.told(), (2, 2));
}
