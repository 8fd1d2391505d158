//! Several batches, one transaction: all of them or nothing, and never twice.

use std::sync::Arc;

use rowbridge::batch::Batch;
use rowbridge::message::Seq;
use rowbridge::schema::{Cell, TableSchema};
use rowbridge::sink::{Class, PostgresSink, Sink as _};

use super::{
    BRIDGE, JOURNAL, Place, add_table, add_unit, batch, batch_of, database, dead_letter, describe, fill_only, started,
};
use crate::sink_contract::series::Made;
use crate::support::pgbouncer::PgBouncer;
use crate::support::proxy::Proxy;
use crate::support::wait_for;

/// `count` batches of three rows each, from an offset on.
fn made_of_rows(from: u64, table: &Arc<TableSchema>, count: u64) -> Made {
    Made::of((0..count).map(|index| batch_of(from + 3 * index, table, &[1, 2, 3])).collect())
}

#[tokio::test]
async fn rows_of_several_batches_and_tables_commit_together_in_order() {
    let place = Place::new();
    place.sql("CREATE TABLE a (v int); CREATE TABLE b (v text); ALTER TABLE a ADD COLUMN id serial");
    let mut sink = place.started().await;
    let (a, b) = (describe(&mut sink, "a").await, describe(&mut sink, "b").await);
    let mut batches: Vec<Batch> = (0..6u64).map(|index| batch(1 + 10 * index, 11 + 10 * index)).collect();
    for (index, batch) in batches.iter_mut().enumerate() {
        let value = i64::try_from(index).unwrap();
        // Without rows, into one table, into both, the second one for the first time in the midst.
        if index % 3 > 0 {
            let target = add_table(batch, &a);
            fill_only(batch, target, &[0]);
            add_unit(batch, target, &[&[Cell::Int(10 * value)], &[Cell::Int(10 * value + 1)]]);
        }
        if index >= 2 && index % 3 == 2 {
            let target = add_table(batch, &b);
            add_unit(batch, target, &[&[Cell::Text("x")]]);
        }
        batch.dead_letters.push(dead_letter(10 * index as u64 + 3));
    }
    sink.write_series(&mut Made::of(batches)).await.unwrap();
    assert_eq!(place.state("a"), (61, 8));
    assert_eq!(place.sql("SELECT string_agg(v::text, ',' ORDER BY id) FROM a"), "10,11,20,21,40,41,50,51");
    assert_eq!(place.sql("SELECT count(*) FROM b"), "2");
    let letters = place.sql("SELECT string_agg(seq::text, ',' ORDER BY seq) FROM rowbridge_dead_letters");
    assert_eq!(letters, "3,13,23,33,43,53");
}

#[tokio::test]
async fn batches_without_any_row_move_the_offset() {
    let place = Place::new();
    let mut sink = place.started().await;
    let mut batches = vec![batch(1, 6), batch(6, 9)];
    batches.iter_mut().for_each(|batch| batch.dead_letters.push(dead_letter(batch.offset.from.0)));
    sink.write_series(&mut Made::of(batches)).await.unwrap();
    assert_eq!(place.state("rowbridge_dead_letters"), (9, 2));
}

#[tokio::test]
async fn a_refused_row_in_the_midst_takes_all_batches_back_and_leaves_the_sink_usable() {
    let place = Place::new();
    place.sql(
        "CREATE TABLE t (v int CHECK (v < 100)); CREATE TABLE key (v int PRIMARY KEY); \
         CREATE TABLE late (v int REFERENCES key DEFERRABLE INITIALLY DEFERRED)",
    );
    let mut sink = place.started().await;
    let (table, late) = (describe(&mut sink, "t").await, describe(&mut sink, "late").await);
    let refused = vec![batch_of(1, &table, &[1]), batch_of(2, &table, &[200]), batch_of(3, &table, &[3])];
    let refused_at_commit = vec![batch_of(1, &late, &[1]), batch_of(2, &table, &[2])];
    let refused_before_another = vec![batch_of(1, &table, &[200]), batch_of(2, &late, &[2])];
    for batches in [refused, refused_at_commit, refused_before_another] {
        let error = sink.write_series(&mut Made::of(batches)).await.unwrap_err();
        assert_eq!(error.class, Class::Row, "{error}");
        assert_eq!(place.state("t"), (1, 0));
        assert_eq!(sink.offsets(BRIDGE).await.unwrap()[0].next_seq, Seq(1));
    }
    sink.write_series(&mut made_of_rows(1, &table, 3)).await.unwrap();
    assert_eq!(place.state("t"), (10, 9));
}

