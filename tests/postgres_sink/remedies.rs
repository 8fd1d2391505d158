//! What a person is told: the thing, the reason, the way out.

use std::time::Duration;

use rowbridge::message::Seq;
use rowbridge::sink::{Class, PostgresSink, Sink as _, SinkError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::odd_tables::as_role;
use super::{BRIDGE, Place, batch_of, database, describe, fill_only, started, table};
use crate::support::postgres::Postgres;

#[track_caller]
fn says(error: &SinkError, words: &[&str]) {
    let text = format!("{} · {}", error.message, error.advice);
    words.iter().for_each(|word| assert!(text.contains(word), "{word} in: {text}"));
}

#[tokio::test]
async fn a_table_whose_name_was_meant_otherwise_is_named() {
    let place = Place::new();
    place.sql(
        "CREATE TABLE telemetry (v int); CREATE SCHEMA metering; CREATE TABLE metering.power (v int);
         CREATE MATERIALIZED VIEW m AS SELECT 1 AS v; CREATE SEQUENCE s; CREATE INDEX i ON telemetry (v)",
    );
    let mut sink = place.started().await;
    for (name, said) in [
        ("Telemetry", Some("there is telemetry, and Postgres tells cases apart: write `table: telemetry`")),
        ("power", Some("schema metering has a table power: write `table: metering.power`")),
        ("m", Some("m is a materialized view, which takes no rows: name the table that it is made of")),
        ("s", Some("s is a sequence")),
        ("i", Some("i is an index")),
        ("PG_CLASS", None),
        ("other", None),
    ] {
        assert_eq!(sink.describe(&table(name)).await.unwrap(), None, "{name}");
        assert_eq!(sink.instead_of(&table(name)).await.unwrap().as_deref(), said);
    }
}

#[tokio::test]
async fn every_missing_right_is_named_with_its_grant_also_that_on_a_sequence() {
    let place = Place::new();
    place.sink().connect().await.unwrap();
    place.sql("CREATE TABLE t (v int, id serial); CREATE SEQUENCE \"Odd\"; ALTER TABLE t ADD o int DEFAULT nextval('\"Odd\"')");
    let mut sink = as_role(&place, "bridge_without_rights").await;
    let table = describe(&mut sink, "t").await;
    let mut batch = batch_of(1, &table, &[]);
    batch.offset.to = Seq(2);
    fill_only(&mut batch, 0, &[0]);
    super::add_unit(&mut batch, 0, &[&[rowbridge::schema::Cell::Int(1)]]);
    let error = sink.write(&batch).await.unwrap_err();
    assert_eq!((error.class.without_a_row(), error.code.as_str()), (Class::Table, "42501"));
    let grants: Vec<&str> = error.message.lines().skip(1).collect();
    let expected = [
        "GRANT USAGE ON SEQUENCE public.\"Odd\" TO bridge_without_rights;",
        "GRANT USAGE ON SEQUENCE public.t_id_seq TO bridge_without_rights;",
    ];
    let mut sorted = grants.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, expected);
    place.sql(
        "REVOKE INSERT ON t FROM bridge_without_rights; REVOKE UPDATE ON rowbridge_offsets FROM bridge_without_rights",
    );
    let error = sink.write(&batch).await.unwrap_err();
    for grant in error.message.lines().skip(1) {
        place.sql(grant);
    }
    assert_eq!(error.message.lines().count(), 5, "{}", error.message);
    sink.connect().await.unwrap();
    sink.write(&batch).await.unwrap();
    assert_eq!(place.state("t"), (2, 1), "the GRANTs as they are told mend it");
}

/// Made again without a word it would be empty, and what the journal still keeps would go in twice.
#[tokio::test]
async fn a_dropped_offset_table_holds_and_says_how_to_go_on_and_a_dropped_dead_letter_table_is_made_again() {
    let place = Place::new();
    let mut sink = place.started().await;
    place.sql("DROP TABLE rowbridge_offsets");
    let error = sink.connect().await.unwrap_err();
    assert_eq!(error.class, Class::Table);
    says(&error, &["\"public\".\"rowbridge_offsets\"", "was dropped", "next_seq", "rowbridge status --json"]);
    let steps = include_str!("../../migrations/postgres/0001_offsets_and_dead_letters.sql");
    place.sql(&format!("SET search_path = public; {steps}"));
    sink.connect().await.unwrap();
    assert_eq!(sink.offsets(BRIDGE).await.unwrap(), []);
    place.sql("DROP TABLE rowbridge_dead_letters");
    sink.connect().await.unwrap();
    assert_eq!(place.sql("SELECT count(*) FROM rowbridge_dead_letters"), "0");
}

