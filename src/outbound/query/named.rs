//! A request to a configured query: its parameters and the topic of its answer, by the daemon's own mapper. The
//! parameters are mapped as columns of an imaginary table, each with its declared type. Without one, the database
//! determines the type of the value.

use std::collections::HashMap;
use std::sync::Arc;

use crate::batch::{Batch, OffsetMove};
use crate::config::query::Named;
use crate::config::{Columns, Rule};
use crate::journal_id::JournalId;
use crate::mapping::{Mapper, Outcome};
use crate::message::{Message, Seq};
use crate::rule::TableName;
use crate::schema::{self, Dialect, TableSchema};
use crate::sink::query::{Parameter, ParameterEncoder};
use crate::sink::{PostgresParameters, SqliteEncoder};

/// What reads the requests of one query.
pub(super) struct Reading {
    parameters: Option<ParameterReading>,
    reply: Option<Row<SqliteEncoder>>,
}

enum ParameterReading {
    Sqlite(Row<SqliteEncoder>),
    Postgres(Row<PostgresParameters>),
}

/// Makes one row of a message.
struct Row<R: ParameterEncoder> {
    mapper: Mapper<R>,
    names: Vec<Arc<str>>,
}

impl Reading {
    /// Or why a rule does not compile; the configuration has found nearly all of that.
    pub(super) fn new(bridge: &str, named: &Named, is_sqlite: bool) -> Result<Reading, String> {
        let parameters = match (&named.parameters, is_sqlite) {
            (None, _) => None,
            (Some(rule), true) => Some(ParameterReading::Sqlite(Row::new(bridge, rule, SqliteEncoder)?)),
            (Some(rule), false) => Some(ParameterReading::Postgres(Row::new(bridge, rule, PostgresParameters)?)),
        };
        let reply = named.reply.as_ref().map(|rule| Row::new(bridge, rule, SqliteEncoder)).transpose()?;
        Ok(Reading { parameters, reply })
    }

    /// One for each bind; or the reason that is answered.
    pub(super) fn parameters(&mut self, message: &Message<'_>) -> Result<Vec<Parameter>, String> {
        // Nothing is an object without fields: all of them may have defaults, or come from the topic.
        let message = if message.payload.is_empty() { Message { payload: b"{}", ..*message } } else { *message };
        match &mut self.parameters {
            None => Ok(Vec::new()),
            Some(ParameterReading::Sqlite(row)) => row.of(&message),
            Some(ParameterReading::Postgres(row)) => row.of(&message),
        }
    }

    /// The topic that the configuration names for the answer, if the message has what it takes.
    pub(super) fn reply(&mut self, message: &Message<'_>) -> Option<String> {
        match self.reply.as_mut()?.of(message).ok()?.pop()? {
            Parameter::Text(topic) => Some(topic),
            _ => None,
        }
    }
}

impl<R: ParameterEncoder> Row<R> {
    fn new(bridge: &str, rule: &Arc<Rule>, encoder: R) -> Result<Row<R>, String> {
        let Columns::Named(columns) = &rule.columns else { unreachable!("queries name their parameters") };
        let column = |column: &Arc<crate::config::Column>| schema::Column {
            name: column.name.to_string(),
            column_type: column.declared.as_ref().map_or(R::UNTYPED, R::Dialect::column_type),
            type_name: column.declared.as_ref().map_or_else(|| "any type".to_owned(), R::Dialect::type_name),
            not_null: false,
            has_default: false,
            generated: false,
            parameter: schema::Parameter::default(),
        };
        let table = TableName { schema: None, name: "request".to_owned() };
        let schema = Arc::new(TableSchema::new(table, columns.iter().map(column).collect()));
        let mapper = Mapper::compile(bridge, &[Arc::clone(rule)], &[schema], &HashMap::new(), encoder);
        let mapper = mapper.map_err(|faults| faults.first().map(|fault| fault.message.clone()).unwrap_or_default())?;
        Ok(Row { mapper, names: columns.iter().map(|column| Arc::clone(&column.name)).collect() })
    }

    fn of(&mut self, message: &Message<'_>) -> Result<Vec<Parameter>, String> {
        let offset = OffsetMove { bridge: "".into(), journal: JournalId([0; 16]), from: Seq::FIRST, to: Seq::FIRST };
        let (mut batch, mut outcomes) = (Batch::new(offset), Vec::new());
        self.mapper.begin_batch(&batch);
        self.mapper.map(message, &mut batch, &mut outcomes);
        match outcomes.pop() {
            Some((_, Outcome::Written)) => {
                let row = batch.portions.iter().find(|portion| !portion.ends.is_empty()).map(|portion| portion.row(0));
                let read = R::parameters(row.unwrap_or_default());
                read.map_err(|(index, why)| format!("parameter `{}`: {why}", self.names[index]))
            }
            Some((_, Outcome::Refused(fault))) => Err(match &fault.column {
                Some(name) if fault.reason == "required" => format!("parameter `{name}` is missing"),
                Some(_) => fault.message.replacen("column", "parameter", 1),
                None => fault.message,
            }),
            _ => Err("the request has no parameters".to_owned()),
        }
    }
}
