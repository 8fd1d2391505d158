//! The command line: one file per command.

/// Prints a line to standard output; see `output.rs` for write errors.
macro_rules! say {
    ($($argument:tt)*) => {
        $crate::cli::output::print_line(format_args!($($argument)*))
    };
}

/// Prints a line to standard error. Unlike `eprintln!`, it does not panic if that cannot be written.
macro_rules! note {
    ($($argument:tt)*) => {
        $crate::cli::output::print_note(format_args!($($argument)*))
    };
}

/// Prints to standard error without a line end.
macro_rules! progress {
    ($($argument:tt)*) => {
        $crate::cli::output::print_progress(format_args!($($argument)*))
    };
}

mod check;
mod completions;
mod dead_letters;
mod discover;
mod examples;
mod explain;
mod figures;
mod http;
mod installation;
mod journal;
mod man;
mod output;
mod publish;
mod reload;
mod run;
mod schema;
mod status;
mod summary;
mod tap;
mod tap_line;
mod test;
mod verdict;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, FromArgMatches, Parser, Subcommand};

use crate::config::{self, Config, Database, LoadRequest, Needs};
use crate::sink::SinkError;

/// Failed while running.
const EXIT_FAILED: u8 = 1;
/// Usage or configuration.
const EXIT_USAGE: u8 = 2;

/// Moves MQTT messages into SQLite and Postgres and loses none of them.
///
/// Rowbridge subscribes to a broker, keeps every message in a journal on disk before it acknowledges it, and writes rows in
/// large transactions, each database at its own pace. Without a command it runs the bridge.
#[derive(Debug, Parser)]
#[command(name = "rowbridge", version, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    layers: Layers,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Where the configuration comes from.
#[derive(Debug, Args)]
struct Layers {
    /// Configuration file [default: $ROWBRIDGE_CONFIG, ./bridge.yaml, /etc/rowbridge/bridge.yaml]
    #[arg(short, long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Overrides one key, e.g. --set mqtt.url=mqtt://broker:1883 (may be repeated)
    // Taken apart later: clap would repeat a value that is not of this form, which may be a password.
    #[arg(long, value_name = "KEY=VALUE", global = true)]
    set: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the bridge (the default)
    Run(run::RunArgs),
    /// Check the configuration and report every mistake
    Check(check::CheckArgs),
    /// Listen to the broker and write a configuration that stores what was heard
    Discover(discover::DiscoverArgs),
    /// Show what becomes of a message: which rules take it, the rows, the SQL, or why it is none
    Explain(explain::ExplainArgs),
    /// Run golden tests: messages, and the rows that the rules are to make of them
    Test(test::TestArgs),
    /// Have the running bridge read its configuration again: rules change, nothing is lost, a mistake changes nothing
    Reload,
    /// Show the state of the running bridge
    Status(status::StatusArgs),
    /// Follow the running bridge: each message, and what became of it
    Tap(tap::TapArgs),
    /// Look at messages that could not become rows, try them again, and delete them
    #[command(subcommand)]
    DeadLetters(dead_letters::DeadLettersCommand),
    /// Look at the journal; works with the bridge stopped or running
    #[command(subcommand)]
    Journal(journal::JournalCommand),
    /// Look at what is published of tables, and stop capturing
    #[command(subcommand)]
    Publish(publish::PublishCommand),
    /// Print completions of commands and options for a shell
    Completions(completions::CompletionsArgs),
    /// Print the man page, or write the pages of all commands
    Man(man::ManArgs),
    /// Print what editors and administrators need: the JSON Schema of bridge.yaml, the SQL of the tables
    #[command(subcommand)]
    Schema(schema::SchemaCommand),
    /// Print the version
    Version,
}

/// Runs the command given by `arguments`.
pub fn main() -> ExitCode {
    let matches = examples::command().try_get_matches().unwrap_or_else(|text| output::end_by(&text));
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    output::flushed(run_command(cli))
}

fn run_command(cli: Cli) -> ExitCode {
    match cli.command.unwrap_or_else(|| Command::Run(run::RunArgs::default())) {
        Command::Run(arguments) => run::run(&cli.layers, &arguments),
        Command::Reload => reload::run(&cli.layers),
        Command::Check(arguments) => check::run(&cli.layers, &arguments),
        Command::Discover(arguments) => discover::run(&cli.layers, &arguments),
        Command::Explain(arguments) => explain::run(&cli.layers, &arguments),
        Command::Test(arguments) => test::run(&cli.layers, &arguments),
        Command::Status(arguments) => status::run(&cli.layers, &arguments),
        Command::Tap(arguments) => tap::run(&cli.layers, &arguments),
        Command::DeadLetters(command) => dead_letters::run(&cli.layers, &command),
        Command::Journal(command) => journal::run(&cli.layers, &command),
        Command::Publish(command) => publish::run(&cli.layers, &command),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Man(arguments) => man::run(&arguments),
        Command::Schema(command) => schema::run(&cli.layers, &command),
        Command::Version => {
            say!("rowbridge {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
    }
}

impl Layers {
    /// Where to load from, or the exit code after saying what is wrong with a flag.
    fn request(&self) -> Result<LoadRequest, ExitCode> {
        let overrides = self.set.iter().map(|text| key_value(text)).collect::<Option<Vec<_>>>().ok_or_else(|| {
            note!("rowbridge: --set takes KEY=VALUE, e.g. mqtt.url=mqtt://broker:1883");
            ExitCode::from(EXIT_USAGE)
        })?;
        Ok(LoadRequest::from_process(self.config.clone(), overrides))
    }

    /// Loads what is needed of the configuration, or prints every mistake and gives the exit code.
    fn load(&self, needs: Needs) -> Result<Config, ExitCode> {
        let request = LoadRequest { needs, ..self.request()? };
        config::load(&request).map_err(|report| {
            note!("{report}");
            ExitCode::from(EXIT_USAGE)
        })
    }
}

fn key_value(text: &str) -> Option<(String, String)> {
    let (key, value) = text.split_once('=')?;
    (!key.is_empty()).then(|| (key.to_owned(), value.to_owned()))
}

/// Prints an error of a database with its causes and its remedy, and returns exit code 1. The bridge retries by itself
/// and its advice says so; a command does not.
fn broken(database: &Database, error: &SinkError) -> ExitCode {
    note!("rowbridge: database {}: {}", database.name, with_causes(error, BECAUSE));
    let advice = error.advice.strip_suffix(TRIES_AGAIN).unwrap_or(error.advice);
    if !advice.is_empty() {
        note!("  to do: {advice}");
    }
    ExitCode::from(EXIT_FAILED)
}

/// How such advice ends.
const TRIES_AGAIN: &str = "; Rowbridge tries again";

/// Before each cause of an error.
const BECAUSE: &str = "\n  because: ";

/// Prints an error with its causes, and returns exit code 1.
fn failed(error: &dyn std::error::Error) -> ExitCode {
    note!("rowbridge: {}", with_causes(error, BECAUSE));
    ExitCode::from(EXIT_FAILED)
}

fn with_causes(error: &dyn std::error::Error, between: &str) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = text + between + &cause_text;
        }
        source = cause.source();
    }
    text
}
