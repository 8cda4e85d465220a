//! Routes that change and members that come and go, all the time, under everything that clients do: nobody notices.
//!
//! `HYTHE_LONG=1` makes it a thousand changes of ten thousand routes.

use std::sync::Arc;

use hythe_model::{Desired, Endpoints};
use hythe_testkit::backend::Backend;
use hythe_testkit::mixed_load::MixedLoad;
use serde_json::json;

use crate::proxy::{Proxy, Setup, insert};

#[test]
fn nobody_notices_changes() {
    let is_long = std::env::var_os("HYTHE_LONG").is_some();
    let (routes, changes) = if is_long { (10_000, 1_000) } else { (300, 60) };
    let backend = Backend::start().unwrap();
    let mut proxy = Proxy::start(Setup {
        upstream: vec![backend.member(1), backend.member(2)],
        ..Setup::default()
    });
    proxy.change(|desired, _| (0..routes).for_each(|number| put_route(desired, number, 0)));

    let load = MixedLoad::start(proxy.address, "/load/");
    for change in 1..=changes {
        proxy.change(|desired, endpoints| {
            put_route(desired, change % routes, change);
            if change % 5 == 0 {
                put_service(desired, change);
            }
            flap(endpoints, change % 2 == 0);
        });
    }
    load.none_failed(&format!("{changes} changes of {routes} routes"));
    assert_eq!(proxy.stop(), 0);
}

/// Beside the route that is asked; some by regex, which are the ones that take time to compile.
fn put_route(desired: &mut Desired, number: usize, version: usize) {
    let path = if number.is_multiple_of(10) {
        format!("~/other/{number}/v{version}/\\d+$")
    } else {
        format!("/other/{number}/v{version}")
    };
    let route = json!({"service": "up", "paths": [path]});
    insert(&mut desired.routes, &format!("other-{number}"), route);
}

/// What the route that is asked leads to.
fn put_service(desired: &mut Desired, version: usize) {
    insert(
        &mut desired.services,
        "up",
        json!({"host": "up", "retries": version % 7}),
    );
}

/// The last member falls ill or gets well.
fn flap(endpoints: &mut Endpoints, healthy: bool) {
    for pool in endpoints.pools.values_mut() {
        if let Some(last) = Arc::make_mut(pool).endpoints.last_mut() {
            last.healthy = healthy;
        }
    }
}
