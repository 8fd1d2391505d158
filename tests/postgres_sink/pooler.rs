//! PgBouncer in transaction mode: sessions are shared, so nothing may be left on them.

use rowbridge::message::Seq;
use rowbridge::schema::TableSchema;
use rowbridge::sink::{Class, Sink as _};

use super::{BRIDGE, JOURNAL, Place, batch_of, database, describe};
use crate::support::pgbouncer::PgBouncer;
use rowbridge::sink::PostgresSink;

async fn through(bouncer: &PgBouncer, place: &Place, bridge: &str) -> PostgresSink {
    let mut sink = PostgresSink::new(&database(&bouncer.url(&place.database)));
    sink.connect().await.unwrap();
    sink.start_offset(bridge, JOURNAL, Seq(1)).await.unwrap();
    sink
}

#[tokio::test]
async fn two_sinks_share_one_server_session_and_leave_nothing_on_it() {
    let place = Place::new();
    place.sql("CREATE TABLE t (v int CHECK (v < 100))");
    let bouncer = PgBouncer::start(&place.server, 1);
    let mut sinks = [through(&bouncer, &place, BRIDGE).await, through(&bouncer, &place, "gw2").await];
    let table = describe(&mut sinks[0], "t").await;
    let [there, missing] = ["t", "nowhere"].map(super::table);
    let both = sinks[1].describe_all(&[&there, &missing]).await.unwrap();
    assert_eq!(both, [Some(TableSchema::clone(&table)), None]);
    for round in 0..20u64 {
        let mut batches = [BRIDGE, "gw2"].map(|bridge| {
            let mut batch = batch_of(1 + round * 2, &table, &[1, 2]);
            batch.offset.bridge = bridge.into();
            batch
        });
        if round == 7 {
            // A refused row, and the search for it, must leave nothing behind either.
            batches[0] = batch_of(1 + round * 2, &table, &[1, 200]);
            assert_eq!(sinks[0].write(&batches[0]).await.unwrap_err().class, Class::Row);
            let refused = sinks[0].refused_units(&batches[0]).await.unwrap().units;
            assert_eq!(refused.iter().map(|refusal| refusal.unit).collect::<Vec<_>>(), [1]);
            batches[0].excluded = vec![1];
        }
        let [one, two] = &mut sinks;
        let (first, second) = tokio::join!(one.write(&batches[0]), two.write(&batches[1]));
        first.unwrap();
        second.unwrap();
    }
    assert_eq!(place.sql("SELECT count(*), sum((v = 1)::int) FROM t"), "79|40");
    // What is on the shared session: no statement, no setting.
    let session = place.server.psql_at(
        &bouncer.url(&place.database),
        "SELECT count(*) FROM pg_prepared_statements; SHOW statement_timeout; SHOW synchronous_commit",
    );
    assert_eq!(session, "0\n0\non");
    assert!(!bouncer.log().contains("unexpected"), "{}", bouncer.log());
}

#[tokio::test]
async fn a_sink_that_vanishes_half_way_does_not_disturb_the_next_one_on_its_session() {
    let place = Place::new();
    place.sql("CREATE TABLE t (v int)");
    let bouncer = PgBouncer::start(&place.server, 1);
    let mut staying = through(&bouncer, &place, "gw2").await;
    let table = describe(&mut staying, "t").await;
    for polls in 1..12 {
        let mut vanishing = through(&bouncer, &place, BRIDGE).await;
        let offset = vanishing.offsets(BRIDGE).await.unwrap()[0].next_seq.0;
        let batch = batch_of(offset, &table, &[1, 2, 3]);
        {
            // Each poll and turn of the runtime brings the transaction a little further.
            let mut write = std::pin::pin!(vanishing.write(&batch));
            for _ in 0..polls {
                if futures_util::poll!(&mut write).is_ready() {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        }
        drop(vanishing);
        let offset = staying.offsets("gw2").await.unwrap()[0].next_seq.0;
        let mut batch = batch_of(offset, &table, &[1]);
        batch.offset.bridge = "gw2".into();
        staying.write(&batch).await.unwrap();
    }
    // Whole batches or nothing: the rows are as many as the offsets say.
    let rows: i64 = place.sql("SELECT count(*) FROM t").parse().unwrap();
    assert_eq!(place.sql("SELECT sum(next_seq - 1) FROM rowbridge_offsets"), rows.to_string());
}
