//! Whether a rule writes into the table of a publication.

use super::topics::{Part, meet};
use crate::config::{Database, DatabaseUrl, Mode, Publication, Retained, Rule};
use crate::rule::{Naming, Piece, Routing, TableName, TablePattern};

/// How a rule comes to write into a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Intake {
    /// It is the rule's table.
    Table,
    /// Messages name the rule's table.
    Named,
    /// The rule's statement has the table's name in it.
    Statement,
}

/// What the names of tables mean in a database.
pub(super) struct Home<'d> {
    pub(super) database: &'d str,
    /// Of tables without one.
    pub(super) schema: &'d str,
    is_sqlite: bool,
}

impl Home<'_> {
    pub(super) fn of(database: &Database) -> Home<'_> {
        let (schema, is_sqlite) = match &database.url {
            DatabaseUrl::Sqlite(_) => ("main", true),
            DatabaseUrl::Postgres(url) => (url.schema.as_str(), false),
        };
        Home { database: &database.name, schema, is_sqlite }
    }

    /// As two names of one table are equal: to SQLite, names in either case are the same.
    fn folded(&self, text: &str) -> String {
        if self.is_sqlite { text.to_lowercase() } else { text.to_owned() }
    }

    fn qualified(&self, table: &TableName) -> (String, String) {
        (self.folded(table.schema.as_deref().unwrap_or(self.schema)), self.folded(&table.name))
    }

    /// Whether the table of both is the same.
    pub(super) fn is_same(&self, rule: &Rule, publication: &Publication) -> bool {
        let is_fixed = rule.routing.is_none() && rule.statement.is_none();
        is_fixed && self.qualified(&rule.table) == self.qualified(&publication.table)
    }

    /// Whether a message may name the table.
    fn may_name(&self, routing: &Routing, table: &TableName) -> bool {
        let (schema, name) = self.qualified(table);
        if routing.aliases.values().any(|alias| self.qualified(alias) == (schema.clone(), name.clone())) {
            return true;
        }
        let bare = (schema == self.folded(self.schema)).then(|| TableName { schema: None, name: name.clone() });
        let forms = bare.into_iter().chain([TableName { schema: Some(schema), name }]);
        let is_allowed = |form: &TableName| {
            let fits = |pattern: &TablePattern| TablePattern::new(&self.folded(pattern.as_str())).fits(form);
            routing.allowed.is_empty() || routing.allowed.iter().any(fits)
        };
        let parts = match &routing.naming {
            Naming::Convention(_) => vec![Part::Any],
            Naming::Template(template) => {
                let part = |piece: &Piece| match piece {
                    Piece::Text(text) => Part::text(&self.folded(text)),
                    Piece::Source(_) => vec![Part::Any],
                };
                template.pieces().iter().flat_map(part).collect()
            }
        };
        forms.filter(is_allowed).any(|form| meet(&parts, &Part::text(&form.to_string())))
    }
}

/// How a rule comes to write rows into the table of a publication, of events that it publishes; and whether each message
/// that the rule takes does so. `None` if none does.
pub(super) fn intake(rule: &Rule, publication: &Publication, home: &Home<'_>) -> Option<(Intake, bool)> {
    if rule.database != publication.database {
        return None;
    }
    if let Some(statement) = &rule.statement {
        return has_word(statement.text(), &publication.table.name).then_some((Intake::Statement, false));
    }
    let events = publication.events;
    let (may_publish, publishes) = match rule.mode {
        Mode::Insert => (events.insert, events.insert),
        // A row whose key is there already changes nothing.
        Mode::Ignore { .. } => (events.insert, false),
        // After the first time around the row is there.
        Mode::Upsert { .. } => (events.insert || events.update, events.update),
    };
    if !may_publish {
        return None;
    }
    if let Some(routing) = &rule.routing {
        return home.may_name(routing, &publication.table).then_some((Intake::Named, false));
    }
    let writes_all = rule.chooser.is_none()
        && !rule.shaping.has_programs()
        && rule.for_each.is_empty()
        && rule.retained != Retained::Changed;
    home.is_same(rule, publication).then_some((Intake::Table, publishes && writes_all))
}

/// Whether SQL has the name in it as a word, in either case, and not as a bind.
fn has_word(sql: &str, name: &str) -> bool {
    let (sql, name) = (sql.to_lowercase(), name.to_lowercase());
    let is_part = |c: char| c == '_' || c == '$' || c.is_alphanumeric();
    sql.match_indices(&name).any(|(at, _)| {
        let (before, after) = (&sql[..at], &sql[at + name.len()..]);
        let is_bind = before.ends_with(':') && !before.ends_with("::");
        !is_bind && !before.ends_with(is_part) && !after.starts_with(is_part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_has_a_name_in_it_as_a_word() {
        for (sql, expected) in [
            ("insert into u(a) values (:a)", true),
            ("INSERT INTO \"U\" VALUES (:a)", true),
            ("insert into public.u values (:a)", true),
            ("update x set a = :a from u", true),
            ("insert into users values (:u)", false),
            ("insert into x_u values (:a)", false),
            ("insert into x values (:u)", false),
            ("select :a::u", true),
        ] {
            assert_eq!(has_word(sql, "u"), expected, "{sql}");
        }
        assert!(has_word("insert into \"we ird\" values (:a)", "we ird"));
    }
}
