//! `rowbridge dead-letters list|show`: the messages that could not become rows, wherever they lie.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{EXIT_USAGE, Layers, failed, installation};
use crate::clock::Timestamp;
use crate::config::{Config, Database, DatabaseUrl, Needs};
use crate::identity;
use crate::sink::{Class, DeadLetterFilter, PostgresSink, Sink, SinkError, SqliteSink, StoredDeadLetter};

#[derive(Debug, Subcommand)]
pub(super) enum DeadLettersCommand {
    /// List them, newest first
    List(ListArgs),
    /// Show one with its topic, properties, payload and reason
    Show(ShowArgs),
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Only in this database
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
    /// Only of this rule
    #[arg(long, value_name = "NAME")]
    rule: Option<String>,
    /// Only with this reason: parse, value, required, constraint, size, topic, unmatched, lost_range …
    #[arg(long, value_name = "CODE")]
    reason: Option<String>,
    /// Only those made at this time or later, e.g. 2026-11-21T08:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
    /// At most this many of each database
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The number that `list` prints
    id: i64,
    /// The database in which it lies; needed when there are several
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl DeadLettersCommand {
    /// The only database that is used, if one is named.
    fn database(&self) -> Option<&str> {
        match self {
            DeadLettersCommand::List(arguments) => arguments.database.as_deref(),
            DeadLettersCommand::Show(arguments) => arguments.database.as_deref(),
        }
    }
}

pub(super) fn run(layers: &Layers, command: &DeadLettersCommand) -> ExitCode {
    let needs = Needs::only(&["bridge", "data_dir", "http", "mqtt.client_id"]).and_database(command.database());
    let mut config = match installation::load_running(layers, needs) {
        Ok(config) => config,
        Err(code) => return code,
    };
    identity::adopt_remembered(&mut config);
    match command {
        DeadLettersCommand::List(arguments) => list(&config, arguments),
        DeadLettersCommand::Show(arguments) => show(&config, arguments),
    }
}

fn list(config: &Config, arguments: &ListArgs) -> ExitCode {
    let Some(databases) = chosen(config, arguments.database.as_deref()) else { return ExitCode::from(EXIT_USAGE) };
    let filter = DeadLetterFilter {
        id: None,
        rule: arguments.rule.clone(),
        reason: arguments.reason.clone(),
        since: arguments.since,
        limit: arguments.limit,
    };
    let mut found = 0;
    for database in databases {
        let letters = match read(config, database, &filter) {
            Ok(letters) => letters,
            Err(error) => return failed(&error),
        };
        if !arguments.json && !letters.is_empty() {
            say!("database {}", database.name);
        }
        for letter in &letters {
            if arguments.json {
                print_json(database, letter);
            } else {
                let rule = letter.rule.as_deref().unwrap_or("-");
                say!(
                    "{:>8}  {}  {rule}  {}  {}  {}",
                    letter.id,
                    letter.created_at,
                    letter.reason,
                    letter.topic,
                    letter.error
                );
            }
        }
        found += letters.len();
    }
    if found == 0 && !arguments.json {
        say!("no dead letters");
    }
    ExitCode::SUCCESS
}

fn show(config: &Config, arguments: &ShowArgs) -> ExitCode {
    let Some(databases) = chosen(config, arguments.database.as_deref()) else { return ExitCode::from(EXIT_USAGE) };
    let [database] = databases[..] else {
        eprintln!("rowbridge dead-letters show: there are several databases; say which with --database NAME");
        return ExitCode::from(EXIT_USAGE);
    };
    let filter = DeadLetterFilter { id: Some(arguments.id), limit: 1, ..DeadLetterFilter::default() };
    let letters = match read(config, database, &filter) {
        Ok(letters) => letters,
        Err(error) => return failed(&error),
    };
    let Some(letter) = letters.first() else {
        eprintln!("rowbridge dead-letters show: there is no dead letter {} in {}", arguments.id, database.name);
        return ExitCode::from(super::EXIT_FAILED);
    };
    if arguments.json {
        print_json(database, letter);
    } else {
        print_whole(database, letter);
    }
    ExitCode::SUCCESS
}

/// The database of that name, or all; `None` after saying that there is none.
fn chosen<'a>(config: &'a Config, name: Option<&str>) -> Option<Vec<&'a Database>> {
    let fitting = |database: &&Database| name.is_none_or(|name| *database.name == *name);
    let databases: Vec<&Database> = config.databases.iter().filter(fitting).collect();
    if databases.is_empty() {
        let names: Vec<&str> = config.databases.iter().map(|database| database.name.as_ref()).collect();
        eprintln!("rowbridge: there is no database {}; there is: {}", name.unwrap_or_default(), names.join(", "));
        return None;
    }
    Some(databases)
}

fn read(config: &Config, database: &Database, filter: &DeadLetterFilter) -> Result<Vec<StoredDeadLetter>, SinkError> {
    match &database.url {
        // Opening would make it.
        DatabaseUrl::Sqlite(path) if !path.exists() => Err(SinkError {
            class: Class::Table,
            code: "missing".to_owned(),
            message: format!("database {}: there is no file {}", database.name, path.display()),
            advice: "start it in the directory of the bridge, or give the path as the bridge has it",
        }),
        DatabaseUrl::Sqlite(_) => read_from(SqliteSink::new(database), config, filter),
        DatabaseUrl::Postgres(_) => read_from(PostgresSink::new(database), config, filter),
    }
}

fn read_from<S: Sink>(
    mut sink: S,
    config: &Config,
    filter: &DeadLetterFilter,
) -> Result<Vec<StoredDeadLetter>, SinkError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("an event loop needs only a few file descriptors");
    runtime.block_on(async {
        sink.connect().await?;
        let letters = sink.dead_letters(&config.bridge, filter).await;
        // What was read is read; what hinders the closing is the bridge's to tell.
        let _ = sink.close().await;
        letters
    })
}

fn print_json(database: &Database, letter: &StoredDeadLetter) {
    let mut value = letter.to_json();
    value["database"] = serde_json::Value::from(database.name.as_ref());
    say!("{value}");
}

fn print_whole(database: &Database, letter: &StoredDeadLetter) {
    say!("dead letter  {} in {}", letter.id, database.name);
    say!("rule         {}", letter.rule.as_deref().unwrap_or("- (none took it)"));
    say!("reason       {}: {}", letter.reason, letter.error);
    say!("attempts     {}", letter.attempts);
    say!("message      {}, received {}, kept {}", letter.seq, letter.received_at, letter.created_at);
    say!("topic        {}  QoS {}{}", letter.topic, letter.qos, if letter.retain { ", retained" } else { "" });
    if let Some(properties) = &letter.properties {
        say!("properties   {properties}");
    }
    say!("payload      {} bytes", letter.payload.len());
    say!("{}", letter.payload_text());
}

fn time(text: &str) -> Result<Timestamp, String> {
    text.parse::<jiff::Timestamp>()
        .map(|time| Timestamp(time.as_microsecond()))
        .map_err(|_| "write a time such as 2026-11-21T08:00:00Z".to_owned())
}
