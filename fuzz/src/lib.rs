//! What the fuzz targets check, one module each: `check` takes any bytes and panics if a promise is broken.
//!
//! The targets in `targets/` call these functions, and so does `tests/reliability/fuzz_replay.rs` of the crate with
//! every committed seed and finding.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

pub mod configuration;
mod crc;
pub mod journal_directory;
pub mod journal_mutations;
pub mod journal_record;
pub mod journal_script;
pub mod jq;
pub mod json_row;
pub mod packets;
pub mod payload;
pub mod topic;

/// Runs one input through the target of that name.
///
/// # Panics
/// If a promise is broken; and if there is no such target.
pub fn check(target: &str, bytes: &[u8]) {
    match target {
        "configuration" => configuration::check(bytes),
        "journal_directory" => journal_directory::check(bytes),
        "journal_mutations" => journal_mutations::check(bytes),
        "journal_record" => journal_record::check(bytes),
        "journal_script" => journal_script::check(bytes),
        "jq" => jq::check(bytes),
        "json_row" => json_row::check(bytes),
        "packets" => packets::check(bytes),
        "payload" => payload::check(bytes),
        "topic" => topic::check(bytes),
        _ => panic!("there is no fuzz target {target}"),
    }
}
