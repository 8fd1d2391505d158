//! `rowbridge dead-letters list|show|retry|delete`: the messages that could not become rows, in all databases.

mod delete;
mod list;
mod retry;
mod selection;
mod store;

use std::process::ExitCode;

use clap::Subcommand;

use self::selection::SelectionArgs;
use self::store::Store;
use super::{EXIT_USAGE, Layers, broken, failed, installation};
use crate::config::{Config, Database, Needs, nearest};
use crate::identity;
use crate::jq;

#[derive(Debug, Subcommand)]
pub(super) enum DeadLettersCommand {
    /// List them, newest first
    List(list::ListArgs),
    /// Show one with its topic, properties, payload and reason
    Show(list::ShowArgs),
    /// Try them again under the rules as they are now: what goes in is a dead letter no longer
    Retry(retry::RetryArgs),
    /// Delete them for good
    Delete(delete::DeleteArgs),
}

impl DeadLettersCommand {
    /// The only database that is used, if one is named.
    fn database(&self) -> Option<&str> {
        match self {
            DeadLettersCommand::Show(arguments) => arguments.database.as_deref(),
            _ => self.selection()?.database.as_deref(),
        }
    }

    fn selection(&self) -> Option<&SelectionArgs> {
        match self {
            DeadLettersCommand::List(arguments) => Some(&arguments.selection),
            DeadLettersCommand::Retry(arguments) => Some(&arguments.selection),
            DeadLettersCommand::Delete(arguments) => Some(&arguments.selection),
            DeadLettersCommand::Show(_) => None,
        }
    }

    /// The keys of the configuration that the command uses besides the databases.
    fn needs(&self) -> &'static [&'static str] {
        let names_rule = self.selection().is_some_and(|selection| selection.rule.is_some());
        match names_rule || matches!(self, DeadLettersCommand::Retry(_)) {
            true => &["bridge", "data_dir", "http", "mqtt.client_id", "rules"],
            false => &["bridge", "data_dir", "http", "mqtt.client_id"],
        }
    }
}

/// Why a command ends: the exit code, after its reason was printed.
type Ended = ExitCode;

pub(super) fn run(layers: &Layers, command: &DeadLettersCommand) -> ExitCode {
    let needs = Needs::only(command.needs()).and_database(command.database());
    let mut config = match installation::load_running(layers, needs) {
        Ok(config) => config,
        Err(code) => return code,
    };
    identity::adopt_remembered(&mut config);
    // Room for jq programs, as in the daemon.
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(jq::STACK_BYTES).spawn_scoped(scope, || {
            jq::has_stack();
            run_with(&config, command)
        });
        match thread.map(|thread| thread.join()) {
            Ok(Ok(code)) => code,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(error) => failed(&error),
        }
    })
}

fn run_with(config: &Config, command: &DeadLettersCommand) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("an event loop needs only a few file descriptors");
    let done = runtime.block_on(async {
        match command {
            DeadLettersCommand::List(arguments) => list::list(config, arguments).await,
            DeadLettersCommand::Show(arguments) => list::show(config, arguments).await,
            DeadLettersCommand::Retry(arguments) => retry::retry(config, arguments).await,
            DeadLettersCommand::Delete(arguments) => delete::delete(config, arguments).await,
        }
    });
    done.unwrap_or_else(|ended| ended)
}

fn wrong(command: &str, why: &str) -> Ended {
    note!("rowbridge dead-letters {command}: {why}");
    ExitCode::from(EXIT_USAGE)
}

/// Prints which of the numbers no dead letter has; whether there are such.
async fn say_absent(
    command: &str,
    bridge: &str,
    ids: &[i64],
    (database, store): (&Database, &mut Store),
) -> Result<bool, Ended> {
    let absent = store.absent(bridge, ids).await.map_err(|error| broken(database, &error))?;
    for id in &absent {
        note!("rowbridge dead-letters {command}: there is no dead letter {id} in database {}", database.name);
    }
    Ok(!absent.is_empty())
}

/// The database of that name, or all.
fn chosen<'a>(config: &'a Config, command: &str, name: Option<&str>) -> Result<Vec<&'a Database>, Ended> {
    let fitting = |database: &&Database| name.is_none_or(|name| *database.name == *name);
    let databases: Vec<&Database> = config.databases.iter().filter(fitting).collect();
    if databases.is_empty() {
        let names: Vec<&str> = config.databases.iter().map(|database| database.name.as_ref()).collect();
        let name = name.unwrap_or_default();
        let meant = did_you_mean(name, names.iter().copied());
        return Err(wrong(command, &format!("there is no database {name}; there is: {}{meant}", names.join(", "))));
    }
    Ok(databases)
}

/// The only database that is meant; ids are numbered within one.
fn only<'a>(config: &'a Config, command: &str, name: Option<&str>, why: &str) -> Result<&'a Database, Ended> {
    match chosen(config, command, name)?[..] {
        [database] => Ok(database),
        _ => Err(wrong(command, &format!("there are several databases; {why}: say which with --database NAME"))),
    }
}

/// Databases with their connections.
type Stores<'a> = Vec<(&'a Database, Store)>;

/// Opens the databases that are meant, and refuses a rule that neither the configuration nor any of them knows. Goes on past
/// databases that cannot be opened; of these, how the command is to end.
async fn open<'a>(
    config: &Config,
    command: &str,
    databases: Vec<&'a Database>,
    selection: &SelectionArgs,
) -> Result<(Stores<'a>, Option<Ended>), Ended> {
    let (mut stores, mut away) = (Vec::new(), None);
    for database in databases {
        match Store::open(database).await {
            Ok(store) => stores.push((database, store)),
            Err(error) => away = Some(broken(database, &error)),
        }
    }
    let Some(rule) = selection.rule.as_deref() else { return Ok((stores, away)) };
    if config.rules.iter().any(|known| *known.name == *rule) {
        return Ok((stores, away));
    }
    // Letters of a rule that was renamed or removed stay.
    let all = SelectionArgs::default().of_bridge(&config.bridge);
    let mut names: Vec<String> = config.rules.iter().map(|rule| rule.name.to_string()).collect();
    for (database, store) in &mut stores {
        let counts = store.rules(&all).await.map_err(|error| broken(database, &error))?;
        names.extend(counts.into_iter().map(|(rule, _)| rule));
    }
    if names.iter().any(|name| name == rule) {
        note!("rowbridge dead-letters {command}: the rule {rule} is not in the configuration any more");
        return Ok((stores, away));
    }
    let meant = did_you_mean(rule, names.iter().map(String::as_str));
    let own = config.rules.iter().filter(|rule| !rule.is_copy());
    let shown: Vec<&str> = own.take(RULES_SHOWN).map(|rule| rule.name.as_ref()).collect();
    let more = if config.rules.len() > RULES_SHOWN { " …" } else { "" };
    let there = match shown.join(", ") {
        none if none.is_empty() => "the configuration has none".to_owned(),
        shown => format!("there is: {shown}{more}"),
    };
    Err(wrong(command, &format!("there is no rule {rule}; {there}{meant}")))
}

/// Of ten thousand rules, enough to see how they are called.
const RULES_SHOWN: usize = 10;

fn did_you_mean<'n>(word: &str, names: impl IntoIterator<Item = &'n str>) -> String {
    nearest(word, names).map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}
