//! `rowbridge check`: is the configuration right?

use std::process::ExitCode;

use clap::Args;

use super::{EXIT_USAGE, Layers, installation};
use crate::config::{DatabaseUrl, Needs};
use crate::identity;

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Look at the configuration only; connect to nothing
    #[arg(long)]
    offline: bool,
    /// Insist that every secret, key and certificate exists and can be read
    #[arg(long)]
    secrets: bool,
}

pub(super) fn run(layers: &Layers, arguments: &CheckArgs) -> ExitCode {
    let needs = match (arguments.offline, arguments.secrets) {
        (_, true) => Needs::everything(),
        (true, false) => Needs::no_secrets(),
        (false, false) => Needs::secrets_later(),
    };
    let mut config = match installation::load(layers, needs) {
        Ok(config) => config,
        Err(code) => return code,
    };
    if !arguments.offline {
        eprintln!("rowbridge check: connecting to the broker and the databases is not supported yet; use --offline");
        return ExitCode::from(EXIT_USAGE);
    }
    let configured = (config.mqtt.client_id.clone(), config.bridge.to_string());
    identity::adopt_remembered(&mut config);
    let remembered = |was: &str, is: &str| match was == is {
        true => String::new(),
        false => format!(" (remembered in {}; by its default it would be {was})", config.data_dir.display()),
    };
    let file = config.file.as_ref().map_or("the environment".to_owned(), |file| file.display().to_string());
    say!("{file}: the configuration is right");
    say!("  bridge    {}{}", config.bridge, remembered(&configured.1, &config.bridge));
    say!("  client id {}{}", config.mqtt.client_id, remembered(&configured.0, &config.mqtt.client_id));
    for url in &config.mqtt.urls {
        say!("  broker    {url}");
    }
    for database in &config.databases {
        let place = match &database.url {
            DatabaseUrl::Sqlite(path) => format!("SQLite, {}", path.display()),
            DatabaseUrl::Postgres(url) => format!("Postgres, {url}"),
        };
        say!("  database  {}: {place}", database.name);
    }
    for rule in &config.rules {
        let topics: Vec<&str> = rule.topics.iter().map(|topic| topic.as_str()).collect();
        let database = &config.databases[rule.database].name;
        say!("  rule      {}: {} → {database}, table {}", rule.name, topics.join(", "), rule.table);
    }
    ExitCode::SUCCESS
}
