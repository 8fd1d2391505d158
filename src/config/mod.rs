//! bridge.yaml and its layers, checked as a whole before anything starts.

mod convention;
mod create;
mod decode;
mod display;
mod environment;
mod file;
mod format;
mod hide;
mod key_path;
mod layer;
mod load;
mod loops;
mod model;
mod needs;
mod passfile;
mod percent;
mod publication;
pub mod query;
mod report;
mod rule;
mod schema;
mod secret;
mod shaping;
mod status_topic;
mod substitute;
mod syntax;
#[cfg(test)]
mod tests;
mod tree;
mod units;
mod vocabulary;
mod wildcard;
mod yaml;
mod yaml_core;
mod yaml_mapping;

pub use convention::{rule_of_convention, rule_of_form};
pub use create::new_table;
pub use file::find_file;
pub use format::{
    Compression, Csv, CsvHeader, Decoding, EXPANDED_BYTES_MAX_DEFAULT, Format, MessageType, Pattern, Precision, Syntax,
};
pub(crate) use load::load_text;
pub use load::{LoadRequest, load, rule_files};
pub(crate) use loops::possible_loops;
pub use model::{
    Batch, Bridge, Config, Corruption, Database, DatabaseUrl, DeadLetters, Durability, Http, HttpAccess, Journal, Log,
    LogFormat, Mqtt, MqttTls, MqttUrl, MqttVersion, Named, PostgresUrl, Retry, Scheme, SinkTls, SslMode, Unmatched,
    WhenFull,
};
pub use needs::Needs;
pub use passfile::{Account, Passfile, PassfileError};
pub use publication::{Events, Publication, PublishFormat, TimeForm};
pub(crate) use report::nearest;
pub use report::{Finding, Place, Position, Report};
pub use rule::{AutoTimes, Column, Columns, Create, ForEach, Mode, OnError, Reply, Retained, Rule, Unmapped};
pub use schema::schema as json_schema;
pub use secret::{Secret, SecretError, SecretFile, SecretSource};
pub use shaping::Shaping;
pub use status_topic::{StatusTopic, StatusTopicFault};
pub use wildcard::RuleFiles;

/// YAML as bridge.yaml is read: a tree in which every value knows its place.
pub(crate) mod document {
    pub(crate) use super::tree::{Entries, Kind, Node};
    pub(crate) use super::yaml::parse;
    pub(crate) use super::yaml_core::{Core, resolve_plain};
}

/// A duration as bridge.yaml has it, such as `1h30m`; `None` for what is none.
pub(crate) fn duration(text: &str) -> Option<std::time::Duration> {
    units::parse_duration(text).ok()
}
