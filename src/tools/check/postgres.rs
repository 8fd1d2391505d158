//! Tests a Postgres database: login, the kind of server, Rowbridge's own tables, the rules' tables, rights.
//!
//! The daemon's sink creates its own tables when it connects. Here its transactions cannot write (the server is asked
//! for `default_transaction_read_only`), so if its tables do not exist yet, the check ends there.

use std::collections::HashSet;

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, Row};

use super::Finding;
use super::database::{self, ClosedView, Tables, subject};
use super::publish;
use crate::batch::Verb;
use crate::config::{Config, PostgresUrl};
use crate::rule::{TableName, quote};
use crate::sink::{PostgresSink, Rights, Sink, SinkError};
use crate::tools::live;

/// SQLSTATE: a transaction that may only read was to write.
const READ_ONLY_TRANSACTION: &str = "25006";

/// The sink's own code: nobody answers.
const CANNOT_CONNECT: &str = "connect";

/// What a pooler says to a startup option that it cannot keep.
const POOLER_REFUSAL: &str = "unsupported startup parameter";

const NOT_COMPARED: &str = "its tables, columns and rights are not compared";

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
                     SELECT pg_catalog.set_config('search_path', 'pg_catalog', true)";

const SERVER: &str = "SELECT current_setting('server_version'), current_setting('server_encoding'), \
    current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit'), \
    pg_is_in_recovery(), current_setting('synchronous_standby_names'), (SELECT split_part(c, '=', 2) \
    FROM pg_catalog.pg_db_role_setting s, unnest(s.setconfig) c WHERE c LIKE 'default_transaction_read_only=%' \
    AND s.setdatabase IN (0, (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = current_database())) \
    AND s.setrole IN (0, (SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname = current_user)) \
    ORDER BY s.setrole <> 0 DESC, s.setdatabase <> 0 DESC LIMIT 1)";

/// This role, and whether it may make tables in schema `$1`; NULL if there is no such schema.
const MAY_CREATE: &str = "SELECT CURRENT_USER::pg_catalog.text, (SELECT pg_catalog.has_schema_privilege(n.oid, 'USAGE') \
    AND pg_catalog.has_schema_privilege(n.oid, 'CREATE') FROM pg_catalog.pg_namespace n \
    WHERE n.nspname OPERATOR(pg_catalog.=) $1)";

/// Of the tables `$1.$2`: whether row-level security concerns this role, the triggers that see a row before it goes in, whether
/// this role may alter the table, and what it is called.
const TABLES: &str = "SELECT t.name, row_security_active(c.oid), \
    ARRAY(SELECT g.tgname::text FROM pg_trigger g WHERE g.tgrelid = c.oid AND NOT g.tgisinternal \
          AND g.tgenabled <> 'D' AND (g.tgtype & 7) = 7 ORDER BY g.tgname), \
    pg_has_role(c.relowner, 'USAGE'), current_user::text \
    FROM ROWS FROM (unnest($1::text[]), unnest($2::text[])) AS t (schema, name) \
    JOIN pg_namespace n ON n.nspname = t.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.name";

/// Of the tables `$1.$2`: the places, from 1, of views that INSERT is not possible into (bit 3), by triggers or rules either.
const CLOSED_VIEWS: &str = "SELECT t.place \
    FROM ROWS FROM (unnest($1::text[]), unnest($2::text[])) WITH ORDINALITY AS t (schema, name, place) \
    JOIN pg_namespace n ON n.nspname = t.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.name \
    WHERE c.relkind = 'v' AND pg_relation_is_updatable(c.oid, true) & 8 = 0";

