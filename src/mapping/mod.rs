//! From a message to rows: which rules take it, what they read from it, and how the values fit the live table.
//!
//! ```text
//! compile (at start, on reload)          map (per message)
//! rule ─ topic      patterns, captures   route      topic → rules, through a cache, then a trie
//!      ─ expression sources              payload    payload → the wanted values, still as text
//!      ─ time       formats              plan       column by column: value → cell → the sink's bytes
//! rule × live table ─ compile → plan     coerce     value → cell, or why it does not fit
//! ```
//!
//! Where to find what: `columns: auto`, missing columns, NOT NULL and defaults, `compile`; several rows a message, `stages`;
//! tables that messages name, `destination`; `where`, `transform` and columns with jq, `shaping` and `programs`; what no column takes, `rest`, and how tables grow by it, `growth`; keys of `mode`, `key`; what rules share, `sharing`; columns left to the database, `shape`; which value fits which type, `coerce` (its table), with
//! `decimal` for exact numbers, what is done to values before, `adjust` (`arithmetic`, `number_text`, `decode`), `float` for floats (`double` for short ones), `temporal` and `interval` for times, `json_text` for json columns, `cast` for types that the server casts; duplicate
//! keys, nesting and broken JSON, `payload::json`; what is no text at all, `payload::foreign`; overlapping filters and subscription identifiers, `map`.

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
pub use map::Mapper;
pub use outcome::{CompileFault, Outcome, ValueFault};
pub use route::Router;
