//! Scripts in, actions out; see [`world`] for the language.

mod convergence;
mod world;

use world::check;

#[test]
fn scaling_up_and_down() {
    check(
        "
        > want users x2 a port
          list
          create users-1 in slot 0
          create users-2 in slot 1
          start users-1
          start users-2
        > users-1 ready
          record users-1
        > users-2 ready
          record users-2
        > show
          users: 2 wanted, settled
            users-1 ready
            users-2 ready
        > want users x3 a port
          create users-3 in slot 2
          start users-3
        > users-3 ready
          record users-3
        > want users x1 a port
          drain users-2
          drain users-3
        > users-2 drained
          stop users-2
        > users-2 exit 0
          forget users-2
        > users-3 drained
          stop users-3
        > users-3 exit 0
          forget users-3
        > show
          users: 1 wanted, settled
            users-1 ready
        > want users stopped a port
          drain users-1
        > users-1 drained
          stop users-1
        > users-1 exit 0
          forget users-1
        > show
          users: 0 wanted, settled
        > want users x1 a port
          create users-4 in slot 0
          start users-4
        ",
    );
}

#[test]
fn a_change_of_revision_replaces_one_at_a_time() {
    check(
        "
        > want users x2 a port
          list
          create users-1 in slot 0
          create users-2 in slot 1
          start users-1
          start users-2
        > users-1 ready
          record users-1
        > users-2 ready
          record users-2
        > want users x2 b port
          create users-3 in slot 0, on trial
          start users-3
        > users-3 ready
          drain users-1
          record users-3
        > users-1 drained
          stop users-1
        > users-1 exit 0
          forget users-1
          create users-4 in slot 1, on trial
          start users-4
        > users-4 ready
          drain users-2
          record users-4
        > show
          users: 2 wanted, not settled
            users-3 ready
            users-2 draining
            users-4 ready
        > users-2 drained
          stop users-2
        > users-2 exit 0
          forget users-2
        > show
          users: 2 wanted, settled
            users-3 ready
            users-4 ready
        ",
    );
}

#[test]
fn a_surge_of_two_replaces_two_at_a_time() {
    check(
        "
        > want users x3 a port surge=2
          list
          create users-1 in slot 0
          create users-2 in slot 1
          create users-3 in slot 2
          start users-1
          start users-2
          start users-3
        > users-1 ready
          record users-1
        > users-2 ready
          record users-2
        > users-3 ready
          record users-3
        > want users x3 b port surge=2
          create users-4 in slot 0, on trial
          create users-5 in slot 1, on trial
          start users-4
          start users-5
        > users-5 ready
          drain users-2
          record users-5
        > users-2 drained
          stop users-2
        > users-2 exit 0
          forget users-2
          create users-6 in slot 2, on trial
          start users-6
        > users-4 ready
          drain users-1
          record users-4
        > users-1 drained
          stop users-1
        > users-1 exit 0
          forget users-1
        > users-6 ready
          drain users-3
          record users-6
        > users-3 drained
          stop users-3
        > users-3 exit 0
          forget users-3
        > show
          users: 3 wanted, settled
            users-4 ready
            users-5 ready
            users-6 ready
        ",
    );
}

#[test]
fn stop_first_empties_a_place_before_it_fills_it() {
    check(
        "
        > want users x2 a port stop-first
          list
          create users-1 in slot 0
          create users-2 in slot 1
          start users-1
          start users-2
        > users-1 ready
          record users-1
        > users-2 ready
          record users-2
        > want users x2 b port stop-first
          drain users-1
        > users-1 drained
          stop users-1
        > users-1 exit 0
          forget users-1
          create users-3 in slot 0, on trial
          start users-3
        > users-3 ready
          record users-3
          drain users-2
        > users-2 drained
          stop users-2
        > users-2 exit 0
          forget users-2
          create users-4 in slot 1, on trial
          start users-4
        > users-4 ready
          record users-4
        > show
          users: 2 wanted, settled
            users-3 ready
            users-4 ready
        ",
    );
}

#[test]
fn batches_pause_between() {
    check(
        "
        > want users x2 a port delay=5s
          list
          create users-1 in slot 0
          create users-2 in slot 1
          start users-1
          start users-2
        > users-1 ready
          record users-1
        > users-2 ready
          record users-2
        > want users x2 b port delay=5s
          create users-3 in slot 0, on trial
          start users-3
        > users-3 ready
          drain users-1
          record users-3
        > users-1 drained
          stop users-1
        > users-1 exit 0
          forget users-1
        > +4s
        > +1s
          create users-4 in slot 1, on trial
          start users-4
        ",
    );
}

