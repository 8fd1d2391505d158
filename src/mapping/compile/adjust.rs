//! Compiles a column's adjustments.

use super::{Column, Compilation, Demands, Dialect, RowEncoder, is_array};
use crate::mapping::adjust::{Adjust, Mapped, ValueMap};
use crate::mapping::arithmetic::Linear;
use crate::mapping::number_text::NumberText;
use crate::rule::{self, Adjustments, Exact, quote};

impl<R: RowEncoder> Compilation<'_, R> {
    /// The adjustments of a column, if it has any; what does not fit the column is a fault.
    pub(super) fn adjust(
        &mut self,
        adjustments: Option<&Adjustments>,
        name: &str,
        live: &Column,
        demands: &Demands,
    ) -> Option<Box<Adjust>> {
        let adjustments = adjustments?;
        if adjustments.makes_a_number() && is_array(&live.column_type) {
            let why = format!(
                "column `{name}` ({}) holds arrays, and `scale`, `shift`, `decimal` and `unit` are for single values",
                live.type_name
            );
            self.fault(why, None);
        }
        let map = adjustments.map.as_ref().map(|map| self.value_map(map, name, live, demands));
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

    fn value_map(&mut self, map: &rule::ValueMap, name: &str, live: &Column, demands: &Demands) -> ValueMap {
        let mut mapped = |key: &str, json: &str| {
            let literal: serde_json::Value = serde_json::from_str(json).expect("the configuration wrote it as JSON");
            match self.literal(name, &literal, live, demands, &format!("what `map` has for `{key}`")) {
                Some(bytes) => Mapped::Written(bytes),
                // Null, or a fault that was noted.
                None => Mapped::Null,
            }
        };
        let entries = map.entries.iter().map(|(key, json)| (key.as_str().into(), mapped(key, json))).collect();
        ValueMap { entries, others: map.others.as_deref().map(|json| mapped("*", json)) }
    }
}
