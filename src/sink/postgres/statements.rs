//! Rules' own statements: the description of their binds, and one execution for each row.
//!
//! ```text
//! PREPARE … AS statement · the types that the server gives its parameters · DEALLOCATE        when rules are compiled
//! statement with these types and a row's values, unnamed · the next row's · … · COMMIT        for a batch
//! ```
//! All rows, a bounded number, are sent before the first answer arrives, in journal order, directly followed by the end
//! of the transaction. So a batch takes as many round trips as one row. The first error counts; the server refuses
//! everything after it.
//!
//! Each row names the types that its values were encoded for, so no bytes are read as another type. After the rows,
//! under their locks, the types that the server now gives the binds are compared: see [`witness`](super::witness). The
//! server's session stays unchanged: prepared statements are closed in the same transaction. CALL cannot be prepared in
//! SQL, so the driver prepares it, and may keep its own statements for looking up types that are not built in.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::Arc;

use bytes::BytesMut;
use futures_util::future::maybe_done;
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Error};

use super::copy::Rows;
use super::insert::{self, Parameter};
use super::merge::typed;
use super::schema;
use super::session::Session;
use super::transaction::{Sql, around, commit, send};
use crate::batch::{Target, Verb};
use crate::rule::{Statement, TableName};
use crate::schema::{ColumnType, Keys, TableSchema, Witness};
use crate::sink::{Class, SinkError};

/// Rows that are sent and not answered yet. Weighed against a far database, where this many take one round trip, and
/// against memory: the driver keeps about a kilobyte for each, and its values.
const AHEAD_MAX: usize = 1_024;

/// SQLSTATEs: the server cannot tell a parameter's type; it was taken for two.
const INDETERMINATE: &str = "42P18";
const AMBIGUOUS: &str = "42P08";

/// What the server made of the parameters of the statement that is prepared as `$1`.
const PARAMETERS: &str = "SELECT s.parameter_types::pg_catalog.oid[] FROM pg_catalog.pg_prepared_statements s \
                          WHERE s.name OPERATOR(pg_catalog.=) $1";

/// Fails unless they are `$2`.
const COMPARED: &str = "SELECT 1 OPERATOR(pg_catalog./) pg_catalog.count(*) FROM pg_catalog.pg_prepared_statements s \
                        WHERE s.name OPERATOR(pg_catalog.=) $1 \
                        AND s.parameter_types::pg_catalog.oid[] OPERATOR(pg_catalog.=) $2";

/// As the server numbers its parameters.
fn sql(statement: &Statement) -> String {
    statement.with(|bind| format!("${}", bind + 1))
}

/// A column for each bind; or why the database does not take the statement.
pub(super) async fn describe(
    session: &Session,
    begin: &Sql,
    name: &TableName,
    statement: &Arc<Statement>,
) -> Result<TableSchema, SinkError> {
    let (client, doing) = (session.client(), name.described());
    let oids = match statement.is_call() {
        true => session.wait(4, &doing, Box::pin(parameters_of_call(client, &begin.begin, statement))).await,
        false => session.wait(6, &doing, around(client, &begin.begin, Box::pin(parameters(client, statement)))).await,
    };
    let oids = oids.map_err(of_the_statement)?;
    let asking =
        around(client, &begin.begin_read, Box::pin(schema::columns_of_binds(client, statement.binds(), &oids)));
    let columns = session.wait(4, &doing, asking).await?;
    let witness = Witness::Statement(Arc::clone(statement));
    let keys = Keys::Never("is a statement");
    Ok(TableSchema { keys, witness, ..TableSchema::new(name.clone(), columns) })
}

/// No row is to blame where none was sent.
fn of_the_statement(error: SinkError) -> SinkError {
    if error.class == Class::Transient {
        return error;
    }
    let advice = match error.code.as_str() {
        INDETERMINATE | AMBIGUOUS => "put a cast behind the bind, as in :temp::double precision",
        _ => "correct the statement, or create the objects that it names; delivery then continues by itself",
    };
    SinkError { class: Class::Table, advice, ..error }
}

/// The OIDs of the types of a statement's binds; one round trip.
async fn parameters(client: &Client, statement: &Statement) -> Result<Vec<u32>, Error> {
    let name = unique();
    let (prepare, deallocate) = (format!("PREPARE {name} AS {}", sql(statement)), format!("DEALLOCATE {name}"));
    let named = [(&name as _, Type::TEXT)];
    let (prepared, rows, deallocated) = tokio::join!(
        biased;
        client.execute_typed(&prepare, &[]),
        client.query_typed(PARAMETERS, &named),
        client.batch_execute(&deallocate),
    );
    prepared?;
    let rows = rows?;
    deallocated?;
    rows.first().map_or(Ok(Vec::new()), |row| row.try_get(0))
}

/// The same for one that only the driver prepares.
async fn parameters_of_call(client: &Client, begin: &str, statement: &Statement) -> Result<Vec<u32>, Error> {
    client.batch_execute(begin).await?;
    let prepared = client.prepare(&sql(statement)).await?;
    let oids = prepared.params().iter().map(Type::oid).collect();
    drop(prepared);
    commit(client).await?;
    Ok(oids)
}

/// Fails if the server would take a bind of one of these statements for another type now. In a transaction, which fails
/// with it; one round trip.
pub(super) async fn compare(client: &Client, statements: &[(Arc<Statement>, Vec<u32>)]) -> Result<(), Error> {
    let compared =
        statements.iter().map(|(statement, oids)| Box::pin(maybe_done(compare_one(client, statement, oids))));
    let mut compared: Vec<_> = compared.collect();
    for one in &mut compared {
        send(one.as_mut()).await;
    }
    let mut result = Ok(());
    for mut one in compared {
        one.as_mut().await;
        result = result.and(one.as_mut().take_output().unwrap_or(Ok(())));
    }
    result
}

