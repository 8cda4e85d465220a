//! What is replaced although it is of the wished revision.

use super::world::check;

#[test]
fn twice_too_much_memory_is_a_reason_and_the_new_one_is_spared_for_a_while() {
    check(
        "
        > want users x1 a port memory=300M
          list
          create users-1 in slot 0
          start users-1
        > users-1 ready
          record users-1
        > users-1 uses 301M
        > users-1 uses 300M
        > users-1 uses 310M
        > users-1 uses 310M
          create users-2 in slot 0, on trial
          start users-2
        > show
          users: 1 wanted, not settled
            users-1 ready, uses 310.0M, more than 300.0M
            users-2 starting, because uses 310.0M, more than 300.0M
        > users-2 ready
          drain users-1
          record users-2
        > users-1 drained
          stop users-1
        > users-1 exit 0
          forget users-1
        > users-2 uses 400M
        > users-2 uses 400M
        > show
          users: 1 wanted, settled
            users-2 ready, because uses 310.0M, more than 300.0M
        > +30s
        > users-2 uses 400M
          create users-3 in slot 0, on trial
          start users-3
        ",
    );
}

#[test]
fn a_replacement_that_fails_leaves_the_old_one_and_is_tried_again_later() {
    check(
        "
        > want users x1 a port memory=1M
          list
          create users-1 in slot 0
          start users-1
        > users-1 ready
          record users-1
        > users-1 uses 2M
        > users-1 uses 2M
          create users-2 in slot 0, on trial
          start users-2
        > users-2 exit 1
          fail the update of users: users-2 ended before it was ready: exit code 1
          forget users-2
        > show
          users: 1 wanted, settled, users-2 ended before it was ready: exit code 1
            users-1 ready
        > +29s
        > users-1 uses 2M
        > users-1 exit 1
          start users-1
        > users-1 ready
          record users-1
        > users-1 uses 2M
        > +1s
        > users-1 uses 2M
          create users-3 in slot 0, on trial
          start users-3
        > users-3 ready
          drain users-1
          record users-3
        ",
    );
}

#[test]
fn after_a_failed_update_too_much_memory_is_answered_with_what_was_good() {
    check(
        "
        > want users x1 a port memory=1M
          list
          create users-1 in slot 0
          start users-1
        > users-1 ready
          record users-1
        > want users x1 b port memory=1M
          create users-2 in slot 0, on trial
          start users-2
        > users-2 exit 1
          fail the update of users: users-2 ended before it was ready: exit code 1
          forget users-2
        > users-1 uses 2M
        > users-1 uses 2M
          create users-3 in slot 0
          start users-3
        > users-3 ready
          drain users-1
          record users-3
        > users-1 drained
          stop users-1
        > users-1 exit 0
          forget users-1
        > show
          users: 1 wanted, settled, users-2 ended before it was ready: exit code 1
            users-3 ready, because uses 2.0M, more than 1.0M
        ",
    );
}

#[test]
fn changed_files_replace_one_after_another_and_try_anew_what_failed() {
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
        > changed users app.js
          create users-3 in slot 0, on trial
          start users-3
        > changed users app.js
          stop users-3
        > users-3 exit 0
          forget users-3
          create users-4 in slot 0, on trial
          start users-4
        > users-4 exit 1
          fail the update of users: users-4 ended before it was ready: exit code 1
          forget users-4
        > changed users app.js
          create users-5 in slot 0, on trial
          start users-5
        > users-5 ready
          drain users-1
          record users-5
        > users-1 drained
          stop users-1
        > users-1 exit 0
          forget users-1
          create users-6 in slot 1, on trial
          start users-6
        > users-6 ready
          drain users-2
          record users-6
        > users-2 drained
          stop users-2
        > users-2 exit 0
          forget users-2
        > show
          users: 2 wanted, settled
            users-5 ready, because app.js changed
            users-6 ready, because app.js changed
        ",
    );
}

#[test]
fn changed_files_start_what_was_given_up() {
    check(
        "
        > want users x1 a port restart=no
          list
          create users-1 in slot 0
          start users-1
        > users-1 exit 1
          sweep users-1
        > changed users app.js
          forget users-1
          create users-2 in slot 0
          start users-2
        > show
          users: 1 wanted, not settled
            users-2 starting, because app.js changed
        ",
    );
}

#[test]
fn a_place_is_emptied_first_where_that_is_wished() {
    check(
        "
        > want users x2 a port stop-first memory=1M
          list
          create users-1 in slot 0
          create users-2 in slot 1
          start users-1
          start users-2
        > users-1 ready
          record users-1
        > users-2 ready
          record users-2
        > users-2 uses 2M
        > users-2 uses 2M
          drain users-2
        > users-2 drained
          stop users-2
        > users-2 exit 0
          forget users-2
          create users-3 in slot 1
          start users-3
        > users-3 ready
          record users-3
        > users-3 uses 2M
        > users-3 uses 2M
        > show
          users: 2 wanted, settled
            users-1 ready
            users-3 ready, because uses 2.0M, more than 1.0M
        ",
    );
}

#[test]
fn cron_replaces_what_runs_and_starts_what_has_ended_but_nothing_that_is_just_starting() {
    check(
        "
        > want users x1 a port
          list
          create users-1 in slot 0
          start users-1
        > want job x1 a restart=no
          create job-1 in slot 0
          start job-1
        > job-1 exit 0
          sweep job-1
        > users-1 ready
          record users-1
        > cron users 5s
        > cron job 5s
        > +4s
        > +1s
          renew job: cron `@daily`
          renew users: cron `@daily`
          forget job-1
          create job-2 in slot 0
          create users-2 in slot 0, on trial
          start job-2
          start users-2
        > cron users 1s
        > +1s
          record job-2
          renew users: cron `@daily`
        > users-2 ready
          drain users-1
          record users-2
        > show
          job: 1 wanted, settled
            job-2 ready, because cron `@daily`
          users: 1 wanted, not settled
            users-1 draining, cron `@daily`
            users-2 ready, because cron `@daily`
        ",
    );
}
