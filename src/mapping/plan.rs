//! A rule compiled for its live table: everything that does not depend on a message is decided here.
//!
//! [`Plan::read`] finds the wanted values of a message and the columns that are left to the database. Then
//! [`Reading::encode`] encodes them in the sink's wire format in one pass over the columns, in the table's order.
//! Literals, defaults and NULLs are encoded once, when the rule is compiled. In steady state nothing is allocated,
//! except for arrays and for strings with escapes.

mod column;
mod feed;
mod others;
mod positions;

use std::sync::Arc;

pub(super) use self::column::{Lack, PlanColumn, encode_value};
pub(super) use self::feed::Feed;
pub(super) use self::positions::Positions;
use super::adjust::Nulled;
use super::coerce::Scratch;
use super::outcome::ValueFault;
use super::payload::{Document, PathTree, PayloadFault, Slot, not_utf8, unmarked};
use super::programs::{Computed, Programs, Scope};
use super::rest::{Others, Rest};
use super::route::Match;
use super::stages::{Item, StageMemory, Stages, Stopped};
use super::value::Value;
use crate::batch::RowEncoder;
use crate::config::OnError;
use crate::jq;
use crate::message::Message;
use crate::schema::ColumnType;

/// A rule, ready to map; or several that differ in nothing but their names and topics.
///
/// With thousands of rules the plans, not the messages, are what the processor has to fetch from afar, so a plan is small
/// and what other plans have too is theirs together.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) on_error: OnError,
    pub(super) payload: PayloadForm,
    pub(super) auto: bool,
    /// A payload that has none of the fields that the columns take is refused: not all of them have a `default`.
    pub(super) needs_field: bool,
    /// Nothing but `unmapped` concerns fields.
    pub(super) wants_object: bool,
    /// The slot of the whole object, where only `unmapped` takes it: that it is there is no field.
    pub(super) rest_slot: Option<usize>,
    /// Where an array's values show that they are not as many as the columns.
    pub(super) positions: Option<Box<Positions>>,
    /// In row order.
    pub(super) columns: Box<[Arc<PlanColumn>]>,
    /// What becomes of fields, of a payload or an element, that no column takes, unless that is nothing.
    pub(super) others: Option<Box<Others>>,
    /// Positions in `columns` of those that are left out where the message has no value for them.
    pub(super) omissible: Box<[usize]>,
    /// Of columns; only where the payload is [`PayloadForm::Staged`].
    pub(super) programs: Option<Box<Programs>>,
}

/// How the payload is read.
#[derive(Debug)]
pub(super) enum PayloadForm {
    /// No column asks for it, so it may be anything.
    Unread,
    Json(Arc<PathTree>),
    Text,
    Bytes,
    /// Any number of rows a message.
    Staged(Box<Stages>),
}

/// Memory reused from message to message.
#[derive(Debug, Default)]
pub(super) struct Memory {
    slots: Vec<Slot>,
    /// A payload whose byte order mark says UTF-16.
    decoded: String,
    stages: StageMemory,
    row: RowMemory,
}

impl Memory {
    /// What was stored as NULL since it was asked last.
    #[inline]
    pub(super) fn take_nulled(&mut self) -> Option<Nulled> {
        let nulled = &mut self.row.scratch.nulled;
        if nulled.count == 0 { None } else { Some(std::mem::take(nulled)) }
    }
}

/// What is needed for one row.
#[derive(Debug, Default)]
struct RowMemory {
    left_out: Vec<usize>,
    scratch: Scratch,
    computed: Computed,
}

/// A message under one rule, its payload read.
struct Input<'m> {
    message: &'m Message<'m>,
    matched: &'m Match,
    /// The payload's wanted values; its text is the whole payload under `format: text`.
    document: Document<'m>,
    item: Option<&'m Item<'m>>,
    /// What the columns' programs gave.
    computed: &'m Computed,
}

/// A message whose row can be written.
pub(super) struct Reading<'r> {
    plan: &'r Plan,
    input: Input<'r>,
    left_out: &'r [usize],
    scratch: &'r mut Scratch,
}

