//! The last step: from the compiled columns to the plan. The payload paths of all columns become one tree, and the
//! payload is parsed in the simplest form that the rule allows.

use std::sync::Arc;

use super::{Compilation, Compiled, place};
use crate::batch::{RowEncoder, Verb};
use crate::config::{Column, Columns, ForEach, Format, Mode, Rule, Unmapped};
use crate::mapping::outcome::CompileFault;
use crate::mapping::payload::{Embedded, PathTree, Scalars, TabularSlots};
use crate::mapping::plan::{Feed, Lack, PayloadForm, Plan, PlanColumn};
use crate::mapping::programs::{Names, Programs};
use crate::mapping::rest::{Others, Rest};
use crate::mapping::shaping::Wanted;
use crate::mapping::sharing::Parts;
use crate::mapping::stages::{Form, Level, Stages, Tabular};
use crate::rule::{ColumnSource, Root, Source};
use crate::schema::ColumnType;

impl<R: RowEncoder> Compilation<'_, R> {
    pub(super) fn finish(mut self, parts: &mut Parts) -> Result<Compiled, Vec<CompileFault>> {
        if self.columns.is_empty() && self.faults.is_empty() && !self.may_grow() {
            self.fault("the rule fills no column".to_owned(), None);
        }
        if !self.faults.is_empty() {
            return Err(self.faults);
        }
        self.columns.sort_by_key(|(index, _)| *index);
        let (loses_nothing, is_convention) = (self.loses_nothing(), self.rule.times.is_some());
        let mut others = self.others();
        let indexes = self.columns.iter().map(|(index, _)| *index).collect();
        let mut columns: Vec<PlanColumn> = self.columns.into_iter().map(|(_, column)| column).collect();
        let levels = match &self.rule.for_each {
            ForEach::Paths(paths) => &paths[..],
            ForEach::Auto => &[],
        };
        let tabular = (self.rule.for_each == ForEach::Auto)
            .then(|| TabularSlots::place(&mut self.paths, loses_nothing, is_convention));
        let mut level_slots = Vec::new();
        for (depth, level) in levels.iter().enumerate() {
            let (paths, steps) = match level {
                Source::Payload(steps) => (&mut self.paths, steps),
                Source::Item(steps) if depth > 0 => (&mut self.parent_paths, steps),
                _ => unreachable!("a valid configuration goes over the payload, then over its elements"),
            };
            level_slots.push(place(paths, steps)[0]);
        }
        let shaping = &self.rule.shaping;
        let is_shaped = shaping.has_programs() || !self.programs.is_empty();
        let reads_payload = !self.rule.for_each.is_empty()
            || is_shaped
            || others.is_some()
            || matches!(self.rule.format, Format::Decoded(_))
            || columns.iter().any(|column| column.feed.parts().iter().any(Feed::takes_payload));
        let wanted = Wanted::place(self.rule, is_shaped, &mut self.paths);
        let (tree, payload_slots) = PathTree::compile(&self.paths);
        let (outputs, output_slots) = wanted.outputs();
        let slots = if shaping.transform.is_some() { output_slots } else { payload_slots.clone() };
        let (item_tree, item_slots) = PathTree::compile(&self.item_paths);
        let (parent_tree, parent_slots) = PathTree::compile(&self.parent_paths);
        let complete = |rest: &mut Rest| {
            let (tree, slots, paths) = match (rest.is_item, &shaping.transform) {
                (true, _) => (&item_tree, &item_slots, &self.item_paths[..]),
                (false, Some(_)) => (&outputs, &slots, wanted.output_paths()),
                (false, None) => (&tree, &slots, wanted.read(&self.paths)),
            };
            rest.complete(tree, slots, paths);
        };
        others.iter_mut().for_each(|others| complete(others.rest_mut()));
        for feed in columns.iter_mut().flat_map(|column| column.feed.parts_mut()) {
            let (paths, slots) = match feed {
                Feed::Json(paths) => (paths, &slots),
                Feed::Item(paths) => (paths, &item_slots),
                Feed::Parent(paths) => (paths, &parent_slots),
                Feed::Rest(rest) => {
                    complete(rest);
                    continue;
                }
                _ => continue,
            };
            paths.iter_mut().for_each(|path| *path = slots[*path]);
        }
        let positions = self.positions.take().map(|positions| {
            let slots = if self.rule.for_each.is_empty() { &slots } else { &item_slots };
            Box::new(positions.compiled(slots))
        });
        let payload = match &self.rule.format {
            _ if !reads_payload => PayloadForm::Unread,
            Format::Text if !is_shaped => PayloadForm::Text,
            Format::Bytes if !is_shaped => PayloadForm::Bytes,
            Format::Json if self.rule.for_each.is_empty() && !is_shaped && shaping.roots.is_empty() => {
                PayloadForm::Json(parts.tree(tree))
            }
            format => {
                let (tabular, mut trees) = match (tabular, levels.len()) {
                    (Some(at), _) => {
                        let slots = at.compiled(&slots);
                        (Some(Tabular { slots, tree: parts.tree(item_tree) }), Vec::new())
                    }
                    (None, 0) => (None, Vec::new()),
                    (None, 1) => (None, vec![item_tree]),
                    (None, _) => (None, vec![parent_tree, item_tree]),
                };
                let slots = [&slots, &parent_slots];
                let level = |(depth, tree): (usize, PathTree)| Level {
                    slot: slots[depth][level_slots[depth]],
                    path: levels[depth].to_string().into(),
                    embedded: embedded(&shaping.roots, levels.len() - depth),
                    tree: parts.tree(tree),
                };
                let levels = trees.drain(..).enumerate().map(level).collect();
                let form = match format {
                    Format::Json => Form::Json,
                    Format::Text => Form::Text,
                    Format::Bytes => Form::Bytes,
                    Format::Decoded(decoding) => Form::Decoded(Arc::clone(decoding)),
                };
                let rows_max = self.rule.rows_max;
                let is_plain = self.rule.for_each.is_empty()
                    && !is_shaped
                    && others.is_none()
                    && self.rule.shaping.roots.is_empty()
                    && columns.iter().all(takes_plain);
                let scalars = match is_plain {
                    true => Scalars::Plain(double_slots(&columns, tree.slot_count())),
                    false => Scalars::Json,
                };
                let shaping = wanted.shaping(self.bridge, self.rule, outputs, &payload_slots, parts);
                PayloadForm::Staged(Box::new(Stages {
                    form,
                    tree: parts.tree(tree),
                    scalars,
                    embedded: embedded(&self.rule.shaping.roots, 0),
                    shaping,
                    levels,
                    tabular,
                    rows_max,
                }))
            }
        };
        let has_fields = match &payload {
            PayloadForm::Json(_) => true,
            PayloadForm::Staged(stages) => self.rule.has_fields() || !matches!(stages.form, Form::Text | Form::Bytes),
            _ => false,
        };
        let programs = (!self.programs.is_empty()).then(|| {
            let names = Arc::new(Names::of(self.bridge, self.rule));
            Box::new(Programs { columns: self.programs.into(), names })
        });
        let can_be_left_out =
            |column: &PlanColumn| matches!(column.missing, Lack::LeaveOut) && !matches!(column.feed, Feed::Constant(_));
        let omissible = (0..columns.len()).filter(|position| can_be_left_out(&columns[*position])).collect();
        let plan = Plan {
            omissible,
            programs,
            on_error: self.rule.on_error,
            payload,
            auto: matches!(self.rule.columns, Columns::Auto),
            needs_field: has_fields && self.needs_field,
            wants_object: wants_object(self.rule, others.as_ref()),
            rest_slot: rest_slot(&columns, others.as_ref()),
            positions,
            others: others.map(Box::new),
            columns: columns.into_iter().map(|column| parts.column(column)).collect(),
        };
        let verb = match (&self.rule.statement, &self.rule.mode) {
            (Some(statement), _) => Verb::Statement(Arc::clone(statement)),
            (None, Mode::Insert) => Verb::Insert,
            (None, Mode::Ignore { .. }) => Verb::Ignore(self.key.into()),
            (None, Mode::Upsert { .. }) => Verb::Upsert(self.key.into()),
        };
        Ok((plan, indexes, verb))
    }
}

