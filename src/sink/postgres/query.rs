//! A read-only connection. A query is one READ ONLY transaction that is rolled back:
//!
//! 1. BEGIN and its settings: the time limit, the configured schema first in the search path, the formats of times and
//!    floats.
//! 2. The statement is prepared as it was written: names and types of its columns, types of its parameters.
//! 3. It runs as a subquery of ours, which returns each row as the server's own JSON, as in published rows, and stops
//!    after one row too many. If a row is too large, the server returns NULL in its place. Rows are read one by
//!    one; the driver does not read ahead.
//! 4. ROLLBACK, which also undoes settings of functions; advisory locks are released.
//!
//! Parameters are sent as text, which the server parses as the type that it determined for them.

mod parameters;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, pin_mut};
use serde_json::value::RawValue;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Statement};

use self::parameters::AsText;
pub use self::parameters::PostgresParameters;
use super::connect;
use super::failure::words;
use super::session::Session;
use super::transaction::rest_of_search_path;
use crate::config::{Database, PostgresUrl};
use crate::rule::{QueryStatement, quote};
use crate::sink::literal::{literal, unhex};
use crate::sink::query::{Answer, AnswerColumn, AnswerValue, Kind, Query, QueryError};

/// What the network may take on top of the statement's time.
const NETWORK_PATIENCE: Duration = Duration::from_secs(2);

/// A statement with less time than that is not begun: Postgres takes 0 for no limit.
const TIME_MIN: Duration = Duration::from_millis(1);

/// SQLSTATEs.
const CANCELED: &str = "57014";
const READ_ONLY: &str = "25006";
/// A pooler has given us another of its sessions: a statement of ours is not there, or one that somebody left has its name.
const OTHER_SESSION: [&str; 2] = ["26000", "42P05"];

/// How often a query is begun while sessions turn out to be others. Each such session ends with its attempt.
const ATTEMPTS_MAX: u32 = 4;

/// See the module.
pub struct PostgresReader {
    url: PostgresUrl,
    schema: String,
    session: Option<Session>,
    statement_timeout: Duration,
}

/// Why an attempt gave no answer.
enum Failed {
    Told(QueryError),
    /// The connection is gone: another may do.
    Lost(String),
    /// See [`OTHER_SESSION`].
    OtherSession(String),
}

impl PostgresReader {
    pub fn new(url: &PostgresUrl, database: &Database) -> PostgresReader {
        PostgresReader {
            schema: url.schema.clone(),
            url: url.clone(),
            session: None,
            statement_timeout: database.statement_timeout,
        }
    }

    pub(in crate::sink) async fn run(&mut self, query: &Query<'_>) -> Result<Answer, QueryError> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let is_kept = self.session.is_some();
            match self.attempt(query).await {
                // It was idle for long enough to be cut by the server or something between.
                Err(Failed::Lost(_)) if is_kept && attempts == 1 => {}
                Err(Failed::OtherSession(_)) if attempts < ATTEMPTS_MAX => {}
                answer => return answer.map_err(Failed::into_error),
            }
        }
    }

    pub(in crate::sink) async fn describe(
        &mut self,
        statement: &QueryStatement,
        deadline: Instant,
    ) -> Result<Vec<AnswerColumn>, QueryError> {
        let (session, begin) = self.begun(deadline).await.map_err(Failed::into_error)?;
        let work = async {
            session.client().batch_execute(&begin).await.map_err(|error| fail(&session, &error))?;
            prepare(&session, statement).await
        };
        let described = within(deadline, work).await;
        let columns = described.as_ref().map(columns).unwrap_or_default();
        let failed = described.map(drop).map_err(Failed::into_error);
        session.close().await;
        failed.map(|()| columns)
    }

    /// The session, taken out, and what begins the transaction.
    async fn begun(&mut self, deadline: Instant) -> Result<(Session, String), Failed> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left < TIME_MIN {
            return Err(Failed::Told(QueryError::Timeout));
        }
        let session = match self.session.take() {
            Some(session) if !session.client().is_closed() => session,
            _ => {
                let opening = connect::open(&self.url, self.statement_timeout);
                let opened = tokio::time::timeout(left + NETWORK_PATIENCE, Box::pin(opening)).await;
                let opened = opened.map_err(|_| Failed::Lost("no connection in time".to_owned()))?;
                opened.map_err(|error| Failed::Lost(error.message))?
            }
        };
        // The driver's "SET LOCAL" lasts until our ROLLBACK, whatever a function of the statement sets.
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = {}; SET LOCAL TimeZone = 'UTC'; \
             SET LOCAL DateStyle = 'ISO, MDY'; SET LOCAL IntervalStyle = 'iso_8601'; SET LOCAL extra_float_digits = 1; \
             SET LOCAL bytea_output = 'hex'; SELECT pg_catalog.set_config('search_path', {} OPERATOR(pg_catalog.||) {}, true)",
            left.as_millis().min(i32::MAX as u128),
            literal(&quote(&self.schema)),
            rest_of_search_path!(),
        );
        Ok((session, begin))
    }

    async fn attempt(&mut self, query: &Query<'_>) -> Result<Answer, Failed> {
        let (session, begin) = self.begun(query.deadline).await?;
        let answer = within(query.deadline, Box::pin(transaction(&session, &begin, query))).await;
        let ended = "ROLLBACK; SELECT pg_catalog.pg_advisory_unlock_all()";
        // An answer too large leaves rows on their way: that connection is cut.
        let is_usable = match &answer {
            Ok(_) | Err(Failed::Told(QueryError::Refused(_) | QueryError::TooManyRows(_))) => true,
            Err(Failed::Told(error)) => *error == QueryError::Timeout && !session.client().is_closed(),
            Err(Failed::Lost(_) | Failed::OtherSession(_)) => false,
        };
        if is_usable && within(Instant::now(), rolled_back(&session, ended)).await.is_ok() {
            self.session = Some(session);
        }
        answer
    }
}

