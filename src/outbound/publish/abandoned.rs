//! Publications that are in a database but no longer in the configuration: their triggers still capture changes. They
//! are searched once, a while after the start, so that messages do not wait. A database that does not answer is asked
//! again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::events;
use crate::config::{Config, Database};
use crate::sink::{SinkError, StoredPublication, stored_publications};

/// After the start, and between two attempts.
const LOOK_AFTER: Duration = Duration::from_secs(10);
/// Attempts for a database.
const ATTEMPTS_MAX: u32 = 30;

/// A database, and the names of its publications in the configuration.
struct Looking {
    database: Database,
    configured: Vec<Arc<str>>,
}

/// Tells of each such publication once. On the event loop it only waits; each look has a thread of its own, for as long as it
/// takes.
pub fn tell(config: &Config) -> impl Future<Output = ()> + Send + use<> {
    let databases = config.databases.iter().enumerate();
    let all = databases.map(|(index, database)| Looking::of(config, index, database)).collect();
    tell_of(Arc::clone(&config.bridge), all)
}

async fn tell_of(bridge: Arc<str>, mut left: Vec<Looking>) {
    for _ in 0..ATTEMPTS_MAX {
        tokio::time::sleep(LOOK_AFTER).await;
        let (sender, again) = oneshot::channel();
        let bridge = Arc::clone(&bridge);
        let look = move || {
            // Who cannot have a thread, or too many open files, has been told so by others.
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
            let _ = sender.send(runtime.block_on(look(&bridge, left)));
        };
        if std::thread::Builder::new().name("abandoned".to_owned()).spawn(look).is_err() {
            return;
        }
        left = again.await.unwrap_or_default();
        if left.is_empty() {
            return;
        }
    }
}

/// Returns those that did not answer.
async fn look(bridge: &str, databases: Vec<Looking>) -> Vec<Looking> {
    let mut again = Vec::new();
    for looking in databases {
        if looking.tell(bridge).await.is_err() {
            again.push(looking);
        }
    }
    again
}

impl Looking {
    fn of(config: &Config, index: usize, database: &Database) -> Looking {
        let entries = config.publish.iter().filter(|entry| entry.database == index);
        Looking { database: database.clone(), configured: entries.map(|entry| Arc::clone(&entry.name)).collect() }
    }

    async fn tell(&self, bridge: &str) -> Result<(), SinkError> {
        for StoredPublication { name, table, .. } in &stored_publications(&self.database, bridge).await? {
            if !self.configured.iter().any(|configured| **configured == **name) {
                events::abandoned(&self.database.name, name, table);
            }
        }
        Ok(())
    }
}
