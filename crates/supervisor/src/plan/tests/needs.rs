//! Services that need one another.

use super::world::check;

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
        > +1s
          record cron-1
        > want migrate x1 a restart=no
          create migrate-1 in slot 0
          start migrate-1
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
        > +1s
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