async fn rolled_back(session: &Session, ended: &str) -> Result<(), Failed> {
    session.client().batch_execute(ended).await.map_err(|error| fail(session, &error))
}

/// Waits a little longer than the server works.
async fn within<T>(deadline: Instant, work: impl Future<Output = Result<T, Failed>>) -> Result<T, Failed> {
    let patience = deadline.saturating_duration_since(Instant::now()) + NETWORK_PATIENCE;
    tokio::time::timeout(patience, work).await.unwrap_or(Err(Failed::Told(QueryError::Timeout)))
}

async fn transaction(session: &Session, begin: &str, query: &Query<'_>) -> Result<Answer, Failed> {
    let client = session.client();
    client.batch_execute(begin).await.map_err(|error| fail(session, &error))?;
    let described = prepare(session, query.statement).await?;
    let columns = columns(&described);
    let refuse = |problem: &str| Err(Failed::Told(QueryError::Refused(problem.to_owned())));
    if columns.is_empty() {
        return refuse("the statement gives no columns");
    }
    if described.params().len() != query.parameters.len() {
        return refuse("the statement does not take as many parameters as it was given");
    }
    let statement = run_within(client, &described, query).await.map_err(|error| fail(session, &error))?;
    let parameters: Vec<AsText> = query.parameters.iter().map(AsText::of).collect();
    let parameters = parameters.iter().map(|parameter| parameter as &(dyn ToSql + Sync));
    let rows = client.query_raw(&statement, parameters).await.map_err(|error| fail(session, &error))?;
    pin_mut!(rows);
    let (mut answer, mut bytes) = (Answer { columns, rows: Vec::new() }, 0);
    while let Some(row) = rows.next().await {
        let row = row.map_err(|error| fail(session, &error))?;
        if answer.rows.len() == query.rows_max {
            return Err(Failed::Told(QueryError::TooManyRows(query.rows_max)));
        }
        let too_large = || Failed::Told(QueryError::TooLarge(query.bytes_max));
        let text: Option<&str> = row.try_get(0).map_err(|error| fail(session, &error))?;
        let text = text.ok_or_else(too_large)?;
        bytes += text.len();
        if bytes > query.bytes_max {
            return Err(too_large());
        }
        answer.rows.push(values(&answer.columns, text));
    }
    Ok(answer)
}

/// As it was written, compiled by the server.
async fn prepare(session: &Session, statement: &QueryStatement) -> Result<Statement, Failed> {
    session.client().prepare(&statement.numbered('$')).await.map_err(|error| fail(session, &error))
}

/// Ours around it, with the types that its parameters have by themselves.
async fn run_within(client: &Client, described: &Statement, query: &Query<'_>) -> Result<Statement, Error> {
    let names: Vec<String> = (0..described.columns().len()).map(name_of).collect();
    let sql = format!(
        "SELECT CASE WHEN pg_catalog.octet_length(r.j) OPERATOR(pg_catalog.<=) {} THEN r.j END FROM (\
         SELECT pg_catalog.row_to_json(q)::pg_catalog.text AS j FROM (\n{}\n) AS q({})) AS r LIMIT {}",
        query.bytes_max,
        query.statement.numbered('$'),
        names.join(","),
        query.rows_max + 1,
    );
    client.prepare_typed(&sql, described.params()).await
}

/// Of the column at this index, within ours: their order is that of the columns.
fn name_of(index: usize) -> String {
    format!("c{index:04}")
}