/// What a source has for a column.
pub(super) enum Found<'m> {
    Missing,
    Null,
    Value(Value<'m>),
}

impl Plan {
    /// Reads the payload, as far as the columns ask for it.
    pub(super) fn read<'r>(
        &'r self,
        message: &'r Message<'r>,
        matched: &'r Match,
        memory: &'r mut Memory,
    ) -> Result<Reading<'r>, ValueFault> {
        let Memory { slots, row, decoded, .. } = memory;
        let text = match &self.payload {
            PayloadForm::Unread | PayloadForm::Bytes => "",
            PayloadForm::Json(paths) => {
                let payload = self.unmarked(message.payload, decoded)?;
                paths.pick(payload, slots).map_err(|fault| self.parse_fault(fault.0))?
            }
            PayloadForm::Text => {
                let payload = self.unmarked(message.payload, decoded)?;
                std::str::from_utf8(payload).map_err(|error| self.parse_fault(not_utf8(payload, error)))?
            }
            PayloadForm::Staged(_) => unreachable!("`read_rows` reads such payloads"),
        };
        let RowMemory { left_out, scratch, computed } = row;
        let document = Document::of_json(text, slots);
        self.row(Input { message, matched, document, item: None, computed }, left_out, scratch)
    }

    /// Calls `write` with each row of a message whose payload is [`PayloadForm::Staged`], until one is refused; of `only`,
    /// which names a plan for each row, with those of that plan.
    pub(super) fn read_rows(
        &self,
        stages: &Stages,
        message: &Message<'_>,
        matched: &Match,
        memory: &mut Memory,
        only: Option<(&[usize], usize)>,
        write: &mut dyn FnMut(&mut Reading<'_>) -> Result<(), ValueFault>,
    ) -> Result<(), ValueFault> {
        let Memory { stages: stage_memory, row, .. } = memory;
        self.read_inputs(stages, (message, matched), stage_memory, row, only, |input, left_out, scratch| {
            write(&mut self.row(input, left_out, scratch)?)
        })
    }

    /// Calls `each` with what each row of such a message is made of, or each of `only`. The programs of all passes over a
    /// message have their time together.
    #[inline]
    fn read_inputs(
        &self,
        stages: &Stages,
        (message, matched): (&Message<'_>, &Match),
        stage_memory: &mut StageMemory,
        row: &mut RowMemory,
        only: Option<(&[usize], usize)>,
        mut each: impl FnMut(Input<'_>, &mut Vec<usize>, &mut Scratch) -> Result<(), ValueFault>,
    ) -> Result<(), ValueFault> {
        let is_first_pass = only.is_none_or(|(plans, plan)| plans.first() == Some(&plan));
        if is_first_pass && (self.programs.is_some() || stages.shaping.is_some()) {
            jq::begin_message();
        }
        let mut number = 0;
        let stopped = stages.run(message, matched, stage_memory, &mut |document, whole, item| {
            number += 1;
            if only.is_some_and(|(plans, plan)| plans.get(number - 1) != Some(&plan)) {
                return Ok(());
            }
            let RowMemory { left_out, scratch, computed } = &mut *row;
            let mut written = || {
                if let Some(programs) = &self.programs {
                    let scope = Scope { names: &programs.names, message, matched, payload: whole, item };
                    self.compute(programs, &scope, computed)?;
                }
                each(Input { message, matched, document, item, computed }, left_out, scratch)
            };
            written().map_err(|fault| fault.within(&place(document, item)))
        });
        stopped.map_err(|stopped| match stopped {
            Stopped::Row(fault) => fault,
            Stopped::Payload(PayloadFault { reason, message }) => self.fault(reason, message),
            Stopped::Level(reason, message) => self.fault(reason, message),
        })
    }

    /// Looks at what is there for one row.
    #[inline(always)]
    fn row<'r>(
        &'r self,
        input: Input<'r>,
        left_out: &'r mut Vec<usize>,
        scratch: &'r mut Scratch,
    ) -> Result<Reading<'r>, ValueFault> {
        if self.needs_field && self.has_no_field(&input) {
            return Err(self.absence(&input));
        }
        if self.wants_object && self.has_no_object(&input) {
            return Err(self.no_object(&input));
        }
        if let Some(positions) = &self.positions {
            positions.check(input.fields()).map_err(|why| self.fault("value", why))?;
        }
        if self.auto && self.is_list_of_objects(&input) {
            return Err(self.fault(
                "required",
                "the payload is an array of objects; `columns: auto` takes one object, or an array of the columns' values: \
                 `for_each: payload` makes a row of each"
                    .to_owned(),
            ));
        }
        if let Some(others) = &self.others {
            self.look_at_others(others, &input)?;
        }
        left_out.clear();
        let is_missing = |position: &usize| matches!(self.columns[*position].feed.find(&input), Found::Missing);
        left_out.extend(self.omissible.iter().copied().filter(is_missing));
        if left_out.len() == self.columns.len() {
            return Err(self.fault("required", "the message has no value for any column of the rule".to_owned()));
        }
        Ok(Reading { plan: self, input, left_out, scratch })
    }

    #[inline]
    fn has_no_field(&self, input: &Input<'_>) -> bool {
        let slots = input.fields();
        match self.rest_slot {
            None => slots.iter().all(Option::is_none),
            Some(rest) => {
                let is_missing = |(at, slot): (usize, &Slot)| at == rest || slot.is_none();
                slots.iter().enumerate().all(is_missing) && self.has_no_rest(input)
            }
        }
    }

    /// Runs the columns' programs for one row: on the element under `for_each`, else on the whole value.
    fn compute(&self, programs: &Programs, scope: &Scope<'_>, computed: &mut Computed) -> Result<(), ValueFault> {
        computed.clear();
        let input = scope.item.map_or(scope.payload, |item| jq::Input::Json(item.text()));
        for (index, program) in programs.columns.iter().enumerate() {
            computed.run(program, input, scope).map_err(|fault| {
                let fault_of = |column: &Arc<PlanColumn>| {
                    (column.feed == Feed::Program(index))
                        .then(|| column.fault(fault.reason, &format!("the program {}", fault.message)))
                };
                self.columns.iter().find_map(fault_of).expect("each program is a column's")
            })?;
        }
        Ok(())
    }

    /// Where its columns and paths lie.
    #[cfg(test)]
    pub(super) fn part_addresses(&self) -> Vec<usize> {
        let columns = self.columns.iter().map(|column| Arc::as_ptr(column).addr());
        let tree = match &self.payload {
            PayloadForm::Json(tree) => Some(Arc::as_ptr(tree).addr()),
            PayloadForm::Staged(stages) => Some(Arc::as_ptr(&stages.tree).addr()),
            _ => None,
        };
        columns.chain(tree).collect()
    }

    /// The payload, or the element, has none of the fields. A column that must have a value is named, and its `on_error`
    /// holds.
    #[cold]
    fn absence(&self, input: &Input<'_>) -> ValueFault {
        let why = match (&self.payload, input.item) {
            _ if self.auto => "no field of the payload names a column of the table (`columns: auto`)".to_owned(),
            (PayloadForm::Json(paths), _) => paths.describe_absence("payload", Some(input.document.text)),
            (PayloadForm::Staged(stages), Some(item)) => {
                let tree = match &stages.tabular {
                    Some(tabular) => &tabular.tree,
                    None => &stages.levels[usize::from(item.parent.is_some())].tree,
                };
                tree.describe_absence("item", Some(&item.document.text[item.range.clone()]))
            }
            (PayloadForm::Staged(stages), None) => stages.fields().describe_absence("payload", None),
            _ => unreachable!("fields are those of values"),
        };
        let is_field = |feed: &Feed| matches!(feed, Feed::Json(_) | Feed::Item(_));
        let refuses = |column: &&Arc<PlanColumn>| {
            matches!(column.missing, Lack::Refuse(_)) && column.feed.parts().iter().any(is_field)
        };
        if let Some(column) = self.columns.iter().find(refuses) {
            return column.fault("required", &why);
        }
        let remedy = match self.auto {
            true => "send fields with the names of columns",
            false => {
                "correct the rule's sources, or give each of these columns a `default` if such messages are to be rows"
            }
        };
        self.fault("required", format!("{why}; {remedy}"))
    }

    /// Where the first column takes the first element and that is an object, which only a json column holds.
    fn is_list_of_objects(&self, input: &Input<'_>) -> bool {
        let Some(PlanColumn { feed: Feed::Json(slots), column_type, .. }) = self.columns.first().map(Arc::as_ref)
        else {
            return false;
        };
        let element = slots.last().and_then(|by_position| input.document.json(*by_position));
        let is_object = element.is_some_and(|element| element.starts_with('{'));
        is_object && !matches!(column_type, ColumnType::Json | ColumnType::Jsonb | ColumnType::JsonText)
    }

    #[cold]
    fn fault(&self, reason: &'static str, message: String) -> ValueFault {
        ValueFault { reason, column: None, message, on_error: self.on_error }
    }

    #[inline]
    fn unmarked<'t>(&self, payload: &'t [u8], decoded: &'t mut String) -> Result<&'t [u8], ValueFault> {
        unmarked(payload, decoded).map_err(|PayloadFault { reason, message }| self.fault(reason, message))
    }

    fn parse_fault(&self, message: String) -> ValueFault {
        self.fault("parse", message)
    }
}

