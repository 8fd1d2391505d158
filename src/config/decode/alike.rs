//! Equal columns of several rules are kept once: ten thousand rules are mostly alike, so their common columns are
//! compiled once and stay in the processor's cache.

use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::config::Column;
use crate::jq::{JqError, Program};
use crate::rule::ColumnSource;

/// The columns and lists of columns seen so far.
#[derive(Default)]
pub(super) struct Alike {
    columns: HashSet<ByContent>,
    /// By the addresses of the columns, each of which is kept in `columns`.
    lists: HashMap<Vec<*const Column>, Arc<[Arc<Column>]>>,
    /// By their text.
    programs: HashMap<String, Arc<Program>>,
}

impl Alike {
    /// The list, or an equal one from before.
    pub(super) fn list(&mut self, columns: Vec<Column>) -> Arc<[Arc<Column>]> {
        let columns: Vec<Arc<Column>> = columns.into_iter().map(|column| self.column(column)).collect();
        let addresses = columns.iter().map(Arc::as_ptr).collect();
        Arc::clone(self.lists.entry(addresses).or_insert_with(|| columns.into()))
    }

    /// The program of a text, compiled once.
    pub(super) fn program(&mut self, text: &str) -> Result<Arc<Program>, JqError> {
        if let Some(known) = self.programs.get(text) {
            return Ok(Arc::clone(known));
        }
        let program = Arc::new(Program::parse(text)?);
        self.programs.insert(text.to_owned(), Arc::clone(&program));
        Ok(program)
    }

    fn column(&mut self, column: Column) -> Arc<Column> {
        let column = ByContent(Arc::new(column));
        if let Some(known) = self.columns.get(&column) {
            return Arc::clone(&known.0);
        }
        let kept = Arc::clone(&column.0);
        self.columns.insert(column);
        kept
    }
}

/// Equal only to a column that nothing can tell from it.
struct ByContent(Arc<Column>);

impl ByContent {
    /// Literals as text: as values `0.0` and `-0.0` are equal.
    fn literals(&self) -> [Option<String>; 2] {
        let value = match &self.0.source {
            ColumnSource::Value(literal) => Some(literal.to_string()),
            _ => None,
        };
        [value, self.0.default.as_ref().map(ToString::to_string)]
    }
}

impl PartialEq for ByContent {
    fn eq(&self, other: &ByContent) -> bool {
        // Named one by one, so that a new field is not forgotten.
        let Column { name, source, declared, adjust, time, tz, default, required, on_error } = &*self.0;
        let other_column = &*other.0;
        *name == other_column.name
            && *source == other_column.source
            && *declared == other_column.declared
            && *adjust == other_column.adjust
            && *time == other_column.time
            && *tz == other_column.tz
            && *default == other_column.default
            && *required == other_column.required
            && *on_error == other_column.on_error
            && self.literals() == other.literals()
    }
}

impl Eq for ByContent {}

impl Hash for ByContent {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.name.hash(state);
        self.0.declared.hash(state);
        self.0.adjust.hash(state);
        self.0.time.hash(state);
        self.0.required.hash(state);
        match &self.0.source {
            ColumnSource::Value(literal) => literal.to_string().hash(state),
            ColumnSource::Jq(program) => program.hash(state),
            other => other.sources().for_each(|source| source.hash(state)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Source;

    fn column(value: serde_json::Value) -> Column {
        Column {
            name: "c".into(),
            source: ColumnSource::Value(value),
            declared: None,
            adjust: None,
            time: None,
            tz: None,
            default: None,
            required: false,
            on_error: None,
        }
    }

    fn sources(sources: &[Source]) -> Column {
        Column { source: ColumnSource::FirstOf(sources.to_vec()), ..column(0.0.into()) }
    }

    #[test]
    fn equal_columns_and_lists_are_kept_once() {
        let mut alike = Alike::default();
        let first = alike.list(vec![column(1.into()), column(2.into())]);
        let same = alike.list(vec![column(1.into()), column(2.into())]);
        let other = alike.list(vec![column(1.into()), column(3.into())]);
        assert!(Arc::ptr_eq(&first, &same) && !Arc::ptr_eq(&first, &other));
        assert!(Arc::ptr_eq(&first[0], &other[0]) && !Arc::ptr_eq(&first[1], &other[1]));
    }

    #[test]
    fn what_a_database_could_tell_apart_is_not_shared() {
        let mut alike = Alike::default();
        let plain = alike.list(vec![column(0.0.into())]);
        let options = [
            column((-0.0).into()),
            column(0.into()),
            Column { default: Some(1.into()), ..column(0.0.into()) },
            Column { on_error: Some(crate::config::OnError::Drop), ..column(0.0.into()) },
            Column { tz: Some(jiff::tz::TimeZone::UTC), ..column(0.0.into()) },
            sources(&[Source::Qos, Source::Dup]),
            sources(&[Source::Dup, Source::Qos]),
        ];
        let mut seen = vec![plain];
        for option in options {
            let list = alike.list(vec![option.clone()]);
            assert!(seen.iter().all(|other| !Arc::ptr_eq(&other[0], &list[0])), "{option:?}");
            seen.push(list);
        }
    }
}
