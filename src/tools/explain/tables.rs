//! The tables of one database for a preview: live, or assumed from the rules.
//!
//! An assumed column has its declared type, else the type that its source always has. Otherwise its type is unknown,
//! and it takes the value unchanged.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::fields::named_by;
use super::plans;
use super::routes::taken_by;
use crate::config::{Columns, Config, DatabaseUrl, Rule, new_table};
use crate::message::Message;
use crate::rule::TableName;
use crate::schema::{Column, ColumnType, Dialect, Parameter, TableSchema};
use crate::sink::{PostgresSink, Sink, SinkError};
use crate::tools::live::{self, TablesCopy};

/// For a database that does not answer. Somebody waits at a terminal, and offline there is an answer as well.
const ANSWER: Duration = Duration::from_secs(10);

/// What an unknown type is called.
const AS_IT_IS: &str = "type assumed";

/// The tables of one database.
pub struct Tables {
    /// `None`: they are assumed.
    live: Option<HashMap<TableName, Found>>,
    /// Why they are assumed, where the database was to be asked.
    pub(super) unreachable: Option<String>,
}

/// What was found of a table in the database: none, or why it cannot be read.
type Found = Result<Option<Arc<TableSchema>>, String>;

/// A table that rows are made for.
#[derive(Clone)]
pub(super) struct Goal {
    pub(super) schema: Arc<TableSchema>,
    /// Names of columns whose type nothing tells.
    pub(super) assumed: HashSet<String>,
    pub(super) note: Option<String>,
}

impl Tables {
    /// All databases of a configuration, in its order, with the tables of their rules and those that `message` names. Those of
    /// a database that cannot be reached are assumed.
    pub async fn live(config: &Config, message: &Message<'_>) -> Vec<Tables> {
        let mut all = Vec::new();
        for index in 0..config.databases.len() {
            all.push(match timeout(ANSWER, ask(config, index, message)).await {
                Ok(Ok(live)) => Tables { live: Some(live), unreachable: None },
                Ok(Err(why)) => Tables { live: None, unreachable: Some(why) },
                Err(_) => {
                    let why = format!("no answer within {} s", ANSWER.as_secs());
                    Tables { live: None, unreachable: Some(why) }
                }
            });
        }
        all
    }

    /// The same without connecting to anything: all are assumed.
    pub fn assumed(config: &Config) -> Vec<Tables> {
        config.databases.iter().map(|_| Tables { live: None, unreachable: None }).collect()
    }

    pub(super) fn are_live(&self) -> bool {
        self.live.is_some()
    }

    /// The table of that name, which `rules` write to; or why no row goes into it.
    pub(super) fn target<D: Dialect>(
        &self,
        table: &TableName,
        schema: Option<&str>,
        rules: &[Arc<Rule>],
        message: &Message<'_>,
    ) -> Result<Goal, String> {
        let rules = || rules.iter().filter(|rule| rule.table == *table);
        let (note, is_known) = match &self.live {
            None => (None, true),
            Some(live) => match live.get(table) {
                Some(Ok(Some(found))) => {
                    return Ok(Goal { schema: Arc::clone(found), assumed: HashSet::new(), note: None });
                }
                Some(Err(why)) => return Err(why.clone()),
                Some(Ok(None)) | None => {
                    let note = "the table is not there; the first start makes it, with these types".to_owned();
                    (Some(note), rules().any(|rule| rule.create.is_some()))
                }
            },
        };
        if !is_known {
            let by_rule = if rules().any(|rule| rule.may_create()) { "set create: true in the rule, or " } else { "" };
            return Err(format!("there is no table {table}; {by_rule}make the table"));
        }
        let mut creating = rules().filter(|rule| rule.create.is_some());
        if note.is_some() && creating.all(|rule| matches!(rule.columns, Columns::Auto)) {
            let writing: Vec<&Rule> = rules().map(AsRef::as_ref).collect();
            let needed = new_table(table, &writing, Vec::new()).keyed();
            let mut name = table.clone();
            name.schema = name.schema.or_else(|| schema.map(str::to_owned));
            let schema = Arc::new(TableSchema::absent(name, needed));
            return Ok(Goal { schema, assumed: HashSet::new(), note: None });
        }
        let (schema, assumed, besides) = assumed_table::<D, _>(table, schema, rules, Some(message));
        let note = note.map(|note| note + &besides);
        Ok(Goal { schema: Arc::new(schema), assumed, note })
    }
}

/// The table as its rules describe it; the columns of unknown type; what is to be said of its key and indexes.
pub(super) fn assumed_table<'r, D: Dialect, I: Iterator<Item = &'r Arc<Rule>>>(
    table: &TableName,
    schema: Option<&str>,
    rules: impl Fn() -> I,
    message: Option<&Message<'_>>,
) -> (TableSchema, HashSet<String>, String) {
    let mut name = table.clone();
    name.schema = name.schema.or_else(|| schema.map(str::to_owned));
    let (columns, assumed) = assume::<D>(rules(), message);
    let writing: Vec<&Rule> = rules().map(AsRef::as_ref).collect();
    let mut schema = TableSchema::new(name, columns);
    let besides = make::<D>(&mut schema, &writing);
    (schema, assumed, besides)
}