fn columns(statement: &Statement) -> Vec<AnswerColumn> {
    let of = |column: &tokio_postgres::Column| AnswerColumn {
        name: column.name().to_owned(),
        kind: kind_of(column.type_()),
    };
    statement.columns().iter().map(of).collect()
}

fn kind_of(of: &Type) -> Kind {
    match *of {
        Type::BOOL => Kind::Bool,
        Type::INT2 => Kind::Int16,
        Type::INT4 => Kind::Int32,
        Type::INT8 | Type::OID => Kind::Int64,
        Type::FLOAT4 => Kind::Real,
        Type::FLOAT8 => Kind::Double,
        Type::NUMERIC => Kind::Decimal,
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN => Kind::Text,
        Type::JSON | Type::JSONB => Kind::Json,
        Type::BYTEA => Kind::Bytes,
        Type::UUID => Kind::Uuid,
        Type::DATE => Kind::Date,
        Type::TIME => Kind::Time,
        Type::TIMESTAMP => Kind::Timestamp,
        Type::TIMESTAMPTZ => Kind::Timestamptz,
        Type::INET | Type::CIDR => Kind::Inet,
        _ => match of.name().strip_prefix('_') {
            Some(element) => Kind::Other(format!("{element}[]")),
            None => Kind::Other(of.name().to_owned()),
        },
    }
}

/// A row as the server wrote it.
fn values(columns: &[AnswerColumn], row: &str) -> Vec<AnswerValue> {
    let fields: BTreeMap<&str, &RawValue> = serde_json::from_str(row).expect("the server writes JSON");
    columns.iter().zip(fields.into_values()).map(|(column, field)| value(&column.kind, field.get())).collect()
}

fn value(kind: &Kind, json: &str) -> AnswerValue {
    if json == "null" {
        return AnswerValue::Null;
    }
    let text = || serde_json::from_str::<String>(json).ok();
    let text = if *kind == Kind::Json { None } else { text() };
    match (kind, text) {
        (Kind::Bytes, Some(text)) => {
            text.strip_prefix("\\x").and_then(unhex).map_or(AnswerValue::Text(text), AnswerValue::Bytes)
        }
        (Kind::Timestamp | Kind::Timestamptz, Some(text)) => AnswerValue::Time(text),
        (_, Some(text)) => AnswerValue::Text(text),
        (Kind::Bool, None) => AnswerValue::Bool(json == "true"),
        (Kind::Json | Kind::Other(_), None) => AnswerValue::Json(json.to_owned()),
        (_, None) => AnswerValue::Number(json.to_owned()),
    }
}

impl Failed {
    fn into_error(self) -> QueryError {
        match self {
            Failed::Told(error) => error,
            Failed::Lost(why) | Failed::OtherSession(why) => QueryError::Unavailable(why),
        }
    }
}

fn fail(session: &Session, error: &Error) -> Failed {
    let Some(refusal) = error.as_db_error() else {
        return Failed::Lost(session.explain(error, "running a query").message);
    };
    match refusal.code().code() {
        CANCELED => Failed::Told(QueryError::Timeout),
        READ_ONLY => {
            Failed::Told(QueryError::Refused("the statement does more than read, and queries only read".to_owned()))
        }
        code if OTHER_SESSION.contains(&code) => Failed::OtherSession(words(refusal)),
        _ if session.client().is_closed() => Failed::Lost(words(refusal)),
        // The server's own trouble, and its ways of ending sessions.
        code if ["53", "57", "58", "XX"].contains(&&code[..2]) && code != "XX000" => Failed::Lost(words(refusal)),
        _ => Failed::Told(QueryError::Refused(words(refusal))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_json_becomes_values() {
        for (kind, json, expected) in [
            (Kind::Int64, "9007199254740993", AnswerValue::Number("9007199254740993".into())),
            (Kind::Decimal, "12.50", AnswerValue::Number("12.50".into())),
            (Kind::Double, "\"NaN\"", AnswerValue::Text("NaN".into())),
            (Kind::Text, "\"a\\\"b\"", AnswerValue::Text("a\"b".into())),
            (Kind::Bytes, "\"\\\\x00ff\"", AnswerValue::Bytes(vec![0, 255])),
            (Kind::Json, "\"a\"", AnswerValue::Json("\"a\"".into())),
            (Kind::Bool, "true", AnswerValue::Bool(true)),
            (Kind::Other("int4[]".into()), "[1,2]", AnswerValue::Json("[1,2]".into())),
            (Kind::Timestamptz, "\"2026-11-28T22:10:00+00:00\"", AnswerValue::Time("2026-11-28T22:10:00+00:00".into())),
            (Kind::Text, "null", AnswerValue::Null),
        ] {
            assert_eq!(value(&kind, json), expected, "{json}");
        }
    }
}
