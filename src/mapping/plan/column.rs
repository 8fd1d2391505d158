//! One column of a plan: turns the value found for it into its cell, or explains why the value does not fit. Defaults
//! and NULLs are encoded in advance, so a column without a value costs a copy.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::feed::{Feed, by_position, field};
use super::{Found, Input};
use crate::batch::RowEncoder;
use crate::config::OnError;
use crate::mapping::adjust::Adjust;
use crate::mapping::coerce::{Demands, Scratch, coerce, coerce_array, push_text};
use crate::mapping::outcome::ValueFault;
use crate::mapping::value::{Misfit, Value};
use crate::schema::{Cell, ColumnType};

/// One column of the row.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::mapping) struct PlanColumn {
    pub(in crate::mapping) name: Arc<str>,
    /// As the database writes it, for messages.
    pub(in crate::mapping) type_name: Box<str>,
    pub(in crate::mapping) column_type: ColumnType,
    pub(in crate::mapping) demands: Demands,
    pub(in crate::mapping) feed: Feed,
    /// What is done to a value first. Most columns have none.
    pub(in crate::mapping) adjust: Option<Box<Adjust>>,
    /// Where the message has no value for it.
    pub(in crate::mapping) missing: Lack,
    /// Where it has null.
    pub(in crate::mapping) null: Lack,
    pub(in crate::mapping) on_error: OnError,
}

/// What is done where there is nothing to write.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(in crate::mapping) enum Lack {
    /// Already encoded: the rule's default, or NULL.
    Write(Box<[u8]>),
    /// The row goes without the column, and the database fills in its default. Never for a null.
    LeaveOut,
    /// Why it cannot be, as the rest of a sentence that begins with the column.
    Refuse(&'static str),
}

impl Hash for PlanColumn {
    /// Without `demands`, whose time zone has no hash; they tell few columns apart.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        self.column_type.hash(state);
        self.feed.hash(state);
        self.adjust.hash(state);
        self.missing.hash(state);
        self.null.hash(state);
    }
}

impl PlanColumn {
    pub(super) fn encode<R: RowEncoder>(
        &self,
        input: &Input<'_>,
        scratch: &mut Scratch,
        encoder: &R,
        out: &mut Vec<u8>,
    ) -> Result<(), ValueFault> {
        match &self.feed {
            Feed::Constant(bytes) => {
                out.extend_from_slice(bytes);
                Ok(())
            }
            // Apart from the others, as most columns are of this kind.
            Feed::Json(slots) => self.encode_found(&field(&input.document, slots), scratch, encoder, out),
            Feed::Template(parts) => self.encode_template(parts, input, scratch, encoder, out),
            Feed::Rest(rest) => {
                let document = input.around(rest);
                let text = rest.of(document);
                let found = match text.as_deref() {
                    Some(text) => Found::Value(Value::Tree(text)),
                    None => by_position(rest, document),
                };
                self.encode_found(&found, scratch, encoder, out)
            }
            other => self.encode_found(&other.find(input), scratch, encoder, out),
        }
    }

    #[inline(always)]
    pub(in crate::mapping) fn encode_found<R: RowEncoder>(
        &self,
        found: &Found<'_>,
        scratch: &mut Scratch,
        encoder: &R,
        out: &mut Vec<u8>,
    ) -> Result<(), ValueFault> {
        let lack = match found {
            Found::Value(value) => {
                if let Some(adjust) = &self.adjust {
                    return self.encode_adjusted(adjust, value, scratch, encoder, out);
                }
                return encode_value(value, &self.column_type, &self.demands, scratch, encoder, out)
                    .map_err(|misfit| self.fault("value", &misfit.0));
            }
            Found::Null => &self.null,
            Found::Missing => &self.missing,
        };
        match lack {
            Lack::Write(bytes) => out.extend_from_slice(bytes),
            // Such columns are not asked.
            Lack::LeaveOut => {}
            Lack::Refuse(why) => return Err(self.fault("required", why)),
        }
        Ok(())
    }

    #[inline(never)]
    fn encode_template<R: RowEncoder>(
        &self,
        parts: &[Feed],
        input: &Input<'_>,
        scratch: &mut Scratch,
        encoder: &R,
        out: &mut Vec<u8>,
    ) -> Result<(), ValueFault> {
        let mut text = String::new();
        for part in parts {
            let Found::Value(value) = part.find(input) else {
                return self.encode_found(&Found::Missing, scratch, encoder, out);
            };
            if let Err(misfit) = push_text(&value, scratch, &mut text) {
                return self.encode_misfit(&misfit, scratch, out);
            }
        }
        self.encode_found(&Found::Value(Value::Text(&text)), scratch, encoder, out)
    }

    pub(in crate::mapping) fn fault(&self, reason: &'static str, why: &str) -> ValueFault {
        ValueFault {
            reason,
            column: Some(Arc::clone(&self.name)),
            message: match &*self.type_name {
                "" => format!("column `{}`: {why}", self.name),
                type_name => format!("column `{}` ({type_name}): {why}", self.name),
            },
            on_error: self.on_error,
        }
    }
}

/// Coerces a value and appends its cell; nothing, if it does not fit.
pub(in crate::mapping) fn encode_value<R: RowEncoder>(
    value: &Value<'_>,
    column_type: &ColumnType,
    demands: &Demands,
    scratch: &mut Scratch,
    encoder: &R,
    out: &mut Vec<u8>,
) -> Result<(), Misfit> {
    let start = out.len();
    match column_type {
        ColumnType::Array(element_type, _) => coerce_array(value, element_type, demands, |cells| {
            encoder.cell(column_type, Cell::Array(cells), out);
        }),
        _ => coerce(value, column_type, demands, scratch, |cell| encoder.cell(column_type, cell, out)),
    }?;
    match encoder.misfit(&out[start..]) {
        None => Ok(()),
        Some(why) => {
            out.truncate(start);
            Err(why.into())
        }
    }
}