#[tokio::test]
async fn a_commit_that_waits_for_a_standby_that_is_away_is_told_and_applied_once_it_is_back() {
    let server = Postgres::start();
    let name = server.create_database();
    server.psql(&name, "CREATE TABLE t (v int)");
    let mut of_a_second = database(&server.url(&name));
    started(PostgresSink::new(&of_a_second)).await;
    of_a_second.statement_timeout = Duration::from_secs(1);
    let mut sink = started(PostgresSink::new(&of_a_second)).await;
    let table = describe(&mut sink, "t").await;
    server.psql(&name, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    server.psql(&name, "SELECT pg_reload_conf()");
    sink.connect().await.unwrap();
    let error = sink.write(&batch_of(1, &table, &[1])).await.unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (Class::Transient, "timeout"));
    says(&error, &["synchronous_standby_names = 'nobody'", "start the standby"]);
    // Its server process waits on, and holds the offset's row: nothing can be written before it is through.
    let error = sink.connect().await.unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (Class::Transient, "standby"));
    says(&error, &["synchronous_standby_names = 'nobody'", "start the standby"]);
    server.psql(&name, "ALTER SYSTEM RESET synchronous_standby_names");
    server.psql(&name, "SELECT pg_reload_conf()");
    crate::support::wait_for("the commit is through", || {
        (server.psql(&name, "SELECT next_seq FROM rowbridge_offsets") == "2").then_some(())
    });
    sink.connect().await.unwrap();
    assert_eq!(sink.offsets(BRIDGE).await.unwrap()[0].next_seq, Seq(2));
    assert_eq!(server.psql(&name, "SELECT count(*) FROM t"), "1");
}

#[tokio::test]
async fn a_database_that_takes_no_connections_is_told_so() {
    let server = Postgres::shared();
    let name = server.create_database();
    server.psql("postgres", &format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"));
    let mut sink = PostgresSink::new(&database(&server.url(&name)));
    let error = sink.connect().await.unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (Class::Table, "55000"));
    says(&error, &["ALTER DATABASE … ALLOW_CONNECTIONS true"]);
}

/// Speaks as much of the protocol as QuestDB is asked for: it has no `pg_catalog.version()`.
async fn answer_as_questdb(mut stream: TcpStream) -> std::io::Result<()> {
    let length = stream.read_i32().await?;
    stream.read_exact(&mut vec![0; usize::try_from(length).unwrap() - 4]).await?;
    stream.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I").await?;
    let mut asked = Vec::new();
    loop {
        let kind = stream.read_u8().await?;
        let length = stream.read_i32().await?;
        let mut body = vec![0; usize::try_from(length).unwrap() - 4];
        stream.read_exact(&mut body).await?;
        match kind {
            b'P' => asked = body,
            b'X' => return Ok(()),
            b'S' => {
                let asked_plainly = asked.windows(17).any(|words| words == b"SELECT version()\0");
                let version = b"PostgreSQL 12.3, compiled by Visual C++ build 1914, 64-bit, QuestDB";
                let mut answer = Vec::new();
                let mut say = |kind: u8, body: &[u8]| {
                    answer.push(kind);
                    answer.extend_from_slice(&(i32::try_from(body.len()).unwrap() + 4).to_be_bytes());
                    answer.extend_from_slice(body);
                };
                if asked_plainly {
                    say(b'1', b"");
                    say(b'2', b"");
                    say(b't', b"\0\0");
                    say(b'T', b"\0\x01version\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\x01");
                    let length = i32::try_from(version.len()).unwrap().to_be_bytes();
                    say(b'D', &[b"\0\x01", length.as_slice(), version].concat());
                    say(b'C', b"SELECT 1\0");
                } else {
                    say(b'E', b"SERROR\0VERROR\0C42883\0Munknown function name: pg_catalog.version()\0\0");
                }
                say(b'Z', b"I");
                stream.write_all(&answer).await?;
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_server_that_is_not_postgres_is_told_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        answer_as_questdb(stream).await
    });
    let mut sink = PostgresSink::new(&database(&format!("postgres://admin@127.0.0.1:{port}/qdb")));
    let error = sink.connect().await.unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (Class::Table, "not_postgres"));
    says(&error, &["is not PostgreSQL: QuestDB", "needs PostgreSQL 12 or later"]);
    server.abort();
}
