//! Changes the configuration while the bridge runs: on SIGHUP, on `rowbridge reload`, and with `--watch-config` when
//! one of its files changes.
//!
//! A reload is all or nothing. The files are read and checked as at a start, outside the event loop. If there is a
//! mistake, or a key differs that takes effect only at a start ([`fixed`]), nothing changes; the mistakes are logged
//! and shown in `status`. Otherwise:
//!
//! 1. The rules are published to the databases' workers ([`RuleSet`]). Each worker compiles them between two batches.
//! 2. Then the session gets the new filters. It subscribes to the new ones first and unsubscribes from the superfluous
//!    ones afterwards. Unchanged filters are left alone, so their retained messages are not sent again.
//!
//! *Dies anywhere:* nothing of a reload is on disk except the list of subscriptions, which the session stores as the
//! broker confirms them. The next start reads the files and continues from the offsets in the databases and the stored
//! subscriptions.

mod changes;
mod fixed;
mod state;
mod watch;

use std::sync::Arc;

use tokio::sync::{mpsc, watch as channel};

pub use state::{ReloadReport, ReloadState};
use watch::is_pipe;
pub use watch::watch_files;

use crate::config::{self, Config, LoadRequest};
use crate::delivery::{RuleSet, RuleSets};
use crate::identity;
use crate::outbound::query::QuerySet;
use crate::source::Subscriptions;
use crate::telemetry::log;

/// Requests a reload. While one waits to begin, another is not needed: it reads the file after both requests.
#[derive(Debug, Clone)]
pub struct ReloadTrigger(mpsc::Sender<&'static str>);

impl ReloadTrigger {
    /// `why` is for the log.
    pub fn ask(&self, why: &'static str) {
        let _ = self.0.try_send(why);
    }
}

/// Carries reloads out, one after the other.
pub struct Reloader {
    /// As at the start.
    request: LoadRequest,
    /// The configuration in use.
    config: Config,
    rules: RuleSets,
    plans: channel::Sender<Subscriptions>,
    state: Arc<ReloadState>,
    asked: mpsc::Receiver<&'static str>,
    queries: Option<channel::Sender<Arc<QuerySet>>>,
}

/// The result of a valid file.
struct Loaded {
    config: Config,
    plan: Subscriptions,
    changes: Vec<String>,
}

impl Reloader {
    /// For a bridge that was started with `config`, read by `request`.
    pub fn new(
        mut request: LoadRequest,
        config: Config,
        rules: RuleSets,
        plans: channel::Sender<Subscriptions>,
        state: Arc<ReloadState>,
    ) -> (Reloader, ReloadTrigger) {
        // Another file may have appeared where files are looked for.
        request.file = config.file.clone().or(request.file);
        let (trigger, asked) = mpsc::channel(1);
        (Reloader { request, config, rules, plans, state, asked, queries: None }, ReloadTrigger(trigger))
    }

    /// Queries go by what is sent here.
    pub fn with_queries(self, queries: channel::Sender<Arc<QuerySet>>) -> Reloader {
        Reloader { queries: Some(queries), ..self }
    }

    /// For ever.
    pub async fn run(mut self) {
        while let Some(why) = self.asked.recv().await {
            self.state.begun();
            match self.load().await {
                Ok(loaded) => self.publish(why, loaded),
                Err(mistakes) => {
                    tracing::error!(
                        why,
                        version = self.rules.borrow().version,
                        "the configuration was not reloaded, and the bridge goes on with the one it has: {mistakes}"
                    );
                    self.state.failed(mistakes);
                }
            }
        }
    }

    /// Reads and checks beside the event loop: ten thousand rules take a while.
    async fn load(&self) -> Result<Loaded, String> {
        let (request, running, plan) = (self.request.clone(), self.config.clone(), self.plans.borrow().clone());
        let load = move || {
            if let Some(pipe) = running.file.as_deref().filter(|file| is_pipe(file)) {
                return Err(format!(
                    "{} is not a regular file and cannot be read again; restart the bridge to use another configuration",
                    pipe.display()
                ));
            }
            let mut config = config::load(&request).map_err(|report| report.to_string())?;
            if config.data_dir == running.data_dir {
                identity::adopt_remembered(&mut config);
            }
            let fixed = fixed::changed(&running, &config);
            if !fixed.is_empty() {
                return Err(format!(
                    "{} cannot change while the bridge runs; restart it to use the new file, or take that back and reload",
                    fixed.join(", ")
                ));
            }
            log::change_level(&config.log.level).map_err(|error| error.to_string())?;
            let plan = plan.replan(config.mqtt.version, &config.rules);
            let changes = changes::between(&running, &config);
            Ok(Loaded { config, plan, changes })
        };
        tokio::task::spawn_blocking(load).await.unwrap_or_else(|error| Err(format!("the file was not read: {error}")))
    }

    /// In this order: no message of a new filter meets old rules.
    fn publish(&mut self, why: &'static str, loaded: Loaded) {
        let Loaded { config, plan, changes } = loaded;
        let version = self.rules.borrow().version + 1;
        self.rules.send_replace(Arc::new(RuleSet::new(version, &config, plan.identifiers(), plan.retired())));
        self.plans.send_replace(plan);
        if let Some(queries) = &self.queries {
            queries.send_replace(Arc::new(QuerySet::new(&config)));
        }
        let (rules, what) = (config.rules.len(), changes.join("; "));
        tracing::info!(why, version, rules, changes = what, "configuration reloaded");
        self.config = config;
        self.state.loaded(version, changes);
    }
}