/// Whether fields are only kept, refused or added by `unmapped`, and no column of the rule has anything else of the payload.
fn wants_object(rule: &Rule, others: Option<&Others>) -> bool {
    let Columns::Named(own) = &rule.columns else { return false };
    let is_payload = |source: &Source| {
        matches!(
            source,
            Source::Payload(_)
                | Source::Item(_)
                | Source::Parent(_)
                | Source::Index
                | Source::Key
                | Source::ParentIndex
                | Source::ParentKey
        )
    };
    let takes_payload = |column: &Arc<Column>| match &column.source {
        ColumnSource::From(source) => is_payload(source),
        ColumnSource::FirstOf(sources) => sources.iter().any(is_payload),
        ColumnSource::Template(template) => template.sources().any(is_payload),
        ColumnSource::Jq(_) => true,
        ColumnSource::Value(_) => false,
    };
    let keeps = |column: &Arc<Column>| {
        matches!(column.source, ColumnSource::From(Source::Unmapped)) && column.default.is_none()
    };
    let concerns = matches!(others, Some(Others::Refuse(_) | Others::Add(_)))
        || matches!(rule.unmapped, Unmapped::Column(_))
        || own.iter().any(keeps);
    concerns && !own.iter().any(takes_payload)
}

/// The slot of the object whose other fields a column takes, or nobody may have, unless a column takes the whole of it.
fn rest_slot(columns: &[PlanColumn], others: Option<&Others>) -> Option<usize> {
    let mut feeds = columns.iter().flat_map(|column| column.feed.parts());
    let of_column = feeds.clone().find_map(|feed| match feed {
        Feed::Rest(rest) => Some(rest),
        _ => None,
    });
    let rest = of_column.or(match others {
        Some(Others::Refuse(rest) | Others::Watch(rest)) => Some(rest),
        _ => None,
    })?;
    // Slots of the element and of the payload around it are numbered apart.
    let takes_all = |feed: &Feed| match feed {
        Feed::Json(slots) => !rest.is_item && slots.contains(&rest.slot),
        Feed::Item(slots) => rest.is_item && slots.contains(&rest.slot),
        _ => false,
    };
    (!feeds.any(takes_all)).then_some(rest.slot)
}

