//! Tables that grow with the payloads: columns added (`unmapped: add`), and tables created from their first payload
//! (`create: true` with `columns: auto`). Both happen between two batches, in a separate transaction.
//!
//! *Dies before the ALTER or CREATE is committed:* the message is not in the database, is read again and asks again.
//! *Dies after:* the table has its columns; the message is read again and finds them. *Another bridge was faster:* its
//! column stays, and its type applies.
//!
//! Then all rules are compiled again, because other rules may write to the same table, and in SQLite every description
//! is outdated.
//!
//! If the database refuses to add a column, messages with such a field become dead letters of reason `no_column`. The
//! column is tried again after a while; the rule's other messages continue. So does a payload whose field the database
//! cannot hold as a name, where it would create a table. A table of a rule that cannot be created, or that is locked for
//! too long, holds the database like any bad table, and its rules are parked after `park_after`. Where the message names
//! the table, that message is a dead letter instead.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::gather::Gatherer;
use super::prepare;
use super::stop::{BadTable, Defect, Hold, Stop, in_one_line};
use super::worker::Worker;
use crate::batch::RowEncoder;
use crate::config::{Rule, new_table};
use crate::delivery::events;
use crate::journal::Fs;
use crate::mapping::{COLUMNS_MAX, NewColumn, Want};
use crate::rule::{DeclaredType, TableName};
use crate::schema::{Dialect, TableSchema};
use crate::sink::{Class, IN_USE, Sink, SinkError};

/// After so many columns that the database would not add, the others of the same table wait until their own message asks for
/// them: the first columns are those of the message that the batch ended before, and they say nothing about the others.
const REFUSED_MAX: usize = 3;

/// While the first payload of a table is waited for, it is looked for this often: somebody else may make it.
const ABSENT_LOOK_INTERVAL: Duration = Duration::from_secs(1);

impl<S: Sink, F: Fs> Worker<S, F> {
    /// Adds the columns that messages want, and makes the tables. Sets `is_outdated` where a table is another now.
    pub(super) async fn grow(&mut self, gatherer: &mut Gatherer<S::Encoder>, wants: Vec<Want>) -> Result<(), Stop> {
        for want in by_table(wants) {
            let live = match self.setup.sink.describe(&want.table).await {
                Err(error) if error.class == Class::Table && self.rules[want.rule].routing.is_some() => {
                    gatherer.bind(vec![(want, Err(in_one_line(&error)))], self.reader.position());
                    continue;
                }
                Err(error) if error.class == Class::Table => {
                    return Err(self.bad_table(&self.rules[want.rule], Defect::from(&error)));
                }
                described => described?,
            };
            match live {
                None if want.makes_table => self.make_of_payload(gatherer, want).await?,
                Some(live) if !want.makes_table => self.add_to(gatherer, want, &live).await?,
                // It came or went meanwhile.
                _ => self.is_outdated = true,
            }
        }
        Ok(())
    }

    async fn make_of_payload(&mut self, gatherer: &mut Gatherer<S::Encoder>, want: Want) -> Result<(), Stop> {
        let rules = Arc::clone(&self.rules);
        let rule = &rules[want.rule];
        let writing: Vec<&Rule> = match rule.routing {
            Some(_) => vec![rule],
            None => rules.iter().map(AsRef::as_ref).filter(|other| other.table == rule.table).collect(),
        };
        let new = new_table(&want.table, &writing, declared(&want.columns));
        let created = self.setup.sink.create_table(&want.table, &new).await;
        if let Err(error) = &created
            && error.class != Class::Transient
            && self.refuse_names(gatherer, &want).await?
        {
            return Ok(());
        }
        let sink = &mut self.setup.sink;
        let defect = match created {
            Err(error) if error.class == Class::Transient => return Err(error.into()),
            Err(error) => Defect { reason: in_one_line(&error), mend: Some(sink.create_table_sql(&want.table, &new)) },
            Ok(sql) => match sink.describe(&want.table).await? {
                Some(_) => {
                    let table = &want.table;
                    tracing::info!(%table, sql, rule = %rule.name, "table created from the first payload");
                    self.is_outdated = true;
                    return Ok(());
                }
                None => {
                    let instead = sink.instead_of(&want.table).await?.unwrap_or_default();
                    Defect {
                        reason: format!("there is no table {}, and none can be made; {instead}", want.table),
                        mend: None,
                    }
                }
            },
        };
        if rule.routing.is_some() {
            gatherer.bind(vec![(want, Err(defect.reason))], self.reader.position());
            return Ok(());
        }
        Err(self.bad_table(rule, defect))
    }

