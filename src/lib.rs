//! Rowbridge moves MQTT messages into SQLite and Postgres and loses none of them.
//!
//! ```text
//! broker ──► source ──► journal ──► delivery (one per database) ──► sink ──► database
//!              ▲  ack after fdatasync │        route · decode · map · batch      rows + dead letters + offset,
//!              └──────────────────────┘        retry · bisect                    one transaction
//! ```
//!
//! The modules, in the order of the data flow: [`config`] is the configuration, [`message`] the message type,
//! [`source`] the MQTT session, [`journal`] the durable log, [`mapping`] makes rows, [`delivery`] writes them to a
//! [`sink`]. [`admin`] and [`telemetry`] report the state; [`tools`] do the work of commands.

// They panic if the output cannot be written, and the process would end with exit code 101. Commands print by the macros
// of `cli`.
#![warn(clippy::print_stdout, clippy::print_stderr)]

#[macro_use]
pub mod crash_point;

pub mod admin;
pub mod app;
pub mod batch;
#[cfg(any(test, feature = "fault-injection"))]
pub mod campaign;
pub mod cli;
pub mod clock;
pub mod config;
pub mod delivery;
mod descriptors;
pub mod identity;
pub mod journal;
pub mod journal_id;
pub mod jq;
pub mod mapping;
pub mod message;
mod mqtt;
pub mod outbound;
pub mod reload;
mod remedy;
pub mod rule;
pub mod schema;
pub mod shutdown;
pub mod signals;
#[cfg(test)]
mod simulation;
pub mod sink;
pub mod source;
pub mod telemetry;
mod tls;
pub mod tools;
