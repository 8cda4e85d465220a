//! Scaling and updates.

use super::world::check;

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
