//! Verifies that the tables of a transaction still match the descriptions for which its rows were encoded.
//!
//! Binary COPY carries no types: eight bytes that were encoded for `double precision` are stored in a `bigint` column
//! as another number, without an error. So every transaction that writes compares its tables with the result of
//! [`schema`](super::schema). The comparison follows the rows: these hold a lock (ROW EXCLUSIVE) that prevents ALTER,
//! DROP, RENAME and CREATE RULE until COMMIT, and under READ COMMITTED the statement has a snapshot younger than the
//! lock. A difference makes the comparison fail, and the COMMIT in the same message is not carried out. So the comparison
//! needs no round trip of its own.
//!
//! The comparison uses the sum of 64-bit hashes of the catalogue rows that define a table: of `pg_class` (its name and
//! schema, since COPY goes by name; kind, persistence, rules, triggers, row security), of `pg_attribute`, and of
//! `pg_type` with `pg_enum` for the domains and enums among its columns. Everything that the server checks itself
//! (constraints, the default's expression) is left to the server. One statement covers all tables: 0.2 ms for one table
//! of 11 columns, most of it parsing and planning. A rule's own statement is compared by the types that the server
//! gives its binds ([`statements`](super::statements)).

use std::sync::Arc;

use tokio_postgres::{Client, Error};

use super::failure::{encoding_changed, own};
use super::session::Session;
use super::statements;
use super::transaction::{self, ENCODING_CHANGED, around, encoding_kept, in_one_message};
use super::write::COMMITTING;
use crate::rule::Statement;
use crate::schema::{TableSchema, Witness};
use crate::sink::{Class, SinkError};

/// What the statement ends with where something differs: it divides by the outcome of the comparison.
const DIVISION_BY_ZERO: &str = "22012";

/// SQLSTATEs of a statement that does not fit the tables begin so.
const OF_A_STATEMENT: &str = "42";

const COMPARING: &str = "comparing the tables with their descriptions";

/// Of a row `c` of `pg_class`.
macro_rules! table_hash {
    () => {
        "pg_catalog.hashtextextended(ROW(c.oid, c.relname, c.relnamespace::pg_catalog.regnamespace, c.relkind, \
         c.relowner, c.relpersistence, c.relhasrules, c.relhastriggers, c.relrowsecurity, c.relforcerowsecurity)::pg_catalog.text, 0)"
    };
}
pub(super) use table_hash;

/// Of a row `a` of `pg_attribute`.
macro_rules! column_hash {
    () => {
        "pg_catalog.hashtextextended(ROW(a.attrelid, a.attnum, a.attname, a.atttypid, a.atttypmod, a.attnotnull, \
         a.atthasdef, a.attidentity, a.attgenerated)::pg_catalog.text, 0)"
    };
}
pub(super) use column_hash;

/// Of a row `t` of `pg_type`, a domain's or an enum's. `catalogue.sql` has it too.
macro_rules! type_hash {
    () => {
        "pg_catalog.hashtextextended(ROW(t.oid, t.typbasetype, t.typtypmod, t.typnotnull, t.typdefault IS NOT NULL, \
         ARRAY(SELECT l.enumlabel FROM pg_catalog.pg_enum l WHERE l.enumtypid OPERATOR(pg_catalog.=) t.oid \
         ORDER BY l.enumsortorder))::pg_catalog.text, 0)"
    };
}

/// What some tables are expected to be.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Expected {
    /// OIDs, each once unless the table was described as two different ones.
    tables: Vec<u32>,
    types: Vec<u32>,
    sum: i128,
    /// Rules' own statements with the types of their binds.
    statements: Vec<(Arc<Statement>, Vec<u32>)>,
}

