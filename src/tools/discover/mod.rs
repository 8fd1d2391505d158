//! `rowbridge discover`: listens, and writes a configuration that stores the received messages.
//!
//! ```text
//! listen ─ topics, sample payloads ─ group ─ rule (a draft, then wider ones) ─ tried: the daemon's own mapper takes all ─ bridge.yaml
//! ```
//!
//! Each rule is tried on every sample before it is written, by the plans that the daemon would use ([`attempt`]).

mod attempt;
mod cbor;
mod families;
mod fields;
mod form;
mod group;
mod keys;
mod learned;
mod listen;
mod msgpack;
mod names;
mod picture;
mod rule;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::future::Future;
use std::time::Duration;

use self::attempt::Bench;
use self::group::{Group, groups};
use self::learned::Learned;
pub use self::listen::Progress;
use self::rule::RuleDraft;
use crate::config::{LoadRequest, Mqtt, MqttVersion};
use crate::tools::ddl;
use crate::tools::yaml;

/// What is listened to.
pub struct Request<'r> {
    pub mqtt: &'r Mqtt,
    /// Topic filters; empty for everything.
    pub filters: &'r [String],
    pub time: Duration,
    /// Of the database that the configuration is to name.
    pub database: &'r str,
}

/// What was found.
pub struct Discovery {
    pub yaml: String,
    pub sql: String,
    /// The topic tree, in lines.
    pub picture: String,
    pub messages: u64,
    pub topics: usize,
    pub rules: usize,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// Why nothing was found; a sentence.
#[derive(Debug, thiserror::Error)]
pub enum DiscoverError {
    /// The request cannot be met as it is: a usage error, told before the time of listening.
    #[error("{0}")]
    Request(String),
    #[error("{0}")]
    Listening(String),
}

/// Listens and drafts. `progress` is called a few times a second; `stop` ends the listening early.
pub async fn discover(
    request: &Request<'_>,
    load: &LoadRequest,
    progress: &mut dyn FnMut(Progress),
    stop: impl Future<Output = ()>,
) -> Result<Discovery, DiscoverError> {
    let bench = Bench::new(load);
    let listening = bench.load(&listening_config(request.filters, request.database)).map_err(DiscoverError::Request)?;
    let heard = listen::listen(request.mqtt, &listening.rules, request.time, progress, stop);
    let heard = heard.await.map_err(DiscoverError::Listening)?;
    let mut notes: Vec<String> = heard.refused.iter().map(|refusal| format!("the broker refused {refusal}")).collect();
    if heard.learned.passed_over > 0 {
        notes.push(format!(
            "{} messages of further topics were passed over: there are too many; look at parts with --filter",
            heard.learned.passed_over
        ));
    }
    draft(request, &bench, &heard.learned, notes).map_err(DiscoverError::Listening)
}

/// Rules that bring what the filters name, at QoS 0, with the database that is to be named: a mistake in it is told before
/// the time of listening.
fn listening_config(filters: &[String], database: &str) -> String {
    let all = ["#".to_owned()];
    let filters = if filters.is_empty() { &all[..] } else { filters };
    let topics: Vec<String> =
        filters.iter().map(|filter| serde_json::Value::from(filter.as_str()).to_string()).collect();
    format!(
        "mqtt: {{ url: 'mqtt://localhost' }}\ndatabases: {{ local: {{ url: {} }} }}\nrules:\n  - {{ topic: [{}], \
         qos: 0, table: none, format: bytes, columns: {{ payload: payload }} }}\n",
        serde_json::Value::from(database),
        topics.join(", ")
    )
}

fn draft(request: &Request<'_>, bench: &Bench, learned: &Learned, mut notes: Vec<String>) -> Result<Discovery, String> {
    let groups = groups(learned);
    let head = head(request, learned);
    let mut yaml = head.clone();
    let (mut tables, mut written) = (BTreeSet::new(), Vec::new());
    for group in &groups {
        let table = names::unique(table_name(group), &mut tables);
        match fitting(bench, &head, group, table) {
            Some(rule) => {
                yaml.push('\n');
                yaml += &rule.yaml(group);
                written.push((group, rule.table));
            }
            None => notes.push(format!("no rule was found for {}", group.pattern_texts().join(", "))),
        }
    }
    let sql = match written.is_empty() {
        true => String::new(),
        false => ddl::tables(&bench.load(&yaml)?, 0),
    };
    let shown: Vec<(&Group<'_>, &str)> = written.iter().map(|(group, table)| (*group, table.as_str())).collect();
    Ok(Discovery {
        picture: picture::picture(&shown),
        yaml,
        sql,
        messages: learned.messages,
        topics: learned.topics.len(),
        rules: written.len(),
        notes,
    })
}

/// The first draft that takes every sample, widened where a value does not fit.
fn fitting(bench: &Bench, head: &str, group: &Group<'_>, table: String) -> Option<RuleDraft> {
    for mut draft in rule::drafts(group, table) {
        loop {
            match bench.attempt(&format!("{head}{}", draft.yaml(group)), group) {
                Ok(()) => {
                    draft.remarks.extend(keys::remark(group, &draft));
                    return Some(draft);
                }
                Err(Some(column)) if draft.widen(&column) => {}
                Err(None) if draft.add_whole() => {}
                Err(_) => break,
            }
        }
    }
    None
}

fn table_name(group: &Group<'_>) -> String {
    if let Some(recipe) = group.recipe {
        return recipe.table.to_owned();
    }
    let fixed = group.patterns[0].iter().enumerate().filter_map(|(place, level)| match level {
        group::Level::Fixed(text) if group.patterns.iter().all(|pattern| pattern.get(place) == Some(level)) => {
            Some(text.as_str())
        }
        _ => None,
    });
    let words: Vec<&str> = fixed.collect();
    let name = names::identifier(&words.join("_"), "messages");
    // Names that are SQLite's or Rowbridge's own.
    let is_taken = ["sqlite_", "rowbridge_"].iter().any(|own| name.starts_with(own));
    if is_taken { format!("my_{name}") } else { name }
}

/// Everything above the rules.
fn head(request: &Request<'_>, learned: &Learned) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "# Made by `rowbridge discover`, which heard {} messages of {} topics. Read it before you use it: names, types and what\n\
         # to leave out are guesses from what was heard, and each rule was tried on it.\n\
         # Then: rowbridge check -c FILE, and rowbridge explain TOPIC PAYLOAD -c FILE shows what becomes of a message.",
        learned.messages,
        learned.topics.len()
    );
    text += "\nmqtt:\n";
    let urls: Vec<String> = request.mqtt.urls.iter().map(ToString::to_string).collect();
    let _ = match &urls[..] {
        [only] => writeln!(text, "  url: {}", yaml::block_scalar(only)),
        several => {
            writeln!(text, "  urls: [{}]", several.iter().map(|url| yaml::scalar(url)).collect::<Vec<_>>().join(", "))
        }
    };
    if request.mqtt.version == MqttVersion::V3 {
        text += "  version: 3.1.1\n";
    }
    if request.mqtt.username.is_some() {
        text += "  username: ${MQTT_USERNAME}\n";
    }
    if request.mqtt.password.is_some() {
        text += "  password: ${MQTT_PASSWORD}   # or password_file: PATH\n";
    }
    let tls = &request.mqtt.tls;
    let files = [("ca_file", &tls.ca_file), ("cert_file", &tls.cert_file), ("key_file", &tls.key_file)];
    let mut keys: Vec<String> = files
        .iter()
        .filter_map(|(key, file)| {
            file.as_ref().map(|file| format!("{key}: {}", yaml::scalar(&file.display().to_string())))
        })
        .collect();
    if tls.insecure_skip_verify {
        keys.push("insecure_skip_verify: true".to_owned());
    }
    if !keys.is_empty() {
        let _ = writeln!(text, "  tls: {{ {} }}", keys.join(", "));
    }
    let _ = write!(text, "\ndatabases:\n  local:\n    url: {}\n\nrules:\n", yaml::block_scalar(request.database));
    text
}
