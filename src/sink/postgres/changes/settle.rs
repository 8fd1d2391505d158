//! Brings a publication and its table together.
//!
//! A publication begins in two steps. First its row is created, not ready. Then one transaction creates the triggers,
//! which takes a lock that waits for all writers. While it holds the lock, a second connection takes its snapshot, so
//! that snapshot has exactly the rows that no trigger saw. The lock is released, and the second connection copies the
//! rows of its snapshot, in the order of the primary key and before all captured changes, while other sessions write.
//! The same transaction marks the publication as ready. *Dies in between:* nothing was published yet. The next start
//! takes the lock again, deletes the captured changes, all of which its new snapshot contains, and copies anew.

use std::time::Duration;

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error};

use super::capture::{FORMS, SETTINGS};
use super::catalogue::{self, LiveTable};
use crate::rule::{TableName, quote};
use crate::sink::changes::{Capture, News, OFFSET_JUMP, Overflow, Settled};
use crate::sink::postgres::failure::own;
use crate::sink::postgres::session::Session;
use crate::sink::postgres::transaction::{CATALOGUE_FIRST, Sql, around, commit, literal};
use crate::sink::{Class, SinkError};

const DOING: &str = "preparing to publish";

/// Everybody who writes into the table waits behind us.
pub(super) const LOCK_MILLIS: u64 = 2_000;

/// For one round trip of a connection that is open.
const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(5);

pub(super) const MISSING_RIGHT: &str = "42501";

/// Of another cluster, from which the tables were restored: its transactions come before ours, in their own order.
const FOREIGN: i64 = 1 << 62;

pub(super) struct Settling<'a> {
    pub(super) session: &'a Session,
    pub(super) sql: &'a Sql,
    pub(super) capture: &'a Capture,
    /// With its schema.
    pub(super) table: &'a TableName,
    /// Whether this connection has not looked yet.
    pub(super) is_first: bool,
}

/// The row in `rowbridge_publications`.
pub(super) struct Stored {
    pub(super) id: i64,
    table_id: Option<i64>,
    definition: String,
    settings: String,
    is_ready: bool,
    next_offset: i64,
    max_pending: i64,
    dropped: Option<(i64, i64)>,
}

