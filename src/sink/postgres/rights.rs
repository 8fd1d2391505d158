//! Looks up the missing rights, once the server has refused for one (42501). The server's message names at most one
//! sequence or table, in its own language. `rowbridge check` looks them up in advance.

use tokio_postgres::types::{ToSql, Type};

use super::failure::MISSING_RIGHT;
use super::session::Session;
use super::transaction::{Sql, around};
use crate::batch::{Batch, Target, Verb};
use crate::rule::TableName;
use crate::schema::TableSchema;
use crate::sink::SinkError;

/// The GRANTs that are missing on the tables `$1.$2` that rows go into, of the rights `$4` on their columns `$5`, on the
/// sequences that their defaults draw from, on Rowbridge's own tables `$6` in schema `$3`, and on the schemas of all of them.
const MISSING: &str = include_str!("rights.sql");

/// Rights on columns of tables, as [`MISSING`] takes them.
#[derive(Debug, Default)]
pub(crate) struct Rights {
    schemas: Vec<String>,
    names: Vec<String>,
    rights: Vec<&'static str>,
    columns: Vec<String>,
    own_schema: String,
    own_tables: Vec<&'static str>,
}

impl Rights {
    /// `schema` is that of tables that are named without one, and of Rowbridge's own.
    pub(crate) fn new(schema: &str) -> Rights {
        let own_tables = vec!["rowbridge_offsets", "rowbridge_dead_letters"];
        Rights { own_schema: schema.to_owned(), own_tables, ..Rights::default() }
    }

    /// Whatever rows take that go into a target. The columns that keys are told by are read, and a row that goes in another's
    /// place updates it.
    pub(crate) fn add_target(&mut self, target: &Target) {
        let name = |column: &usize| &*target.table.columns[*column].name;
        let key = match &target.verb {
            Verb::Insert => None,
            Verb::Ignore(key) | Verb::Upsert(key) => Some(key),
            // Which tables a statement reaches, only the server knows.
            Verb::Statement(_) => return,
        };
        target.columns.iter().for_each(|column| self.add(&target.table.name, "INSERT", name(column)));
        let key = key.into_iter().flat_map(|key| key.iter());
        key.clone().for_each(|column| self.add(&target.table.name, "SELECT", name(column)));
        if matches!(target.verb, Verb::Upsert(_)) {
            let others = target.columns.iter().filter(|column| !key.clone().any(|key| key == *column));
            others.for_each(|column| self.add(&target.table.name, "UPDATE", name(column)));
        }
    }

    /// Those on the table that only rules with `retained: changed` need.
    pub(crate) fn add_retained(&mut self) {
        self.own_tables.push("rowbridge_retained");
    }

    /// A right on any column of a table.
    pub(crate) fn add_any(&mut self, table: &TableName, right: &'static str) {
        self.add(table, right, "");
    }

    fn add(&mut self, table: &TableName, right: &'static str, column: &str) {
        self.schemas.push(table.schema.clone().unwrap_or_else(|| self.own_schema.clone()));
        self.names.push(table.name.clone());
        self.rights.push(right);
        self.columns.push(column.to_owned());
    }

    /// The query for the GRANTs that are missing, one in each row's first column, and its parameters.
    pub(crate) fn query(&self) -> (&'static str, [(&(dyn ToSql + Sync), Type); 6]) {
        let parameters: [(&(dyn ToSql + Sync), Type); 6] = [
            (&self.schemas, Type::TEXT_ARRAY),
            (&self.names, Type::TEXT_ARRAY),
            (&self.own_schema, Type::TEXT),
            (&self.rights, Type::TEXT_ARRAY),
            (&self.columns, Type::TEXT_ARRAY),
            (&self.own_tables, Type::TEXT_ARRAY),
        ];
        (MISSING, parameters)
    }
}

/// Adds what the rows of a batch take on one of its tables.
pub(super) fn add_needed(rights: &mut Rights, batch: &Batch, table: &TableSchema) {
    let mut is_filled = false;
    let targets = batch.portions.iter().map(|portion| &portion.target);
    for target in targets.filter(|target| target.table.name == table.name) {
        rights.add_target(target);
        is_filled = true;
    }
    if !is_filled {
        rights.add_any(&table.name, "INSERT");
    }
}

/// `refused` with the GRANTs that would mend it, if it was for a right that is found missing.
pub(super) async fn name_missing(session: &Session, sql: &Sql, mut rights: Rights, refused: SinkError) -> SinkError {
    if refused.code != MISSING_RIGHT {
        return refused;
    }
    if refused.message.contains("rowbridge_retained") {
        rights.add_retained();
    }
    let (query, parameters) = rights.query();
    let client = session.client();
    let asking = around(client, &sql.begin_read, Box::pin(client.query_typed(query, &parameters)));
    // The fault is known already; this only improves its report.
    let Ok(rows) = session.wait(3, "looking for missing rights", asking).await else { return refused };
    let grants: Vec<String> = rows.iter().filter_map(|row| row.try_get(0).ok()).collect();
    if grants.is_empty() {
        return refused;
    }
    SinkError { message: format!("{}\n{}", refused.message, grants.join("\n")), ..refused }
}
