//! The integration tests: the real binary against a real Mosquitto, a real Postgres and real SQLite files, all started
//! here, on free ports, in directories of their own. Nothing on the machine needs to run, and nothing is left running.
//!
//! `ROWBRIDGE_TEST_SCALE=full` runs the scenarios at the sizes that the project's figures are taken from; without it
//! each is small enough that all of them together take minutes.
#![cfg_attr(not(feature = "fault-injection"), allow(dead_code, reason = "some of the support serves the proof alone"))]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod support;

mod auto_tables;
mod both_databases;
mod broker_restart;
mod catch_up;
mod changed_tables;
mod check;
mod commands;
mod configuration;
mod conventions;
mod crashes;
mod created_tables;
mod database_faults;
mod database_rollback;
mod dead_letters;
mod defaults;
mod delivered;
mod discover;
mod ended_sessions;
mod examples;
mod explain;
mod footprint;
mod formats;
mod golden;
mod held;
mod held_back;
mod help;
mod hostile_payloads;
mod http;
mod identity;
mod installation;
mod journal_full;
mod journal_replaced;
mod jq;
mod layers;
mod lifecycle;
mod log_messages;
mod mapping_document;
mod monitoring;
mod named_databases;
mod named_tables;
mod observability;
mod odd_databases;
mod outbound;
mod page;
mod parking;
mod postgres_sink;
mod postgres_versions;
mod presence;
mod publish;
mod queries;
mod refusals;
mod refused_rows;
#[cfg(feature = "fault-injection")]
mod reliability;
mod reload;
mod replies;
mod resolution;
mod retained;
mod retry;
mod rows_by_key;
mod rules;
mod scale_out;
mod schema;
mod schema_config;
mod secrets_in_files;
mod session;
mod several_faults;
mod sink_contract;
mod sqlite_files;
mod sqlite_removed_files;
mod sqlite_sink;
mod statements;
mod status_watch;
mod tap;
mod transports;
mod unmapped;
mod upgrade;
mod values;
