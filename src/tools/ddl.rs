//! The SQL of the tables that a configuration needs, by database: Rowbridge's own tables, and the rules' tables as
//! `create: true` would make them. It is made from the configuration alone, without a connection.
//!
//! Each database's part runs unchanged on an empty database. Comments mark what the configuration leaves open (types of
//! payload fields, all columns of `columns: auto`).

use std::fmt::Write;

use crate::config::{Columns, Config, Database, DatabaseUrl, PostgresUrl, Rule, new_table};
use crate::rule::{DeclaredType, TableName, quote};
use crate::sink::{PostgresSink, Sink, SqliteSink};

/// The schema that every Postgres database has.
const PUBLIC: &str = "public";

/// The SQL for the database at that index of [`Config::databases`].
pub fn tables(config: &Config, index: usize) -> String {
    let database = &config.databases[index];
    let rules: Vec<&Rule> = config.rules.iter().map(AsRef::as_ref).filter(|rule| rule.database == index).collect();
    let mut tables: Vec<&TableName> = Vec::new();
    for rule in rules.iter().filter(|rule| rule.statement.is_none() && rule.routing.is_none()) {
        if !tables.contains(&&rule.table) {
            tables.push(&rule.table);
        }
    }
    let mut sql = heading(database);
    sql += "BEGIN;\n";
    match &database.url {
        DatabaseUrl::Sqlite(_) => {
            sql += &sqlite_own();
            add_rule_tables(&mut sql, &SqliteSink::new(database), &rules, &tables);
        }
        DatabaseUrl::Postgres(url) => {
            add_schemas(&mut sql, url, &tables);
            sql += &postgres_own(&url.schema);
            add_rule_tables(&mut sql, &PostgresSink::new(database), &rules, &tables);
        }
    }
    for rule in rules.iter().filter(|rule| rule.statement.is_some()) {
        let name = in_comment(&rule.name);
        let _ =
            writeln!(sql, "\n-- Rule {name} has a statement of its own: the tables that it names are yours to make.");
    }
    sql + "COMMIT;\n"
}

fn heading(database: &Database) -> String {
    let (engine, how) = match &database.url {
        DatabaseUrl::Sqlite(path) => ("SQLite", format!("sqlite3 -bail {} < FILE", path.display())),
        DatabaseUrl::Postgres(_) => {
            ("Postgres", "psql -v ON_ERROR_STOP=1 -f FILE, as a role that may create tables".to_owned())
        }
    };
    format!(
        "-- Database {} ({engine}): the tables that Rowbridge {} needs with this configuration.\n-- For a database without \
         them: {}\n\n",
        in_comment(&database.name),
        env!("CARGO_PKG_VERSION"),
        in_comment(&how),
    )
}

/// As applied by the bridge, which then finds them at its own version.
fn sqlite_own() -> String {
    let steps = SqliteSink::migrations();
    let mut sql = steps.concat();
    sql += "\n\n-- Which of the steps above have been applied.\nCREATE TABLE rowbridge_schema_version\n    (version INTEGER PRIMARY \
            KEY, applied_at TEXT NOT NULL);\n";
    for version in 1..=steps.len() {
        let _ = writeln!(
            sql,
            "INSERT INTO rowbridge_schema_version VALUES ({version}, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'));"
        );
    }
    sql
}

/// Without a table of versions: the bridge takes tables that stand for made by an administrator.
fn postgres_own(schema: &str) -> String {
    let steps = PostgresSink::migrations().concat();
    format!("SET LOCAL search_path = {};\n\n{}\n", quote(schema), steps.trim_end())
}

fn add_schemas(sql: &mut String, url: &PostgresUrl, tables: &[&TableName]) {
    let mut schemas = vec![url.schema.as_str()];
    schemas.extend(tables.iter().filter_map(|table| table.schema.as_deref()));
    let mut made = vec![PUBLIC];
    for schema in schemas {
        if !made.contains(&schema) {
            made.push(schema);
            let _ = writeln!(sql, "CREATE SCHEMA IF NOT EXISTS {};", quote(schema));
        }
    }
}

