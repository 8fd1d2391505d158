//! `rowbridge publish status|remove`: the state of the entries of `publish` in their databases. Works with the bridge
//! stopped or running.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::figures::{count, counted, plain};
use super::{EXIT_USAGE, Layers, broken, installation};
use crate::config::{Config, Database, DatabaseUrl, Needs, nearest};
use crate::identity;
use crate::sink::{PostgresChanges, SqliteChanges, StoredPublication, stored_publications};

#[derive(Debug, Subcommand)]
pub(super) enum PublishCommand {
    /// Show what is published, how far it is and what waits
    Status(StatusArgs),
    /// Stop capturing: drop the triggers of an entry, its changes and its offset
    Remove(RemoveArgs),
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct RemoveArgs {
    /// The name of the entry, which may be in the configuration no longer
    name: String,
}

/// A publication, and the database that it lies in.
type Found<'a> = (&'a Database, StoredPublication);

pub(super) fn run(layers: &Layers, command: &PublishCommand) -> ExitCode {
    let needs = Needs::only(&["bridge", "data_dir", "http", "mqtt.client_id", "publish"]).and_database(None);
    let mut config = match installation::load_running(layers, needs) {
        Ok(config) => config,
        Err(code) => return code,
    };
    identity::adopt_remembered(&mut config);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("an event loop needs only a few file descriptors");
    runtime.block_on(async {
        match command {
            PublishCommand::Status(arguments) => status(&config, arguments).await,
            PublishCommand::Remove(arguments) => remove(&config, &arguments.name).await,
        }
    })
}

/// The publications of all databases. Errors of databases that do not answer are printed; then the second is how the command
/// is to end.
async fn stored(config: &Config) -> (Vec<Found<'_>>, Option<ExitCode>) {
    let (mut found, mut away) = (Vec::new(), None);
    for database in &config.databases {
        match stored_publications(database, &config.bridge).await {
            Ok(stored) => found.extend(stored.into_iter().map(|stored| (database, stored))),
            Err(error) => away = Some(broken(database, &error)),
        }
    }
    (found, away)
}

async fn status(config: &Config, arguments: &StatusArgs) -> ExitCode {
    let (found, away) = stored(config).await;
    let ended = away.unwrap_or(ExitCode::SUCCESS);
    if arguments.json {
        let shown = found.iter().map(|(database, stored)| {
            json!({
                "name": stored.name, "database": *database.name, "table": stored.table, "published": stored.published,
                "skipped": stored.skipped, "pending": stored.pending, "next_offset": stored.next_offset,
                "configured": is_configured(config, database, &stored.name), "held_back": stored.held_back,
            })
        });
        say!("{}", serde_json::Value::Array(shown.collect()));
        return ended;
    }
    if found.is_empty() && away.is_none() {
        say!("nothing is published: no database has an entry of bridge {}", config.bridge);
    }
    for (database, stored) in &found {
        let StoredPublication { name, table, next_offset, published, skipped, pending, .. } = stored;
        let gone = match is_configured(config, database, name) {
            true => String::new(),
            false => format!("; NOT in the configuration, and captures on: rowbridge publish remove {}", plain(name)),
        };
        say!(
            "{}  database {}, table {}: {} published, {} skipped, {} pending, next offset {}{gone}",
            plain(name),
            database.name,
            plain(table),
            count(*published),
            count(*skipped),
            count(*pending),
            count(*next_offset)
        );
        if let Some(why) = &stored.held_back {
            say!("  {}", plain(why));
        }
    }
    ended
}

fn is_configured(config: &Config, database: &Database, name: &str) -> bool {
    config.publish.iter().any(|entry| *entry.name == *name && config.databases[entry.database].name == database.name)
}

async fn remove(config: &Config, name: &str) -> ExitCode {
    let (found, mut failed) = stored(config).await;
    let meant: Vec<&Found<'_>> = found.iter().filter(|(_, stored)| stored.name == name).collect();
    if meant.is_empty() {
        if let Some(failed) = failed {
            return failed;
        }
        let names = found.iter().map(|(_, stored)| stored.name.as_str());
        let near = nearest(name, names.clone()).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        let there = match names.collect::<Vec<_>>().join(", ") {
            none if none.is_empty() => "no database has one".to_owned(),
            all => format!("there is: {all}"),
        };
        note!("rowbridge publish remove: there is no entry {}; {there}{near}", plain(name));
        return ExitCode::from(EXIT_USAGE);
    }
    for (database, stored) in meant {
        let removed = match &database.url {
            DatabaseUrl::Sqlite(_) => SqliteChanges::remove(database, &config.bridge, name).await,
            DatabaseUrl::Postgres(_) => PostgresChanges::remove(database, &config.bridge, name).await,
        };
        match removed {
            Ok(true) => {
                let changes = counted(stored.pending, "change");
                say!("{name} is removed from database {}, with {changes} that were not published", database.name);
            }
            Ok(false) => {}
            Err(error) => {
                failed = Some(broken(database, &error));
                continue;
            }
        }
        if is_configured(config, database, name) {
            say!("it is still in the configuration: a bridge that runs with it creates it again");
        }
    }
    failed.unwrap_or(ExitCode::SUCCESS)
}
