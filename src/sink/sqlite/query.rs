//! A read-only connection: the file is opened read-only, and the authorizer allows only reading. The time limit and the
//! statement's [turn](turns) on the processors are checked every [`open::STEPS`] steps of SQLite's virtual machine. A function is
//! one step, however long it takes, so the arguments of functions are bounded if clients write the statement.
//!
//! The connection never changes the log's file: checkpoints, also that of the last connection that closes, belong to
//! the sink.

mod answer;
mod functions;
mod open;
mod turns;

use std::path::{Path, PathBuf};

use rusqlite::Statement;
use rusqlite::ffi;
use rusqlite::limits::Limit;

use self::answer::{answer_value, columns};
use self::open::Open;
use super::connections::Slot;
use super::encode::{SqliteEncoder, Value, take_value};
use super::watch::FileId;
use crate::rule::QueryStatement;
use crate::schema::ColumnType;
use crate::sink::query::{Answer, AnswerColumn, Parameter, ParameterEncoder, Query, QueryError};

/// Bytes of a value, and of a row, that a stranger's statement may meet. `instr` and `replace` take the product of two lengths:
/// 40 ms with this bound, minutes with the mebibytes of an answer.
const FOREIGN_VALUE_BYTES_MAX: usize = 32 << 10;
/// Bytes of a stranger's statement: it may call as many functions as it has room for between two looks at the clock.
const FOREIGN_STATEMENT_BYTES_MAX: usize = 8 << 10;

/// Of LIKE and GLOB.
const LIKE_PATTERN_BYTES_MAX: i32 = 1_000;

/// Of one query, if the files are removed under it.
const TRIES: usize = 2;

/// See the module.
pub struct SqliteReader {
    path: PathBuf,
    open: Slot<Open>,
}

impl SqliteReader {
    pub fn new(path: &Path) -> SqliteReader {
        SqliteReader { path: path.to_owned(), open: Slot::new() }
    }

    pub(in crate::sink) fn run(&mut self, query: &Query<'_>) -> Result<Answer, QueryError> {
        self.with_open(|open| open.run(query))
    }

    pub(in crate::sink) fn describe(&mut self, statement: &QueryStatement) -> Result<Vec<AnswerColumn>, QueryError> {
        self.with_open(|open| open.describe(statement))
    }

    /// An answer from files that were removed meanwhile may be wrong: then the work is done once more.
    fn with_open<T>(&self, work: impl Fn(&Open) -> Result<T, QueryError>) -> Result<T, QueryError> {
        for _ in 0..TRIES {
            self.connect()?;
            let mut held = self.open.lock();
            // Another thread may have closed it just now.
            let Some(open) = held.as_ref() else { continue };
            let result = work(open);
            if !open.lease.is_revoked() {
                return result;
            }
            *held = None;
        }
        Err(QueryError::Unavailable("its files were removed or replaced while it was read; ask again".to_owned()))
    }

    /// Sees to it that the file is open. One that was put in another's place, or lost its log or index, is opened anew.
    fn connect(&self) -> Result<(), QueryError> {
        let path = std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone());
        let file = FileId::of(&path).ok().flatten();
        {
            let mut held = self.open.lock();
            if held.as_ref().is_some_and(|open| open.is_in_place(&path, file)) {
                return Ok(());
            }
            *held = None;
        }
        self.open.put(Open::new(&path, file)?);
        Ok(())
    }
}