fn add_rule_tables<S: Sink>(sql: &mut String, sink: &S, rules: &[&Rule], tables: &[&TableName]) {
    for rule in rules.iter().filter(|rule| rule.routing.is_some()) {
        let name = in_comment(&rule.name);
        let _ = writeln!(sql, "\n-- Rule {name}: messages name its tables, which cannot be told.");
        if let (Some(_), Some((columns, _))) = (&rule.create, columns(&[rule])) {
            let form = sink.create_table_sql(&rule.table, &new_table(&rule.table, &[rule], columns));
            let _ = writeln!(sql, "-- Each is made in this form:");
            for line in form.lines() {
                let _ = writeln!(sql, "-- {}", in_comment(line));
            }
        }
    }
    // Two tables may give their indexes one name.
    let mut index_names: Vec<String> = Vec::new();
    for table in tables {
        let writing: Vec<&Rule> = rules.iter().copied().filter(|rule| rule.table == **table).collect();
        let names: Vec<String> = writing.iter().map(|rule| in_comment(&rule.name)).collect();
        let kind = if names.len() == 1 { "rule" } else { "rules" };
        let _ = writeln!(sql, "\n-- Table {}, of {kind} {}.", in_comment(&table.to_string()), names.join(", "));
        match columns(&writing) {
            None => {
                *sql += match writing.iter().any(|rule| rule.create.is_some()) {
                    true => "-- With `columns: auto` the first payload makes the table: its columns cannot be told.\n",
                    false => "-- With `columns: auto` the rules take the table as it is: its columns cannot be told.\n",
                };
                let besides = new_table(table, &writing, Vec::new()).besides();
                if !besides.is_empty() {
                    let _ = writeln!(sql, "-- It needs {}.", in_comment(&besides));
                }
            }
            Some((columns, untold)) => {
                for (column, rule) in untold {
                    let _ = writeln!(
                        sql,
                        "-- Column {} of rule {}: its type cannot be told, and text takes every value. Choose the one that fits.",
                        in_comment(column),
                        in_comment(rule),
                    );
                }
                let mut new = new_table(table, &writing, columns);
                new.name_indexes(&table.name, |name| index_names.iter().any(|known| known.eq_ignore_ascii_case(name)));
                index_names.extend(new.indexes.iter().map(|index| index.name.clone()));
                let _ = writeln!(sql, "{};", sink.create_table_sql(table, &new));
            }
        }
    }
}

/// Columns with their types, and those whose type is unknown, each with its rule.
type Declared<'r> = (Vec<(&'r str, DeclaredType)>, Vec<(&'r str, &'r str)>);

/// As the bridge makes the table: from the rules that say `create: true`, else from all; `None` with `columns: auto`.
fn columns<'r>(rules: &[&'r Rule]) -> Option<Declared<'r>> {
    let creating = rules.iter().any(|rule| rule.create.is_some());
    let names_columns = |rule: &&Rule| rule.create.is_some() && matches!(rule.columns, Columns::Named(_));
    let mut declared: Vec<(&str, DeclaredType)> = Vec::new();
    let mut untold = Vec::new();
    for rule in rules.iter().filter(|rule| rule.create.is_some() || !creating) {
        let columns = match &rule.columns {
            Columns::Named(columns) => columns,
            Columns::Auto if creating && rules.iter().any(names_columns) => continue,
            Columns::Auto => return None,
        };
        for column in columns.iter() {
            if declared.iter().any(|(name, _)| *name == &*column.name) {
                continue;
            }
            let told = column.create_type(&rule.format, &rule.shaping);
            if told.is_none() {
                untold.push((&*column.name, &*rule.name));
            }
            declared.push((&column.name, told.unwrap_or(DeclaredType::Text)));
        }
    }
    Some((declared, untold))
}

/// A name in a comment, which a line break would end.
fn in_comment(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
