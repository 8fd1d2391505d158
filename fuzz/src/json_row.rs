//! A JSON payload through rules with a column of every type, in the wire form of every sink.
//!
//! Input: the payload. Each type has a rule of its own that reads `payload.v`; some rules read deeper paths. What a rule
//! writes must be what the slow [`reference`] says, and both databases' encoders must take every cell.

mod reference;

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use rowbridge::batch::{Batch, OffsetMove, RowEncoder};
use rowbridge::clock::Timestamp;
use rowbridge::config::{self, Columns, Format, Mode, OnError, Retained, Rule};
use rowbridge::journal_id::JournalId;
use rowbridge::mapping::{Mapper, Outcome};
use rowbridge::message::{Message, Properties, Qos, Seq};
use rowbridge::rule::{ColumnSource, Source, TableName, TimeFormat, TopicPattern};
use rowbridge::schema::{
    Cell, Column, ColumnType, IntervalUnit, Parameter, PostgresDialect, SecondDigits, TableSchema,
};
use rowbridge::sink::{PostgresEncoder, SqliteEncoder};

use self::reference::Expected;

/// MQTT allows more; longer payloads hold nothing new.
const PAYLOAD_BYTES_MAX: usize = 64 << 10;
/// Paths beside `payload.v`, all into json columns.
const PATHS: [&str; 7] =
    ["payload", "payload.v", "payload.a", "payload.a.b", "payload.l[0]", "payload.l[-1]", "payload.a.l[1].b"];

thread_local! {
    static MAPPERS: RefCell<Mappers> = RefCell::new(Mappers::new());
}

pub fn check(payload: &[u8]) {
    if payload.len() <= PAYLOAD_BYTES_MAX {
        MAPPERS.with_borrow_mut(|mappers| mappers.check(payload));
    }
}

struct Mappers {
    /// The column type of each rule, and its time format.
    types: Vec<(ColumnType, Option<TimeFormat>)>,
    shown: Mapper<Shown>,
    postgres: Mapper<PostgresEncoder>,
    sqlite: Mapper<SqliteEncoder>,
}

/// Writes cells as debug text, one a line.
#[derive(Clone)]
struct Shown;

impl RowEncoder for Shown {
    type Dialect = PostgresDialect;

    fn begin_row(&self, _: usize, _: &mut Vec<u8>) {}

    fn cell(&self, _: &ColumnType, cell: Cell<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("{cell:?}\n").as_bytes());
    }
}

fn types() -> Vec<(ColumnType, Option<TimeFormat>)> {
    let labels: Arc<[String]> = ["on".to_owned(), "1".to_owned()].into();
    let plain = [
        ColumnType::Bool,
        ColumnType::Int2,
        ColumnType::Int4,
        ColumnType::Int8,
        ColumnType::Float4,
        ColumnType::Float8,
        ColumnType::Numeric(None),
        ColumnType::Numeric(Some((10, 2))),
        ColumnType::Numeric(Some((3, 5))),
        ColumnType::Numeric(Some((3, -2))),
        ColumnType::Text { max_chars: None },
        ColumnType::Text { max_chars: Some(5) },
        ColumnType::Json,
        ColumnType::Jsonb,
        ColumnType::Bytes,
        ColumnType::Uuid,
        ColumnType::Date,
        ColumnType::Time(SecondDigits::new(2)),
        ColumnType::Timestamp(SecondDigits::MICROS),
        ColumnType::Timestamptz(SecondDigits::MICROS),
        ColumnType::TimestampText,
        ColumnType::LowerBound,
        ColumnType::UpperBound,
        ColumnType::Interval(IntervalUnit::Second(SecondDigits::MICROS)),
        ColumnType::Interval(IntervalUnit::Hour),
        ColumnType::Inet,
        ColumnType::Enum(labels),
        ColumnType::Any,
        ColumnType::Array(Box::new(ColumnType::Int8), 20),
        ColumnType::Array(Box::new(ColumnType::Text { max_chars: None }), 25),
        ColumnType::Array(Box::new(ColumnType::Numeric(None)), 1_700),
        ColumnType::Array(Box::new(ColumnType::Timestamptz(SecondDigits::new(0))), 1_184),
    ];
    let mut types: Vec<_> = plain.into_iter().map(|plain| (plain, None)).collect();
    for (column_type, format) in [
        (ColumnType::Timestamptz(SecondDigits::new(1)), "s"),
        (ColumnType::Timestamptz(SecondDigits::new(1)), "ms"),
        (ColumnType::Timestamp(SecondDigits::MICROS), "us"),
        (ColumnType::TimestampText, "ns"),
        (ColumnType::Int8, "ms"),
        (ColumnType::Date, "s"),
        (ColumnType::Timestamptz(SecondDigits::new(1)), "rfc3339"),
        (ColumnType::Timestamptz(SecondDigits::new(1)), "%Y-%m-%d %H:%M:%S"),
        (ColumnType::Time(SecondDigits::MICROS), "%H:%M"),
    ] {
        types.push((column_type, Some(TimeFormat::parse(format).unwrap())));
    }
    types
}