#[test]
fn an_update_that_crashes_is_not_tried_again_until_something_else_is_wished() {
    check(
        "
        > want users x2 a port
          list
          create users-1 in slot 0
          create users-2 in slot 1
          start users-1
          start users-2
        > users-1 ready
          record users-1
        > users-2 ready
          record users-2
        > want users x2 b port
          create users-3 in slot 0, on trial
          start users-3
        > users-3 exit 1
          fail the update of users: users-3 ended before it was ready: exit code 1
          forget users-3
        > show
          users: 2 wanted, settled, users-3 ended before it was ready: exit code 1
            users-1 ready
            users-2 ready
        > users-1 exit 1
          start users-1
        > users-1 ready
          record users-1
        > want users x3 b port
          create users-4 in slot 2
          start users-4
        > users-4 ready
          record users-4
        > want users x2 c port
          drain users-4
        > users-5 ready
        > users-4 drained
          stop users-4
        > users-4 exit 0
          forget users-4
          create users-5 in slot 0, on trial
          start users-5
        > show
          users: 2 wanted, not settled
            users-1 ready, 1 restarts
            users-5 starting
            users-2 ready
        ",
    );
}

#[test]
fn an_update_that_is_late_is_stopped() {
    check(
        "
        > want users x1 a port
          list
          create users-1 in slot 0
          start users-1
        > users-1 ready
          record users-1
        > want users x1 b port timeout=5s
          create users-2 in slot 0, on trial
          start users-2
        > users-2 refused
        > +4s
        > +1s
          fail the update of users: users-2 is not ready after 5s: refused
          stop users-2
        > users-2 exit 0
          forget users-2
        > show
          users: 1 wanted, settled, users-2 is not ready after 5s: refused
            users-1 ready
        ",
    );
}

#[test]
fn a_failed_stop_first_update_falls_back() {
    check(
        "
        > want users x1 a port stop-first
          list
          create users-1 in slot 0
          start users-1
        > users-1 ready
          record users-1
        > want users x1 b port stop-first
          drain users-1
        > users-1 drained
          stop users-1
        > users-1 exit 0
          forget users-1
          create users-2 in slot 0, on trial
          start users-2
        > users-2 exit 1
          fail the update of users: users-2 ended before it was ready: exit code 1
          forget users-2
          create users-3 in slot 0
          start users-3
        > users-3 ready
          record users-3
        > show
          users: 1 wanted, settled, users-2 ended before it was ready: exit code 1
            users-3 ready
        ",
    );
}

#[test]
fn a_first_start_that_is_late_is_reported_and_goes_on() {
    check(
        "
        > want users x1 a port timeout=5s
          list
          create users-1 in slot 0
          start users-1
        > users-1 refused
        > +5s
        > show
          users: 1 wanted, settled, users-1 is not ready after 5s: refused
            users-1 starting, refused
        > users-1 ready
          record users-1
        > show
          users: 1 wanted, settled
            users-1 ready
        > want users x1 b port timeout=5s
          create users-2 in slot 0, on trial
          start users-2
        > users-2 refused
        > want users x1 c port timeout=5s
          stop users-2
        ",
    );
}

#[test]
fn a_crash_is_restarted_at_once_and_then_ever_later() {
    check(
        "
        > want users x1 a port
          list
          create users-1 in slot 0
          start users-1
        > users-1 ready
          record users-1
        > +2s
        > users-1 exit 1
          start users-1
        > +2s
        > users-1 exit 1
          sweep users-1
        > show
          users: 1 wanted, not settled
            users-1 backoff, 1 restarts
        > +80ms
        > +30ms
          start users-1
        > +31s
        > users-1 exit 1
          start users-1
        ",
    );
}

#[test]
fn sixteen_quick_failures_are_enough() {
    let mut script =
        "\n> want users x1 a port\n  list\n  create users-1 in slot 0\n  start users-1\n".to_owned();
    script += "> users-1 exit 3\n  start users-1\n";
    for _ in 0..14 {
        script += "> users-1 exit 3\n  sweep users-1\n> +17s\n  start users-1\n";
    }
    script += "> users-1 exit 3\n  sweep users-1\n> +60s\n> show\n";
    script +=
        "  users: 1 wanted, settled, users-1 failed: exit code 3, 16 times in a row right after its start\n";
    script += "    users-1 failed, 15 restarts, exit code 3, 16 times in a row right after its start\n";
    script += "> want users x1 b port\n  forget users-1\n  create users-2 in slot 0\n  start users-2\n";
    check(&script);
}

