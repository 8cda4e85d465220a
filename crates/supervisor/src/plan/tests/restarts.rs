//! What a workload's own rules make of exits, and what is done about a process that hangs.

use super::world::check;

#[test]
fn an_exit_with_a_final_code_is_completed_whatever_the_policy() {
    check(
        "
        > want job x1 a restart=always final=3 final=4
          list
          create job-1 in slot 0
          start job-1
        > job-1 exit 1
          start job-1
        > job-1 exit 4
          sweep job-1
        > +60s
        > show
          job: 1 wanted, settled
            job-1 completed, 1 restarts
        ",
    );
}

#[test]
fn quick_exits_are_those_before_the_least_uptime() {
    check(
        "
        > want users x1 a port uptime=5s quick=2
          list
          create users-1 in slot 0
          start users-1
        > +5s
        > users-1 exit 1
          start users-1
        > +4s
        > users-1 exit 1
          sweep users-1
        > +1s
          start users-1
        > +4s
        > users-1 exit 1
          sweep users-1
        > +60s
        > show
          users: 1 wanted, settled, users-1 failed: exit code 1, 2 times in a row right after its start
            users-1 failed, 2 restarts, exit code 1, 2 times in a row right after its start
        ",
    );
}

#[test]
fn a_fixed_wait_comes_before_every_restart() {
    check(
        "
        > want users x1 a port wait=2s
          list
          create users-1 in slot 0
          start users-1
        > users-1 exit 1
          sweep users-1
        > +1999ms
        > +1ms
          start users-1
        > users-1 exit 1
          sweep users-1
        > +2s
          start users-1
        ",
    );
}

#[test]
fn growing_waits_have_no_end() {
    let mut script = "
> want users x1 a port growing=100ms
  list
  create users-1 in slot 0
  start users-1
"
    .to_owned();
    for _ in 0..20 {
        script += "> users-1 exit 1\n  sweep users-1\n> +17s\n  start users-1\n";
    }
    script += "> show\n  users: 1 wanted, settled, users-1 keeps ending: exit code 1\n";
    script += "    users-1 starting, 20 restarts\n";
    check(&script);
}

#[test]
fn what_hangs_is_stopped_and_started_again() {
    check(
        "
        > want users x1 a port grace=2s
          list
          create users-1 in slot 0
          start users-1
        > users-1 hangs
        > users-1 ready
          record users-1
        > +40s
        > users-1 hangs
          stop users-1 to start it again
        > show
          users: 1 wanted, not settled
            users-1 stopping, hangs: no answer
        > users-1 exit 0
          start users-1
        > users-1 ready
          record users-1
        > show
          users: 1 wanted, settled
            users-1 ready, 1 restarts, because hangs: no answer
        > users-1 hangs
          stop users-1 to start it again
        > +2s
          kill users-1
          sweep users-1
        > show
          users: 1 wanted, not settled
            users-1 backoff, 1 restarts, hangs: no answer, because hangs: no answer
        > +1s
          start users-1
        ",
    );
}

#[test]
fn what_hangs_is_not_started_again_if_nothing_is_or_if_it_has_to_go() {
    check(
        "
        > want once x1 a port restart=no
          list
          create once-1 in slot 0
          start once-1
        > once-1 ready
          record once-1
        > once-1 hangs
          stop once-1 to start it again
        > once-1 exit 0
          sweep once-1
        > show
          once: 1 wanted, settled, once-1 failed: hangs: no answer
            once-1 failed, hangs: no answer
        > want users x1 a port
          create users-1 in slot 0
          start users-1
        > users-1 ready
          record users-1
        > users-1 hangs
          stop users-1 to start it again
        > drop users
        > users-1 exit 0
          forget users-1
        > want users x1 a port
          create users-2 in slot 0
          start users-2
        > users-2 ready
          record users-2
        > want users x1 b port
          create users-3 in slot 0, on trial
          start users-3
        > users-2 hangs
          stop users-2 to start it again
        > users-2 exit 0
          forget users-2
        ",
    );
}
