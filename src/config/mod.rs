//! bridge.yaml and its layers, checked as a whole before anything starts.

mod display;
mod model;
mod secret;

pub use model::{
    Batch, Bridge, Column, Columns, Config, Corruption, Database, DatabaseUrl, DeadLetters, Durability, Format, Http,
    Journal, Log, LogFormat, Mqtt, MqttTls, MqttUrl, MqttVersion, OnError, PostgresUrl, Retained, Retry, Rule, Scheme,
    SinkTls, SslMode, Unmatched, WhenFull,
};
pub use secret::Secret;
