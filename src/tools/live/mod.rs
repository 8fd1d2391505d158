//! Live tables, for commands that read them and change nothing.

mod postgres;
mod scratch;
mod sqlite;

pub(super) use postgres::read_only;
pub(super) use scratch::{SCRATCH_REMEDY, Scratch, unique};
pub(super) use sqlite::TablesCopy;
