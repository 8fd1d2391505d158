//! `columns: auto`: a column of the plan for each writable column of the table. Fields are matched by name, elements of
//! arrays by position. Under rules that may lose no value, the length of an array is compared with the number of
//! columns.

use super::{Compilation, holds_times, is_supported, place, same_name};
use crate::batch::RowEncoder;
use crate::config::{self, Mode, Unmapped};
use crate::mapping::payload::Path;
use crate::mapping::plan::{Feed, Lack, PlanColumn, Positions};
use crate::rule::{ColumnSource, Source, Step};

impl<R: RowEncoder> Compilation<'_, R> {
    pub(super) fn auto(&mut self) {
        if !self.rule.has_fields() {
            return self.fault("`columns: auto` reads the fields of JSON payloads; name the columns".to_owned(), None);
        }
        let schema = self.schema;
        let chosen: Vec<usize> = (0..schema.columns.len()).filter(|index| !schema.columns[*index].generated).collect();
        // Passed over, it would shift those behind it in an array.
        for live in chosen.iter().map(|index| &schema.columns[*index]).filter(|live| !is_supported(&live.column_type)) {
            self.unsupported(live, "name the rule's columns without it");
        }
        if !self.faults.is_empty() {
            return;
        }
        if chosen.is_empty() && !self.may_grow() {
            return self.fault("the table has no column that `columns: auto` could fill".to_owned(), None);
        }
        self.needs_field |= !chosen.is_empty();
        if self.loses_nothing() && !chosen.is_empty() {
            self.positions = Some(self.positions(&chosen));
        }
        for (position, index) in chosen.into_iter().enumerate() {
            self.auto_column(Some(position), index);
        }
    }

    /// A column that takes the field of its name, and of an array the element at that position.
    pub(super) fn auto_column(&mut self, position: Option<usize>, index: usize) {
        if matches!(&self.rule.unmapped, Unmapped::Column(name) if same_name::<R::Dialect>(&self.schema.columns[index].name, name))
        {
            return self.rest_column(position, index);
        }
        let live = &self.schema.columns[index];
        let is_item = !self.rule.for_each.is_empty();
        let paths = if is_item { &mut self.item_paths } else { &mut self.paths };
        let first = paths.len();
        paths.push(Path::Steps(vec![Step::Key(live.name.clone())]));
        paths.push(Path::Folded(live.name.clone()));
        // A table has some thousands of columns at most.
        paths.extend(position.map(|position| Path::Steps(vec![Step::Index(position as i32)])));
        let slots = (first..paths.len()).collect();
        let demands = match &self.rule.times {
            Some(times) if holds_times(&live.column_type) => {
                self.demands(Some(times.format.clone()), Some(times.zone.clone()))
            }
            _ => self.demands(None, None),
        };
        let (mut missing, null) = self.lacks(None, false, index);
        // What neither the rule nor the message names keeps its value in a row that is there already.
        if matches!(missing, Lack::Write(_)) && matches!(self.rule.mode, Mode::Upsert { .. }) {
            missing = Lack::LeaveOut;
        }
        let compiled = PlanColumn {
            name: live.name.as_str().into(),
            type_name: live.type_name.as_str().into(),
            column_type: live.column_type.clone(),
            demands,
            adjust: None,
            feed: if is_item { Feed::Item(slots) } else { Feed::Json(slots) },
            missing,
            null,
            on_error: self.rule.on_error,
        };
        self.columns.push((index, compiled));
    }

    /// The column that takes what no other does, and of an array the element at its position.
    fn rest_column(&mut self, position: Option<usize>, index: usize) {
        self.named(&config::Column::of(&self.schema.columns[index].name, ColumnSource::From(Source::Unmapped)));
        let paths = if self.rule.for_each.is_empty() { &mut self.paths } else { &mut self.item_paths };
        if let (Some(position), Some((_, PlanColumn { feed: Feed::Rest(rest), .. }))) =
            (position, self.columns.last_mut())
        {
            rest.at = Some(place(paths, &[Step::Index(position as i32)])[0]);
        }
    }

    /// Whether a value that no column takes is a fault, or goes somewhere else.
    pub(super) fn loses_nothing(&self) -> bool {
        self.rule.unmapped != Unmapped::Ignore || self.rule.times.is_some()
    }

    /// Where the values of an array for these columns of the table show that they are too many or too few.
    fn positions(&mut self, chosen: &[usize]) -> Positions {
        let is_needed = |index: &usize| !self.schema.columns[*index].has_default;
        let needs_all = self.rule.times.as_ref().is_some_and(|times| times.needs_all_columns);
        let last_needed = chosen.iter().rposition(is_needed).filter(|_| needs_all);
        let paths = if self.rule.for_each.is_empty() { &mut self.paths } else { &mut self.item_paths };
        let mut value = |position: usize| place(paths, &[Step::Index(position as i32)])[0];
        Positions {
            first: value(0),
            last_needed: last_needed.map(&mut value),
            surplus: value(chosen.len()),
            column_count: chosen.len(),
        }
    }
}