pub(super) async fn look(config: &Config, index: usize, url: &PostgresUrl) -> Vec<Finding> {
    let subject = subject(config, index);
    let mut sink = PostgresSink::new(&live::read_only(&config.databases[index], url));
    if let Err(error) = sink.connect().await {
        let held = match error.code == READ_ONLY_TRANSACTION {
            true => may_not_create(&mut sink, url, &subject).await,
            false => None,
        };
        return vec![held.unwrap_or_else(|| not_connected(&subject, url, &error))];
    }
    let mut findings = Vec::new();
    let tables = database::tables(&mut sink, config, index, |_| false).await;
    let published = publish::tables(&mut sink, config, index, |_| false).await;
    let mut closed = Closed::default();
    match sink.client() {
        Some(client) => match ask(client, url, &tables, &mut findings, &subject).await {
            Ok(found) => {
                closed = found;
                if let Err(error) = publish::rights(client, config, (index, url), &mut findings).await {
                    findings.push(unanswered(&subject, &error.to_string()));
                }
            }
            Err(error) => findings.push(unanswered(&subject, &error.to_string())),
        },
        None => findings.push(unanswered(&subject, "the connection was lost meanwhile")),
    }
    findings.extend(tables.into_findings(&subject, &closed.views, |table| {
        closed.schemas.contains(table.schema.as_deref().unwrap_or(&url.schema))
    }));
    findings.extend(published);
    // Nothing is open.
    let _ = sink.close().await;
    findings
}

/// Rowbridge's own tables are not there: what keeps the start from making them. `None` also if the server does not say.
async fn may_not_create(sink: &mut PostgresSink, url: &PostgresUrl, subject: &str) -> Option<Finding> {
    sink.connect_to_read().await.ok()?;
    let name = url.schema.as_str();
    let rows = sink.client()?.query_typed(MAY_CREATE, &[(&name, Type::TEXT)]).await.ok()?;
    let row = rows.first()?;
    let (role, may_create): (String, Option<bool>) = (row.try_get(0).ok()?, row.try_get(1).ok()?);
    let schema = quote(name);
    let (why, sql) = match may_create {
        Some(true) => return None,
        Some(false) => (
            format!("the role {role} may not make tables in schema {schema}"),
            format!("GRANT USAGE, CREATE ON SCHEMA {schema} TO {};", quote(&role)),
        ),
        None => (
            format!("there is no schema {schema}"),
            format!("CREATE SCHEMA IF NOT EXISTS {schema} AUTHORIZATION {};", quote(&role)),
        ),
    };
    let what = format!(
        "logged in at {url}; {why}, and Rowbridge's own tables are not there, or are of an older version: a start stores \
         nothing in this database"
    );
    let remedy =
        "run that SQL as an administrator, once; or make the tables with `rowbridge schema sql`, and grant them";
    Some(Finding::problem(subject, what, format!("{sql}\n{remedy}")))
}

fn not_connected(subject: &str, url: &PostgresUrl, error: &SinkError) -> Finding {
    if error.code == READ_ONLY_TRANSACTION {
        let schema = quote(&url.schema);
        return Finding::warning(
            subject,
            format!(
                "logged in at {url}; Rowbridge's own tables are not in schema {schema}, or are of an older version: the \
                 first start makes them, and until then {NOT_COMPARED}"
            ),
            format!(
                "start the bridge once, or run migrations/postgres/*.sql with search_path {schema}; then check again"
            ),
        );
    }
    if error.message.contains(POOLER_REFUSAL) {
        return Finding::warning(
            subject,
            format!("a pooler such as PgBouncer at {url} takes no startup options: {NOT_COMPARED}"),
            "check with the server's own address, e.g. --set databases.NAME.url=postgres://…; the bridge itself works \
             through PgBouncer",
        );
    }
    let finding = Finding::of_sink(subject, error);
    if error.code == CANNOT_CONNECT {
        let remedy =
            "start the server, or correct host and port in the URL; if both are right, look at firewalls in between";
        return Finding { remedy: Some(remedy.to_owned()), ..finding };
    }
    finding
}

/// What takes no rows, or no tables.
#[derive(Default)]
struct Closed {
    views: Vec<ClosedView>,
    /// In which this role cannot make the tables that rules ask for.
    schemas: HashSet<String>,
}

fn unanswered(subject: &str, error: &str) -> Finding {
    Finding::warning(subject, format!("not everything was answered: {error}"), "check again")
}