async fn compare_one(client: &Client, statement: &Statement, oids: &Vec<u32>) -> Result<(), Error> {
    let name = unique();
    let (prepare, deallocate) = (format!("PREPARE {name} AS {}", sql(statement)), format!("DEALLOCATE {name}"));
    let parameters = [(&name as _, Type::TEXT), (oids as _, Type::OID_ARRAY)];
    // Where the comparison fails the statement stays prepared until the server's session ends, under a name of its own.
    let (prepared, compared, deallocated) = tokio::join!(
        biased;
        client.execute_typed(&prepare, &[]),
        client.query_typed(COMPARED, &parameters),
        client.batch_execute(&deallocate),
    );
    prepared?;
    compared?;
    deallocated
}

/// A name that no other session's statement has, whoever else the server's session is handed to.
fn unique() -> String {
    let random = getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()));
    format!("rowbridge_{random:016x}")
}

/// The rows that go to tables, and those that rules' own statements take, which come last.
pub(super) fn split<'r, 'a>(rows: &'r [Rows<'a>]) -> (&'r [Rows<'a>], &'r [Rows<'a>]) {
    let first = rows.iter().position(|rows| rows.target().has_statement()).unwrap_or(rows.len());
    rows.split_at(first)
}

/// The row that failed.
pub(super) struct Failed {
    /// Index of its portion.
    pub(super) portion: usize,
    /// Its number there, from 1.
    pub(super) line: usize,
    pub(super) error: Error,
}

impl Failed {
    /// The error as delivery is to see it.
    pub(super) fn explain(&self, session: &Session, stretch: &[Rows<'_>]) -> SinkError {
        session.explain_rows(&self.error, &stretch[self.portion].doing())
    }
}

/// Runs the statements of all these rows, one after the other, then `last`, which is sent directly after them. The
/// server must refuse `last` if a statement failed, as it does COMMIT and RELEASE.
pub(super) async fn run<T>(
    session: &Session,
    stretch: &[Rows<'_>],
    last: impl Future<Output = T>,
) -> Result<T, Failed> {
    let client = session.client();
    let mut forms: HashMap<usize, Arc<Form>> = HashMap::new();
    let mut waiting = VecDeque::new();
    for (portion, rows) in stretch.iter().enumerate() {
        let form = forms.entry(rows.target().id).or_insert_with(|| Arc::new(Form::of(rows.target())));
        let mut line = 0;
        for mut rest in rows.bytes() {
            while let Some((cells, after)) = insert::take_row(rest) {
                rest = after;
                line += 1;
                if waiting.len() >= AHEAD_MAX
                    && let Some(first) = waiting.pop_front()
                {
                    answer(session, first).await?;
                }
                let form = Arc::clone(form);
                let mut running = Box::pin(maybe_done(async move { form.execute(client, &cells).await }));
                send(running.as_mut()).await;
                waiting.push_back((portion, line, running));
            }
        }
    }
    let mut last = pin!(maybe_done(last));
    send(last.as_mut()).await;
    while let Some(first) = waiting.pop_front() {
        answer(session, first).await?;
    }
    last.as_mut().await;
    Ok(last.take_output().expect("it was awaited, and its output is taken once"))
}

type Running<F> = (usize, usize, std::pin::Pin<Box<futures_util::future::MaybeDone<F>>>);

async fn answer<F: Future<Output = Result<u64, Error>>>(
    session: &Session,
    (portion, line, mut running): Running<F>,
) -> Result<(), Failed> {
    running.as_mut().await;
    session.answered();
    match running.as_mut().take_output() {
        Some(Err(error)) => Err(Failed { portion, line, error }),
        Some(Ok(_)) | None => Ok(()),
    }
}

/// A statement as it is sent for each row.
struct Form {
    sql: String,
    types: Vec<Type>,
    /// Binds whose text the server reads.
    as_text: Vec<bool>,
}

impl Form {
    fn of(target: &Target) -> Form {
        let columns = || target.columns.iter().map(|&column| &target.table.columns[column]);
        Form {
            sql: match &target.verb {
                Verb::Statement(statement) => sql(statement),
                _ => unreachable!("these rows have a statement"),
            },
            types: columns().map(|column| typed(column.parameter.oid)).collect(),
            as_text: columns().map(|column| matches!(column.column_type, ColumnType::Cast(_))).collect(),
        }
    }

    async fn execute(&self, client: &Client, cells: &[Parameter<'_>]) -> Result<u64, Error> {
        if let Some(refused) = insert::in_place_of(cells) {
            return client.execute_typed(refused, &[]).await;
        }
        let values: Vec<Value<'_>> = cells.iter().zip(&self.as_text).map(|(cell, text)| Value(*cell, *text)).collect();
        let typed: Vec<(&(dyn ToSql + Sync), Type)> =
            values.iter().map(|value| value as &(dyn ToSql + Sync)).zip(self.types.iter().cloned()).collect();
        client.execute_typed(&self.sql, &typed).await
    }
}

/// A bind's value, and whether it goes as text.
#[derive(Debug)]
struct Value<'a>(Parameter<'a>, bool);

impl ToSql for Value<'_> {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        self.0.to_sql(kind, out)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        if self.1 { Format::Text } else { Format::Binary }
    }

    to_sql_checked!();
}