impl Settling<'_> {
    /// The publication's id, and how things stand. `open` makes a second connection.
    pub(super) async fn run(
        &self,
        open: impl AsyncFn() -> Result<Session, SinkError>,
    ) -> Result<(i64, Settled), SinkError> {
        let stored = match self.stored().await? {
            Some(stored) => stored,
            None => {
                self.insert().await?;
                self.stored().await?.ok_or_else(|| self.error("gone", "its row was deleted just now".to_owned()))?
            }
        };
        let mut settled = Settled { next_offset: stored.next_offset.max(1).unsigned_abs(), ..Settled::default() };
        if self.is_first {
            settled.news.extend(self.begin_connection(&stored).await?);
            if settled.news.contains(&News::OffsetJumped) {
                settled.next_offset += OFFSET_JUMP;
            }
        }
        settled.news.extend(self.overflown(&stored).await?);
        let live = self.live().await?;
        if self.is_first || live.as_ref().map(|live| live.oid) != stored.table_id {
            self.leave_others(&stored, live.as_ref()).await?;
        }
        let news = match (live, stored.table_id) {
            (None, None) => {
                settled.is_missing = true;
                // Whatever is in the table when it comes will have come later.
                if !stored.is_ready {
                    self.set(&stored, "is_ready = true").await?;
                }
                None
            }
            (None, Some(_)) => {
                settled.is_missing = true;
                self.dropped(&stored).await?;
                Some(News::Dropped)
            }
            (Some(live), _) if !stored.is_ready => {
                self.begin(&stored, &live, open).await?;
                Some(News::Begun)
            }
            // With all triggers in place it is the known one, of a database that was restored into another cluster.
            (Some(live), Some(table_id)) if table_id != live.oid && self.make_triggers(&stored, &live).is_empty() => {
                self.set(&stored, &format!("table_id = {}", live.oid)).await?;
                self.compare(&stored, &live).await?
            }
            (Some(live), table_id) if table_id != Some(live.oid) => {
                self.recreated(&stored, &live).await?;
                Some(if table_id.is_none() { News::Appeared } else { News::Recreated })
            }
            (Some(live), _) => self.compare(&stored, &live).await?,
        };
        settled.news.extend(news);
        Ok((stored.id, settled))
    }

    pub(super) fn client(&self) -> &Client {
        self.session.client()
    }

    fn publications(&self) -> String {
        format!("{}.rowbridge_publications", quote(&self.sql.schema))
    }

    fn changes(&self) -> String {
        format!("{}.rowbridge_changes", quote(&self.sql.schema))
    }

    fn error(&self, code: &str, what: String) -> SinkError {
        own(
            Class::Table,
            code,
            format!("{DOING} table {} ({}): {what}", self.table, self.session.at()),
            "mend it, or take the entry out of `publish`; it is tried again",
        )
    }

    pub(super) async fn wait<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, SinkError> {
        let doing = format!("{DOING} table {}", self.table);
        self.session.wait(6, &doing, work).await.map_err(|error| self.with_remedy(error))
    }

    async fn stored(&self) -> Result<Option<Stored>, SinkError> {
        let query = format!(
            "SELECT id, table_id, definition, settings, is_ready, next_offset, max_pending, dropped_first, dropped_last \
             FROM {} WHERE bridge = $1 AND name = $2",
            self.publications()
        );
        let (bridge, name) = (&*self.capture.bridge, &*self.capture.name);
        let parameters = [(&bridge as _, Type::TEXT), (&name as _, Type::TEXT)];
        self.wait(async {
            let rows = self.client().query_typed(&query, &parameters).await?;
            let Some(row) = rows.first() else { return Ok(None) };
            Ok(Some(Stored {
                id: row.try_get(0)?,
                table_id: row.try_get(1)?,
                definition: row.try_get(2)?,
                settings: row.try_get(3)?,
                is_ready: row.try_get(4)?,
                next_offset: row.try_get(5)?,
                max_pending: row.try_get(6)?,
                dropped: row.try_get::<_, Option<i64>>(7)?.zip(row.try_get(8)?),
            }))
        })
        .await
    }

    async fn insert(&self) -> Result<(), SinkError> {
        let insert = format!(
            "INSERT INTO {} (bridge, name, table_name, settings) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            self.publications()
        );
        let (bridge, name, settings) = (&*self.capture.bridge, &*self.capture.name, self.capture.settings.as_str());
        let table = self.table.to_string();
        let parameters = [&bridge as &(dyn tokio_postgres::types::ToSql + Sync), &name, &table, &settings];
        let parameters = parameters.map(|parameter| (parameter, Type::TEXT));
        let inserting = self.client().query_typed(&insert, &parameters);
        self.wait(around(self.client(), &self.sql.begin, inserting)).await.map(drop)
    }

    /// Changes columns of its row.
    async fn set(&self, stored: &Stored, what: &str) -> Result<(), SinkError> {
        let update = format!("UPDATE {} SET {what} WHERE id = {}", self.publications(), stored.id);
        self.wait(around(self.client(), &self.sql.begin, self.client().batch_execute(&update))).await
    }

    /// What only has to be looked at once.
    async fn begin_connection(&self, stored: &Stored) -> Result<Option<News>, SinkError> {
        let foreign = format!(
            "UPDATE {} SET xact = xact - {FOREIGN} WHERE publication = {} \
             AND xact >= pg_catalog.txid_snapshot_xmax(pg_catalog.txid_current_snapshot())",
            self.changes(),
            stored.id
        );
        self.wait(around(self.client(), &self.sql.begin, self.client().batch_execute(&foreign))).await?;
        if stored.settings == self.capture.settings {
            return Ok(None);
        }
        let update = format!(
            "UPDATE {} SET settings = $1, next_offset = next_offset + {OFFSET_JUMP} WHERE id = {}",
            self.publications(),
            stored.id
        );
        let settings = self.capture.settings.as_str();
        let parameters = [(&settings as _, Type::TEXT)];
        let updating = self.client().query_typed(&update, &parameters);
        self.wait(around(self.client(), &self.sql.begin, updating)).await?;
        Ok(Some(News::OffsetJumped))
    }

    /// The changes that the triggers dropped, reported once; and how many changes may wait.
    async fn overflown(&self, stored: &Stored) -> Result<Option<News>, SinkError> {
        let max_pending = i64::try_from(self.capture.max_pending).unwrap_or(i64::MAX);
        if stored.max_pending != max_pending {
            self.set(stored, &format!("max_pending = {max_pending}")).await?;
        }
        let Some((first, last)) = stored.dropped else { return Ok(None) };
        // The copy begins anew with all rows.
        if !stored.is_ready {
            self.set(stored, "dropped_first = NULL, dropped_last = NULL").await?;
            return Ok(None);
        }
        // More may have been dropped since it was read: from behind these on.
        self.set(
            stored,
            &format!(
                "dropped_first = CASE WHEN dropped_last > {last} THEN {last} + 1 END, \
                 dropped_last = CASE WHEN dropped_last > {last} THEN dropped_last END"
            ),
        )
        .await?;
        let [first_offset, last_offset] = [first, last].map(|offset| offset.max(1).unsigned_abs());
        Ok(Some(News::Overflown(Overflow { first_offset, last_offset })))
    }

    async fn live(&self) -> Result<Option<LiveTable>, SinkError> {
        let (client, schema) = (self.client(), self.table.schema.as_deref().unwrap_or_default());
        let reading = Box::pin(catalogue::table(client, schema, &self.table.name));
        let live = self.wait(around(client, &self.sql.begin_read, reading)).await?;
        match live.as_ref().and_then(|live| live.unfit) {
            Some(why) => Err(self.error("no_table", why.to_string())),
            None => Ok(live),
        }
    }

    fn begin_with_lock(&self) -> String {
        format!("{}; SET LOCAL lock_timeout = {LOCK_MILLIS}; {CATALOGUE_FIRST};", self.sql.begin)
    }

    /// SQL that puts a change of the definition among the changes.
    fn tell(&self, stored: &Stored, event: &str, xact: &str, definition: &str) -> String {
        if !self.capture.tells_definition {
            return String::new();
        }
        let (changes, definition) = (self.changes(), literal(&catalogue::compact(definition)));
        format!(
            "INSERT INTO {changes} (publication, xact, event, new_row) VALUES ({}, {xact}, '{event}', {definition});",
            stored.id
        )
    }

    /// SQL for the publication's row: this is its table now.
    fn adopt(&self, stored: &Stored, live: &LiveTable) -> String {
        format!(
            "UPDATE {} SET is_ready = true, table_id = {}, table_name = {}, definition = {} WHERE id = {};",
            self.publications(),
            live.oid,
            literal(&self.table.to_string()),
            literal(&live.definition),
            stored.id
        )
    }

    /// SQL that copies the table's rows to the changes. Rows that a policy hides would be missing: that is an error.
    fn copy(&self, stored: &Stored, live: &LiveTable, xact: &str) -> String {
        let settings: String = SETTINGS.iter().map(|(name, value)| format!("SET LOCAL {name} = '{value}';")).collect();
        let forms = FORMS.replace("$relation", &live.oid.to_string());
        let key: Vec<String> = live.key.iter().map(|column| format!("t.{}", quote(column))).collect();
        let order = if key.is_empty() { String::new() } else { format!(" ORDER BY {}", key.join(", ")) };
        format!(
            "SET LOCAL statement_timeout = 0; SET LOCAL row_security = off; {settings} \
             INSERT INTO {} (publication, xact, event, columns, new_row) \
             SELECT {}, {xact}, 'insert', ({forms}), pg_catalog.row_to_json(t.*)::pg_catalog.text FROM {} t{order};",
            self.changes(),
            stored.id,
            self.table.quoted()
        )
    }

    /// See the module's head.
    async fn begin(
        &self,
        stored: &Stored,
        live: &LiveTable,
        open: impl AsyncFn() -> Result<Session, SinkError>,
    ) -> Result<(), SinkError> {
        let mut triggers = self.make_triggers(stored, live);
        if triggers.is_empty() {
            // Those of a start that was cut short. A role that has no right to lock the table repeats what is written meanwhile.
            triggers = format!(
                "DO $do$ BEGIN LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE; EXCEPTION WHEN insufficient_privilege THEN NULL; \
                 END $do$;",
                self.table.quoted()
            );
        }
        let statements = format!(
            "{}{triggers} DELETE FROM {} WHERE publication = {}; {}",
            self.begin_with_lock(),
            self.changes(),
            stored.id,
            self.tell(stored, "create", "0", &live.definition)
        );
        let client = self.client();
        if !self.capture.with_existing {
            let statements = statements + &self.adopt(stored, live);
            let work = async {
                client.batch_execute(&statements).await?;
                commit(client).await
            };
            return self.wait(work).await;
        }
        let copier = open().await?;
        self.wait(client.batch_execute(&statements)).await?;
        crash_point!("postgres.publish.triggers");
        // With its row locked: what a trigger dropped meanwhile would move the offset there, and make the copy fail.
        let begin = format!(
            "{}; SELECT 1 FROM {} WHERE id = {} FOR UPDATE",
            self.sql.begin.replacen("READ COMMITTED", "REPEATABLE READ", 1),
            self.publications(),
            stored.id
        );
        // Others wait for the table meanwhile.
        let snapshot = tokio::time::timeout(SNAPSHOT_PATIENCE, copier.client().batch_execute(&begin)).await;
        let snapshot = snapshot.map_err(|_| {
            self.error(
                "snapshot",
                "the second connection, which copies its rows, gets no answer: a pooler may have too few".to_owned(),
            )
        })?;
        snapshot.map_err(|error| copier.explain(&error, DOING))?;
        self.wait(commit(client)).await?;
        crash_point!("postgres.publish.captures");
        let statements = format!("{CATALOGUE_FIRST}; {}{}", self.copy(stored, live, "0"), self.adopt(stored, live));
        // As long as it takes: the table may be large.
        let copying = async {
            copier.client().batch_execute(&statements).await?;
            crash_point!("postgres.publish.copied");
            commit(copier.client()).await
        };
        let copied = copying.await.map_err(|error| copier.explain(&error, &format!("copying table {}", self.table)));
        copied.map_err(|error| self.with_remedy(error))?;
        copier.close().await;
        Ok(())
    }

    async fn dropped(&self, stored: &Stored) -> Result<(), SinkError> {
        let statements = format!(
            "UPDATE {} SET is_ready = true, table_id = NULL, definition = '' WHERE id = {}; {}",
            self.publications(),
            stored.id,
            self.tell(stored, "drop", "pg_catalog.txid_current()", &stored.definition)
        );
        self.wait(around(self.client(), &self.sql.begin, self.client().batch_execute(&statements))).await
    }

    /// Another table under the name: all of its rows are new. It is young, so they are copied under the lock.
    async fn recreated(&self, stored: &Stored, live: &LiveTable) -> Result<(), SinkError> {
        let xact = "pg_catalog.txid_current()";
        let statements = format!(
            "{}{}{}{}{}",
            self.begin_with_lock(),
            self.make_triggers(stored, live),
            self.tell(stored, "create", xact, &live.definition),
            self.copy(stored, live, xact),
            self.adopt(stored, live),
        );
        let client = self.client();
        let work = async {
            client.batch_execute(&statements).await?;
            commit(client).await
        };
        self.wait(work).await
    }

    /// The table that is known: are its triggers in place, and its columns the same?
    async fn compare(&self, stored: &Stored, live: &LiveTable) -> Result<Option<News>, SinkError> {
        let triggers = self.make_triggers(stored, live);
        let is_altered = stored.definition != live.definition;
        if triggers.is_empty() && !is_altered {
            return Ok(None);
        }
        let told = match is_altered {
            true => self.tell(stored, "alter", "pg_catalog.txid_current()", &live.definition),
            false => String::new(),
        };
        let statements = format!("{}{triggers}{told}{}", self.begin_with_lock(), self.adopt(stored, live));
        let client = self.client();
        let work = async {
            client.batch_execute(&statements).await?;
            commit(client).await
        };
        self.wait(work).await?;
        Ok(Some(if triggers.is_empty() { News::Altered } else { News::TriggersPutBack }))
    }
}
