//! Compiles a rule that adds columns, and a rule whose table does not exist yet.

use std::sync::Arc;

use super::{Column, Columns, Compilation, Others, Path, RowEncoder, Step, Unmapped, is_supported, same_name};
use crate::mapping::growth::{COLUMNS_MAX, Growth, NewColumn};
use crate::rule::DeclaredType;
use crate::schema::Dialect;

impl<R: RowEncoder> Compilation<'_, R> {
    /// Whether fields become columns.
    pub(super) fn may_grow(&self) -> bool {
        self.rule.unmapped == Unmapped::Add || self.schema.is_absent()
    }

    /// The table is made of another rule's first payload.
    pub(super) fn not_there(&mut self) {
        let why = "the table is not there, and a rule with `columns: auto` makes it of its first payload: say `create: true` in \
                   this rule as well, so that the table has its columns";
        self.fault(why.to_owned(), None);
    }

    /// Beside the columns that the rule names: those that fields became take them again.
    pub(super) fn beside_named(&mut self) {
        let paths = if self.rule.for_each.is_empty() { &self.paths } else { &self.item_paths };
        let first_key = |path: &Path| match path {
            Path::Steps(steps) => match steps.first() {
                Some(Step::Key(key)) => Some(key.clone()),
                _ => None,
            },
            Path::Folded(_) => None,
        };
        // What goes to a column already does not go to another.
        let taken: Vec<String> = paths.iter().filter_map(first_key).collect();
        let schema = self.schema;
        for (index, live) in schema.columns.iter().enumerate() {
            let is_filled = self.columns.iter().any(|(filled, _)| *filled == index);
            let is_taken = taken.iter().any(|key| same_name::<R::Dialect>(&live.name, key));
            if !is_filled && !is_taken && !live.generated && is_supported(&live.column_type) {
                self.auto_column(None, index);
            }
        }
    }

    /// Columns of keys and indexes, which the payload must tell that makes the table.
    fn needed(&self) -> Box<[(Arc<str>, &'static str)]> {
        let create = self.rule.create.as_deref();
        let others = self.schema.is_absent().then_some(&self.schema.primary_key).into_iter().flatten();
        let of_key = self.rule.mode.key().unwrap_or_default().iter().map(|name| (name, "the rule's key"));
        let of_primary = create.into_iter().flat_map(|create| &create.primary_key);
        let of_indexes = create.into_iter().flat_map(|create| create.indexes.iter().flatten());
        of_key
            .chain(of_primary.map(|name| (name, "the table's primary key")))
            .chain(of_indexes.map(|name| (name, "an index of the table")))
            .map(|(name, what)| (Arc::clone(name), what))
            // What other rules say that make the table with this one.
            .chain(others.map(|name| (Arc::from(name.as_str()), "the table's primary key or of an index")))
            .collect()
    }

    /// What becomes of fields that no column takes, if that is said.
    pub(super) fn others(&mut self) -> Option<Others> {
        if !self.may_grow() {
            return match self.rule.unmapped {
                Unmapped::Error => Some(Others::Refuse(self.rest())),
                _ => self.has_rivals().then(|| Others::Watch(self.rest())),
            };
        }
        let schema = self.schema;
        let extra = match &self.rule.unmapped {
            Unmapped::Column(name) => Some(NewColumn { name: name.as_str().into(), declared: DeclaredType::Json }),
            _ => None,
        };
        Some(Others::Add(Growth {
            rest: self.rest(),
            is_absent: schema.is_absent(),
            closed: self.closed(),
            room: COLUMNS_MAX.saturating_sub(schema.columns.len()),
            extra,
            needed: self.needed(),
            folds_case: R::Dialect::NAMES_FOLD_CASE,
            reserved: match schema.is_absent() {
                true => R::Dialect::RESERVED_COLUMNS,
                false => R::Dialect::UNADDABLE_COLUMNS,
            },
        }))
    }

    /// Whether `columns: auto` fills columns whose names differ only in case.
    fn has_rivals(&self) -> bool {
        let mut names: Vec<String> = match self.rule.columns {
            Columns::Auto => self.columns.iter().map(|(_, column)| column.name.to_ascii_lowercase()).collect(),
            Columns::Named(_) => return false,
        };
        names.sort_unstable();
        names.windows(2).any(|pair| pair[0] == pair[1])
    }

    /// The table's columns, each with why a field that no column takes cannot go to it.
    fn closed(&self) -> Box<[(String, &'static str)]> {
        let why = |(index, live): (usize, &Column)| {
            let is_filled = self.columns.iter().any(|(filled, _)| *filled == index);
            let why = match () {
                () if is_filled => {
                    "the rule fills the column of this name from another source, which the field must not overwrite; name the \
                     field in `columns` as the source of a column with another name"
                }
                () if live.generated => "the table has a column of this name, but the database generates it",
                () if !is_supported(&live.column_type) => {
                    "the table has a column of this name, but of a type that Rowbridge does not write"
                }
                () => {
                    "the table has a column of this name, which the rule leaves out because it takes a field of this name for \
                     another column"
                }
            };
            (live.name.clone(), why)
        };
        self.schema.columns.iter().enumerate().map(why).collect()
    }
}
