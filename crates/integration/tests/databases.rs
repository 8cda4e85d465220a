//! PostgreSQL behind a listener for TCP, with its own client.

use hythe_testkit::home::Home;

use crate::programs::run;
use hythe_testkit::free_address;

const POSTGRES: &str = include_str!("../services/postgres.sh");

/// Rows that are copied: about 20 MB each way.
const ROWS: u32 = 500_000;

#[test]
fn psql_copies_much_both_ways() {
    let home = Home::new();
    let address = free_address();
    home.write("postgres.sh", POSTGRES);
    home.write(
        "hythe.yaml",
        &format!(
            "services:\n  postgres:\n    command: sh postgres.sh\n    port: 5432\n    \
             healthcheck: {{tcp: true, interval: 1s}}\n\
             listeners:\n  db: {{listen: '{address}', protocol: tcp, service: postgres}}\n"
        ),
    );
    home.ok(&["up", "-d"]);
    let place = format!(
        "host={} port={} user=postgres dbname=postgres",
        address.ip(),
        address.port()
    );
    let psql = |command: &str| {
        run(
            &home,
            "psql",
            &["-XAtq", "-v", "ON_ERROR_STOP=1", &place, "-c", command],
        )
    };
    psql("CREATE TABLE copied (number int, text text)");
    let rows = format!("SELECT n, md5(n::text) FROM generate_series(1, {ROWS}) n");
    psql(&format!("\\copy ({rows}) TO 'rows'"));
    psql("\\copy copied FROM 'rows'");
    let sum = |of: &str| {
        psql(&format!(
            "SELECT count(*), sum(hashtext(t::text)::bigint) FROM ({of}) t"
        ))
    };
    let copied = sum("SELECT number, text FROM copied");
    assert_eq!(copied, sum(&rows));
    assert!(copied.starts_with(&format!("{ROWS}|")), "{copied}");
}
