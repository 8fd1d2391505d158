//! From rows to messages: each publication in turn reads its changes, publishes them and finishes them.
//!
//! Each publication has its own database connection; all publications of a database share a thread. A change is
//! published and acknowledged before it is deleted in the database. *Dies before the acknowledgement, or before the
//! DELETE commits:* the change still exists, with the same offset by its position (see [`crate::sink::ChangeFeed`]),
//! and is published again. *Dies after:* the change is deleted, and the offset has moved past it.

mod abandoned;
mod compose;
mod events;
mod finishing;
mod publisher;
mod state;
mod unit;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use futures_util::future::join_all;

pub use self::abandoned::tell as tell_abandoned;
pub use self::state::PublishState;

use self::compose::Composer;
use self::publisher::Publisher;
use super::Outbound;
use crate::config::{Config, Database, DatabaseUrl, Publication};
use crate::jq;
use crate::shutdown::Shutdown;
use crate::sink::{Capture, PostgresChanges, SqliteChanges};
use crate::telemetry::Metrics;

/// The publications that run.
#[derive(Default)]
pub struct Publishing {
    pub threads: Vec<JoinHandle<()>>,
    /// In the order of the configuration.
    pub states: Vec<Arc<PublishState>>,
}

impl Publishing {
    /// Starts a thread for each database that has publications.
    pub fn start(
        config: &Config,
        outbound: &Outbound,
        metrics: &Arc<Metrics>,
        shutdown: &Shutdown,
    ) -> io::Result<Publishing> {
        let states: Vec<_> =
            config.publish.iter().map(|publication| PublishState::new(&publication.name, metrics)).collect();
        let mut threads = Vec::new();
        for (index, database) in config.databases.iter().enumerate() {
            let of_database =
                config.publish.iter().zip(&states).filter(|(publication, _)| publication.database == index);
            let workers: Vec<_> = of_database
                .map(|(publication, state)| Worker {
                    bridge: Arc::clone(&config.bridge),
                    database: database.clone(),
                    publication: publication.clone(),
                    outbound: outbound.clone(),
                    state: Arc::clone(state),
                    shutdown: shutdown.clone(),
                })
                .collect();
            if !workers.is_empty() {
                threads.push(spawn(&database.name, workers)?);
            }
        }
        Ok(Publishing { threads, states })
    }
}

/// What a publication runs with.
struct Worker {
    bridge: Arc<str>,
    database: Database,
    publication: Publication,
    outbound: Outbound,
    state: Arc<PublishState>,
    shutdown: Shutdown,
}

impl Worker {
    async fn run(self) {
        let Worker { bridge, database, publication, outbound, state, shutdown } = self;
        let capture = capture(&bridge, &publication);
        let retry = database.retry.clone();
        let composer = Composer::new(&bridge, &database, publication);
        match &database.url {
            DatabaseUrl::Sqlite(_) => {
                let feed = SqliteChanges::new(&database, capture);
                Publisher::new(feed, composer, outbound, state, retry, shutdown).run().await;
            }
            DatabaseUrl::Postgres(_) => {
                let feed = PostgresChanges::new(&database, capture);
                Publisher::new(feed, composer, outbound, state, retry, shutdown).run().await;
            }
        }
    }
}

/// What a publication wants captured.
fn capture(bridge: &Arc<str>, publication: &Publication) -> Capture {
    Capture {
        bridge: Arc::clone(bridge),
        name: Arc::clone(&publication.name),
        table: publication.table.clone(),
        events: publication.events,
        with_existing: publication.with_existing,
        settings: publication.settings(),
        max_pending: publication.max_pending,
        tells_definition: publication.meta_topic.is_some(),
        time: publication.time,
    }
}

fn spawn(database: &str, workers: Vec<Worker>) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Room for jq programs; what is not used is only addresses.
    let thread = std::thread::Builder::new().name(format!("pub-{database}")).stack_size(jq::STACK_BYTES);
    thread.spawn(move || {
        jq::has_stack();
        runtime.block_on(async { join_all(workers.into_iter().map(|worker| Box::pin(worker.run()))).await });
    })
}
