//! Rows that are written by key: the ON CONFLICT clause of their INSERT.

use crate::batch::Verb;
use crate::rule::quote;
use crate::schema::TableSchema;

/// `ON CONFLICT (key) …`, from a space on, for rows that fill `columns`; `None` where rows go by no key. A row of which every
/// column is part of the key has nothing to put in another's place.
///
/// SQLite looks at the rows of a statement one after the other, so of equal keys the last one counts.
pub(super) fn on_conflict(table: &TableSchema, columns: &[usize], verb: &Verb) -> Option<String> {
    let name = |column: &usize| quote(&table.columns[*column].name);
    let (key, updated): (_, Vec<&usize>) = match verb {
        Verb::Insert | Verb::Statement(_) => return None,
        Verb::Ignore(key) => (key, Vec::new()),
        Verb::Upsert(key) => (key, columns.iter().filter(|column| !key.contains(column)).collect()),
    };
    let key: Vec<String> = key.iter().map(name).collect();
    let updates: Vec<String> = updated.into_iter().map(name).map(|name| format!("{name}=excluded.{name}")).collect();
    let action = if updates.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {}", updates.join(",")) };
    Some(format!(" ON CONFLICT ({}) DO {action}", key.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::TableName;
    use crate::schema::{Column, ColumnType, Parameter};

    #[test]
    fn what_is_not_part_of_the_key_is_put_in_place() {
        let column = |name: &str| Column {
            name: name.to_owned(),
            column_type: ColumnType::Any,
            type_name: String::new(),
            not_null: false,
            has_default: false,
            generated: false,
            parameter: Parameter::default(),
        };
        let name = TableName { schema: None, name: "t".to_owned() };
        let table = TableSchema::new(name, vec![column("a"), column("b \"x\""), column("c")]);
        let clause = |columns: &[usize], verb: Verb| on_conflict(&table, columns, &verb);
        assert_eq!(clause(&[0, 1], Verb::Insert), None);
        assert_eq!(clause(&[0, 1], Verb::Ignore([0].into())).unwrap(), " ON CONFLICT (\"a\") DO NOTHING");
        assert_eq!(
            clause(&[0, 1, 2], Verb::Upsert([2, 0].into())).unwrap(),
            " ON CONFLICT (\"c\",\"a\") DO UPDATE SET \"b \"\"x\"\"\"=excluded.\"b \"\"x\"\"\""
        );
        assert_eq!(clause(&[0, 2], Verb::Upsert([2, 0].into())).unwrap(), " ON CONFLICT (\"c\",\"a\") DO NOTHING");
    }
}