/// Whether a column's values are the same from JSON and from [`Scalars::Plain`]. A JSON column keeps what is written.
fn takes_plain(column: &PlanColumn) -> bool {
    let is_json = matches!(column.column_type, ColumnType::Json | ColumnType::Jsonb | ColumnType::JsonText);
    let is_array = matches!(column.column_type, ColumnType::Array(..));
    !is_json && !is_array && !column.feed.parts().iter().any(|feed| matches!(feed, Feed::Rest(_)))
}

/// By slot: whether doubles, and nothing else, are made of its values.
fn double_slots(columns: &[PlanColumn], slot_count: usize) -> Box<[bool]> {
    let mut doubles = vec![false; slot_count];
    let is_double = |column: &&PlanColumn| {
        column.adjust.is_none() && column.column_type == ColumnType::Float8 && matches!(column.feed, Feed::Json(_))
    };
    let slots = |column: &PlanColumn| {
        let of_feed = |feed: &Feed| match feed {
            Feed::Json(slots) => slots.to_vec(),
            _ => Vec::new(),
        };
        column.feed.parts().iter().flat_map(of_feed).collect::<Vec<_>>()
    };
    columns.iter().filter(is_double).flat_map(slots).for_each(|slot| doubles[slot] = true);
    columns.iter().filter(|column| !is_double(column)).flat_map(slots).for_each(|slot| doubles[slot] = false);
    doubles.into()
}

/// Those of the payload (0), of elements (1), or of elements that have elements (2).
fn embedded(roots: &[Root], level: usize) -> Option<Box<Embedded>> {
    let of_level = roots.iter().filter_map(|root| match (&root.source, level) {
        (Source::Payload(steps), 0) | (Source::Item(steps), 1) | (Source::Parent(steps), 2) => Some((&steps[..], root)),
        _ => None,
    });
    Embedded::compile(&of_level.collect::<Vec<_>>())
}