/// Where a row of several comes from: `line 3, item 7`.
#[cold]
fn place(document: Document<'_>, item: Option<&Item<'_>>) -> String {
    let mut place = Vec::new();
    place.extend(document.line.map(|line| format!("line {line}")));
    place.extend(item.and_then(|item| item.parent).map(|parent| format!("item {}", parent.index)));
    place.extend(item.map(|item| format!("item {}", item.index)));
    place.join(", ")
}

impl Reading<'_> {
    /// Positions in the plan's columns of those that the row goes without, ascending.
    pub(super) fn left_out(&self) -> &[usize] {
        self.left_out
    }

    /// Appends the row. After an error `out` holds a part of it, for the caller to cut off.
    pub(super) fn encode<R: RowEncoder>(&mut self, encoder: &R, out: &mut Vec<u8>) -> Result<(), ValueFault> {
        let columns = &self.plan.columns;
        encoder.begin_row(columns.len() - self.left_out.len(), out);
        for (position, column) in columns.iter().enumerate() {
            if self.left_out.binary_search(&position).is_err()
                && let Err(fault) = column.encode(&self.input, self.scratch, encoder, out)
            {
                return Err(self.strictest(fault, position, encoder, out));
            }
        }
        Ok(())
    }

    /// Of the faults of a row, the first of those with the strictest `on_error`.
    #[cold]
    fn strictest<R: RowEncoder>(
        &mut self,
        first: ValueFault,
        position: usize,
        encoder: &R,
        out: &mut Vec<u8>,
    ) -> ValueFault {
        let mut strictest = first;
        for (position, column) in self.plan.columns.iter().enumerate().skip(position + 1) {
            if column.on_error > strictest.on_error
                && self.left_out.binary_search(&position).is_err()
                && let Err(fault) = column.encode(&self.input, self.scratch, encoder, out)
            {
                strictest = fault;
            }
        }
        strictest
    }
}

impl<'m> Input<'m> {
    /// The wanted values of the element at hand, or else of the payload.
    #[inline]
    fn fields(&self) -> &'m [Slot] {
        self.item.map_or(self.document.slots, |item| item.document.slots)
    }

    /// What the fields of which are looked at.
    fn around(&self, rest: &Rest) -> &Document<'m> {
        match self.item {
            Some(item) if rest.is_item => &item.document,
            _ => &self.document,
        }
    }

    /// The element at hand, or the one around it.
    fn element(&self, is_parent: bool) -> &'m Item<'m> {
        let item = self.item.expect("a rule that takes elements has `for_each`");
        if is_parent { item.parent.expect("a rule that takes elements of the outer `for_each` has two") } else { item }
    }
}
