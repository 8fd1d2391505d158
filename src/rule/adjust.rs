//! The adjustments of a value between its source and its column.

use crate::rule::Exact;

/// The adjustments of one column, in the order in which they are made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Adjustments {
    /// One after the other.
    pub decode: Vec<Decode>,
    pub map: Option<ValueMap>,
    /// `,` or `.`: strings are numbers with this decimal mark, and perhaps with marks between thousands.
    pub decimal: Option<char>,
    /// `unit: ignore`: strings are numbers, perhaps with a unit behind them.
    pub ignores_unit: bool,
    /// The value is multiplied with it, exactly.
    pub scale: Option<Exact>,
    /// Added after that, exactly.
    pub shift: Option<Exact>,
    /// `on_error: null`: a value that does not fit becomes NULL.
    pub misfits_are_null: bool,
}

/// What a string holds in another form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Decode {
    Base64,
    Hex,
    Json,
}

/// Values in place of others. Literals are JSON text, in which `0.0` and `-0.0` differ.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ValueMap {
    /// By the value as text; sorted.
    pub entries: Vec<(String, String)>,
    /// Of the key `*`: for every other value. Without it they stay as they are.
    pub others: Option<String>,
}

impl Adjustments {
    /// Whether a string is read as a number, or a number becomes another.
    pub fn makes_a_number(&self) -> bool {
        self.decimal.is_some() || self.ignores_unit || self.scale.is_some() || self.shift.is_some()
    }
}

impl Decode {
    pub const NAMES: [(&'static str, Decode); 3] =
        [("base64", Decode::Base64), ("hex", Decode::Hex), ("json", Decode::Json)];
}
