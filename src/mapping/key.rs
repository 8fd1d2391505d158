//! The columns of `key`, under `mode: ignore` and `upsert`.

use super::compile::same_name;
use crate::batch::RowEncoder;
use crate::config::{Columns, Rule};
use crate::rule::{TableName, quote};
use crate::schema::{Column, Keys, TableSchema, Witness};

/// Why a rule's rows cannot go by key, and the SQL that would mend it.
pub(super) struct KeyFault {
    pub(super) message: String,
    pub(super) mend: Option<String>,
}

/// The key's columns, as indexes into the table's; `None` where rows go by no key.
pub(super) fn find<R: RowEncoder>(rule: &Rule, schema: &TableSchema) -> Result<Option<Box<[usize]>>, KeyFault> {
    let Some(names) = rule.mode.key() else { return Ok(None) };
    // Its first payload is looked at for them.
    if schema.is_absent() {
        return Ok(None);
    }
    let fault = |message: String| KeyFault { message, mend: None };
    if let Keys::Never(why) = schema.keys {
        return Err(fault(format!("`mode`: the table {why}")));
    }
    let names: Vec<&str> = match names {
        [] => schema.primary_key.iter().map(String::as_str).collect(),
        names => names.iter().map(AsRef::as_ref).collect(),
    };
    if names.is_empty() {
        // A table that is only assumed is as the rules want it.
        if schema.witness == Witness::None {
            return Ok(None);
        }
        return Err(fault(match schema.keys {
            Keys::Hidden => {
                "`mode`: a view or foreign table does not tell its key; name its columns with `key`".to_owned()
            }
            _ => {
                "`mode`: the table has no primary key; name the columns that tell rows apart with `key`, or give it one"
                    .to_owned()
            }
        }));
    }
    let mut columns = Vec::with_capacity(names.len());
    for name in &names {
        let is_it = |live: &Column| same_name::<R::Dialect>(&live.name, name);
        match schema.columns.iter().position(is_it) {
            Some(column) => columns.push(column),
            // That the table lacks a column of the rule's is told there.
            None if matches!(rule.columns, Columns::Named(_)) => return Ok(None),
            None => return Err(fault(format!("`key`: the table has no column `{name}`"))),
        }
    }
    schema.keys.find(&columns).map(Some).ok_or_else(|| no_index(schema, &columns))
}

fn no_index(schema: &TableSchema, columns: &[usize]) -> KeyFault {
    let names: Vec<&str> = columns.iter().map(|column| schema.columns[*column].name.as_str()).collect();
    let quoted: Vec<String> = names.iter().map(|name| quote(name)).collect();
    let index = TableName { schema: None, name: format!("{}_{}_key", schema.name.name, names.join("_")) };
    KeyFault {
        message: format!(
            "`key`: the table has no unique index on exactly ({}) that holds for all rows at once; one that is partial, \
             deferrable, on expressions or of another collation does not count",
            names.join(", ")
        ),
        mend: Some(format!(
            "CREATE UNIQUE INDEX {} ON {} ({})",
            index.quoted(),
            schema.name.quoted(),
            quoted.join(", ")
        )),
    }
}