impl Open {
    fn run(&self, query: &Query<'_>) -> Result<Answer, QueryError> {
        let _running = self.clock.start(query.deadline).ok_or(QueryError::Timeout)?;
        let value_bytes_max = match query.is_foreign {
            true => query.bytes_max.min(FOREIGN_VALUE_BYTES_MAX),
            false => query.bytes_max,
        };
        if query.is_foreign && query.statement.numbered('?').len() > FOREIGN_STATEMENT_BYTES_MAX {
            return Err(QueryError::Refused(format!(
                "the statement has more than {FOREIGN_STATEMENT_BYTES_MAX} bytes"
            )));
        }
        // Tables that changed are read here: the text that made one, as of a trigger of ours, may be longer than a value.
        self.connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, i32::MAX).map_err(|error| unavailable(&error))?;
        let look = self.connection.prepare_cached("SELECT 1 FROM sqlite_schema LIMIT 1");
        look.and_then(|mut look| look.exists([])).map_err(|error| explain(&error, query.bytes_max))?;
        for (kind, limit) in [
            (Limit::SQLITE_LIMIT_LENGTH, i32::try_from(value_bytes_max).unwrap_or(i32::MAX)),
            // A long one takes minutes, within which the time is not looked at.
            (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, LIKE_PATTERN_BYTES_MAX),
        ] {
            self.connection.set_limit(kind, limit).map_err(|error| unavailable(&error))?;
        }
        let refused = |error: &rusqlite::Error| match explain(error, query.bytes_max) {
            QueryError::TooLarge(_) if value_bytes_max < query.bytes_max => QueryError::ValueTooLarge(value_bytes_max),
            error => error,
        };
        let mut statement = self.connection.prepare(&query.statement.numbered('?')).map_err(|error| refused(&error))?;
        if !statement.readonly() {
            return Err(QueryError::Refused("the statement writes, and queries only read".to_owned()));
        }
        for (index, parameter) in query.parameters.iter().enumerate() {
            bind(&mut statement, index + 1, parameter).map_err(|error| refused(&error))?;
        }
        let mut answer_columns = Vec::new();
        let mut rows = Vec::new();
        let mut bytes = 0;
        let mut cursor = statement.raw_query();
        while let Some(row) = cursor.next().map_err(|error| refused(&error))? {
            if rows.len() == query.rows_max {
                return Err(QueryError::TooManyRows(query.rows_max));
            }
            // Not before: if the tables have changed since they were last looked at, the first step prepares it again.
            if rows.is_empty() {
                answer_columns = columns(row.as_ref());
            }
            let mut values = Vec::with_capacity(answer_columns.len());
            for (index, column) in answer_columns.iter_mut().enumerate() {
                let value = row.get_ref(index).map_err(|error| refused(&error))?;
                let value = answer_value(column, value)?;
                bytes += value.len() + 1;
                values.push(value);
            }
            if bytes > query.bytes_max {
                return Err(QueryError::TooLarge(query.bytes_max));
            }
            rows.push(values);
        }
        drop(cursor);
        if rows.is_empty() {
            answer_columns = columns(&statement);
        }
        Ok(Answer { columns: answer_columns, rows })
    }

    fn describe(&self, statement: &QueryStatement) -> Result<Vec<AnswerColumn>, QueryError> {
        let prepared = self.connection.prepare(&statement.numbered('?')).map_err(|error| explain(&error, 0))?;
        if !prepared.readonly() {
            return Err(QueryError::Refused("the statement writes, and queries only read".to_owned()));
        }
        Ok(columns(&prepared))
    }
}

fn bind(statement: &mut Statement<'_>, index: usize, parameter: &Parameter) -> rusqlite::Result<()> {
    match parameter {
        Parameter::Null => statement.raw_bind_parameter(index, rusqlite::types::Null),
        Parameter::Bool(truth) => statement.raw_bind_parameter(index, truth),
        Parameter::Integer(number) => statement.raw_bind_parameter(index, number),
        Parameter::Real(number) => statement.raw_bind_parameter(index, number),
        Parameter::Text(text) => statement.raw_bind_parameter(index, text),
        Parameter::Bytes(bytes) => statement.raw_bind_parameter(index, bytes),
    }
}

fn unavailable(error: &rusqlite::Error) -> QueryError {
    QueryError::Unavailable(error.to_string())
}

/// What SQLite says of a statement names tables and columns, never a value.
fn explain(error: &rusqlite::Error, bytes_max: usize) -> QueryError {
    let code = match error {
        // A mistake at a place of the statement's text.
        rusqlite::Error::SqlInputError { error, .. } => Some(error.extended_code),
        _ => error.sqlite_error().map(|error| error.extended_code),
    };
    let Some(code) = code else {
        return QueryError::Refused("the statement does not fit its parameters".to_owned());
    };
    match code & 0xff {
        ffi::SQLITE_INTERRUPT => QueryError::Timeout,
        ffi::SQLITE_TOOBIG => QueryError::TooLarge(bytes_max),
        ffi::SQLITE_AUTH | ffi::SQLITE_READONLY => {
            QueryError::Refused("the statement does more than read, and queries only read".to_owned())
        }
        // What a function of ours refuses is a constraint.
        ffi::SQLITE_ERROR | ffi::SQLITE_RANGE | ffi::SQLITE_MISMATCH | ffi::SQLITE_CONSTRAINT => {
            let message = match error {
                rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
                rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
                _ => "the statement failed".to_owned(),
            };
            QueryError::Refused(message)
        }
        _ => unavailable(error),
    }
}

impl ParameterEncoder for SqliteEncoder {
    const UNTYPED: ColumnType = ColumnType::Operand;