fn column(name: &str, from: &str, time: Option<TimeFormat>) -> config::Column {
    let source = ColumnSource::From(Source::parse(from).unwrap());
    config::Column {
        name: name.into(),
        source,
        declared: None,
        adjust: None,
        time,
        tz: None,
        default: None,
        required: false,
        on_error: None,
    }
}

fn live(name: &str, column_type: &ColumnType) -> Column {
    Column {
        name: name.to_owned(),
        column_type: column_type.clone(),
        type_name: format!("{column_type:?}"),
        not_null: false,
        has_default: false,
        generated: false,
        parameter: Parameter::default(),
    }
}

/// The same table with types that Postgres has.
fn of_postgres(table: &Arc<TableSchema>) -> Arc<TableSchema> {
    let mut table = TableSchema::clone(table);
    for column in &mut table.columns {
        if is_sqlite_only(&column.column_type) {
            column.column_type = ColumnType::Text { max_chars: None };
        }
    }
    Arc::new(table)
}

fn is_sqlite_only(column_type: &ColumnType) -> bool {
    use ColumnType::{Any, LowerBound, TimestampText, UpperBound};
    matches!(column_type, Any | TimestampText | LowerBound | UpperBound)
}

/// Whether SQLite holds every value of the type.
fn is_held_by_sqlite(column_type: &ColumnType) -> bool {
    use ColumnType::{Any, Bool, Bytes, Float4, Float8, Int2, Int4, Int8, JsonText, Text};
    matches!(column_type, Any | Bool | Bytes | Float4 | Float8 | Int2 | Int4 | Int8 | JsonText | Text { .. })
}

impl Mappers {
    fn new() -> Mappers {
        let types = types();
        let mut rules = Vec::new();
        let mut tables = Vec::new();
        let mut add = |columns: Vec<config::Column>, lives: Vec<Column>| {
            let name = TableName { schema: None, name: format!("t{}", rules.len()) };
            rules.push(Arc::new(Rule {
                name: name.name.as_str().into(),
                topics: [TopicPattern::parse("t").unwrap()].into(),
                qos: Qos::AtLeastOnce,
                own_qos: Vec::new(),
                subscribe_properties: Vec::new(),
                database: 0,
                chooser: None,
                table: name.clone(),
                format: Format::Json,
                columns: Columns::named(columns),
                create: None,
                routing: None,
                statement: None,
                for_each: rowbridge::config::ForEach::NONE,
                times: None,
                unmapped: rowbridge::config::Unmapped::Ignore,
                rows_max: 100_000,
                shaping: rowbridge::config::Shaping::default(),
                mode: Mode::Insert,
                retained: Retained::Store,
                on_error: OnError::DeadLetter,
                reply: None,
                position: "bridge.yaml:1:1".to_owned(),
            }));
            tables.push(Arc::new(TableSchema::new(name, lives)));
        };
        for (column_type, time) in &types {
            add(vec![column("c", "payload.v", time.clone())], vec![live("c", column_type)]);
        }
        let named = || PATHS.iter().enumerate().map(|(index, path)| (format!("c{index}"), path));
        add(
            named().map(|(name, path)| column(&name, path, None)).collect(),
            named().map(|(name, _)| live(&name, &ColumnType::Json)).collect(),
        );
        let no_identifiers = HashMap::new();
        let in_postgres: Vec<Arc<TableSchema>> = tables.iter().map(of_postgres).collect();
        Mappers {
            types,
            shown: Mapper::compile("b", &rules, &tables, &no_identifiers, Shown).unwrap(),
            postgres: Mapper::compile("b", &rules, &in_postgres, &no_identifiers, PostgresEncoder).unwrap(),
            sqlite: Mapper::compile("b", &rules, &tables, &no_identifiers, SqliteEncoder).unwrap(),
        }
    }

