//! The placeholders in a template of `publish`: `{table}`, `{row.site}`.

use super::source::ExpressionError;

const NAMES: &str = "bridge, database, schema, table, event, offset, row.COLUMN";

/// Where a piece of a published message's topic or property comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RowSource {
    Bridge,
    /// The database's name in the configuration.
    Database,
    /// The table's schema; `main` on SQLite.
    Schema,
    Table,
    /// insert, update or delete; of a change of the table's definition create, alter or drop.
    Event,
    Offset,
    /// A column of the row; of a deleted row, of what it was.
    Column(String),
}

impl RowSource {
    pub fn parse(expression: &str) -> Result<RowSource, ExpressionError> {
        let fixed = match expression {
            "bridge" => RowSource::Bridge,
            "database" => RowSource::Database,
            "schema" => RowSource::Schema,
            "table" => RowSource::Table,
            "event" => RowSource::Event,
            "offset" => RowSource::Offset,
            _ => return RowSource::column(expression),
        };
        Ok(fixed)
    }

    fn column(expression: &str) -> Result<RowSource, ExpressionError> {
        let quoted = expression.strip_prefix("row[\"").and_then(|rest| rest.strip_suffix("\"]"));
        let plain = expression.strip_prefix("row.").filter(|name| !name.contains(['[', ']', '"']));
        match quoted.or(plain) {
            Some(name) if !name.is_empty() => Ok(RowSource::Column(name.to_owned())),
            _ => Err(ExpressionError {
                message: format!("`{expression}` is not known here; there is {NAMES}"),
                suggestion: nearest(expression),
            }),
        }
    }
}

/// The known word that a misspelt one is near.
fn nearest(expression: &str) -> Option<String> {
    let words = ["bridge", "database", "schema", "table", "event", "offset"];
    let distances = words.map(|word| (strsim::damerau_levenshtein(expression, word), word));
    let near = distances.into_iter().filter(|(distance, _)| *distance <= 2).min();
    near.map(|(_, word)| word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_s_name_may_stand_in_quotes() {
        assert_eq!(RowSource::parse("row.site"), Ok(RowSource::Column("site".into())));
        assert_eq!(RowSource::parse("row[\"the site\"]"), Ok(RowSource::Column("the site".into())));
        assert_eq!(RowSource::parse("offset"), Ok(RowSource::Offset));
        for wrong in ["row", "row.", "rows.a", "topic", "row[0]"] {
            assert!(RowSource::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(RowSource::parse("tabel").unwrap_err().suggestion.as_deref(), Some("table"));
    }
}