    fn parameters(mut row: &[u8]) -> Result<Vec<Parameter>, (usize, String)> {
        let mut parameters = Vec::new();
        while !row.is_empty() {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            parameters.push(match take_value(&mut row).expect("the encoder writes whole values") {
                Value::Null => Parameter::Null,
                Value::Integer(number) => Parameter::Integer(number),
                Value::Real(number) => Parameter::Real(number),
                Value::Text(bytes) => Parameter::Text(text(bytes)),
                Value::Blob(bytes) => Parameter::Bytes(bytes.to_vec()),
                Value::Unfit(unfit) => return Err((parameters.len(), unfit.to_string())),
            });
        }
        Ok(parameters)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use rusqlite::Connection;

    use super::*;
    use crate::sink::query::AnswerValue;

    fn bench() -> (tempfile::TempDir, SqliteReader) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.db");
        let connection = Connection::open(&path).unwrap();
        let sql = "PRAGMA journal_mode = WAL;
            CREATE TABLE t (id INTEGER PRIMARY KEY, on_ BOOLEAN, v REAL, n DECIMAL_TEXT(30,2), j JSON, b BLOB, at TIMESTAMP);
            INSERT INTO t VALUES (9007199254740993, 1, 0.1, '12345678901234567890.10', '{\"a\":[1]}', x'00ff',
                '2026-11-28T22:10:00.123Z'), (2, NULL, NULL, NULL, NULL, NULL, NULL);";
        connection.execute_batch(sql).unwrap();
        let reader = SqliteReader::new(&path);
        (directory, reader)
    }

    fn run_with(reader: &mut SqliteReader, sql: &str, parameters: &[Parameter]) -> Result<Answer, QueryError> {
        run_as(reader, sql, parameters, false)
    }

    fn run_as(
        reader: &mut SqliteReader,
        sql: &str,
        parameters: &[Parameter],
        is_foreign: bool,
    ) -> Result<Answer, QueryError> {
        let statement = QueryStatement::parse_marks(sql, true, !parameters.is_empty()).unwrap();
        let deadline = Instant::now() + Duration::from_millis(500);
        let (rows_max, bytes_max) = (10, 1 << 20);
        reader.run(&Query { statement: &statement, parameters, rows_max, bytes_max, is_foreign, deadline })
    }

    #[test]
    fn every_type_comes_back_exactly() {
        let (_directory, mut reader) = bench();
        let answer = run_with(&mut reader, "select *, 1 + 1 from t where id > ?", &[Parameter::Integer(2)]).unwrap();
        let kinds: Vec<&str> = answer.columns.iter().map(|column| column.kind.name()).collect();
        assert_eq!(kinds, ["bigint", "bool", "double", "decimal", "json", "bytes", "timestamptz", "bigint"]);
        let expected = [
            AnswerValue::Number("9007199254740993".to_owned()),
            AnswerValue::Bool(true),
            AnswerValue::Number("0.1".to_owned()),
            AnswerValue::Number("12345678901234567890.10".to_owned()),
            AnswerValue::Json("{\"a\":[1]}".to_owned()),
            AnswerValue::Bytes(vec![0, 255]),
            AnswerValue::Time("2026-11-28T22:10:00.123Z".to_owned()),
            AnswerValue::Number("2".to_owned()),
        ];
        assert_eq!(answer.rows, [expected.to_vec()]);
    }

    #[test]
    fn an_answer_has_the_names_of_a_table_that_was_changed_since_the_last_one() {
        let (directory, mut reader) = bench();
        let other = Connection::open(directory.path().join("x.db")).unwrap();
        let mut names = |sql: &str| {
            other.execute_batch(sql).unwrap();
            let answer = run_with(&mut reader, "select * from vw", &[]).unwrap();
            let names: Vec<String> = answer.columns.iter().map(|column| column.name.clone()).collect();
            (names.join(","), answer.rows)
        };
        let number = |number: &str| AnswerValue::Number(number.to_owned());
        let two = |a: &str, b: &str| vec![vec![number(a), number(b)]];
        assert_eq!(names("create view vw as select 1 as a, 2 as b"), ("a,b".to_owned(), two("1", "2")));
        assert_eq!(names("drop view vw; create view vw as select 2 as b, 1 as a"), ("b,a".to_owned(), two("2", "1")));
        assert_eq!(names("drop view vw; create view vw as select 7 as c"), ("c".to_owned(), vec![vec![number("7")]]));
        assert_eq!(names("drop view vw; create view vw as select 7 as d where 0"), ("d".to_owned(), vec![]));
    }

