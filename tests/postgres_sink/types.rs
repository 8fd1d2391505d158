//! Every type: described, encoded, and read back by the server as the value it should be.

use rowbridge::rule::{DeclaredType, NewTable};
use rowbridge::schema::{Cell, ColumnType};
use rowbridge::sink::Sink as _;

use super::{Place, add_table, add_unit, batch, describe, table};

/// Days from 1970 to 2000.
const DAYS_2000: i32 = 10_957;

/// Writes `cells` as rows of a one-column table of `sql_type` and returns what `psql` shows.
pub(super) async fn round_trip(place: &Place, sql_type: &str, cells: &[Cell<'_>]) -> Vec<String> {
    place.sql(&format!("DROP TABLE IF EXISTS t; CREATE TABLE t (v {sql_type})"));
    place.sql("DROP TABLE IF EXISTS rowbridge_offsets, rowbridge_dead_letters, rowbridge_schema_version");
    let mut sink = place.started().await;
    let described = describe(&mut sink, "t").await;
    let mut batch = batch(1, 2);
    let target = add_table(&mut batch, &described);
    cells.iter().for_each(|&cell| add_unit(&mut batch, target, &[&[cell]]));
    sink.write(&batch).await.unwrap_or_else(|error| panic!("{sql_type}: {error}"));
    sink.close().await.unwrap();
    let shown = place.sql("SET timezone = 'UTC'; SET intervalstyle = 'iso_8601'; SELECT coalesce(v::text, '∅') FROM t");
    shown.split('\n').map(str::to_owned).collect()
}

#[tokio::test]
async fn numbers_and_truth_values_arrive_exactly() {
    let place = Place::new();
    let place = &place;
    assert_eq!(
        round_trip(place, "bool", &[Cell::Bool(true), Cell::Bool(false), Cell::Null]).await,
        ["true", "false", "∅"]
    );
    let cells = [Cell::Int(-32_768), Cell::Int(32_767)];
    assert_eq!(round_trip(place, "int2", &cells).await, ["-32768", "32767"]);
    let cells = [Cell::Int(i32::MIN.into()), Cell::Int(i32::MAX.into())];
    assert_eq!(round_trip(place, "int4", &cells).await, ["-2147483648", "2147483647"]);
    let cells = [Cell::Int(i64::MIN), Cell::Int(i64::MAX)];
    assert_eq!(round_trip(place, "int8", &cells).await, ["-9223372036854775808", "9223372036854775807"]);
    let cells = [Cell::Float(0.1), Cell::Float(-0.0), Cell::Float(f64::NAN), Cell::Float(f64::NEG_INFINITY)];
    assert_eq!(round_trip(place, "float4", &cells).await, ["0.1", "-0", "NaN", "-Infinity"]);
    let cells = [Cell::Float(f64::MAX), Cell::Float(5e-324), Cell::Float(21.5)];
    assert_eq!(round_trip(place, "float8", &cells).await, ["1.7976931348623157e+308", "5e-324", "21.5"]);
}

#[tokio::test]
async fn decimals_keep_every_digit_and_their_scale() {
    let texts = [
        "0",
        "-0.000",
        "1",
        "-1",
        "10000",
        "9999.9999",
        "0.0001",
        "0.00001",
        "-12345678901234567890.12345678901234567890",
        "1234567890123456789012345678901234567890",
        "1e3",
        "1.50",
        "15E-1",
        "-2.5e-7",
        "0.000123e4",
        "NaN",
        "100000000",
        "1e-16383",
        "1e131071",
    ];
    let cells: Vec<_> = texts.iter().map(|text| Cell::Decimal(text)).collect();
    let place = Place::new();
    let shown = round_trip(&place, "numeric", &cells).await;
    for (text, shown) in texts.iter().zip(&shown) {
        let server_reads = place.sql(&format!("SELECT '{text}'::numeric"));
        assert_eq!(*shown, server_reads, "{text}");
    }
    assert_eq!(shown.len(), texts.len());
    assert_eq!(round_trip(&place, "numeric(10,2)", &[Cell::Decimal("-99999999.99")]).await, ["-99999999.99"]);
}

#[tokio::test]
async fn texts_documents_and_bytes_arrive_as_they_are() {
    let place = Place::new();
    let place = &place;
    place.sql("CREATE EXTENSION citext; CREATE TYPE mood AS ENUM ('ok', 'not ok'); CREATE DOMAIN code AS varchar(3)");
    let odd = "añ→𝄞\"\\|";
    for sql_type in ["text", "varchar", "citext", "name", "varchar(40)"] {
        assert_eq!(round_trip(place, sql_type, &[Cell::Text(odd), Cell::Text("")]).await, [odd, ""], "{sql_type}");
    }
    // The cast to text drops the padding.
    assert_eq!(round_trip(place, "char(8)", &[Cell::Text("abc")]).await, ["abc"]);
    assert_eq!(round_trip(place, "mood", &[Cell::Text("not ok")]).await, ["not ok"]);
    assert_eq!(round_trip(place, "code", &[Cell::Text("é12")]).await, ["é12"]);
    let json = r#"{"b": 1,  "a": "é"}"#;
    assert_eq!(round_trip(place, "json", &[Cell::Text(json)]).await, [json]);
    assert_eq!(round_trip(place, "jsonb", &[Cell::Text(json)]).await, [r#"{"a": "é", "b": 1}"#]);
    assert_eq!(
        round_trip(place, "bytea", &[Cell::Bytes(&[0, 0x41, 0xff]), Cell::Bytes(&[])]).await,
        ["\\x0041ff", "\\x"]
    );
    let uuid = [0x12, 0x3e, 0x45, 0x67, 0xe8, 0x9b, 0x12, 0xd3, 0xa4, 0x56, 0x42, 0x66, 0x14, 0x17, 0x40, 0];
    assert_eq!(round_trip(place, "uuid", &[Cell::Uuid(uuid)]).await, ["123e4567-e89b-12d3-a456-426614174000"]);
    let cells = [Cell::Text("10.1.2.3"), Cell::Text("10.1.2.3/8"), Cell::Text("::1"), Cell::Text("fe80::/10")];
    assert_eq!(round_trip(place, "inet", &cells).await, ["10.1.2.3/32", "10.1.2.3/8", "::1/128", "fe80::/10"]);
    assert_eq!(round_trip(place, "cidr", &[Cell::Text("10.0.0.0/8")]).await, ["10.0.0.0/8"]);
}

#[tokio::test]
async fn times_before_2000_and_at_the_ends_of_the_calendar_arrive() {
    let place = Place::new();
    let place = &place;
    let cells = [Cell::Date(0), Cell::Date(-719_528), Cell::Date(DAYS_2000 + 2_145_031_948)];
    assert_eq!(round_trip(place, "date", &cells).await, ["1970-01-01", "0001-01-01 BC", "5874897-12-31"]);
    let cells = [Cell::Time(0), Cell::Time(86_399_999_999), Cell::Time(86_400_000_000)];
    assert_eq!(round_trip(place, "time", &cells).await, ["00:00:00", "23:59:59.999999", "24:00:00"]);
    let cells = [Cell::Timestamp(0), Cell::Timestamp(-1), Cell::Timestamp(i64::MAX)];
    let shown = ["1970-01-01 00:00:00", "1969-12-31 23:59:59.999999"];
    assert_eq!(round_trip(place, "timestamp", &cells[..2]).await, shown);
    let shown = ["1970-01-01 00:00:00+00", "1969-12-31 23:59:59.999999+00"];
    assert_eq!(round_trip(place, "timestamptz", &cells[..2]).await, shown);
    assert_eq!(round_trip(place, "timestamptz", &cells[2..]).await, ["294247-01-10 04:00:54.775807+00"]);
    let interval = Cell::Interval { months: -14, days: 3, micros: 4_000_001 };
    assert_eq!(round_trip(place, "interval", &[interval]).await, ["P-1Y-2M3DT4.000001S"]);
}

#[tokio::test]
async fn arrays_carry_nulls_and_their_elements_type() {
    let place = Place::new();
    let place = &place;
    place.sql("CREATE EXTENSION citext; CREATE TYPE mood AS ENUM ('ok', 'bad'); CREATE DOMAIN small AS int2");
    let ints = [Cell::Int(1), Cell::Null, Cell::Int(-3)];
    for sql_type in ["int2[]", "int4[]", "int8[]", "small[]"] {
        let shown = round_trip(place, sql_type, &[Cell::Array(&ints), Cell::Array(&[]), Cell::Null]).await;
        assert_eq!(shown, ["{1,NULL,-3}", "{}", "∅"], "{sql_type}");
    }
    let texts = [Cell::Text("ok"), Cell::Text("bad")];
    for sql_type in ["text[]", "citext[]", "mood[]", "varchar(3)[]"] {
        assert_eq!(round_trip(place, sql_type, &[Cell::Array(&texts)]).await, ["{ok,bad}"], "{sql_type}");
    }
    let decimals = [Cell::Decimal("1.50"), Cell::Null];
    assert_eq!(round_trip(place, "numeric(5,2)[]", &[Cell::Array(&decimals)]).await, ["{1.50,NULL}"]);
    assert_eq!(round_trip(place, "jsonb[]", &[Cell::Array(&[Cell::Text("[1]")])]).await, ["{[1]}"]);
}

#[tokio::test]
async fn a_table_is_described_as_it_stands() {
    let place = Place::new();
    place.sql(
        "CREATE DOMAIN positive AS int CHECK (VALUE > 0) NOT NULL DEFAULT 1;
         CREATE TYPE mood AS ENUM ('ok', 'bad');
         CREATE TABLE \"Odd Name\" (
             gone int, id bigint GENERATED ALWAYS AS IDENTITY, site varchar(20) NOT NULL, at timestamptz DEFAULT now(),
             price numeric(10,2), twice numeric GENERATED ALWAYS AS (price * 2) STORED, n positive, m mood[],
             shape point, PRIMARY KEY (site, id)) PARTITION BY LIST (site);
         ALTER TABLE \"Odd Name\" DROP COLUMN gone",
    );
    let mut sink = place.started().await;
    assert_eq!(sink.describe(&table("odd name")).await.unwrap(), None);
    let described = describe(&mut sink, "Odd Name").await;
    assert_eq!(described.primary_key, ["site", "id"]);
    let column = |name: &str| described.columns.iter().find(|column| column.name == name).unwrap();
    let names: Vec<_> = described.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["id", "site", "at", "price", "twice", "n", "m", "shape"]);
    assert!(column("id").generated && column("id").has_default && column("id").not_null);
    assert_eq!(column("site").column_type, ColumnType::Text { max_chars: Some(20) });
    assert_eq!(column("site").type_name, "character varying(20)");
    assert!(column("site").not_null && !column("site").has_default);
    assert!(column("at").has_default && !column("at").generated && !column("at").not_null);
    assert_eq!(column("price").column_type, ColumnType::Numeric(Some((10, 2))));
    assert!(column("twice").generated);
    assert_eq!(column("n").column_type, ColumnType::Int4);
    assert!(column("n").not_null && column("n").has_default);
    let ColumnType::Array(element, oid) = &column("m").column_type else { panic!("not an array") };
    assert_eq!(**element, ColumnType::Enum(["ok".to_owned(), "bad".to_owned()].into()));
    assert_eq!(oid.to_string(), place.sql("SELECT 'mood'::regtype::oid"));
    let ColumnType::Cast(cast) = &column("shape").column_type else { panic!("it is cast") };
    assert_eq!((cast.sql_type.as_str(), cast.delimiter), ("\"pg_catalog\".\"point\"", None));
}

#[tokio::test]
async fn a_table_is_created_as_declared_and_a_second_time_is_no_error() {
    let place = Place::new();
    let mut sink = place.started().await;
    let columns = [
        ("at", DeclaredType::Timestamptz),
        ("odd \"name", DeclaredType::Decimal(Some((8, 3)))),
        ("tags", DeclaredType::Array(Box::new(DeclaredType::Text))),
        ("raw", DeclaredType::Bytes),
        ("doc", DeclaredType::Json),
    ];
    let new = NewTable::new("made", columns.to_vec(), Vec::new(), Vec::new());
    sink.create_table(&table("made"), &new).await.unwrap();
    sink.create_table(&table("made"), &new).await.unwrap();
    let described = describe(&mut sink, "made").await;
    let types: Vec<_> = described.columns.iter().map(|column| column.type_name.as_str()).collect();
    assert_eq!(types, ["timestamp with time zone", "numeric(8,3)", "text[]", "bytea", "jsonb"]);
    assert_eq!(described.columns[1].name, "odd \"name");
}