#[test]
fn policies_decide_about_exits() {
    check(
        "
        > want job x1 a restart=no
          list
          create job-1 in slot 0
          start job-1
          record job-1
        > job-1 exit 0
          sweep job-1
        > want always x1 a restart=always
          create always-1 in slot 0
          start always-1
          record always-1
        > always-1 exit 0
          start always-1
          record always-1
        > want few x1 a restart=at-most-1
          create few-1 in slot 0
          start few-1
          record few-1
        > few-1 exit 1
          start few-1
          record few-1
        > few-1 exit 1
          sweep few-1
        > want once x1 a restart=no
          create once-1 in slot 0
          start once-1
          record once-1
        > once-1 exit 7
          sweep once-1
        > show
          always: 1 wanted, settled
            always-1 ready, 1 restarts
          few: 1 wanted, settled, few-1 failed: exit code 1, restart limit of 1 reached
            few-1 failed, 1 restarts, exit code 1, restart limit of 1 reached
          job: 1 wanted, settled
            job-1 completed
          once: 1 wanted, settled, once-1 failed: exit code 7
            once-1 failed, exit code 7
        > want job x1 b restart=no
          forget job-1
          create job-2 in slot 0, on trial
          start job-2
          record job-2
        > job-2 exit 0
          sweep job-2
        > show
          always: 1 wanted, settled
            always-1 ready, 1 restarts
          few: 1 wanted, settled, few-1 failed: exit code 1, restart limit of 1 reached
            few-1 failed, 1 restarts, exit code 1, restart limit of 1 reached
          job: 1 wanted, settled
            job-2 completed
          once: 1 wanted, settled, once-1 failed: exit code 7
            once-1 failed, exit code 7
        ",
    );
}

#[test]
fn what_is_needed_comes_first_and_goes_last() {
    check(
        "
        > want shop.web x1 a port needs=api:healthy
          list
          create shop.web-1 in slot 0
        > want shop.api x1 a port needs=db:healthy needs=migrate:completed
          create shop.api-1 in slot 0
        > want shop.db x1 a port
          create shop.db-1 in slot 0
          start shop.db-1
        > show
          shop.api: 1 wanted, settled, shop.api-1 waits for `shop.migrate`, which does not exist
            shop.api-1 waiting, waits for `shop.migrate`, which does not exist
          shop.db: 1 wanted, not settled
            shop.db-1 starting
          shop.web: 1 wanted, settled, shop.web-1 waits for `shop.api`, which waits for `shop.migrate`, which does not exist
            shop.web-1 waiting, waits for `shop.api`, which waits for `shop.migrate`, which does not exist
        > want shop.migrate x1 a restart=no needs=db:healthy
          create shop.migrate-1 in slot 0
        > shop.db-1 ready
          record shop.db-1
          start shop.migrate-1
          record shop.migrate-1
        > shop.migrate-1 exit 0
          start shop.api-1
          sweep shop.migrate-1
        > shop.api-1 ready
          record shop.api-1
          start shop.web-1
        > shop.web-1 ready
          record shop.web-1
        > show
          shop.api: 1 wanted, settled
            shop.api-1 ready
          shop.db: 1 wanted, settled
            shop.db-1 ready
          shop.migrate: 1 wanted, settled
            shop.migrate-1 completed
          shop.web: 1 wanted, settled
            shop.web-1 ready
        > drop shop.db shop.api shop.web shop.migrate
          forget shop.migrate-1
          drain shop.web-1
        > shop.web-1 drained
          stop shop.web-1
        > shop.web-1 exit 0
          drain shop.api-1
          forget shop.web-1
        > shop.api-1 drained
          stop shop.api-1
        > shop.api-1 exit 0
          forget shop.api-1
          drain shop.db-1
        > shop.db-1 drained
          stop shop.db-1
        > shop.db-1 exit 0
          forget shop.db-1
        > show
        ",
    );
}

#[test]
fn a_dependency_that_failed_is_reported_unless_optional() {
    check(
        "
        > want api x1 a needs=migrate:completed
          list
          create api-1 in slot 0
        > want web x1 a needs=api
          create web-1 in slot 0
        > want cron x1 a needs=migrate:completed:optional needs=ghost:optional
          create cron-1 in slot 0
          start cron-1, starts without `migrate`, which does not exist
          record cron-1
        > want migrate x1 a restart=no
          create migrate-1 in slot 0
          start migrate-1
          record migrate-1
        > migrate-1 exit 2
          sweep migrate-1
        > show
          api: 1 wanted, settled, api-1 waits for `migrate`, which failed: exit code 2
            api-1 waiting, waits for `migrate`, which failed: exit code 2
          cron: 1 wanted, settled
            cron-1 ready
          migrate: 1 wanted, settled, migrate-1 failed: exit code 2
            migrate-1 failed, exit code 2
          web: 1 wanted, settled, web-1 waits for `api`, which waits for `migrate`, which failed: exit code 2
            web-1 waiting, waits for `api`, which waits for `migrate`, which failed: exit code 2
        ",
    );
}