    #[test]
    fn nothing_but_reading_is_allowed() {
        let (_directory, mut reader) = bench();
        for sql in [
            "select load_extension('x')",
            "select * from pragma_table_info('t')",
            "with x as (select 1) insert into t (id) select 7",
            "with x as (select 1) delete from t",
        ] {
            let refused = run_with(&mut reader, sql, &[]);
            assert!(matches!(refused, Err(QueryError::Refused(_))), "{sql}: {refused:?}");
        }
        assert_eq!(run_with(&mut reader, "select count(*) from t", &[]).unwrap().rows.len(), 1);
    }

    #[test]
    fn a_mistake_in_a_statement_is_told_as_sqlite_says_it() {
        let (_directory, mut reader) = bench();
        for (sql, why) in [
            ("select absent('x')", "no such function: absent"),
            ("select 1 from", "incomplete input"),
            ("select nowhere from t", "no such column: nowhere"),
            ("select 1 from absent", "no such table: absent"),
        ] {
            assert_eq!(run_with(&mut reader, sql, &[]), Err(QueryError::Refused(why.to_owned())), "{sql}");
        }
    }

    #[test]
    fn a_statement_is_bounded_in_time_rows_and_bytes() {
        let (_directory, mut reader) = bench();
        let endless = "with recursive n(i) as (select 1 union all select i + 1 from n)";
        let run = |reader: &mut SqliteReader, tail: &str| run_with(reader, &format!("{endless} {tail}"), &[]);
        assert_eq!(run(&mut reader, "select count(*) from n"), Err(QueryError::Timeout));
        assert_eq!(run(&mut reader, "select i from n"), Err(QueryError::TooManyRows(10)));
        assert_eq!(run(&mut reader, "select i from n limit 10").unwrap().rows.len(), 10);
        let too_large = Err(QueryError::TooLarge(1 << 20));
        assert_eq!(run_with(&mut reader, "select zeroblob(1000000000)", &[]), too_large);
        assert_eq!(run(&mut reader, "select zeroblob(500000) from n limit 3"), too_large);
    }

    #[test]
    fn a_strangers_statement_meets_no_value_that_a_function_takes_long_for() {
        let (_directory, mut reader) = bench();
        let mut run = |sql: &str| run_as(&mut reader, sql, &[], true);
        let large = Err(QueryError::ValueTooLarge(FOREIGN_VALUE_BYTES_MAX));
        // Each of these took minutes, within which the time was not looked at.
        assert_eq!(run("select instr(zeroblob(1000000), cast(zeroblob(500000) || x'01' as blob))"), large);
        assert_eq!(run("select replace(hex(zeroblob(500000)), hex(zeroblob(250000)) || '1', '')"), large);
        let trimmed = run("select trim(hex(zeroblob(16000)), hex(zeroblob(15000)) || '1')");
        assert!(matches!(&trimmed, Err(QueryError::Refused(why)) if why.contains("100 characters")), "{trimmed:?}");
        let long = format!("select {} 1", "instr('a', 'b') + ".repeat(500));
        assert!(matches!(run(&long), Err(QueryError::Refused(why)) if why.contains("8192 bytes")));
        let texts = |answer: Answer| answer.rows.concat();
        assert_eq!(
            texts(run("select length(hex(zeroblob(16000)))").unwrap()),
            [AnswerValue::Number("32000".to_owned())]
        );
        let trims =
            run("select trim('xyaxy', 'yx'), ltrim('xya', 'xy'), rtrim('axy', 'xy'), trim(12, 1), trim(NULL, 'a')")
                .unwrap();
        let expected = ["a", "a", "a", "2"].map(|text| AnswerValue::Text(text.to_owned()));
        assert_eq!(texts(trims), [&expected[..], &[AnswerValue::Null]].concat());
        // The statements of the configuration have only the answer's bound.
        assert!(run_with(&mut reader, "select zeroblob(500000)", &[]).is_ok());
    }

    #[test]
    fn a_file_in_anothers_place_is_the_one_that_is_read() {
        let (directory, mut reader) = bench();
        assert_eq!(run_with(&mut reader, "select id from t", &[]).unwrap().rows.len(), 2);
        let other = directory.path().join("other.db");
        Connection::open(&other).unwrap().execute_batch("CREATE TABLE u (a); INSERT INTO u VALUES (1)").unwrap();
        for ending in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(directory.path().join(format!("x.db{ending}")));
        }
        std::fs::rename(&other, directory.path().join("x.db")).unwrap();
        assert_eq!(run_with(&mut reader, "select a from u", &[]).unwrap().rows.len(), 1);
    }
}
