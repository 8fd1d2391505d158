//! The integration tests, one binary: real brokers, real databases, started here on free ports.

mod postgres_sink;
mod support;