/// Asks what the sink does not, in one transaction that only reads.
async fn ask(
    client: &Client,
    url: &PostgresUrl,
    tables: &Tables,
    findings: &mut Vec<Finding>,
    subject: &str,
) -> Result<Closed, Error> {
    client.batch_execute(BEGIN).await?;
    let asked = ask_within(client, url, tables, findings, subject).await;
    client.batch_execute("ROLLBACK").await?;
    asked
}

async fn ask_within(
    client: &Client,
    url: &PostgresUrl,
    tables: &Tables,
    findings: &mut Vec<Finding>,
    subject: &str,
) -> Result<Closed, Error> {
    let schema = url.schema.as_str();
    for row in client.query_typed(SERVER, &[]).await? {
        of_server(&Server::read(&row)?, url, findings, subject);
    }
    let mut closed = Closed::default();
    for name in tables.schemas_of_new(schema) {
        for row in client.query_typed(MAY_CREATE, &[(&name, Type::TEXT)]).await? {
            let (role, may_create): (String, Option<bool>) = (row.try_get(0)?, row.try_get(1)?);
            let (role, quoted) = (role.as_str(), quote(name));
            let (what, sql) = match may_create {
                Some(true) => continue,
                Some(false) => (
                    format!("the role {role} may not make tables in schema {name}, as create: true asks for"),
                    format!("GRANT USAGE, CREATE ON SCHEMA {quoted} TO {};", quote(role)),
                ),
                None => (
                    format!("there is no schema {name}, in which create: true makes tables"),
                    format!("CREATE SCHEMA IF NOT EXISTS {quoted} AUTHORIZATION {};", quote(role)),
                ),
            };
            findings.push(Finding::problem(subject, what, sql));
            closed.schemas.insert(name.to_owned());
        }
    }
    let names: Vec<&TableName> = tables.live.iter().map(|(_, table)| &table.name).collect();
    let schemas: Vec<&str> = names.iter().map(|name| name.schema.as_deref().unwrap_or(schema)).collect();
    let names: Vec<&str> = names.iter().map(|name| name.name.as_str()).collect();
    for row in client.query_typed(TABLES, &[(&schemas, Type::TEXT_ARRAY), (&names, Type::TEXT_ARRAY)]).await? {
        of_table(&row, findings, subject)?;
        let (name, may_alter, role): (String, bool, String) = (row.try_get(0)?, row.try_get(3)?, row.try_get(4)?);
        if let Some((_, table)) = tables.growing().find(|(_, table)| table.name.name == name && !may_alter) {
            findings.push(Finding::problem(
                subject,
                format!("the role {role} may not add columns to {name}, as unmapped: add asks for"),
                format!("ALTER TABLE {} OWNER TO {};", table.name.quoted(), quote(&role)),
            ));
        }
    }
    for row in client.query_typed(CLOSED_VIEWS, &[(&schemas, Type::TEXT_ARRAY), (&names, Type::TEXT_ARRAY)]).await? {
        let at: i64 = row.try_get(0)?;
        let live = usize::try_from(at - 1).ok().and_then(|at| tables.live.get(at));
        let why = "it is not simple enough for the server, and no INSTEAD OF trigger or rule takes them".to_owned();
        closed.views.extend(live.map(|(name, _)| ClosedView { name: name.clone(), why }));
    }
    let mut rights = Rights::new(schema);
    if tables.remembers {
        rights.add_retained();
    }
    for (_, table) in &tables.live {
        rights.add_any(&table.name, "INSERT");
    }
    for target in &tables.targets {
        rights.add_target(target);
        if matches!(&target.verb, Verb::Upsert(key) if key.len() < target.table.columns.len()) {
            rights.add_any(&target.table.name, "UPDATE");
        }
    }
    let (query, parameters) = rights.query();
    let mut told = HashSet::new();
    for row in client.query_typed(query, &parameters).await? {
        let grant: String = row.try_get(0)?;
        if told.insert(grant.clone()) {
            findings.push(Finding::problem(subject, "a right is missing", grant));
        }
    }
    for (_, table) in &tables.live {
        if table.unlogged {
            let what = format!("table {} is unlogged: after a crash of the server its rows are gone", table.name);
            findings.push(Finding::warning(subject, what, format!("ALTER TABLE {} SET LOGGED;", table.name.quoted())));
        }
        if table.intake.diverts {
            let what = format!("a rule of table {} puts rows elsewhere: what it swallows is not counted", table.name);
            findings.push(Finding::warning(
                subject,
                what,
                "use a trigger in place of the rule, or write into the other table",
            ));
        } else if table.intake.by_insert {
            let what = format!(
                "rows go into {} by INSERT, which is slower than COPY: it is a view, a foreign table, or has rules or row-level security",
                table.name
            );
            findings.push(Finding::ok(subject, what));
        }
    }
    Ok(closed)
}