    fn check(&mut self, payload: &[u8]) {
        let shown = map(&mut self.shown, payload);
        let postgres = map(&mut self.postgres, payload);
        let sqlite = map(&mut self.sqlite, payload);
        assert_eq!(shown.len(), self.types.len() + 1);
        for (rule, ((shown, postgres), sqlite)) in shown.iter().zip(&postgres).zip(&sqlite).enumerate() {
            if !self.types.get(rule).is_some_and(|(column_type, _)| is_sqlite_only(column_type)) {
                assert_eq!(shown.is_ok(), postgres.is_ok(), "rule {rule}");
            }
            // SQLite's text takes a NUL, Postgres' does not; otherwise the same values fit, but those of some types that
            // SQLite has no exact form for.
            let has_form = self.types.get(rule).is_some_and(|(column_type, _)| is_held_by_sqlite(column_type));
            assert!(shown.is_err() || sqlite.is_ok() || !has_form && *sqlite == Err("value"), "rule {rule}");
            if let Ok(row) = postgres {
                check_tuple(row);
            }
        }
        let text = std::str::from_utf8(payload).ok();
        // A key with half a surrogate pair is no JSON to serde_json; which keys are read depends on the rule.
        if text.is_some_and(|text| text.to_ascii_lowercase().contains("\\ud")) {
            return;
        }
        let value = text.ok_or(()).and_then(|text| reference::pick(text, "payload.v"));
        for ((column_type, time), row) in self.types.iter().zip(&shown) {
            check_row(column_type, time.as_ref(), &value, row);
        }
        check_paths(text, &shown[self.types.len()]);
    }
}

/// Each rule's row, or why there is none.
type Row = Result<Vec<u8>, &'static str>;

fn map<R: RowEncoder>(mapper: &mut Mapper<R>, payload: &[u8]) -> Vec<Row> {
    let message = Message {
        topic: "t",
        payload,
        qos: Qos::AtLeastOnce,
        retain: false,
        dup: false,
        properties: Properties::NONE,
        received_at: Timestamp(1_500_000),
        fault: None,
        seq: Seq(7),
    };
    let offset = OffsetMove { bridge: "b".into(), journal: JournalId([0; 16]), from: Seq(1), to: Seq(1) };
    let mut batch = Batch::new(offset);
    let mut outcomes = Vec::new();
    mapper.map(&message, &mut batch, &mut outcomes);
    let mut units = batch.units.iter();
    let rows = outcomes.iter().map(|(_, outcome)| match outcome {
        Outcome::Written => {
            let run = &batch.runs[units.next().unwrap().runs.start];
            Ok(batch.portions[run.portion].row(run.first_row).to_vec())
        }
        Outcome::Refused(fault) => {
            assert!(!fault.message.is_empty());
            Err(fault.reason)
        }
        Outcome::Filtered | Outcome::Parked => panic!("no rule filters or is parked"),
    });
    rows.collect()
}

/// A tuple of binary COPY: each field lies within it, and none is a misfit.
fn check_tuple(row: &[u8]) {
    let (count, mut rest) = row.split_first_chunk::<2>().unwrap();
    for _ in 0..i16::from_be_bytes(*count) {
        let (len, after) = rest.split_first_chunk::<4>().unwrap();
        let len = i32::from_be_bytes(*len);
        assert!(len >= -1, "mapping made a cell that the encoder does not know");
        rest = &after[len.max(0) as usize..];
    }
    assert!(rest.is_empty());
}

fn check_row(column_type: &ColumnType, time: Option<&TimeFormat>, value: &Result<Option<&str>, ()>, row: &Row) {
    let written = row.as_ref().map(|row| std::str::from_utf8(row).unwrap().trim_end_matches('\n'));
    let context = || format!("{column_type:?} {time:?} of {value:?}: {row:?}");
    let Ok(value) = value else {
        return assert_eq!(row.as_ref().err(), Some(&"parse"), "{}", context());
    };
    // The only field that the rule takes.
    if value.is_none() {
        return assert_eq!(row.as_ref().err(), Some(&"required"), "{}", context());
    }
    match reference::expected(column_type, time, *value) {
        Expected::Cell(cell) => assert_eq!(written, Ok(&cell[..]), "{}", context()),
        Expected::Number(number) => assert!(written.is_ok_and(|cell| reference::shows(cell, &number)), "{}", context()),
        Expected::Refused => assert_eq!(row.as_ref().err(), Some(&"value"), "{}", context()),
        Expected::Open => assert_ne!(row.as_ref().err(), Some(&"parse"), "{}", context()),
        Expected::NoneOrCell(cell) => assert!(written.is_err() || written == Ok(&cell[..]), "{}", context()),
    }
}

fn check_paths(text: Option<&str>, row: &Row) {
    let picked = |path: &&str| reference::pick(text.ok_or(())?, path);
    let Ok(picked) = PATHS.iter().map(picked).collect::<Result<Vec<_>, ()>>() else {
        return assert_eq!(row.as_ref().err(), Some(&"parse"), "{text:?}");
    };
    // Too deep for a json column.
    let Ok(row) = row else { return assert!(text.is_some_and(|text| text.len() > 2_048)) };
    let cell = |raw: &Option<&str>| match raw {
        None | Some("null") => "Null\n".to_owned(),
        Some(raw) => format!("{:?}\n", Cell::Text(raw)),
    };
    assert_eq!(String::from_utf8_lossy(row), picked.iter().map(cell).collect::<String>());
}
