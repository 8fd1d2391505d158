//! Lets the databases compile the statements of `queries`.

use std::time::{Duration, Instant};

use super::Finding;
use crate::config::query::{Asked, Query};
use crate::config::{Config, DatabaseUrl};
use crate::sink::query::{QueryError, Reader};

/// For connecting and compiling.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn look(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for query in &config.queries {
        findings.push(match &query.asked {
            Asked::Named(named) => {
                let database = &config.databases[query.database];
                if let DatabaseUrl::Sqlite(path) = &database.url
                    && !path.exists()
                {
                    let what = format!("its statement was not looked at: {} is not there yet", path.display());
                    findings.push(Finding::warning(&subject(query), what, "start the bridge once, which makes it; then check again"));
                    continue;
                }
                let mut reader = Reader::new(database);
                let described = reader.describe(&named.statement, Instant::now() + PATIENCE).await;
                let described = described.map(|columns| {
                    let names = columns.iter().map(|column| format!("{} {}", column.name, column.kind.name()));
                    names.collect::<Vec<_>>().join(", ")
                });
                of_named(config, query, described)
            }
            Asked::Machbase { is_allowed: true, .. } => Finding::warning(
                &subject(query),
                match query.reply_prefix {
                    Some(_) => "allow_sql: whoever may publish on its topic reads all that the database's role may read",
                    None => {
                        "allow_sql: whoever may publish on its topic reads all that the database's role may read, and has the \
                         answers sent to any topic"
                    }
                },
                "let the broker's access list say who may, give the role no more rights than it needs, and set `reply_prefix: \
                 db/reply` (docs/queries.md)",
            ),
            Asked::Machbase { .. } => Finding::warning(
                &subject(query),
                "allow_sql is off, so every request is refused",
                "allow_sql: read_only, or take the query out",
            ),
        });
    }
    findings
}

fn subject(query: &Query) -> String {
    format!("query {}", query.name)
}

fn of_named(config: &Config, query: &Query, described: Result<String, QueryError>) -> Finding {
    let subject = subject(query);
    match described {
        Ok(columns) => Finding::ok(&subject, format!("its statement compiles and gives {columns}")),
        Err(QueryError::Refused(why)) => {
            let what = format!("{}: the database does not take its statement: {why}", query.position);
            let is_to_be_made =
                config.rules.iter().any(|rule| rule.create.is_some() && rule.database == query.database);
            match is_to_be_made {
                true => Finding::warning(&subject, what, "if the first start makes the table, check again after it"),
                false => Finding::problem(&subject, what, "correct `sql`, or make what it names"),
            }
        }
        Err(error) => Finding::warning(&subject, format!("its statement was not looked at: {error}"), "check again"),
    }
}
