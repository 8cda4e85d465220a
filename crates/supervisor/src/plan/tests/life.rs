//! Crashes, restarts, adoption and the end of instances.

use super::world::check;

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
            users-1 backoff, 1 restarts, exit code 1
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
fn what_keeps_ending_is_reported_until_it_is_ready() {
    check(
        "
        > want users x1 a port
          list
          create users-1 in slot 0
          start users-1
        > want web x1 a needs=users:healthy
          create web-1 in slot 0
        > users-1 exit 1
          start users-1
        > users-1 exit 1
          sweep users-1
        > +200ms
          start users-1
        > show
          users: 1 wanted, not settled
            users-1 starting, 2 restarts
          web: 1 wanted, not settled
            web-1 waiting, waits for `users` to be ready
        > users-1 exit 1
          sweep users-1
        > show
          users: 1 wanted, settled, users-1 keeps ending: exit code 1
            users-1 backoff, 2 restarts, exit code 1
          web: 1 wanted, settled, web-1 waits for `users`, which keeps ending: exit code 1
            web-1 waiting, waits for `users`, which keeps ending: exit code 1
        > +1s
          start users-1
        > show
          users: 1 wanted, settled, users-1 keeps ending: exit code 1
            users-1 starting, 3 restarts
          web: 1 wanted, settled, web-1 waits for `users`, which keeps ending: exit code 1
            web-1 waiting, waits for `users`, which keeps ending: exit code 1
        > users-1 ready
          record users-1
          start web-1
        > +1s
          record web-1
        > show
          users: 1 wanted, settled
            users-1 ready, 3 restarts
          web: 1 wanted, settled
            web-1 ready
        ",
    );
}

#[test]
fn without_a_check_and_a_port_it_has_to_run_for_a_while() {
    check(
        "
        > want jobs x1 a
          list
          create jobs-1 in slot 0
          start jobs-1
        > +999ms
        > show
          jobs: 1 wanted, not settled
            jobs-1 starting
        > +1ms
          record jobs-1
        > show
          jobs: 1 wanted, settled
            jobs-1 ready
        > want jobs x1 b
          create jobs-2 in slot 0, on trial
          start jobs-2
        > jobs-2 exit 1
          fail the update of jobs: jobs-2 ended before it was ready: exit code 1
          forget jobs-2
        > show
          jobs: 1 wanted, settled, jobs-2 ended before it was ready: exit code 1
            jobs-1 ready
        > want jobs x1 c timeout=1s
          create jobs-3 in slot 0, on trial
          start jobs-3
        > +500ms
          stop jobs-1
          record jobs-3
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
        > job-1 exit 0
          sweep job-1
        > want always x1 a restart=always
          create always-1 in slot 0
          start always-1
        > always-1 exit 0
          start always-1
        > want few x1 a restart=at-most-1
          create few-1 in slot 0
          start few-1
        > few-1 exit 1
          start few-1
        > few-1 exit 1
          sweep few-1
        > want once x1 a restart=no
          create once-1 in slot 0
          start once-1
        > once-1 exit 7
          sweep once-1
        > +1s
          record always-1
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
