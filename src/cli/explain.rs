//! `rowbridge explain`: the rows of a message, and why.

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;

use super::installation::{self, Asking};
use super::{EXIT_USAGE, Layers};
use crate::clock::{self, Timestamp};
use crate::config::{Config, DatabaseUrl, Needs, Unmatched};
use crate::message::{Message, Properties, Property, Qos, Seq};
use crate::tools::explain::{self, Explanation, Fate, Given, Row, RuleView, ShownValue, Tables, Taken, Verdict};

/// Far above any MQTT packet, which has 256 MiB at most; a wrong file is noticed before it is read whole.
const PAYLOAD_BYTES_MAX: u64 = 256 << 20;

/// Longer values are cut in the table for people; JSON and SQL have all of them.
const SHOWN_CHARS_MAX: usize = 100;

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// The message's topic
    #[arg(value_name = "TOPIC", value_parser = topic)]
    topic: String,
    /// The payload as it is, @FILE to read it from a file, or - for standard input [default: an empty one]
    #[arg(value_name = "PAYLOAD", allow_hyphen_values = true)]
    payload: Option<String>,
    /// An MQTT 5 user property (may be repeated)
    #[arg(long, value_name = "KEY=VALUE", value_parser = property)]
    property: Vec<(String, String)>,
    /// The MQTT 5 content type
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// The message comes with the retain flag
    #[arg(long)]
    retain: bool,
    /// The QoS with which it comes
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,
    /// When it is received, such as 2026-11-21T08:00:00Z [default: now]
    #[arg(long, value_name = "TIME", value_parser = time)]
    received_at: Option<Timestamp>,
    /// Connect to nothing: take the tables' types from the rules
    #[arg(long)]
    offline: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(layers: &Layers, arguments: &ExplainArgs) -> ExitCode {
    let payload = match payload(arguments.payload.as_deref()) {
        Ok(payload) => payload,
        Err(error) => {
            note!("rowbridge explain: {error}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let needs = if arguments.offline { Needs::no_secrets() } else { Needs::secrets_later() };
    let asking = if arguments.offline { Asking::WithoutToken } else { Asking::WithToken };
    let config = match installation::load_installed(layers, needs, asking) {
        Ok(installed) => installed.config,
        Err(code) => return code,
    };
    let mut properties = Vec::new();
    for (key, value) in &arguments.property {
        Property::User(key.as_bytes(), value.as_bytes()).encode(&mut properties);
    }
    if let Some(content_type) = &arguments.content_type {
        Property::ContentType(content_type.as_bytes()).encode(&mut properties);
    }
    let message = Message {
        topic: &arguments.topic,
        payload: &payload,
        qos: Qos::from_level(arguments.qos).unwrap_or(Qos::AtLeastOnce),
        retain: arguments.retain,
        dup: false,
        properties: Properties::from_encoded(&properties),
        received_at: arguments.received_at.unwrap_or_else(clock::now),
        fault: None,
        seq: Seq::FIRST,
    };
    let tables = if arguments.offline { Tables::assumed(&config) } else { live_tables(&config, &message) };
    let explanation = explain::explain(&config, &tables, &message);
    if arguments.json {
        let text = serde_json::to_string(&explanation).expect("an explanation has texts for keys");
        say!("{text}");
    } else {
        print(&config, &explanation);
    }
    ExitCode::SUCCESS
}

fn live_tables(config: &Config, message: &Message<'_>) -> Vec<Tables> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("an event loop needs only a few file descriptors");
    let tables = runtime.block_on(Box::pin(Tables::live(config, message)));
    // A name that is still being looked up holds nobody up.
    runtime.shutdown_background();
    tables
}

fn topic(text: &str) -> Result<String, String> {
    const BYTES_MAX: usize = 65_535;
    match text {
        "" => Err("a topic has at least one character".to_owned()),
        _ if text.contains(['+', '#', '\0']) => {
            Err("a message's topic has no wildcards; give one that a device would publish to".to_owned())
        }
        _ if text.len() > BYTES_MAX => Err(format!("a topic has at most {BYTES_MAX} bytes")),
        _ => Ok(text.to_owned()),
    }
}

fn property(text: &str) -> Result<(String, String), String> {
    super::key_value(text).ok_or_else(|| "write KEY=VALUE".to_owned())
}

fn time(text: &str) -> Result<Timestamp, String> {
    let time = text.parse::<jiff::Timestamp>().map(|time| Timestamp(time.as_microsecond()));
    time.map_err(|_| "write a time such as 2026-11-21T08:00:00Z".to_owned())
}

fn payload(argument: Option<&str>) -> Result<Vec<u8>, String> {
    match argument {
        None => Ok(Vec::new()),
        Some("-") => read(std::io::stdin(), "standard input"),
        Some(text) => match text.strip_prefix('@') {
            Some(file) => {
                let opened = std::fs::File::open(Path::new(file)).map_err(|error| format!("{file}: {error}"))?;
                read(opened, file)
            }
            None => Ok(text.as_bytes().to_vec()),
        },
    }
}

fn read(source: impl Read, name: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    source.take(PAYLOAD_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| format!("{name}: {error}"))?;
    match bytes.len() as u64 > PAYLOAD_BYTES_MAX {
        true => Err(format!("{name}: more than 256 MiB, which no MQTT message holds")),
        false => Ok(bytes),
    }
}

fn print(config: &Config, explanation: &Explanation) {
    say!("topic {}", explanation.topic);
    for (database, of) in config.databases.iter().zip(&explanation.databases) {
        let engine = match &database.url {
            DatabaseUrl::Sqlite(_) => "SQLite",
            DatabaseUrl::Postgres(_) => "Postgres",
        };
        let types = match (&of.unreachable, of.are_live) {
            (Some(why), _) => format!("does not answer ({why}): types are assumed from the rules"),
            (None, true) => "types are those of the live tables".to_owned(),
            (None, false) => "not asked: types are assumed from the rules".to_owned(),
        };
        say!("database {} ({engine}): {types}", database.name);
    }
    let (taking, others): (Vec<&RuleView>, Vec<&RuleView>) =
        explanation.rules.iter().partition(|view| matches!(view.verdict, Verdict::Taken(_)));
    for view in taking {
        say!("");
        print_rule(view);
    }
    if !others.is_empty() {
        say!("");
    }
    for view in &others {
        if let Verdict::NotTaken(why) = &view.verdict {
            say!("rule {}: does not take it: {why}", view.rule);
        }
    }
    if others.len() == explanation.rules.len() {
        say!("");
        say!(
            "{}",
            match explanation.unmatched {
                Unmatched::Ignore => "No rule takes the message: it is ignored (unmatched: ignore).",
                Unmatched::DeadLetter =>
                    "No rule takes the message: it becomes a dead letter (unmatched: dead_letter).",
            }
        );
    }
}

fn print_rule(view: &RuleView) {
    let Verdict::Taken(taken) = &view.verdict else { return };
    say!("rule {} ({}): takes it by {}", view.rule, view.position, taken.pattern);
    if let Some(filter) = &taken.comes_by {
        say!("  it comes by the subscription to {filter}, which covers the rule's own filter");
    }
    if !taken.captures.is_empty() {
        let captures: Vec<String> = taken.captures.iter().map(|(name, part)| format!("{name} = {part}")).collect();
        say!("  captures {}", captures.join(", "));
    }
    say!("  {}", outcome(taken));
    if let Some(note) = &taken.note {
        say!("  {note}");
    }
    for error in &taken.other_errors {
        say!("  and {}: {}", error.reason, error.message);
    }
    if !taken.other_values.is_empty() {
        say!("  the other columns would hold");
        print_values(&taken.other_values);
    }
    for row in &taken.rows {
        print_row(row);
    }
}

fn outcome(taken: &Taken) -> String {
    let error = taken.error.as_ref().map_or(String::new(), |error| format!("{}: {}", error.reason, error.message));
    match taken.fate {
        Fate::Written if taken.rows.len() == 1 => "written: 1 row".to_owned(),
        Fate::Written => format!("written: {} rows", taken.rows.len()),
        Fate::Filtered => "filtered: it gives no row, and none was wanted".to_owned(),
        Fate::DeadLettered => format!("DEAD LETTER, {error}"),
        Fate::Dropped => format!("DROPPED (on_error: drop), {error}"),
        Fate::Halted => format!("HALTS the database (on_error: halt), {error}"),
    }
}

fn print_row(row: &Row) {
    say!("  row into table {} of database {}", row.table, row.database);
    print_values(&row.values);
    if !row.left_out.is_empty() {
        say!("    left to the database's default: {}", row.left_out.join(", "));
    }
    say!("  {}", row.sql);
}

fn print_values(values: &[ShownValue]) {
    let texts: Vec<String> = values.iter().map(|value| shortened(&value.held.json)).collect();
    let width = |lengths: &mut dyn Iterator<Item = usize>| lengths.max().unwrap_or(0);
    let names = width(&mut values.iter().map(|value| value.column.chars().count()));
    let types = width(&mut values.iter().map(|value| value.type_name.chars().count()));
    let shown = width(&mut texts.iter().map(|text| text.chars().count()));
    for (value, text) in values.iter().zip(&texts) {
        let (column, type_name) = (&value.column, &value.type_name);
        let given = value.given.as_ref().map_or_else(String::new, given);
        say!("    {column:<names$}  {type_name:<types$}  {text:<shown$}  from {}{given}", value.from);
    }
}

/// What stood in a value's place, and what was done to it.
fn given(given: &Given) -> String {
    let before = shortened(&given.json);
    match &given.nulled {
        Some(why) => format!(", nulled: {before} does not fit (on_error: null): {why}"),
        None if given.by.is_empty() => format!(", which is {before}"),
        None => format!(", which is {before}, by {}", given.by.join(", ")),
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{} … ({} bytes)", &text[..end], text.len()),
        None => text.to_owned(),
    }
}
