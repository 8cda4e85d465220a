//! Whatever happens in whatever order, the rules hold at every step, and once things are well again
//! everything becomes as it should be.

use hythe_model::workload::UpdateOrder;
use hythe_model::{Exit, FullName, InstanceId};
use proptest::prelude::*;

use super::world::{World, is_quiet, places, workload};
use crate::goal::Goals;
use crate::observed::Renewal;
use crate::plan::Action;
use crate::unit::{Health, Phase, Unit};

/// Something that happens; numbers pick one of what there is.
#[derive(Debug, Clone, Copy)]
enum Happening {
    Want {
        service: usize,
        copies: u32,
        revision: usize,
        options: usize,
    },
    Drop {
        service: usize,
    },
    Answer(usize),
    /// A request is refused, or not answered.
    Refuse {
        which: usize,
        said: bool,
    },
    Exit {
        unit: usize,
        code: i32,
    },
    Probe {
        unit: usize,
        ready: bool,
    },
    Drained(usize),
    Measured {
        unit: usize,
        much: bool,
    },
    Hangs(usize),
    Changed {
        service: usize,
        renewal: Renewal,
    },
    Lost,
    Pass {
        ms: u64,
    },
}

const SERVICES: [&str; 3] = ["db", "api", "web"];
const REVISIONS: [&str; 3] = ["a", "b", "c"];
const OPTIONS: [&[&str]; 6] = [
    &["port", "memory=1M"],
    &["port", "surge=2", "memory=1M"],
    &["port", "stop-first", "memory=1M"],
    &["port", "delay=2s", "timeout=3s"],
    &["port", "stop-first", "surge=2", "restart=always"],
    &["restart=no"],
];

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        3 => (0..3_usize, 0..4_u32, 0..3_usize, 0..6_usize).prop_map(|(service, copies, revision, options)| {
            Happening::Want { service, copies, revision, options }
        }),
        1 => (0..3_usize).prop_map(|service| Happening::Drop { service }),
        12 => any::<usize>().prop_map(Happening::Answer),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(which, said)| Happening::Refuse { which, said }),
        3 => (any::<usize>(), 0..2_i32).prop_map(|(unit, code)| Happening::Exit { unit, code }),
        8 => (any::<usize>(), prop::bool::weighted(0.8)).prop_map(|(unit, ready)| Happening::Probe { unit, ready }),
        4 => any::<usize>().prop_map(Happening::Drained),
        4 => (any::<usize>(), any::<bool>()).prop_map(|(unit, much)| Happening::Measured { unit, much }),
        1 => any::<usize>().prop_map(Happening::Hangs),
        2 => (0..3_usize, prop::bool::ANY).prop_map(|(service, files)| {
            let renewal = if files { Renewal::Files } else { Renewal::Cron };
            Happening::Changed { service, renewal }
        }),
        1 => Just(Happening::Lost),
        5 => (1..6_000_u64).prop_map(|ms| Happening::Pass { ms }),
    ]
}

proptest! {
    #[test]
    fn it_converges_and_keeps_its_rules(happenings in prop::collection::vec(happening(), 1..120)) {
        let mut world = World::new();
        turn(&mut world);
        for happening in happenings {
            happen(&mut world, happening);
            turn(&mut world);
        }
        recover(&mut world);
        let published = world.published();
        prop_assert_eq!(published.generation, world.desired.generation);
        for (service, instances) in &published.services {
            prop_assert!(instances.settled, "{} is not settled: {:#?}", service, instances);
            if instances.failure.is_none() {
                prop_assert_eq!(instances.instances.len(), instances.desired as usize);
            }
        }
    }
}

fn happen(world: &mut World, happening: Happening) {
    match happening {
        Happening::Want {
            service,
            copies,
            revision,
            options,
        } => {
            let mut options = OPTIONS[options].to_vec();
            options
                .extend((service > 0).then_some(
                    ["needs=db:healthy", "needs=api:restart"][service - usize::from(service > 0)],
                ));
            let workload = workload(&format!("x{copies}"), REVISIONS[revision], &options);
            world.desire(SERVICES[service], Some(workload));
        }
        Happening::Drop { service } => world.desire(SERVICES[service], None),
        Happening::Answer(which) => {
            if !world.asked.is_empty() {
                let action = world.asked.remove(which % world.asked.len());
                answer(world, action);
            }
        }
        Happening::Refuse { which, said } => {
            if !world.asked.is_empty() {
                let which = which % world.asked.len();
                world.refuse(which, said);
            }
        }
        Happening::Exit { unit, code } => {
            if let Some(id) = pick(world, unit) {
                world.exit(
                    &id,
                    Exit {
                        code: Some(code),
                        signal: None,
                        at: world.now,
                        out_of_memory: None,
                    },
                );
            }
        }
        Happening::Probe { unit, ready } => {
            if let Some(id) = pick(world, unit) {
                let pending = world.observed.units[&id].health() == Health::Pending;
                match (ready, pending) {
                    (true, _) => world.probe(&id, Health::Ready, None),
                    (false, true) => world.probe(&id, Health::Pending, Some("refused")),
                    (false, false) => world.probe(&id, Health::Unhealthy, Some("no answer")),
                }
            }
        }
        Happening::Drained(unit) => {
            if let Some(id) = pick(world, unit) {
                world.drained(&id);
            }
        }
        Happening::Measured { unit, much } => {
            if let Some(id) = pick(world, unit) {
                world.measure(&id, if much { 1 << 21 } else { 0 });
            }
        }
        Happening::Hangs(unit) => {
            if let Some(id) = pick(world, unit) {
                world.hang(&id);
            }
        }
        Happening::Changed { service, renewal } => {
            let service = SERVICES[service].parse().unwrap();
            world.observed.renew(&service, renewal, "a.js changed");
        }
        Happening::Lost => world.observed.lost(world.now),
        Happening::Pass { ms } => world.now += ms,
    }
}

