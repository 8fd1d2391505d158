//! The integration tests.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod sink_contract;
mod sqlite_sink;
