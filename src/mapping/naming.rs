//! Table and database names that messages give.
//!
//! A template is compiled to a plan with one text column, so a name can use every source that a column can use.

use super::compile::{REQUIRED, compile};
use super::outcome::{CompileFault, ValueFault};
use super::plan::{Memory, Plan, Reading};
use super::route::Match;
use super::sharing::Parts;
use crate::batch::RowEncoder;
use crate::config::{self, Columns, ForEach, Format, Mode, Rule, Shaping, Unmapped};
use crate::message::Message;
use crate::rule::{ColumnSource, Source, TableName, Template};
use crate::schema::{Cell, Column, ColumnType, Parameter, PostgresDialect, TableSchema};

/// Compiles a template of a rule; `what` is named: `table`, `database`. One that reads nothing of the payload is read once a
/// message, unless `rows_may_go` and programs decide how many rows there are.
pub(super) fn compile_template(
    bridge: &str,
    rule: &Rule,
    (what, template): (&str, &Template),
    rows_may_go: bool,
    parts: &mut Parts,
) -> Result<Plan, Vec<CompileFault>> {
    let is_one = !template.sources().any(Source::reads_payload);
    let template = ColumnSource::Template(template.clone());
    let column = config::Column { required: true, ..config::Column::of(what, template) };
    let mut naming = Rule {
        columns: Columns::named(vec![column]),
        routing: None,
        mode: Mode::Insert,
        // What other columns take is no affair of the name's.
        unmapped: Unmapped::Ignore,
        ..rule.clone()
    };
    if is_one && !(rows_may_go && rule.shaping.has_programs()) {
        naming.shaping = Shaping::default();
        naming.format = Format::Json;
        naming.for_each = ForEach::NONE;
    }
    let text = Column {
        name: what.to_owned(),
        type_name: "name".to_owned(),
        column_type: ColumnType::Text { max_chars: None },
        not_null: false,
        has_default: false,
        generated: false,
        parameter: Parameter::default(),
    };
    let schema = TableSchema::new(TableName { schema: None, name: "names".to_owned() }, vec![text]);
    compile(bridge, &naming, &schema, &NameEncoder, parts).map(|(plan, ..)| plan)
}

/// The one name that a template which reads nothing of the payload gives, put into `name`.
pub(super) fn read_name<'n>(
    plan: &Plan,
    message: &Message<'_>,
    matched: &Match,
    memory: &mut Memory,
    name: &'n mut Vec<u8>,
) -> Result<&'n str, ValueFault> {
    encode_name(&mut plan.read(message, matched, memory)?, name)
}

/// The name that a row gives, put into `name`.
pub(super) fn encode_name<'n>(row: &mut Reading<'_>, name: &'n mut Vec<u8>) -> Result<&'n str, ValueFault> {
    name.clear();
    row.encode(&NameEncoder, name).map_err(without_a_name)?;
    Ok(std::str::from_utf8(name).expect("a text cell is text"))
}

/// Says of a missing value what it means here.
#[cold]
fn without_a_name(mut fault: ValueFault) -> ValueFault {
    if let ("required", Some(what)) = (fault.reason, &fault.column) {
        let place = format!("column `{what}` (name): ");
        let why = fault.message.strip_prefix(&place).unwrap_or(&fault.message);
        let why = if why == REQUIRED { "the rule's template has no value for it" } else { why };
        fault.message = format!("the message names no {what}: {why}");
    }
    fault
}

/// Writes names as they are.
#[derive(Debug, Clone)]
struct NameEncoder;

impl RowEncoder for NameEncoder {
    type Dialect = PostgresDialect;

    fn begin_row(&self, _: usize, _: &mut Vec<u8>) {}

    fn cell(&self, _: &ColumnType, cell: Cell<'_>, out: &mut Vec<u8>) {
        if let Cell::Text(text) = cell {
            out.extend_from_slice(text.as_bytes());
        }
    }
}
