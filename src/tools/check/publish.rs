//! Compares the entries of `publish` of one database with its live tables: the named columns, and the right to create
//! triggers.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use super::Finding;
use super::database::subject;
use crate::config::{Config, PostgresUrl, Publication};
use crate::rule::{RowSource, TableName, quote};
use crate::sink::Sink;

/// Of a table: whether this role may make triggers on it, read it, and drop triggers again; and the role.
const RIGHTS: &str = "SELECT pg_catalog.has_table_privilege(c.oid, 'TRIGGER'), \
    pg_catalog.has_table_privilege(c.oid, 'SELECT'), pg_catalog.pg_has_role(c.relowner, 'USAGE'), current_user::text \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE n.nspname = $1 AND c.relname = $2";

fn of_database(config: &Config, index: usize) -> impl Iterator<Item = &Publication> {
    config.publish.iter().filter(move |publication| publication.database == index)
}

/// Whether the tables are there, with the columns that entries name. A missing table is skipped if `is_unknown` says that
/// nothing is known of it.
pub(super) async fn tables<S: Sink>(
    sink: &mut S,
    config: &Config,
    index: usize,
    is_unknown: impl Fn(&TableName) -> bool,
) -> Vec<Finding> {
    let subject = subject(config, index);
    let mut findings = Vec::new();
    for publication in of_database(config, index) {
        let Publication { name, table, .. } = publication;
        let looked = match sink.unfit_to_publish(table).await {
            Ok(None) => sink.describe(table).await,
            Ok(Some(unfit)) => {
                let what = format!("publish {name}: no rows of {table} can be published, because it is {}", unfit.kind);
                findings.push(Finding::problem(&subject, what, unfit.remedy));
                continue;
            }
            Err(error) => Err(error),
        };
        let described = match looked {
            Ok(described) => described,
            Err(error) => {
                findings.push(Finding::of_sink(&subject, &error));
                continue;
            }
        };
        let Some(described) = described else {
            if is_unknown(table) {
                continue;
            }
            findings.push(Finding::warning(
                &subject,
                format!("publish {name}: there is no table {table} yet; its rows are published when it is there"),
                "make the table, or correct its name",
            ));
            continue;
        };
        let lacks: Vec<&str> =
            named(publication).filter(|column| described.columns.iter().all(|there| there.name != *column)).collect();
        if lacks.is_empty() {
            findings.push(Finding::ok(&subject, format!("publish {name}: rows of table {table} can be published")));
        } else {
            let lacks = lacks.join(", ");
            findings.push(Finding::problem(
                &subject,
                format!(
                    "publish {name}: table {table} has no column {lacks}; what names it in a topic is not published"
                ),
                "correct the names in columns, topic and properties",
            ));
        }
    }
    findings
}

/// The columns that an entry names, outside jq programs.
fn named(publication: &Publication) -> impl Iterator<Item = &str> {
    let templates = publication.properties.iter().map(|(_, template)| template).chain([&publication.topic]);
    let sources = templates.flat_map(|template| template.sources()).filter_map(|source| match source {
        RowSource::Column(column) => Some(column.as_str()),
        _ => None,
    });
    publication.columns.iter().map(String::as_str).chain(sources)
}

/// What the role may not do on the tables of entries.
pub(super) async fn rights(
    client: &Client,
    config: &Config,
    (index, url): (usize, &PostgresUrl),
    findings: &mut Vec<Finding>,
) -> Result<(), Error> {
    let subject = subject(config, index);
    for publication in of_database(config, index) {
        let Publication { name, table, .. } = publication;
        let (schema, table_name) = (table.schema.as_deref().unwrap_or(&url.schema), table.name.as_str());
        let parameters = [(&schema as _, Type::TEXT), (&table_name as _, Type::TEXT)];
        let rows = client.query_typed(RIGHTS, &parameters).await?;
        let Some(row) = rows.first() else { continue };
        let (makes, reads, drops): (bool, bool, bool) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let role: String = row.try_get(3)?;
        let role = quote(&role);
        let place = format!("{}.{}", quote(schema), quote(table_name));
        if !makes || !reads {
            findings.push(Finding::problem(
                &subject,
                format!("publish {name}: the role may not make triggers on table {table}, or not read it"),
                format!("GRANT SELECT, TRIGGER ON {place} TO {role};"),
            ));
        } else if !drops {
            findings.push(Finding::warning(
                &subject,
                format!("publish {name}: the role may make triggers on table {table}, but not drop them again"),
                format!("make {role} a member of the role that owns the table, or remove the triggers as the owner"),
            ));
        }
    }
    Ok(())
}
