//! Several projects on one server.

use crate::world::{home_with, is_ready};

const SHOP: &str = "\
name: shop
services:
  users:
    command: node ../echo.js
    port: 3000
    environment: {VERSION: shop}
    healthcheck: {http: /health, interval: 1s}
routes:
  - {name: users, service: users, paths: [/shop]}
";

#[test]
fn two_projects_live_side_by_side() {
    let own = SHOP.replace("name: shop\n", "").replace("../echo.js", "echo.js");
    let own = own
        .replace("VERSION: shop", "VERSION: own")
        .replace("/shop", "/own");
    let home = home_with(&own);
    home.write("shop/hythe.yaml", SHOP);
    home.ok(&["up", "-d"]);
    let before = home.pids("users");
    home.ok(&["up", "-d", "shop"]);

    assert_eq!(home.get("/own").header("x-version"), Some("own"));
    assert_eq!(home.get("/shop").header("x-version"), Some("shop"));
    let names: Vec<String> = home.services().into_iter().map(|service| service.name).collect();
    assert_eq!(names, ["users", "shop.users"]);
    let of_shop: Vec<hythe_model::view::ServiceView> = home.json(&["ls", "-p", "shop"]);
    assert_eq!(of_shop.len(), 1);
    assert_eq!(
        (of_shop[0].name.as_str(), of_shop[0].project.as_str()),
        ("shop.users", "shop")
    );

    // A verb means its own project only.
    home.ok(&["-p", "shop", "scale", "users=2"]);
    assert_eq!((home.pids("users").len(), home.pids("shop.users").len()), (1, 2));
    home.ok(&["down", "shop"]);
    assert_eq!(home.get("/shop").status, 404);
    assert_eq!(home.pids("users"), before);
    assert!(is_ready(&home.service("users")));
    assert_eq!(home.services().len(), 1);
}

#[test]
fn the_same_project_from_another_folder_is_refused() {
    let home = home_with("services: {one: {command: sleep 100000}}\n");
    home.write("other/hythe.yaml", "services: {two: {command: sleep 100000}}\n");
    home.ok(&["up", "-d"]);
    let before = home.pids("one");
    let ran = home.run(&["up", "-d", "other"]);
    assert_ne!(ran.code, Some(0), "{ran:#?}");
    assert!(ran.stderr.contains("name"), "it says what to do: {ran:#?}");
    assert_eq!(home.pids("one"), before);
    assert_eq!(home.services().len(), 1);
}
