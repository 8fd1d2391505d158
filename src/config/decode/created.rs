//! Rules that create the same table must agree on it, because the user does not choose which of them comes first.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::create;
use super::table::Table;
use super::value::Value;
use crate::config::report::nearest;
use crate::config::{Columns, Database, DatabaseUrl, Rule};
use crate::rule::{DeclaredType, TableName};

/// The tables that rules make.
#[derive(Default)]
pub(super) struct Created<'v>(HashMap<(usize, TableName), Made<'v>>);

/// A table by the rules that make it.
#[derive(Default)]
struct Made<'v> {
    types: HashMap<Arc<str>, DeclaredType>,
    /// The columns that these rules name.
    columns: BTreeSet<Arc<str>>,
    folds_case: bool,
    parts: Vec<Part<'v>>,
}

/// One of these rules, and where it says what.
struct Part<'v> {
    name: Arc<str>,
    columns: Columns,
    /// Each message names its table, which this rule makes alone.
    is_alone: bool,
    /// What `create` says of the primary key.
    declared: Vec<Arc<str>>,
    /// What `key` says, where rows go by a key.
    key: Vec<Arc<str>>,
    create: Value<'v>,
    key_value: Option<Value<'v>>,
}

impl Part<'_> {
    /// The primary key that it wants; empty: any.
    fn wanted(&self) -> &[Arc<str>] {
        if self.declared.is_empty() { &self.key } else { &self.declared }
    }
}

impl<'v> Created<'v> {
    pub(super) fn add(&mut self, rule: &Rule, table: &Table<'v>, databases: &[Database]) {
        let Some((asked, create)) = rule.create.as_ref().zip(table.get("create")) else { return };
        let made = self.0.entry((rule.database, rule.table.clone())).or_default();
        made.folds_case = matches!(databases[rule.database].url, DatabaseUrl::Sqlite(_));
        made.add_columns(rule, table);
        made.parts.push(Part {
            name: Arc::clone(&rule.name),
            columns: rule.columns.clone(),
            is_alone: rule.routing.is_some(),
            declared: asked.primary_key.clone(),
            key: rule.mode.key().unwrap_or_default().to_vec(),
            create,
            key_value: table.get("key"),
        });
    }

    /// Once all rules are there.
    pub(super) fn check(&self) {
        for ((_, table), made) in &self.0 {
            made.check(table);
        }
    }
}

impl Made<'_> {
    fn add_columns(&mut self, rule: &Rule, table: &Table<'_>) {
        let Columns::Named(columns) = &rule.columns else { return };
        for column in columns.iter() {
            self.columns.insert(Arc::clone(&column.name));
            let Some(ours) = column.create_type(&rule.format, &rule.shaping) else { continue };
            let theirs = self.types.entry(Arc::clone(&column.name)).or_insert_with(|| ours.clone());
            if *theirs == ours {
                continue;
            }
            let mut values = table.get("columns").and_then(|value| value.entries()).into_iter().flatten();
            if let Some((_, value)) = values.find(|(name, _)| *name == &*column.name) {
                let problem =
                    format!("another rule creates this column of `{}` as {theirs}, this one as {ours}", rule.table);
                value.refuse(problem, "one type, with `type` where needed");
            }
        }
    }

    fn check(&self, table: &TableName) {
        let together = || self.parts.iter().filter(|part| !part.is_alone && !part.wanted().is_empty());
        let first = together().find(|part| !part.declared.is_empty()).or_else(|| together().next());
        for part in &self.parts {
            let primary_key = within(&part.create, "primary_key");
            if let Some(value) = &primary_key
                && !(part.declared.is_empty() || part.key.is_empty() || self.are_equal(&part.declared, &part.key))
            {
                let problem = format!("`key` tells the rule's rows apart by ({})", part.key.join(", "));
                value.refuse(problem, "the same columns here, or nothing: `key` becomes the primary key");
            }
            if let Some(first) = first.filter(|first| !part.is_alone && !std::ptr::eq(*first, part)) {
                self.compare(table, first, part);
            }
            // Every row has a value in the primary key; in an index, what another rule fills will do.
            let is_named = matches!(part.columns, Columns::Named(_));
            if let Some(value) = primary_key {
                self.check_columns(part, &value, part.is_alone || is_named);
            }
            if let Some(value) = within(&part.create, "indexes") {
                self.check_columns(part, &value, part.is_alone);
            }
        }
    }

    /// A rule against the one whose primary key the table gets.
    fn compare(&self, table: &TableName, first: &Part<'_>, part: &Part<'_>) {
        let (theirs, ours) = (first.wanted(), part.wanted());
        let made = format!("rule `{}` makes `{table}` with the primary key ({})", first.name, theirs.join(", "));
        if !ours.is_empty() {
            // What `key` says has no order.
            let has_order = !first.declared.is_empty() && !part.declared.is_empty();
            let is_same = self.are_equal(theirs, ours)
                && (!has_order || theirs.iter().zip(ours).all(|(theirs, ours)| self.is_same(theirs, ours)));
            let value = within(&part.create, "primary_key").filter(|_| !part.declared.is_empty());
            if let (false, Some(value)) = (is_same, value.as_ref().or(part.key_value.as_ref())) {
                value.refuse(made, "one primary key for all rules that make the table");
            }
            return;
        }
        let Columns::Named(columns) = &part.columns else { return };
        let is_filled = |name: &str| columns.iter().any(|column| self.is_same(&column.name, name));
        if let Some(missing) = theirs.iter().find(|name| !is_filled(name)) {
            let problem = format!("{made}, and this rule does not fill `{missing}`");
            part.create.refuse(problem, format!("a column `{missing}`, or another table"));
        }
    }

    /// That columns of a key or of indexes are the table's: of those that the rule fills, or that any of the rules does.
    fn check_columns(&self, part: &Part<'_>, value: &Value<'_>, is_of_one: bool) {
        let names: Vec<&str> = match (&part.columns, is_of_one) {
            (Columns::Named(columns), true) => columns.iter().map(|column| &*column.name).collect(),
            (Columns::Auto, true) => Vec::new(),
            (_, false) => self.columns.iter().map(AsRef::as_ref).collect(),
        };
        // Without any, the first payload tells them.
        if names.is_empty() {
            return;
        }
        for (name, value) in value.list().flat_map(|value| value.texts()) {
            if create::is_name(&name) && !names.iter().any(|known| self.is_same(known, &name)) {
                let problem = format!("found {}, a column that the rule does not fill", value.shown());
                value.refuse_with(problem, Some(names.join(", ")), nearest(&name, names.iter().copied()));
            }
        }
    }

    fn are_equal(&self, one: &[Arc<str>], other: &[Arc<str>]) -> bool {
        one.len() == other.len() && one.iter().all(|a| other.iter().any(|b| self.is_same(a, b)))
    }

    fn is_same(&self, one: &str, other: &str) -> bool {
        create::is_same(one, other, self.folds_case)
    }
}

/// The value of a key of `create`, if `create` is a mapping.
fn within<'v>(create: &Value<'v>, key: &str) -> Option<Value<'v>> {
    create.entries()?.find(|(name, _)| *name == key).map(|(_, value)| value).filter(|value| !value.is_null())
}