    /// Refuses the columns whose names the database cannot hold; whether there are any. The next payload may make the table.
    async fn refuse_names(&mut self, gatherer: &mut Gatherer<S::Encoder>, want: &Want) -> Result<bool, Stop> {
        let mut refused = false;
        for NewColumn { name, .. } in &want.columns {
            if !self.setup.sink.holds_name(name).await? {
                refused = true;
                gatherer.refuse_column(
                    &want.table,
                    name,
                    &"the database's encoding lacks a character of its name".into(),
                );
            }
        }
        Ok(refused)
    }

    async fn add_to(
        &mut self,
        gatherer: &mut Gatherer<S::Encoder>,
        mut want: Want,
        live: &TableSchema,
    ) -> Result<(), Stop> {
        let folds_case = <<S::Encoder as RowEncoder>::Dialect as Dialect>::NAMES_FOLD_CASE;
        let is_there = |name: &str| {
            let is_it = |live: &str| live == name || folds_case && live.eq_ignore_ascii_case(name);
            live.columns.iter().any(|column| is_it(&column.name))
        };
        let wanted = want.columns.len();
        want.columns.retain(|column| !is_there(&column.name));
        // The messages whose fields are too many meet that when they are mapped.
        want.columns.truncate(COLUMNS_MAX.saturating_sub(live.columns.len()));
        self.is_outdated |= want.columns.len() < wanted;
        if want.columns.is_empty() {
            return Ok(());
        }
        match self.add(&want.table, &want.columns).await {
            Ok(()) => return Ok(()),
            Err(error) => self.judge_refusal(&want, &error)?,
        }
        // One of them may be at fault.
        let mut refusals = 0;
        for column in &want.columns {
            if refusals == REFUSED_MAX {
                break;
            }
            let Err(error) = self.add(&want.table, std::slice::from_ref(column)).await else { continue };
            self.judge_refusal(&want, &error)?;
            refusals += 1;
            let sql = self.setup.sink.add_columns_sql(&want.table, &declared(std::slice::from_ref(column)));
            events::column_refused(&self.setup.database.name, &want.table, &column.name, &error, &sql);
            let why = format!("{}; {}, or make it: {sql}", in_one_line(&error), ADVICE);
            gatherer.refuse_column(&want.table, &column.name, &why.into());
        }
        Ok(())
    }

    async fn add(&mut self, table: &TableName, columns: &[NewColumn]) -> Result<(), SinkError> {
        let columns = declared(columns);
        self.setup.sink.add_columns(table, &columns).await?;
        let sql = self.setup.sink.add_columns_sql(table, &columns);
        events::columns_added(&self.setup.database.name, table, &sql);
        self.tables.forget(table);
        self.is_outdated = true;
        Ok(())
    }

    /// Whether an error is about the column at all.
    fn judge_refusal(&self, want: &Want, error: &SinkError) -> Result<(), Stop> {
        match error.class {
            Class::Transient | Class::RowOrTransient | Class::SessionEnded => Err(error.clone().into()),
            _ if error.code == IN_USE && self.rules[want.rule].routing.is_none() => {
                Err(self.bad_table(&self.rules[want.rule], Defect::from(error)))
            }
            _ => Ok(()),
        }
    }

    fn bad_table(&self, rule: &Rule, defect: Defect) -> Stop {
        Stop::Hold(Hold::of(vec![BadTable { name: rule.table.clone(), defect, at_compile: false }]))
    }

    /// Whether a table that is waited for has come. Asks now and then, and only while messages come.
    pub(super) async fn has_come(&mut self, gatherer: &Gatherer<S::Encoder>) -> Result<bool, Stop> {
        let absent: Vec<&TableName> = gatherer.absent_tables();
        if absent.is_empty() || self.absent_look_due > Instant::now() {
            return Ok(false);
        }
        self.absent_look_due = Instant::now() + ABSENT_LOOK_INTERVAL;
        let found = prepare::describe(&mut self.setup.sink, &absent).await?;
        Ok(found.iter().any(|found| !matches!(found, Ok(None))))
    }
}

const ADVICE: &str = "give the bridge's role the right to alter the table";

/// One want for each table: the columns that all messages need, in order; for a table to be created, those of the first
/// message.
fn by_table(wants: Vec<Want>) -> Vec<Want> {
    let mut merged: Vec<Want> = Vec::new();
    for want in wants {
        let Some(known) = merged.iter_mut().find(|known| known.table == want.table) else {
            merged.push(want);
            continue;
        };
        if !known.makes_table {
            // Another message's field in another case goes to that column, as it does once the column is there.
            let earlier = known.columns.len();
            for column in want.columns {
                if !known.columns[..earlier].iter().any(|known| known.name.eq_ignore_ascii_case(&column.name)) {
                    known.columns.push(column);
                }
            }
        }
    }
    merged
}

pub(super) fn declared(columns: &[NewColumn]) -> Vec<(&str, DeclaredType)> {
    columns.iter().map(|column| (&*column.name, column.declared.clone())).collect()
}
