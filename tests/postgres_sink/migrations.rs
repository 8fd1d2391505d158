//! Rowbridge's own tables: made once, by whoever comes first, or by an administrator.

use rowbridge::message::Seq;
use rowbridge::sink::{Class, PostgresSink, Sink as _};

use super::{BRIDGE, JOURNAL, Place, batch, database_of, postgres_url};

fn sink_of(place: &Place, user: &str, schema: &str) -> PostgresSink {
    let mut url = postgres_url(&format!("postgres://{user}@127.0.0.1:{}/{}", place.server.port(), place.database));
    url.schema = schema.into();
    PostgresSink::new(&database_of(url))
}

#[tokio::test]
async fn bridges_that_start_together_make_the_tables_once() {
    let place = Place::new();
    let mut sinks: Vec<_> = (0..6).map(|_| place.sink()).collect();
    let connects = sinks.iter_mut().map(|sink| sink.connect());
    for result in futures_util::future::join_all(connects).await {
        result.unwrap();
    }
    assert_eq!(place.sql("SELECT version FROM rowbridge_schema_version ORDER BY 1"), "1\n2\n3");
    // Once more changes nothing.
    place.sink().connect().await.unwrap();
    assert_eq!(place.sql("SELECT count(*) FROM rowbridge_schema_version"), "3");
}

#[tokio::test]
async fn the_tables_live_in_the_configured_schema() {
    let place = Place::new();
    place.sql("CREATE SCHEMA \"My Schema\"; CREATE TABLE \"My Schema\".t (v int)");
    let mut sink = sink_of(&place, "postgres", "My Schema");
    sink.connect().await.unwrap();
    sink.start_offset(BRIDGE, JOURNAL, Seq(1)).await.unwrap();
    sink.write(&batch(1, 4)).await.unwrap();
    assert_eq!(place.sql("SELECT next_seq FROM \"My Schema\".rowbridge_offsets"), "4");
    assert_eq!(place.sql("SELECT count(*) FROM pg_class WHERE relname = 'rowbridge_offsets'"), "1");
    let error = sink_of(&place, "postgres", "nowhere").connect().await.unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (Class::Table, "3F000"), "{error}");
}

#[tokio::test]
async fn a_role_that_may_not_create_tables_is_told_the_sql_and_works_once_it_was_run() {
    let place = Place::new();
    let role = format!("plain_{}", place.database);
    place.sql(&format!("CREATE ROLE {role} LOGIN; REVOKE CREATE ON SCHEMA public FROM public"));
    let error = sink_of(&place, &role, "public").connect().await.unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (Class::Table, "42501"));
    // The lines after the first are the SQL, to be run as it is.
    let (_, sql) = error.message.split_once('\n').unwrap();
    place.sql(sql);
    works(&place, &role).await;
}

#[tokio::test]
async fn tables_that_an_administrator_made_serve_a_role_that_may_create_none() {
    let place = Place::new();
    let role = format!("made_{}", place.database);
    let steps = include_str!("../../migrations/postgres/0001_offsets_and_dead_letters.sql");
    place.sql(&format!(
        "CREATE ROLE {role} LOGIN; REVOKE CREATE ON SCHEMA public FROM public; {steps}; \
         GRANT SELECT, INSERT, UPDATE, DELETE ON rowbridge_offsets, rowbridge_dead_letters TO {role}"
    ));
    // The step that came later is told, to be run as it is.
    let error = sink_of(&place, &role, "public").connect().await.unwrap_err();
    let (_, later) = error.message.split_once('\n').unwrap();
    assert!(later.contains("ADD COLUMN IF NOT EXISTS envelope"), "{later}");
    place.sql(later);
    works(&place, &role).await;
}

/// The role writes a batch with a dead letter.
async fn works(place: &Place, role: &str) {
    let mut sink = sink_of(place, role, "public");
    sink.connect().await.unwrap();
    sink.start_offset(BRIDGE, JOURNAL, Seq(1)).await.unwrap();
    let mut batch = batch(1, 4);
    batch.dead_letters.push(super::dead_letter(1));
    sink.write(&batch).await.unwrap();
    assert_eq!(place.state("rowbridge_dead_letters"), (4, 1));
}

#[tokio::test]
async fn tables_of_a_newer_rowbridge_hold_the_database() {
    let place = Place::new();
    place.sink().connect().await.unwrap();
    place.sql("INSERT INTO rowbridge_schema_version (version) VALUES (99)");
    let error = place.sink().connect().await.unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (Class::Table, "schema_version"), "{error}");
}