#[test]
fn a_service_that_restarts_with_another_rolls_after_it() {
    check(
        "
        > want db x1 a port
          list
          create db-1 in slot 0
          start db-1
        > db-1 ready
          record db-1
        > want api x1 a port needs=db:healthy:restart
          create api-1 in slot 0
          start api-1
        > api-1 ready
          record api-1
        > want db x1 b port
          create api-2 in slot 0, on trial
          create db-2 in slot 0, on trial
          start db-2
        > db-2 ready
          drain db-1
          record db-2
          start api-2
        > show
          api: 1 wanted, not settled
            api-1 ready
            api-2 starting
          db: 1 wanted, not settled
            db-1 draining
            db-2 ready
        > api-2 ready
          drain api-1
          record api-2
        ",
    );
}

#[test]
fn a_circle_of_needs_still_starts_and_stops() {
    check(
        "
        > want a x1 a needs=b
          list
          create a-1 in slot 0
        > want b x1 a needs=a
          create b-1 in slot 0
          start b-1
          start a-1
          record a-1
          record b-1
        > drop a b
          stop a-1
        > b-1 exit 0
          forget b-1
        > a-1 exit 0
          forget a-1
        ",
    );
}

#[test]
fn instances_of_an_earlier_server_are_adopted() {
    check(
        "
        > find users-7 slot 0 a ready
        > find users-8 slot 1 a ready
        > find users-9 slot 0 b
        > find users-4 slot 1 a stopping
        > find orders-3 slot 0 a ready
        > find jobs-1 slot 0 a exited
        > want users x2 b port
          list
          stop users-4
          forget jobs-1
          drain orders-3
        > show
          orders: 0 wanted, not settled
            orders-3 draining
          users: 2 wanted, not settled
            users-7 ready
            users-9 starting
            users-4 stopping
            users-8 ready
        > users-9 exit 1
          fail the update of users: users-9 ended before it was ready: exit code 1
          forget users-9
        > show
          orders: 0 wanted, not settled
            orders-3 draining
          users: 2 wanted, settled, users-9 ended before it was ready: exit code 1
            users-7 ready
            users-4 stopping
            users-8 ready
        ",
    );
}

#[test]
fn an_adopted_crash_is_restarted_by_its_policy() {
    check(
        "
        > find users-1 slot 0 a ready
        > find users-2 slot 1 a exited
        > want users x2 a port
          list
          start users-2
        > users-2 ready
          record users-2
        > show
          users: 2 wanted, settled
            users-1 ready
            users-2 ready, 1 restarts
        ",
    );
}

#[test]
fn nothing_is_started_while_the_runtime_is_lost() {
    check(
        "
        > want users x2 a port
          list
          create users-1 in slot 0
          create users-2 in slot 1
          start users-1
          start users-2
        > users-1 ready
          record users-1
        > users-2 ready
          record users-2
        > +1s
        > find users-1 slot 0 a ready
        > lost
        > want users x3 a port
          list
          start users-2
          create users-3 in slot 2
          start users-3
        > show
          users: 3 wanted, not settled
            users-1 ready
            users-2 starting, 1 restarts
            users-3 starting
        ",
    );
}

#[test]
fn what_does_not_stop_is_killed() {
    check(
        "
        > want users x1 a port grace=2s
          list
          create users-1 in slot 0
          start users-1
        > users-1 ready
          record users-1
        > drop users
          drain users-1
        > +29s
        > +1s
          stop users-1
        > +1s
        > +1s
          kill users-1
          forget users-1
        > show
        ",
    );
}

#[test]
fn stop_all_keeps_to_its_deadline() {
    check(
        "
        > want db x1 a port
          list
          create db-1 in slot 0
          start db-1
        > want api x1 a port needs=db
          create api-1 in slot 0
          start api-1
        > db-1 ready
          record db-1
        > api-1 ready
          record api-1
        > stop-all 10s
          drain api-1
        > +5s
          stop api-1
        > +5s
          kill api-1
          drain db-1
          stop db-1
          forget api-1
          kill db-1
          forget db-1
        > want db x1 b port
        ",
    );
}