/// Columns that rules fill, each once, and the names of those with an unknown type.
fn assume<'r, D: Dialect>(
    rules: impl Iterator<Item = &'r Arc<Rule>>,
    message: Option<&Message<'_>>,
) -> (Vec<Column>, HashSet<String>) {
    let (mut columns, mut assumed) = (Vec::<Column>::new(), HashSet::new());
    for rule in rules {
        match &rule.columns {
            Columns::Named(named) => {
                for column in named.iter() {
                    let known = columns.iter().position(|known| is_same::<D>(known, &column.name));
                    let declared = column.create_type(&rule.format, &rule.shaping);
                    match (known, declared) {
                        // A type that another rule gives the column applies to this one.
                        (Some(known), Some(declared)) if assumed.remove(&columns[known].name) => {
                            columns[known] = D::column(&columns[known].name, &declared);
                        }
                        (Some(_), _) => {}
                        (None, Some(declared)) => columns.push(D::column(&column.name, &declared)),
                        (None, None) => {
                            assumed.insert(column.name.to_string());
                            columns.push(unknown(&column.name));
                        }
                    }
                }
            }
            // Offline, the message's fields are all that is known of the table; of a rule that does not take it, nothing is.
            Columns::Auto => {
                let taken = message.filter(|message| taken_by(rule, message.topic).is_some());
                for name in taken.map(|message| named_by(rule, message.payload)).into_iter().flatten() {
                    if !columns.iter().any(|known| is_same::<D>(known, &name)) {
                        columns.push(unknown(&name));
                        assumed.insert(name);
                    }
                }
            }
        }
    }
    (columns, assumed)
}

fn is_same<D: Dialect>(column: &Column, name: &str) -> bool {
    column.name == name || D::NAMES_FOLD_CASE && column.name.eq_ignore_ascii_case(name)
}

/// Gives an assumed table the primary key that these rules make it with. Returns what a note says of its key and indexes.
pub(super) fn make<D: Dialect>(schema: &mut TableSchema, rules: &[&Rule]) -> String {
    if rules.iter().all(|rule| rule.create.is_none()) {
        return String::new();
    }
    let new = new_table(&schema.name, rules, Vec::new());
    schema.primary_key.clear();
    for name in &new.key {
        if let Some(column) = schema.columns.iter_mut().find(|column| is_same::<D>(column, name)) {
            column.not_null = true;
            schema.primary_key.push(column.name.clone());
        }
    }
    match new.besides() {
        besides if besides.is_empty() => besides,
        besides => format!(", {besides}"),
    }
}

fn unknown(name: &str) -> Column {
    Column {
        name: name.to_owned(),
        column_type: ColumnType::Any,
        type_name: AS_IT_IS.to_owned(),
        not_null: false,
        has_default: false,
        generated: false,
        parameter: Parameter::default(),
    }
}

/// Reads the live tables of a database.
async fn ask(config: &Config, index: usize, message: &Message<'_>) -> Result<HashMap<TableName, Found>, String> {
    let database = &config.databases[index];
    let mut tables = plans::named(config, index, message);
    let rules: Vec<&Arc<Rule>> =
        config.rules.iter().filter(|rule| rule.database == index && rule.routing.is_none()).collect();
    for rule in rules.iter().filter(|rule| rule.statement.is_none()) {
        if !tables.contains(&rule.table) {
            tables.push(rule.table.clone());
        }
    }
    match &database.url {
        DatabaseUrl::Sqlite(path) => {
            let copy = TablesCopy::of(path)?;
            let mut sink = copy.sink(database);
            sink.connect().await.map_err(words)?;
            let mut found = describe(&mut sink, &tables, &rules).await?;
            for table in tables.iter().filter(|table| copy.is_unknown(table)) {
                found.insert(
                    table.clone(),
                    Err(format!("table {table} needs an extension that Rowbridge does not have")),
                );
            }
            // The copy goes with its folder.
            let _ = sink.close().await;
            Ok(found)
        }
        DatabaseUrl::Postgres(url) => {
            let mut sink = PostgresSink::new(&live::read_only(database, url));
            sink.connect_to_read().await.map_err(words)?;
            let found = describe(&mut sink, &tables, &rules).await?;
            // Nothing is open.
            let _ = sink.close().await;
            Ok(found)
        }
    }
}

/// The tables, and what stands for them where `rules` have statements.
async fn describe<S: Sink>(
    sink: &mut S,
    tables: &[TableName],
    rules: &[&Arc<Rule>],
) -> Result<HashMap<TableName, Found>, String> {
    let mut found = HashMap::new();
    for table in tables {
        let described = match sink.describe(table).await {
            Ok(Some(schema)) => Ok(Some(Arc::new(schema))),
            Ok(None) => match sink.instead_of(table).await.map_err(words)? {
                Some(instead) => Err(format!("there is no table {table}; {instead}")),
                None => Ok(None),
            },
            Err(error) if error.class == crate::sink::Class::Transient => return Err(words(error)),
            Err(error) => Err(words(error)),
        };
        found.insert(table.clone(), described);
    }
    for (rule, statement) in rules.iter().filter_map(|rule| Some((rule, rule.statement.as_ref()?))) {
        let described = match sink.describe_statement(&rule.table, statement, &rule.bind_types()).await {
            Ok(schema) => Ok(Some(Arc::new(schema))),
            Err(error) if error.class == crate::sink::Class::Transient => return Err(words(error)),
            Err(error) => Err(words(error)),
        };
        found.insert(rule.table.clone(), described);
    }
    Ok(found)
}

fn words(error: SinkError) -> String {
    error.message.lines().next().unwrap_or_default().to_owned()
}