/// What the server says of itself.
struct Server {
    version: String,
    encoding: String,
    fsync: String,
    full_page_writes: String,
    synchronous_commit: String,
    is_standby: bool,
    standbys: String,
    /// `default_transaction_read_only`, if it was set for this role or database.
    read_only: Option<String>,
}

impl Server {
    fn read(row: &Row) -> Result<Server, Error> {
        Ok(Server {
            version: row.try_get(0)?,
            encoding: row.try_get(1)?,
            fsync: row.try_get(2)?,
            full_page_writes: row.try_get(3)?,
            synchronous_commit: row.try_get(4)?,
            is_standby: row.try_get(5)?,
            standbys: row.try_get(6)?,
            read_only: row.try_get(7)?,
        })
    }
}

fn of_server(server: &Server, url: &PostgresUrl, findings: &mut Vec<Finding>, subject: &str) {
    let Server { version, encoding, synchronous_commit, .. } = server;
    findings.push(Finding::ok(
        subject,
        format!(
            "logged in at {url}: PostgreSQL {version}, {encoding}; synchronous_commit is {synchronous_commit} there and at \
             least on for the bridge"
        ),
    ));
    if server.is_standby && url.config.get_hosts().len() < 2 {
        findings.push(Finding::problem(
            subject,
            "the server is a standby, which takes no rows",
            "give the primary's address, or all of them with target_session_attrs=read-write",
        ));
    }
    if server.read_only.as_deref().is_some_and(|value| ["on", "true", "yes", "1"].contains(&value)) {
        findings.push(Finding::problem(
            subject,
            "default_transaction_read_only is on for this role or database, so nothing can be written",
            "ALTER ROLE … SET default_transaction_read_only = off (or ALTER DATABASE …, where it was set)",
        ));
    }
    if encoding != "UTF8" {
        findings.push(Finding::warning(
            subject,
            format!(
                "the database's encoding is {encoding}: messages with characters that it lacks become dead letters"
            ),
            "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0 holds everything",
        ));
    }
    for (name, value) in [("fsync", &server.fsync), ("full_page_writes", &server.full_page_writes)] {
        if value == "off" {
            findings.push(Finding::warning(
                subject,
                format!(
                    "the server runs with {name} = off: a power cut may lose or damage rows that count as delivered"
                ),
                format!("ALTER SYSTEM SET {name} = on; SELECT pg_reload_conf();"),
            ));
        }
    }
    if !server.standbys.is_empty() {
        let what = format!("commits wait for a standby (synchronous_standby_names = '{}')", server.standbys);
        findings.push(Finding::ok(subject, what));
    }
}

fn of_table(row: &Row, findings: &mut Vec<Finding>, subject: &str) -> Result<(), Error> {
    let (name, is_restricted): (String, bool) = (row.try_get(0)?, row.try_get(1)?);
    let triggers: Vec<String> = row.try_get(2)?;
    if is_restricted {
        findings.push(Finding::warning(
            subject,
            format!("row-level security of table {name} applies to this role: rows that no policy lets in become dead letters"),
            "CREATE POLICY … FOR INSERT WITH CHECK (true), or ALTER ROLE … BYPASSRLS",
        ));
    }
    if !triggers.is_empty() {
        findings.push(Finding::warning(
            subject,
            format!("table {name} has triggers that may change or swallow rows: {}", triggers.join(", ")),
            "look at them; rows that they swallow are counted as rows_swallowed in `rowbridge status`",
        ));
    }
    Ok(())
}