/// The runtime lists what is there when it is asked to; other answers need nothing.
fn answer(world: &mut World, action: Action) {
    if matches!(action, Action::List) {
        world.find_everything_alive();
    }
    world.answer(action);
}

fn pick(world: &World, which: usize) -> Option<InstanceId> {
    let units = &world.observed.units;
    units.keys().nth(which.checked_rem(units.len())?).cloned()
}

/// One turn, and the rules that hold for everything it decides.
fn turn(world: &mut World) {
    let before: Vec<Unit> = world.observed.units.values().cloned().collect();
    let actions = world.turn();
    let goals = Goals::new(&world.desired, &world.observed, &world.rules);
    for action in &actions {
        match action {
            Action::Create {
                service,
                slot,
                revision,
                ..
            } => {
                let in_place = |unit: &&Unit| unit.service == *service && unit.slot == *slot;
                let taken = before
                    .iter()
                    .filter(in_place)
                    .any(|unit| unit.is_of(*revision) && !unit.is_retiring());
                assert!(!taken, "a second of {service} in slot {slot}: {actions:?}");
                let goal = goals.get(service).expect("only what is wanted is created");
                let update = &goal.entry.spec.update;
                let above = if update.order == UpdateOrder::StartFirst {
                    update.max_surge
                } else {
                    0
                };
                let most = (goal.want + above) as usize;
                assert!(
                    places(&world.observed)
                        .get(service)
                        .is_none_or(|places| *places <= most),
                    "too many of {service}: {actions:?}"
                );
            }
            Action::Drain { id } | Action::Stop { id } => {
                let Some(unit) = before.iter().find(|unit| unit.id == *id) else {
                    continue;
                };
                assert!(may_go(unit, &goals, world), "{id} was needed: {actions:?}");
            }
            _ => {}
        }
    }
}

/// A ready unit goes only for a ready one in its place, or because it is one too many.
fn may_go(unit: &Unit, goals: &Goals, world: &World) -> bool {
    let Some(goal) = goals.get(&unit.service) else {
        return true;
    };
    let start_first = goal.entry.spec.update.order == UpdateOrder::StartFirst;
    if !unit.is_ready() || unit.slot >= goal.want || !start_first {
        return true;
    }
    world.observed.units.values().any(|other| {
        let does_its_work = other.is_ready() || other.is_completed(&world.rules.backoff);
        other.service == unit.service && other.slot == unit.slot && other.id != unit.id && does_its_work
    })
}

/// From now on everything goes well.
fn recover(world: &mut World) {
    for _ in 0..200 {
        turn(world);
        while let Some(action) = world.asked.pop() {
            answer(world, action);
        }
        let ids: Vec<InstanceId> = world.observed.units.keys().cloned().collect();
        for id in ids {
            let unit = &world.observed.units[&id];
            match unit.phase {
                Phase::Up {
                    health: Health::Pending | Health::Unhealthy,
                    ..
                } => {
                    world.probe(&id, Health::Ready, None);
                }
                Phase::Draining { .. } => world.drained(&id),
                Phase::Stopping { .. } => {
                    world.exit(
                        &id,
                        Exit {
                            code: Some(0),
                            signal: None,
                            at: world.now,
                            out_of_memory: None,
                        },
                    );
                }
                _ => {}
            }
        }
        turn(world);
        if is_quiet(world) && is_settled(world) {
            return;
        }
        world.now = world
            .wake_at
            .filter(|at| *at > world.now)
            .unwrap_or(world.now + 1);
    }
}

fn is_settled(world: &World) -> bool {
    let published = world.published();
    let settled = |service: &FullName| published.services[service].settled;
    published.services.keys().all(settled) && published.generation == world.desired.generation
}
