//! Compiles a column's adjustments.

use super::{Column, Compilation, Demands, Dialect, RowEncoder, implied_format, is_array};
use crate::config;
use crate::mapping::adjust::{Adjust, Mapped, ValueMap};
use crate::mapping::arithmetic::Linear;
use crate::mapping::number_text::NumberText;
use crate::mapping::temporal::Clockface;
use crate::mapping::value::{Misfit, Value};
use crate::rule::{self, Exact, quote};

impl<R: RowEncoder> Compilation<'_, R> {
    /// The adjustments of a column, if it has any; what does not fit the column is a fault.
    pub(super) fn adjust(&mut self, column: &config::Column, live: &Column, demands: &Demands) -> Option<Box<Adjust>> {
        let name = &*column.name;
        let adjustments = column.adjust.as_deref()?;
        if adjustments.makes_a_number() && is_array(&live.column_type) {
            let why = format!(
                "column `{name}` ({}) holds arrays, and `scale`, `shift`, `decimal` and `unit` are for single values",
                live.type_name
            );
            self.fault(why, None);
        }
        let map = adjustments.map.as_ref().map(|map| self.value_map(map, column, live, demands));
        let number = NumberText { decimal: adjustments.decimal, ignores_unit: adjustments.ignores_unit };
        let number = (number.decimal.is_some() || number.ignores_unit).then_some(number);
        let linear = (adjustments.scale.is_some() || adjustments.shift.is_some()).then(|| {
            let scale = adjustments.scale.clone().unwrap_or_else(Exact::one);
            Linear::new(scale, adjustments.shift.clone().unwrap_or_else(Exact::zero))
        });
        if adjustments.misfits_are_null && live.not_null {
            let why =
                format!("column `{name}` may not be null, and `on_error: null` makes values NULL that do not fit");
            let table = self.schema.name.quoted();
            let mend = R::Dialect::ALTERS_COLUMNS
                .then(|| format!("ALTER TABLE {table} ALTER COLUMN {} DROP NOT NULL", quote(&live.name)));
            self.fault(why, mend);
        }
        if adjustments.misfits_are_null
            && self.key.iter().any(|&column| std::ptr::eq(&self.schema.columns[column], live))
        {
            let why = format!("column `{name}` is part of the key, which `on_error: null` would leave without a value");
            self.fault(why, None);
        }
        let null = adjustments.misfits_are_null.then(|| self.null_of(live));
        Some(Box::new(Adjust { decode: adjustments.decode.as_slice().into(), map, number, linear, null }))
    }

    fn value_map(
        &mut self,
        map: &rule::ValueMap,
        column: &config::Column,
        live: &Column,
        demands: &Demands,
    ) -> ValueMap {
        let mut mapped = |key: &str, json: &str| {
            let Some(literal) = Value::from_json(json) else { return Mapped::Null };
            match self.entry(literal, column, live, demands) {
                Ok(bytes) => Mapped::Written(bytes),
                Err(misfit) => {
                    let (name, type_name) = (&column.name, &live.type_name);
                    let what = format!("what `map` has for `{key}` of column `{name}` ({type_name})");
                    self.fault(format!("{what} does not fit: {}", misfit.0), None);
                    Mapped::Null
                }
            }
        };
        let entries = map.entries.iter().map(|(key, json)| (key.as_str().into(), mapped(key, json))).collect();
        ValueMap { entries, others: map.others.as_deref().map(|json| mapped("*", json)) }
    }

    /// An entry, encoded as in a column without `time`, which comes after `map`. What such a column does not take is read by
    /// `time` after all: a number for a column of times, or text in its pattern.
    fn entry(
        &self,
        literal: Value<'_>,
        column: &config::Column,
        live: &Column,
        demands: &Demands,
    ) -> Result<Box<[u8]>, Misfit> {
        let clockface = Clockface { format: implied_format(column, live), ..demands.clockface.clone() };
        let plain = Demands { clockface, ..demands.clone() };
        let is_number = matches!(literal, Value::Number(_) | Value::Int(_));
        self.encoded(literal, live, &plain).or_else(|misfit| {
            let by_time = self.encoded(literal, live, demands);
            by_time.map_err(|by_time| if is_number { by_time } else { misfit })
        })
    }
}
