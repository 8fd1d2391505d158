//! From merged values to a [`Config`]: one file per section, each collecting every mistake of its section.

mod address;
mod adjust;
mod alike;
mod column;
mod content;
mod create;
mod created;
mod database;
mod destination;
mod for_each;
mod format;
mod home;
mod http;
mod journal;
mod jq;
mod libpq;
mod mode;
mod mqtt;
mod postgres;
mod publish;
mod queries;
mod reply;
mod roots;
mod rule;
pub(super) mod rules_from;
mod secret;
mod statement;
mod table;
mod topic;
mod value;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use config::{Map, Value as Merged};

pub(super) use postgres::PARAMETERS as POSTGRES_PARAMETERS;
use table::Table;
pub(super) use value::Context;
use value::Value;

use super::report::nearest;
use super::{Config, DeadLetters, Log, LogFormat, Named, Unmatched};

/// A month, to notice and retry.
const DEAD_LETTERS_KEEP: Duration = Duration::from_secs(30 * 86_400);

/// See [`Config::shutdown_grace`].
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// The configuration; only valid if the context holds no findings afterwards.
pub(super) fn decode(cx: &Context<'_>, merged: &Map<String, Merged>) -> Config {
    let root = Table::root(cx, merged);
    let mqtt = root.table("mqtt");
    let bridge = root.get("bridge").and_then(|value| identity(&value));
    let named = Named { client_id: mqtt.get("client_id").is_some(), bridge: bridge.is_some() };
    let status_topic = mqtt.get("status_topic");
    let mqtt = mqtt::decode(mqtt, cx.hostname);
    let bridge = bridge.unwrap_or_else(|| mqtt.client_id.clone());
    if let (Some(value), Some(topic)) = (status_topic, &mqtt.status_topic) {
        mqtt::check_status_topic(&value, topic, &bridge);
    }
    let data_dir = root.path("data_dir").unwrap_or_else(|| default_data_dir(cx));
    let journal = journal::decode(root.table("journal"));
    let databases = database::decode(&root);
    let rules = rule::decode(&root, mqtt.version, &databases);
    let around = publish::Around { version: mqtt.version, bridge: &bridge, databases: &databases, rules: &rules };
    let publish = publish::decode(&root, &around);
    let queries = queries::decode(&root, mqtt.version, &databases);
    let unmatched = root.choice(
        "unmatched",
        Unmatched::Ignore,
        &[("ignore", Unmatched::Ignore), ("dead_letter", Unmatched::DeadLetter)],
    );
    let dead_letters = dead_letters(root.table("dead_letters"));
    let (http, http_access) = http::decode(&root);
    let log = log(root.table("log"));
    let second = Duration::from_secs(1);
    let shutdown_grace = root.duration("shutdown_grace", SHUTDOWN_GRACE, second..=Duration::from_secs(3600));
    root.finish();
    Config {
        file: Some(cx.file.to_owned()),
        bridge: bridge.into(),
        named,
        data_dir,
        mqtt,
        journal,
        databases,
        rules: rules.into_iter().map(Arc::new).collect(),
        publish,
        queries,
        unmatched,
        dead_letters,
        http,
        http_access,
        log,
        shutdown_grace,
    }
}

/// The bridge's name, a key in the databases' offset tables.
fn identity(value: &Value<'_>) -> Option<String> {
    // Fits a B-tree key in both engines with room to spare, and a metric label.
    const IDENTITY_BYTES_MAX: usize = 200;
    let text = value.text()?;
    if text.is_empty() || text.len() > IDENTITY_BYTES_MAX || text.contains('\0') {
        value.refuse(format!("found {}", value.shown()), "1 to 200 bytes of text without NUL");
        return None;
    }
    Some(text)
}

/// systemd's `$STATE_DIRECTORY` may list several directories.
fn default_data_dir(cx: &Context<'_>) -> PathBuf {
    let state = cx.environment.get("STATE_DIRECTORY").and_then(|list| list.split(':').next());
    state.filter(|directory| !directory.is_empty()).unwrap_or("rowbridge-data").into()
}

fn dead_letters(table: Table<'_>) -> DeadLetters {
    let keep =
        table.duration("keep", DEAD_LETTERS_KEEP, Duration::from_secs(60)..=Duration::from_secs(100 * 365 * 86_400));
    table.finish();
    DeadLetters { keep }
}

fn log(table: Table<'_>) -> Log {
    let level = table.get("level").and_then(|value| log_level(&value)).unwrap_or_else(|| "info".to_owned());
    let formats = [("auto", LogFormat::Auto), ("text", LogFormat::Text), ("json", LogFormat::Json)];
    let format = table.choice("format", LogFormat::Auto, &formats);
    table.finish();
    Log { level, format }
}

/// Levels, each for a module or for all the rest. A bare word must be a level: tracing would take `inof` for the name of a
/// module, and brackets for the fields of an event.
fn log_level(value: &Value<'_>) -> Option<String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    // `off` may come as the boolean that YAML 1.1 made of it.
    let text = value.text()?;
    let is_part_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ':');
    let mut directives = Vec::new();
    for directive in text.split(',') {
        let (module, level) = match directive.split_once('=') {
            Some((module, level)) => (Some(module.trim()), level.trim()),
            None => (None, directive.trim()),
        };
        let is_level = LEVELS.contains(&level.to_ascii_lowercase().as_str());
        if !is_level || module.is_some_and(|module| module.is_empty() || !module.chars().all(is_part_of_name)) {
            let accepted = "off, error, warn, info, debug, trace, or directives such as info,rowbridge::source=debug";
            let suggestion = if is_level { None } else { nearest(level, LEVELS) };
            value.refuse_with(format!("found {}", value.shown()), Some(accepted.to_owned()), suggestion);
            return None;
        }
        directives.push(module.map_or_else(|| level.to_owned(), |module| format!("{module}={level}")));
    }
    Some(directives.join(","))
}
