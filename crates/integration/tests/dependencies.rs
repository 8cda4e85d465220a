//! The order in which services start.

use hythe_model::InstanceState;

use crate::world::{home_with, is_ready};

const CHAIN: &str = "\
services:
  web:
    command: [sh, -c, 'echo web >> order; exec node echo.js']
    port: 3000
    depends_on:
      users: {condition: service_healthy}
  users:
    command: [sh, -c, 'echo users >> order; exec node echo.js']
    port: 3001
    healthcheck: {http: /health, interval: 1s, start_interval: 100ms, retries: 1000}
    depends_on:
      migration: {condition: service_completed_successfully}
  migration:
    command: [sh, -c, 'echo migration >> order']
    restart: 'no'
";

#[test]
fn services_wait_for_what_they_need() {
    let home = home_with(CHAIN);
    home.write("unhealthy", "");
    home.ok(&["up", "-d", "--no-wait"]);
    home.await_service("users", "is starting", |service| {
        service
            .instances
            .iter()
            .any(|instance| instance.state == InstanceState::Starting)
    });
    let web = home.service("web");
    assert_eq!(web.instances[0].state, InstanceState::Waiting);
    let why = web.instances[0].message.clone().unwrap_or_default();
    assert!(why.contains("users"), "{why}");
    assert!(home.ok(&["describe", "web"]).contains(&why));

    std::fs::remove_file(home.folder().join("unhealthy")).unwrap();
    home.await_service("web", "is ready", is_ready);
    let order = std::fs::read_to_string(home.folder().join("order")).unwrap();
    assert_eq!(order, "migration\nusers\nweb\n");
    let migration = home.service("migration");
    assert_eq!(migration.instances[0].state, InstanceState::Completed);
    assert!(migration.settled);
    assert!(home.ok(&["up", "-d"]).contains("nothing to change"));
}
