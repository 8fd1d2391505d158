//! Fields that no column takes, under rules that do not ignore them.

use super::{Document, Feed, Input, Match, Memory, Message, Others, PayloadForm, Plan, ValueFault};
use crate::mapping::growth::{NO_COLUMN, NewColumn};
use crate::mapping::outcome::NEW_COLUMNS;

impl Plan {
    /// The columns that the message's rows need, or those rows that `is_its` selects. The error says why they are not
    /// possible.
    pub(in crate::mapping) fn new_columns(
        &self,
        message: &Message<'_>,
        matched: &Match,
        memory: &mut Memory,
        is_its: impl Fn(usize) -> bool,
    ) -> Result<Vec<NewColumn>, ValueFault> {
        let Some(Others::Add(growth)) = self.others.as_deref() else { return Ok(Vec::new()) };
        let (mut columns, mut number) = (Vec::new(), 0);
        let mut gather = |input: &Input<'_>| {
            number += 1;
            match is_its(number - 1) {
                true => growth.gather(input.around(&growth.rest), &mut columns).map_err(|why| self.no_column(why)),
                false => Ok(()),
            }
        };
        let Memory { slots, decoded, stages: stage_memory, row } = memory;
        match &self.payload {
            PayloadForm::Staged(stages) => {
                self.read_inputs(stages, (message, matched), stage_memory, row, None, |input, _, _| gather(&input))?;
            }
            PayloadForm::Json(paths) => {
                let payload = self.unmarked(message.payload, decoded)?;
                let text = paths.pick(payload, slots).map_err(|fault| self.parse_fault(fault.0))?;
                let document = Document::of_json(text, slots);
                gather(&Input { message, matched, document, item: None, computed: &row.computed })?;
            }
            PayloadForm::Unread | PayloadForm::Text | PayloadForm::Bytes => {}
        }
        growth.settle(columns).map_err(|why| self.no_column(why))
    }

    /// Whether there is nothing that `unmapped` would keep or refuse: an object of other fields, say, is no missing one.
    #[cold]
    pub(super) fn has_no_rest(&self, input: &Input<'_>) -> bool {
        let of_column = |feed: &Feed| match feed {
            Feed::Rest(rest) => Some(rest.count(input.around(rest))),
            _ => None,
        };
        let kept = self.columns.iter().flat_map(|column| column.feed.parts()).filter_map(of_column).max();
        let refused = match self.others.as_deref() {
            Some(Others::Refuse(rest)) => rest.count(input.around(rest)),
            _ => 0,
        };
        kept.unwrap_or(0) + refused == 0
    }

    /// Whether what `unmapped` would keep, refuse or add fields of has none.
    #[inline(never)]
    pub(super) fn has_no_object(&self, input: &Input<'_>) -> bool {
        let of_column = |feed: &Feed| match feed {
            Feed::Rest(rest) => Some(rest.has_object(input.around(rest))),
            _ => None,
        };
        let kept = self.columns.iter().flat_map(|column| column.feed.parts()).filter_map(of_column);
        let others = match self.others.as_deref() {
            Some(Others::Refuse(rest)) => Some(rest.has_object(input.around(rest))),
            Some(Others::Add(growth)) => Some(growth.rest.has_object(input.around(&growth.rest))),
            _ => None,
        };
        !kept.chain(others).any(|has_object| has_object)
    }

    #[cold]
    pub(super) fn no_object(&self, input: &Input<'_>) -> ValueFault {
        let what = if input.item.is_some() { "item" } else { "payload" };
        self.fault("required", format!("the {what} is no object, and `unmapped` concerns the fields of one"))
    }

    #[inline(never)]
    pub(super) fn look_at_others(&self, others: &Others, input: &Input<'_>) -> Result<(), ValueFault> {
        if let Others::Refuse(rest) | Others::Watch(rest) = others
            && rest.has_rivals
            && let Some(why) = rest.ambiguity(input.around(rest))
        {
            return Err(self.fault("value", why));
        }
        match others {
            Others::Watch(_) => {}
            Others::Refuse(rest) => match rest.count(input.around(rest)) {
                0 => {}
                count => return Err(self.unmapped(count)),
            },
            Others::Add(growth) => {
                let document = input.around(&growth.rest);
                if growth.is_due(document) {
                    return Err(self.fault(NEW_COLUMNS, String::new()));
                }
                // The object itself is no field of it.
                let is_its_own = |slot: usize| slot == growth.rest.slot;
                if self.needs_field
                    && (0..document.slots.len()).all(|at| is_its_own(at) || document.slots[at].is_none())
                {
                    return Err(self.absence(input));
                }
            }
        }
        Ok(())
    }

    #[cold]
    pub(in crate::mapping) fn no_column(&self, message: String) -> ValueFault {
        self.fault(NO_COLUMN, message)
    }

    #[cold]
    pub(in crate::mapping) fn rows_too_large(&self, bytes_max: usize) -> ValueFault {
        let what = format!("the rows of the message have more than {} MiB together", bytes_max >> 20);
        self.fault("size", format!("{what}: a value that stands once in the payload goes into each of its rows"))
    }

    #[cold]
    fn unmapped(&self, count: usize) -> ValueFault {
        let what = if count == 1 {
            "is a field that no column takes".to_owned()
        } else {
            format!("are {count} fields that no column takes")
        };
        let remedy = "`rowbridge explain` shows them; give them columns, or set unmapped: ignore";
        self.fault("value", format!("there {what}, and the rule says `unmapped: error`: {remedy}"))
    }
}
