//! The Postgres sink against a real server.

use crate::support::postgres::Postgres;

#[test]
fn a_private_server_keeps_what_it_confirmed_when_killed() {
    let server = Postgres::start();
    let database = server.create_database();
    server.psql(&database, "CREATE TABLE t (a int); INSERT INTO t VALUES (7)");
    server.kill();
    assert!(!server.try_psql(&database, "SELECT 1").status.success());
    server.start_again();
    assert_eq!(server.psql(&database, "SELECT a FROM t"), "7");
}
