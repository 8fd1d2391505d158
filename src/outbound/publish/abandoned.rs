//! Publications that stand in a database and in the configuration no longer: their triggers go on capturing. Looked for once, a
//! while after the start, so that nothing is in the way of messages; a database that does not answer is asked again.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::events;
use crate::config::{Config, Database, DatabaseUrl};
use crate::shutdown::Shutdown;
use crate::sink::{PostgresChanges, SinkError, SqliteChanges, StoredPublication};

/// After the start, and between two attempts.
const LOOK_AFTER: Duration = Duration::from_secs(10);
/// Attempts for a database.
const ATTEMPTS_MAX: u32 = 30;

/// A database, and the names of its publications in the configuration.
struct Looking {
    database: Database,
    configured: Vec<Arc<str>>,
}

/// The thread, which ends by itself.
pub(super) fn spawn(config: &Config, shutdown: &Shutdown) -> io::Result<JoinHandle<()>> {
    let bridge = Arc::clone(&config.bridge);
    let mut left: Vec<Looking> =
        config.databases.iter().enumerate().map(|(index, database)| Looking::of(config, index, database)).collect();
    let mut shutdown = shutdown.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = std::thread::Builder::new().name("abandoned".to_owned());
    thread.spawn(move || {
        runtime.block_on(async {
            for _ in 0..ATTEMPTS_MAX {
                tokio::select! {
                    () = tokio::time::sleep(LOOK_AFTER) => {}
                    () = shutdown.requested() => return,
                }
                let mut again = Vec::new();
                for looking in left {
                    tokio::select! {
                        told = looking.tell(&bridge) => again.extend(told.is_err().then_some(looking)),
                        () = shutdown.requested() => return,
                    }
                }
                if again.is_empty() {
                    return;
                }
                left = again;
            }
        });
    })
}

impl Looking {
    fn of(config: &Config, index: usize, database: &Database) -> Looking {
        let entries = config.publish.iter().filter(|entry| entry.database == index);
        Looking { database: database.clone(), configured: entries.map(|entry| Arc::clone(&entry.name)).collect() }
    }

    async fn tell(&self, bridge: &str) -> Result<(), SinkError> {
        let stored = match &self.database.url {
            // Opening would make it.
            DatabaseUrl::Sqlite(path) if !path.exists() => return Ok(()),
            DatabaseUrl::Sqlite(_) => SqliteChanges::stored(&self.database, bridge).await?,
            DatabaseUrl::Postgres(_) => PostgresChanges::stored(&self.database, bridge).await?,
        };
        for StoredPublication { name, table, .. } in &stored {
            if !self.configured.iter().any(|configured| **configured == **name) {
                events::abandoned(&self.database.name, name, table);
            }
        }
        Ok(())
    }
}
