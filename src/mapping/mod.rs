//! From a message to rows: which rules take the message, which values they read, and how the values fit the live table.
//!
//! ```text
//! compile (at start, on reload)          map (per message)
//! rule ─ topic      patterns, captures   route      topic → rules, through a cache, then a trie
//!      ─ expression sources              payload    payload → the wanted values, still as text
//!      ─ time       formats              plan       column by column: value → cell → the sink's bytes
//! rule × live table ─ compile → plan     coerce     value → cell, or why it does not fit
//! ```
//!
//! | module | holds |
//! |---|---|
//! | `compile` | plans: `columns: auto`, missing columns, NOT NULL, defaults |
//! | `sharing` | parts that several rules share |
//! | `map` | one message under the compiled rules; overlapping filters and subscription identifiers |
//! | `payload` | payload formats, one file each |
//! | `payload::json`, `payload::foreign` | duplicate keys, nesting, broken JSON; payloads that are not text |
//! | `stages` | several rows from one message |
//! | `shaping`, `programs` | `where`, `transform`, columns with jq |
//! | `destination`, `naming`, `choice` | tables and databases named by messages |
//! | `rest`, `growth` | fields without a column, and columns added for them |
//! | `served` | how often a message may ask for a table |
//! | `shape` | columns left to the database's defaults |
//! | `key` | the key of `mode` |
//! | `coerce` | which value fits which type (its table) |
//! | `adjust`, `arithmetic`, `number_text`, `decode` | adjustments before coercion |
//! | `decimal`, `float`, `double` | exact numbers; floats; short floats |
//! | `temporal`, `interval` | times, intervals |
//! | `json_text`, `cast` | json columns; types that the server casts |

mod adjust;
mod arithmetic;
mod cast;
mod choice;
mod coerce;
mod compile;
mod decimal;
mod decode;
mod destination;
mod double;
mod float;
mod growth;
mod interval;
mod json_text;
mod key;
mod map;
mod naming;
mod number_text;
mod outcome;
mod payload;
mod plan;
mod programs;
mod rest;
mod route;
mod served;
mod shape;
mod shaping;
mod sharing;
mod stages;
mod temporal;
mod value;

#[cfg(test)]
mod tests;

pub use adjust::Nulled;
pub use decode::decoded_json;
pub use destination::Want;
pub use growth::{COLUMNS_MAX, NewColumn};
pub use map::{Mapper, Takers};
pub use outcome::{CompileFault, Outcome, ValueFault};
pub use route::Router;
pub use served::Served;