impl Expected {
    /// What `tables` were when they were described. A table may come several times.
    pub(super) fn of<'a>(tables: impl Iterator<Item = &'a TableSchema>) -> Expected {
        let mut sums = Vec::new();
        let mut type_hashes = Vec::new();
        let mut statements: Vec<(Arc<Statement>, Vec<u32>)> = Vec::new();
        for table in tables {
            match &table.witness {
                Witness::Catalogue { table, sum, types } => {
                    sums.push((*table, *sum));
                    type_hashes.extend_from_slice(types);
                }
                // One that calls cannot be prepared without the driver; the types of its binds go with each row.
                Witness::Statement(statement) if !statement.is_call() => {
                    let oids = table.columns.iter().map(|column| column.parameter.oid);
                    if !statements
                        .iter()
                        .any(|(known, known_oids)| known == statement && oids.clone().eq(known_oids.iter().copied()))
                    {
                        statements.push((Arc::clone(statement), oids.collect()));
                    }
                }
                _ => {}
            }
        }
        // Two different descriptions of one thing both stay: no sum is that of both.
        sums.sort_unstable();
        sums.dedup();
        type_hashes.sort_unstable();
        type_hashes.dedup();
        Expected {
            sum: sums.iter().map(|(_, sum)| sum).sum::<i128>()
                + type_hashes.iter().map(|(_, hash)| i128::from(*hash)).sum::<i128>(),
            tables: sums.into_iter().map(|(table, _)| table).collect(),
            types: type_hashes.into_iter().map(|(oid, _)| oid).collect(),
            statements,
        }
    }

    /// Fails, and the transaction with it, unless they still are that.
    async fn compare(&self, client: &Client) -> Result<(), Error> {
        if self.statements.is_empty() {
            return self.compare_tables(client).await;
        }
        let (tables, statements) = tokio::join!(
            biased;
            self.compare_tables(client),
            Box::pin(statements::compare(client, &self.statements)),
        );
        tables.and(statements)
    }

    async fn compare_tables(&self, client: &Client) -> Result<(), Error> {
        client.batch_execute(&self.comparison()).await
    }

    /// The statement that fails unless the tables and types give the expected sum; a table that is gone gives a sum of
    /// nothing, which is NULL. It also fails if texts of the rows may have been taken for another encoding's.
    fn comparison(&self) -> String {
        let encoding_kept = encoding_kept!();
        if self.tables.is_empty() {
            return format!("SELECT {encoding_kept}");
        }
        let of = |oids: &[u32]| {
            let oids: Vec<String> = oids.iter().map(u32::to_string).collect();
            format!("OPERATOR(pg_catalog.=) ANY ('{{{}}}'::pg_catalog.oid[])", oids.join(","))
        };
        let (table_hash, column_hash, type_hash) = (table_hash!(), column_hash!(), type_hash!());
        let (sum, tables) = (self.sum, of(&self.tables));
        let types = match self.types.is_empty() {
            true => String::new(),
            false => format!(" UNION ALL SELECT {type_hash} FROM pg_catalog.pg_type t WHERE t.oid {}", of(&self.types)),
        };
        format!(
            "SELECT {encoding_kept} OPERATOR(pg_catalog./) (COALESCE(pg_catalog.sum(h), 0) OPERATOR(pg_catalog.=) \
             '{sum}'::pg_catalog.numeric)::pg_catalog.int4 FROM (SELECT {table_hash} FROM pg_catalog.pg_class c \
             WHERE c.oid {tables} UNION ALL SELECT {column_hash} FROM pg_catalog.pg_attribute a WHERE a.attrelid {tables} \
             AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped{types}) AS found (h)"
        )
    }

    /// Compares and commits. Must be sent after the rows.
    pub(super) async fn commit(&self, client: &Client) -> Closing {
        if !self.statements.is_empty() {
            let (compared, committed) = tokio::join!(biased; self.compare(client), transaction::commit(client));
            return Closing { compared, committed };
        }
        let statements = format!("{}; {}", self.comparison(), transaction::COMMIT);
        let (carried_out, result) = in_one_message(client, &statements).await;
        // A connection that ends meanwhile leaves open whether it was committed.
        match result {
            Err(error) if carried_out == 0 && error.as_db_error().is_some() => {
                Closing { compared: Err(error), committed: Ok(()) }
            }
            result => Closing { compared: Ok(()), committed: result },
        }
    }
}

/// Both answers, of which the second is worth nothing without the first.
#[must_use]
pub(super) struct Closing {
    compared: Result<(), Error>,
    committed: Result<(), Error>,
}

impl Closing {
    /// `Ok` if it was committed.
    pub(super) fn explain(self, session: &Session) -> Result<(), SinkError> {
        self.compared.map_err(|error| changed_or_failed(session, &error))?;
        self.committed.map_err(|error| session.explain_rows(&error, COMMITTING))
    }
}

/// Compares without a transaction.
pub(super) async fn verify(session: &Session, tables: &[&TableSchema]) -> Result<(), SinkError> {
    let (client, expected) = (session.client(), Expected::of(tables.iter().copied()));
    let steps = u32::try_from(expected.statements.len()).unwrap_or(u32::MAX).saturating_mul(3).saturating_add(3);
    let comparing = async {
        match expected.statements.is_empty() {
            true => expected.compare(client).await,
            // A prepared statement is found again in the same transaction, whatever is sent between.
            false => around(client, "BEGIN", expected.compare(client)).await,
        }
    };
    let compared = session.patience(steps, COMPARING, comparing).await?;
    compared.map_err(|error| changed_or_failed(session, &error))
}

fn changed_or_failed(session: &Session, error: &Error) -> SinkError {
    // A statement that is not taken any more is refused as it is prepared; what it lacks shows when rules are compiled.
    let is_refused = |code: &str| code == DIVISION_BY_ZERO || code.starts_with(OF_A_STATEMENT);
    if error.code().is_some_and(|code| is_refused(code.code())) {
        let message = format!("{COMPARING} ({}): a table was changed since it was described", session.at());
        return own(Class::TableChanged, "table_changed", message, "nothing: the rules are compiled again");
    }
    if error.code().is_some_and(|code| code.code() == ENCODING_CHANGED) {
        return encoding_changed(COMPARING, session.at());
    }
    session.explain(error, COMPARING)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::TableName;

    fn table(table: u32, sum: i128, types: &[(u32, i64)]) -> TableSchema {
        let name = TableName { schema: None, name: "t".into() };
        let witness = Witness::Catalogue { table, sum, types: types.into() };
        TableSchema { witness, ..TableSchema::new(name, Vec::new()) }
    }

    #[test]
    fn tables_and_the_types_that_they_share_are_expected_once() {
        let (one, other) = (table(7, 10, &[(1, 100), (2, -5)]), table(3, 1, &[(2, -5)]));
        let expected = Expected::of([&one, &other, &one].into_iter());
        assert_eq!(expected, Expected { tables: vec![3, 7], types: vec![1, 2], sum: 106, statements: Vec::new() });
    }

    #[test]
    fn a_table_with_two_descriptions_cannot_be_as_expected() {
        let (one, other) = (table(7, 10, &[]), table(7, 11, &[]));
        assert_eq!(Expected::of([&one, &other].into_iter()).sum, 21);
    }

    #[test]
    fn types_are_described_as_they_are_compared() {
        assert!(super::super::schema::TYPES.contains(type_hash!()));
    }
}
