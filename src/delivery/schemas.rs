//! Tables named by messages: looked up between two batches, and created if the rule says so.
//!
//! Only this database's thread waits, for one round trip for all new names of the next messages.

use std::collections::HashMap;
use std::sync::Arc;

use super::gather::Gatherer;
use super::prepare::{self, Missing};
use super::stop::{Stop, in_one_line};
use super::worker::Worker;
use crate::config::Rule;
use crate::journal::Fs;
use crate::mapping::Want;
use crate::message::Seq;
use crate::rule::TableName;
use crate::schema::TableSchema;
use crate::sink::{RetainedPlace, Sink};

/// Missing tables of one round for which is asked what there is in their place, each a question of its own to the database:
/// whoever may publish can name any number.
const HINTS_MAX: usize = 10;

impl<S: Sink, F: Fs> Worker<S, F> {
    /// Looks up what messages want, or makes it, see [`Worker::grow`]. What is not there, and is not to be made, is known as missing for a moment.
    pub(super) async fn look_up_wanted(&mut self, gatherer: &mut Gatherer<S::Encoder>) -> Result<(), Stop> {
        let places = gatherer.take_retained_wants();
        if !places.is_empty() {
            let named: Vec<RetainedPlace> = places.iter().map(|place| gatherer.retained_place(*place)).collect();
            let found = self.setup.sink.last_stored(&self.setup.bridge, &named).await?;
            gatherer.learn_last_stored(&places, &found);
        }
        let (wants, growing): (Vec<Want>, Vec<Want>) =
            gatherer.take_wants().into_iter().partition(|want| want.columns.is_empty());
        if !growing.is_empty() {
            self.grow(gatherer, growing).await?;
        }
        if self.is_outdated || wants.is_empty() {
            return Ok(());
        }
        look_up(&mut self.setup.sink, &self.rules, gatherer, wants, self.reader.position()).await
    }
}

/// As [`Worker::look_up_wanted`], for wants that grow no table; `rules` are those of the gatherer, whose next batch begins at `from`.
pub(super) async fn look_up<S: Sink>(
    sink: &mut S,
    rules: &[Arc<Rule>],
    gatherer: &mut Gatherer<S::Encoder>,
    wants: Vec<Want>,
    from: Seq,
) -> Result<(), Stop> {
    let mut places: HashMap<&TableName, usize> = HashMap::new();
    let mut tables: Vec<&TableName> = Vec::new();
    for want in &wants {
        places.entry(&want.table).or_insert_with(|| {
            tables.push(&want.table);
            tables.len() - 1
        });
    }
    let found = prepare::describe(sink, &tables).await?;
    let mut live: Vec<Result<Option<Arc<TableSchema>>, String>> = found
        .into_iter()
        .map(|found| match found {
            Ok(schema) => Ok(schema.map(Arc::new)),
            Err(error) => Err(in_one_line(&error)),
        })
        .collect();
    let mut bound = Vec::with_capacity(wants.len());
    let mut hints_left = HINTS_MAX;
    for want in &wants {
        let (place, rule) = (places[&want.table], &rules[want.rule]);
        if let Ok(None) = live[place] {
            live[place] = match (&rule.create, hints_left) {
                (None, 0) => Err(no_table(rule, &want.table, None)),
                _ => make_wanted(sink, rule, want).await?.map(|schema| Some(Arc::new(schema))),
            };
            hints_left = hints_left.saturating_sub(1);
        }
        let schema = live[place].clone().map(|schema| schema.expect("it was found, made, or is an error"));
        bound.push((want.clone(), schema));
    }
    gatherer.bind(bound, from);
    Ok(())
}

/// The table, made if the rule says `create`; or why there is none.
async fn make_wanted<S: Sink>(sink: &mut S, rule: &Rule, want: &Want) -> Result<Result<TableSchema, String>, Stop> {
    Ok(match prepare::make_table(sink, &want.table, &[rule]).await {
        Ok(Ok(schema)) => Ok(schema),
        Ok(Err(Missing { instead, .. })) => Err(no_table(rule, &want.table, instead)),
        Err(Stop::Hold(hold)) => Err(hold.reason),
        Err(stop) => return Err(stop),
    })
}

fn no_table(rule: &Rule, table: &TableName, instead: Option<String>) -> String {
    let instead = instead.map_or(String::new(), |instead| format!("; {instead}"));
    let or_by_rule = if rule.may_create() { ", or set `create: true` in the rule" } else { "" };
    format!("there is no table {table}{instead}: create it{or_by_rule}")
}