#[tokio::test]
async fn a_series_and_a_rival_s_batch_from_the_same_offset_never_both_go_in() {
    let place = Place::new();
    place.sql("CREATE TABLE t (v int)");
    let (mut ours, mut rival) = (place.started().await, place.started().await);
    let table = describe(&mut ours, "t").await;
    let mut offset = 1;
    for _ in 0..20 {
        let mut series = made_of_rows(offset, &table, 4);
        let batch = batch_of(offset, &table, &[7]);
        let (one, other) = tokio::join!(ours.write_series(&mut series), rival.write(&batch));
        let missed = match (&one, &other) {
            (Ok(_), Err(error)) | (Err(error), Ok(_)) => error,
            _ => panic!("exactly one goes in: {one:?}, {other:?}"),
        };
        assert_eq!(missed.class, Class::OffsetMoved, "{missed}");
        offset += if one.is_ok() { 12 } else { 1 };
        let written = i64::try_from(offset).unwrap();
        assert_eq!(place.state("t"), (written, written - 1));
    }
}

/// Among the places cut are the answer to COMMIT and everything before it.
#[tokio::test]
async fn wherever_the_server_s_answers_are_cut_off_the_offset_tells_what_went_in() {
    let place = Place::new();
    place.sql("CREATE TABLE t (v int)");
    let proxy = Proxy::to(place.server.port());
    let url = place.server.url(&place.database).replace(&place.server.port().to_string(), &proxy.port().to_string());
    let mut sink = started(PostgresSink::new(&database(&url))).await;
    let table = describe(&mut sink, "t").await;
    let (mut offset, mut lost, mut applied) = (1, 0, 0);
    for bytes in (1..500).step_by(13) {
        proxy.cut_after(bytes);
        let written = sink.write_series(&mut made_of_rows(offset, &table, 4)).await;
        proxy.cut_after(u32::MAX);
        if let Err(error) = &written {
            assert!(error.class.is_connection_lost(), "{error}");
            proxy.cut();
            // What had reached the server may be applied after the connection was lost.
            wait_for("the server is done with the lost connection", || {
                let ours = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND \
                            application_name = 'rowbridge'";
                (place.sql(ours) == "0").then_some(())
            });
            sink.connect().await.unwrap();
        }
        let stored = sink.offsets(BRIDGE).await.unwrap()[0].next_seq.0;
        assert!(stored == offset + 12 || (stored == offset && written.is_err()), "{stored} after {offset}");
        lost += u32::from(written.is_err());
        applied += u32::from(written.is_err() && stored > offset);
        offset = stored;
        let written = i64::try_from(offset).unwrap();
        assert_eq!(place.state("t"), (written, written - 1));
    }
    assert!(lost > 10, "only {lost} of the series were cut off");
    println!("{lost} cut off, of which {applied} had been applied");
}

#[tokio::test]
async fn a_series_through_pgbouncer_shares_the_one_session_and_leaves_nothing_on_it() {
    let place = Place::new();
    place.sql("CREATE TABLE t (v int CHECK (v < 100))");
    let bouncer = PgBouncer::start(&place.server, 1);
    let mut sinks = [0; 2].map(|_| PostgresSink::new(&database(&bouncer.url(&place.database))));
    for (sink, bridge) in sinks.iter_mut().zip([BRIDGE, "gw2"]) {
        sink.connect().await.unwrap();
        sink.start_offset(bridge, JOURNAL, Seq(1)).await.unwrap();
    }
    let [one, two] = &mut sinks;
    let table = describe(one, "t").await;
    for round in 0..10u64 {
        let mut batch = batch_of(1 + round, &table, &[1]);
        batch.offset.bridge = "gw2".into();
        let mut series = made_of_rows(1 + 12 * round, &table, 4);
        let (first, second) = tokio::join!(one.write_series(&mut series), two.write(&batch));
        first.unwrap();
        second.unwrap();
        let refused = vec![batch_of(13 + 12 * round, &table, &[1]), batch_of(14 + 12 * round, &table, &[200])];
        assert_eq!(one.write_series(&mut Made::of(refused)).await.unwrap_err().class, Class::Row);
    }
    assert_eq!(place.sql("SELECT count(*) FROM t"), "130");
    let session = place.server.psql_at(
        &bouncer.url(&place.database),
        "SELECT count(*) FROM pg_prepared_statements; SHOW statement_timeout; SHOW synchronous_commit",
    );
    assert_eq!(session, "0\n0\non");
}
