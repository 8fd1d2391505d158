//! The database of a rule: a fixed one, or the one that each message names.
//!
//! A rule whose messages name their database is copied for each database and decoded for its engine; the copies share
//! their [`Chooser`].

use std::collections::BTreeMap;
use std::sync::Arc;

use super::table::Table;
use super::topic::topics;
use super::value::Value;
use crate::config::report::nearest;
use crate::config::{Database, DatabaseUrl};
use crate::rule::{Chooser, Convention, DatabaseNaming, Source, Template};

pub(super) enum Home {
    /// Index of the database; `None` for one that has its finding.
    One(Option<usize>),
    Named(Arc<Chooser>),
}

/// One database of a rule.
#[derive(Clone, Copy)]
pub(super) struct Place<'d> {
    pub databases: &'d [Database],
    /// Index of the database.
    pub database: Option<usize>,
    pub chooser: Option<&'d Arc<Chooser>>,
}

impl Home {
    pub(super) fn decode(table: &Table<'_>, databases: &[Database]) -> Home {
        let Some(value) = table.get("database") else {
            let convention = table.get("convention").and_then(|value| value.as_text());
            return match databases.len() {
                0 | 1 => Home::One(one(table, databases)),
                _ if convention.as_deref() == Some("joinbase") => {
                    named(table, DatabaseNaming::Convention(Convention::Joinbase), databases)
                }
                _ => Home::One(one(table, databases)),
            };
        };
        let Some(text) = value.text() else { return Home::One(None) };
        if text.contains('{') {
            return match template(table, &value, &text) {
                Some(template) => named(table, DatabaseNaming::Template(template), databases),
                None => Home::One(None),
            };
        }
        Home::One(one(table, databases))
    }

    /// The databases for which the rule is there.
    pub(super) fn databases(&self, databases: &[Database]) -> Vec<Option<usize>> {
        match self {
            Home::One(database) => vec![*database],
            Home::Named(_) => (0..databases.len()).map(Some).collect(),
        }
    }

    pub(super) fn chooser(&self) -> Option<&Arc<Chooser>> {
        match self {
            Home::One(_) => None,
            Home::Named(chooser) => Some(chooser),
        }
    }
}

/// Index of the one database that `database` names, or that there is.
pub(super) fn one(table: &Table<'_>, databases: &[Database]) -> Option<usize> {
    let names = || databases.iter().map(|database| &*database.name);
    let accepted = names().collect::<Vec<_>>().join(", ");
    let Some(value) = table.get("database") else {
        return match databases.len() {
            // Without any there is a finding already.
            0 => None,
            1 => Some(0),
            _ => {
                table.miss("database", &format!("one of {accepted}: there are several"));
                None
            }
        };
    };
    let text = value.text()?;
    let found = names().position(|name| name == text);
    if found.is_none() && !databases.is_empty() {
        let problem = format!("found {}, which is not under `databases`", value.shown());
        value.refuse_with(problem, Some(accepted), nearest(&text, names()));
    }
    found
}

impl<'d> Place<'d> {
    pub(super) fn own(self) -> Option<&'d Database> {
        self.databases.get(self.database?)
    }

    pub(super) fn sink(self) -> Option<&'d DatabaseUrl> {
        self.own().map(|database| &database.url)
    }

    /// What an alias means in this database; `None` if it means a table of another one.
    pub(super) fn meant(self, alias: &str) -> Option<&str> {
        match self.chooser.and_then(|_| with_database(alias, self.databases)) {
            Some((database, table)) => (Some(database) == self.database).then_some(table),
            None => Some(alias),
        }
    }
}

/// `db.table` and `db.schema.table`, where `db` is a database of the configuration.
fn with_database<'t>(alias: &'t str, databases: &[Database]) -> Option<(usize, &'t str)> {
    let (name, table) = alias.split_once('.')?;
    Some((databases.iter().position(|database| *database.name == *name)?, table))
}

fn template(table: &Table<'_>, value: &Value<'_>, text: &str) -> Option<Template> {
    const FORMS: &str = "the name of a database, or a template such as \"{topic.db}\" of what is not in the payload: topic, \
                         captures, properties";
    if let Some(convention) = table.get("convention").filter(|value| value.as_text().as_deref() == Some("joinbase")) {
        convention.refuse("`joinbase` names the database too", "no `database`, or the name of one");
        return None;
    }
    let template = match Template::parse(text) {
        Ok(template) => template,
        Err(error) => {
            value.refuse_with(error.message, Some(FORMS.to_owned()), error.suggestion);
            return None;
        }
    };
    if template.sources().any(Source::reads_payload) {
        value.refuse("reads the payload, and each database reads only the payloads of its own messages", FORMS);
        return None;
    }
    let topics = topics(table).map(|(topics, _)| topics);
    for source in template.sources() {
        super::destination::check_capture(source, value, topics.as_deref());
    }
    Some(template)
}

fn named(table: &Table<'_>, naming: DatabaseNaming, databases: &[Database]) -> Home {
    let mut names: BTreeMap<String, usize> = BTreeMap::new();
    if let DatabaseNaming::Convention(_) = naming {
        let own = databases.iter().enumerate().filter_map(|(index, database)| match &database.url {
            DatabaseUrl::Postgres(url) => Some((url.config.get_dbname()?.to_owned(), index)),
            DatabaseUrl::Sqlite(_) => None,
        });
        let own: Vec<(String, usize)> = own.collect();
        // What two are called on their servers says nothing.
        let is_one = |name: &String| own.iter().filter(|(other, _)| other == name).count() == 1;
        names.extend(own.iter().filter(|(name, _)| is_one(name)).cloned());
    }
    // These win.
    names.extend(databases.iter().enumerate().map(|(index, database)| (database.name.to_string(), index)));
    let is_template = matches!(naming, DatabaseNaming::Template(_));
    let has_one_target = table.get("into").or_else(|| table.get("statement")).is_some();
    if is_template && table.get("tables").is_none() && !has_one_target {
        const TABLES: &str = "a list of table names in which * stands for anything, such as [\"*_telemetry\"]";
        table.miss(
            "tables",
            &format!("{TABLES}: where messages name the database, it says which tables they may reach"),
        );
    }
    let mut aliases = BTreeMap::new();
    let texts = table.get("table_aliases");
    let named_table = table.get("table").and_then(|value| value.as_text()).filter(|text| text.contains('{'));
    let named_table = named_table.and_then(|text| Template::parse(&text).ok());
    for (text, value) in texts.iter().filter_map(|value| value.entries()).flatten() {
        let meant = value.as_text().unwrap_or_default();
        let Some((database, _)) = with_database(&meant, databases) else { continue };
        if is_template && named_table.as_ref().is_some_and(|table| table.sources().any(Source::reads_payload)) {
            value.refuse(
                "names a database, and what `table` gives is read from the payload, which each database reads by itself",
                "TABLE or SCHEMA.TABLE; or a `table` of topic, captures and properties",
            );
        }
        aliases.insert(text.to_owned(), database);
    }
    let named_table = if is_template && !aliases.is_empty() { named_table } else { None };
    Home::Named(Arc::new(Chooser { naming, databases: names, aliases, table: named_table, first: 0 }))
}
