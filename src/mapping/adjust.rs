//! Adjustments of a column's value before coercion: `decode`, `map`, `decimal` and `unit`, `scale` and `shift`, in this
//! order; and `on_error` for a value that does not fit.
//!
//! Only columns with such keys use this code, so other columns do not pay for it.

use super::arithmetic::Linear;
use super::coerce::{Scratch, as_text};
use super::decimal::Decimal;
use super::decode::Decoded;
use super::json_text;
use super::number_text::NumberText;
use super::outcome::ValueFault;
use super::plan::{Found, PlanColumn, encode_value};
use super::value::{Misfit, Value, expected};
use crate::batch::RowEncoder;
use crate::rule::Decode;

/// The adjustments of one column, ready to be made.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Adjust {
    pub(super) decode: Box<[Decode]>,
    pub(super) map: Option<ValueMap>,
    pub(super) number: Option<NumberText>,
    pub(super) linear: Option<Linear>,
    /// What is written in place of a value that does not fit, encoded: NULL.
    pub(super) null: Option<Box<[u8]>>,
}

/// Values that did not fit and were stored as NULL.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Nulled {
    pub count: u64,
    /// Why the first of them did not fit.
    pub why: String,
}

/// Values in place of others.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ValueMap {
    /// Sorted by the value as text.
    pub(super) entries: Box<[(Box<str>, Mapped)]>,
    /// For every other value; without it they stay as they are.
    pub(super) others: Option<Mapped>,
}

/// What a value becomes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Mapped {
    /// Already encoded.
    Written(Box<[u8]>),
    Null,
}

impl ValueMap {
    fn look_up(&self, value: &Value<'_>, scratch: &mut Scratch) -> Result<Option<&Mapped>, Misfit> {
        let Scratch { unescaped, written, .. } = scratch;
        written.clear();
        let text = match *value {
            Value::JsonString(raw) => Some(json_text::unescape(raw, unescaped)?),
            // Objects and arrays are no keys.
            Value::Tree(_) => None,
            _ => as_text(value, written).ok(),
        };
        let place = text.and_then(|text| self.entries.binary_search_by(|(key, _)| (**key).cmp(text)).ok());
        Ok(place.map(|place| &self.entries[place].1).or(self.others.as_ref()))
    }
}

impl PlanColumn {
    /// Appends the cell of a value after its adjustments.
    #[cold]
    #[inline(never)]
    pub(super) fn encode_adjusted<R: RowEncoder>(
        &self,
        adjust: &Adjust,
        value: &Value<'_>,
        scratch: &mut Scratch,
        encoder: &R,
        out: &mut Vec<u8>,
    ) -> Result<(), ValueFault> {
        match self.adjusted(adjust, value, scratch, encoder, out) {
            Ok(true) => Ok(()),
            Ok(false) => self.encode_found(&Found::Null, scratch, encoder, out),
            Err(misfit) => self.encode_misfit(&misfit, scratch, out),
        }
    }

    /// The value does not fit: a fault, or NULL if the rule says so.
    #[cold]
    pub(super) fn encode_misfit(
        &self,
        misfit: &Misfit,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) -> Result<(), ValueFault> {
        let fault = self.fault("value", &misfit.0);
        let Some(null) = self.adjust.as_ref().and_then(|adjust| adjust.null.as_ref()) else { return Err(fault) };
        out.extend_from_slice(null);
        let nulled = &mut scratch.nulled;
        if nulled.count == 0 {
            nulled.why = fault.message;
        }
        nulled.count += 1;
        Ok(())
    }

    /// `Ok(false)` if nothing was appended because it became null.
    fn adjusted<R: RowEncoder>(
        &self,
        adjust: &Adjust,
        value: &Value<'_>,
        scratch: &mut Scratch,
        encoder: &R,
        out: &mut Vec<u8>,
    ) -> Result<bool, Misfit> {
        let mut value = *value;
        let decoded;
        if !adjust.decode.is_empty() {
            decoded = Decoded::of(&value, &adjust.decode)?;
            match decoded.value(&self.column_type) {
                Some(inside) => value = inside,
                None => return Ok(false),
            }
        }
        if let Some(map) = &adjust.map {
            match map.look_up(&value, scratch)? {
                Some(Mapped::Written(bytes)) => {
                    out.extend_from_slice(bytes);
                    return Ok(true);
                }
                Some(Mapped::Null) => return Ok(false),
                None => {}
            }
        }
        let mut number = String::new();
        if let Some(form) = adjust.number {
            match value {
                Value::Text(text) => form.read(text, &mut number)?,
                Value::JsonString(raw) => form.read(json_text::unescape(raw, &mut scratch.unescaped)?, &mut number)?,
                _ => {}
            }
            if !number.is_empty() {
                value = Value::Number(&number);
            }
        }
        let mut result = String::new();
        if let Some(linear) = &adjust.linear {
            let text = match value {
                Value::Number(text) => text,
                Value::Text(text) => text.trim(),
                Value::JsonString(raw) => json_text::unescape(raw, &mut scratch.unescaped)?.trim(),
                Value::Int(_) => as_text(&value, {
                    scratch.written.clear();
                    &mut scratch.written
                })?,
                _ => return Err(expected("a number", &value)),
            };
            linear.apply(&Decimal::parse(text).ok_or("a string that is not a number")?, &mut result)?;
            value = Value::Number(&result);
        }
        encode_value(&value, &self.column_type, &self.demands, scratch, encoder, out)?;
        Ok(true)
    }
}
