//! `rowbridge schema config|sql`: the JSON Schema for editors, and the SQL for administrators.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{EXIT_USAGE, Layers};
use crate::config::{Needs, json_schema};
use crate::tools::ddl;

#[derive(Debug, Subcommand)]
pub(super) enum SchemaCommand {
    /// Print the JSON Schema of bridge.yaml, with which editors complete and check it
    Config,
    /// Print the SQL of Rowbridge's tables and of the rules' tables; connects to nothing
    Sql(SqlArgs),
}

#[derive(Debug, Args)]
pub(super) struct SqlArgs {
    /// Only for this database
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
}

pub(super) fn run(layers: &Layers, command: &SchemaCommand) -> ExitCode {
    match command {
        SchemaCommand::Config => {
            say!("{:#}", json_schema());
            ExitCode::SUCCESS
        }
        SchemaCommand::Sql(arguments) => sql(layers, arguments),
    }
}

fn sql(layers: &Layers, arguments: &SqlArgs) -> ExitCode {
    let config = match layers.load(Needs::no_secrets()) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let wanted = arguments.database.as_deref();
    let is_wanted = |name: &str| wanted.is_none_or(|wanted| wanted == name);
    let indexes = (0..config.databases.len()).filter(|&index| is_wanted(&config.databases[index].name));
    let parts: Vec<String> = indexes.map(|index| ddl::tables(&config, index)).collect();
    if parts.is_empty() {
        let names: Vec<&str> = config.databases.iter().map(|database| database.name.as_ref()).collect();
        let wanted = wanted.unwrap_or_default();
        note!("rowbridge schema sql: there is no database {wanted}; choose one of: {}", names.join(", "));
        return ExitCode::from(EXIT_USAGE);
    }
    say!("{}", parts.join("\n").trim_end());
    ExitCode::SUCCESS
}
