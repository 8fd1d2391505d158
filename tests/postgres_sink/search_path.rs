//! A role whose `search_path` has a schema before `pg_catalog` changes nothing of what our statements mean; and what runs
//! for the tables, their triggers and defaults, sees that very path.

use rowbridge::batch::DeadLetter;
use rowbridge::message::Seq;
use rowbridge::rule::{DeclaredType, NewTable};
use rowbridge::sink::{Class, DeadLetterFilter, DeadLetterStore as _, PostgresSink, Sink as _};

use super::{BRIDGE, JOURNAL, Place, batch_of, database, dead_letter, describe, table};
use rowbridge::clock::Timestamp;

/// Operators, functions and types that mean something else.
const HOSTILE: &str = "
CREATE SCHEMA hostile;
CREATE DOMAIN hostile.text AS pg_catalog.int4;
CREATE DOMAIN hostile.uuid AS pg_catalog.int4;
CREATE DOMAIN hostile.int8 AS pg_catalog.text;
CREATE DOMAIN hostile.int4 AS pg_catalog.text;
CREATE DOMAIN hostile.jsonb AS pg_catalog.int4;
CREATE DOMAIN hostile.interval AS pg_catalog.int4;
CREATE DOMAIN hostile.numeric AS pg_catalog.bytea;
DO $$
DECLARE name pg_catalog.text; kind pg_catalog.text; sign pg_catalog.text;
BEGIN
    FOREACH kind IN ARRAY '{pg_catalog.text,pg_catalog.uuid,pg_catalog.int8,pg_catalog.int4,pg_catalog.int2,pg_catalog.oid,
                            pg_catalog.name,pg_catalog.numeric,pg_catalog.float8,pg_catalog.timestamptz,pg_catalog.interval,
                            pg_catalog.bool}'::pg_catalog.text[] LOOP
        EXECUTE pg_catalog.format('CREATE FUNCTION hostile.never(%s, %s) RETURNS pg_catalog.bool LANGUAGE plpgsql
            AS ''BEGIN RAISE EXCEPTION ''''a hostile operator ran''''; END''', kind, kind);
        FOREACH sign IN ARRAY '{=,<>,<,>,<=,>=,/,*,||,~~}'::pg_catalog.text[] LOOP
            EXECUTE pg_catalog.format('CREATE OPERATOR hostile.%s (FUNCTION = hostile.never, LEFTARG = %s, RIGHTARG = %s)',
                                      sign, kind, kind);
        END LOOP;
    END LOOP;
    FOREACH name IN ARRAY '{count,sum,max,unnest,now,set_config,current_setting,hashtext,to_char}'::pg_catalog.text[] LOOP
        EXECUTE pg_catalog.format('CREATE FUNCTION hostile.%I(VARIADIC pg_catalog.\"any\") RETURNS pg_catalog.int4
            LANGUAGE internal AS ''pg_num_nulls''', name);
    END LOOP;
END $$;";

/// A sink that logs in as `role`, who may use `public`, with this path.
fn sink_of(place: &Place, role: &str, path: &str) -> PostgresSink {
    place.sql(&format!(
        "CREATE ROLE {role} LOGIN; GRANT USAGE, CREATE ON SCHEMA public TO {role};
         ALTER ROLE {role} SET search_path = {path}"
    ));
    let url = place.server.url(&place.database).replace("postgres@", &format!("{role}@"));
    PostgresSink::new(&database(&url))
}

fn forget(place: &Place, role: &str) {
    place.sql(&format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role}"));
}

/// Every statement of ours, under it.
#[tokio::test]
async fn a_schema_before_pg_catalog_changes_nothing_of_what_is_written_and_read() {
    let place = Place::new();
    place.sql(HOSTILE);
    place.sql("CREATE TYPE mood AS ENUM ('ok')");
    let mut sink = sink_of(&place, "led_astray", "hostile, pg_catalog, public");
    place.sql("GRANT USAGE ON SCHEMA hostile TO led_astray");
    sink.connect().await.unwrap();
    sink.start_offset(BRIDGE, JOURNAL, Seq(1)).await.unwrap();
    let columns = vec![("v", DeclaredType::Int), ("s", DeclaredType::Text), ("u", DeclaredType::Uuid)];
    let new = NewTable::new("made", columns, vec!["s"], vec![vec!["u", "v"]]);
    sink.create_table(&table("made"), &new).await.unwrap();
    let mut indexes = sink.indexes(&table("made")).await.unwrap();
    indexes.sort_by_key(|index| index.columns.len());
    assert_eq!(
        (&indexes[0].columns[..], &indexes[1].columns[..]),
        (&["s".to_owned()][..], &["u".to_owned(), "v".to_owned()][..])
    );
    let types = "SELECT string_agg(format_type(atttypid, -1), ',' ORDER BY attnum) FROM pg_attribute
                 WHERE attrelid = 'made'::regclass AND attnum > 0";
    assert_eq!(place.sql(types), "integer,text,uuid");

    place.sql("CREATE TABLE t (v int CHECK (v < 100)); CREATE TABLE m (v mood); GRANT ALL ON t, m TO led_astray");
    let t = describe(&mut sink, "t").await;
    describe(&mut sink, "m").await;
    let mut batch = batch_of(1, &t, &[1, 2]);
    batch.dead_letters.push(DeadLetter { created_at: Timestamp(1_795_000_000_000_000), ..dead_letter(1) });
    sink.write(&batch).await.unwrap();
    assert_eq!(sink.write(&batch).await.unwrap_err().class, Class::OffsetMoved);
    let mut refused = batch_of(3, &t, &[3, 200]);
    assert_eq!(sink.write(&refused).await.unwrap_err().class, Class::Row);
    assert_eq!(sink.refused_units(&refused).await.unwrap().units.len(), 1);
    refused.excluded = vec![1];
    sink.write_in_order(&refused).await.unwrap();
    let series = vec![batch_of(5, &t, &[5]), batch_of(6, &t, &[6])];
    sink.write_series(&mut crate::sink_contract::series::Made::of(series)).await.unwrap();
    assert_eq!(place.sql("SELECT string_agg(v::text, ',' ORDER BY v) FROM t"), "1,2,3,5,6");
    assert_eq!(sink.offsets(BRIDGE).await.unwrap()[0].next_seq, Seq(7));

    place.sql("ALTER TABLE t ALTER v TYPE int8");
    assert_eq!(sink.write(&batch_of(7, &t, &[7; 65])).await.unwrap_err().class, Class::Row);
    assert_eq!(sink.verify(&[&t]).await.unwrap_err().class, Class::TableChanged);
    let filter = DeadLetterFilter { bridge: BRIDGE.into(), since: Some(Timestamp(0)), ..DeadLetterFilter::default() };
    assert_eq!(sink.dead_letters(&filter, 5).await.unwrap().len(), 1);
    assert_eq!(sink.purge_dead_letters(BRIDGE, Timestamp(4_000_000_000_000_000)).await.unwrap(), 1);
    sink.close().await.unwrap();
    forget(&place, "led_astray");
}

#[tokio::test]
async fn a_trigger_that_relies_on_the_roles_search_path_goes_on_working() {
    let place = Place::new();
    place.sql(
        "CREATE SCHEMA books; CREATE TABLE books.audit (v int, at timestamptz); CREATE TABLE t (v int);
         CREATE FUNCTION books.noon() RETURNS timestamptz LANGUAGE sql AS $$ SELECT '2026-11-21 12:00Z'::timestamptz $$;
         CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             INSERT INTO audit VALUES (NEW.v, noon());
             CREATE TABLE IF NOT EXISTS made_by_trigger (v int);
             RETURN NEW;
         END $$;
         CREATE TRIGGER keep BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION keep();
         CREATE CONSTRAINT TRIGGER late AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED
         FOR EACH ROW EXECUTE FUNCTION keep()",
    );
    let mut sink = sink_of(&place, "bookkeeper", "books, public");
    place.sql("GRANT USAGE, CREATE ON SCHEMA books TO bookkeeper; GRANT ALL ON t, books.audit TO bookkeeper");
    sink.connect().await.unwrap();
    sink.start_offset(BRIDGE, JOURNAL, Seq(1)).await.unwrap();
    let t = describe(&mut sink, "t").await;
    sink.write(&batch_of(1, &t, &[1, 2])).await.unwrap();
    assert_eq!(place.sql("SELECT count(*), min(at) = '2026-11-21 12:00Z' FROM books.audit"), "4|t");
    assert_eq!(place.sql("SELECT 'books.made_by_trigger'::regclass"), "books.made_by_trigger");
    sink.close().await.unwrap();
    forget(&place, "bookkeeper");
}

#[tokio::test]
async fn an_empty_search_path_is_followed_by_nothing() {
    let place = Place::new();
    place.sql("CREATE TABLE c (v int)");
    let url = format!("{}?options=-csearch_path%3D", place.server.url(&place.database));
    let mut sink = PostgresSink::new(&database(&url));
    sink.connect().await.unwrap();
    sink.start_offset(BRIDGE, JOURNAL, Seq(1)).await.unwrap();
    describe(&mut sink, "c").await;
}
