//! Connects the parts of the daemon: creates them in the order of the data flow, starts them, and stops them in an
//! order that loses nothing.
//!
//! Threads: the main thread runs the MQTT session, signals and HTTP on one event loop; one thread writes the journal;
//! one thread per database delivers. They share only the journal's durable end and counters.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::mpsc::Receiver;

use crate::admin::{self, Access, BindError, DatabaseHandle, Observer, Overview, Paths};
use crate::config::{Config, Database, DatabaseUrl, Http, LoadRequest};
use crate::delivery::{self, AnswerSender, Answered, RuleFeed, RuleSet, RuleSets, Setup, SharedState, Worker};
use crate::descriptors;
use crate::identity;
use crate::journal::{Intake, Journal, JournalHandle, OpenError, Places, Storage};
use crate::jq;
use crate::outbound::{self, Connection, Publishing, Request};
use crate::reload::{self, ReloadState, Reloader};
use crate::shutdown::{self, Shutdown, ShutdownTrigger};
use crate::signals::{Hangup, Signals, Starting, watch_for_second};
use crate::sink::{PostgresSink, Sink, SqliteSink};
use crate::source::{self, SourceStatus, Subscriptions, SubscriptionsFile};
use crate::telemetry::{DatabaseLabels, Metrics};
use crate::tools::check::promises;

/// With fewer open files, a handful of databases and readers of the status page may be too many.
const FILES_MIN: u64 = 256;

const SIGNALS: &str = "signal handling";

/// Why the bridge cannot run.
#[derive(Debug, Error)]
pub enum RunError {
    #[error(transparent)]
    Journal(#[from] OpenError),
    #[error(transparent)]
    Http(#[from] BindError),
    #[error("starting {what}: {source}")]
    Start { what: &'static str, source: io::Error },
}

/// Runs until a signal asks to stop. `request` is what `config` was loaded by, for reloads; with `watch_config`, a change of
/// the file is one. `starting` is dropped once the journal is open.
pub fn run(mut config: Config, request: LoadRequest, watch_config: bool, starting: Starting) -> Result<(), RunError> {
    let started = Instant::now();
    let start = |what: &'static str| move |source| RunError::Start { what, source };
    let files_max = descriptors::raise_limit();
    if files_max < FILES_MIN {
        tracing::warn!(
            limit = files_max,
            advice = "raise the limit (systemd: LimitNOFILE=, a shell: ulimit -n)",
            "few files may be open at once: connections, databases and the journal may lack them"
        );
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(start("the event loop"))?;
    // Reading a journal takes a while, and the reload may be asked for meanwhile.
    let hangup = {
        let _entered = runtime.enter();
        Hangup::new().map_err(start(SIGNALS))?
    };
    let metrics = Arc::new(Metrics::new());
    let places = Places::choose(&config.data_dir, &config.journal)?;
    let (storage, databases) = (places.journal.clone(), config.databases.len());
    let journal = Journal::open(storage, &config.data_dir, &config.journal, databases, Arc::clone(&metrics))?;
    identity::settle(&places.state, &mut config);
    // What is left of the start takes a moment.
    let signals = {
        let _entered = runtime.enter();
        Signals::new(hangup).map_err(start(SIGNALS))?
    };
    drop(starting);
    let file = match &places.state {
        Storage::Disk => SubscriptionsFile::new(Storage::Disk, config.data_dir.clone()),
        Storage::Memory(_) => SubscriptionsFile::in_memory(config.data_dir.clone()),
    };
    let subscriptions = Subscriptions::plan(config.mqtt.version, &config.rules, file.load());
    let (handle, intake, writer) = journal.spawn();
    let (outbound, connection, requests) = outbound::channel(&config.mqtt, &metrics);
    let (answers, noted) = delivery::answer_channel();
    let (stop_delivery, delivery_shutdown) = shutdown::channel();
    let set = RuleSet::new(1, &config, subscriptions.identifiers(), subscriptions.retired());
    let (rules, feed) = tokio::sync::watch::channel(Arc::new(set));
    let delivery = Delivery::start(&config, &handle, &feed, &metrics, answers, &delivery_shutdown)
        .map_err(start("a database's thread"))?;
    if !config.publish.is_empty() {
        outbound.open();
    }
    let publishing = Publishing::start(&config, &outbound, &metrics, &delivery_shutdown)
        .map_err(start("a thread that publishes"))?;
    let overview = Arc::new(Overview {
        bridge: Arc::clone(&config.bridge),
        started,
        source: Arc::new(SourceStatus::default()),
        outbound,
        journal: handle.clone(),
        databases: delivery.handles,
        publish: publishing.states,
        rules: feed,
        reloads: Arc::new(ReloadState::default()),
        metrics,
        paths: Paths::of(&config),
        observer: Observer::default(),
    });
    let running = Running {
        config,
        request,
        watch_config,
        signals,
        intake,
        file,
        subscriptions,
        rules,
        overview,
        handle,
        writer,
        stop_delivery,
        connection,
        requests,
        noted,
    };
    let threads = delivery.threads.into_iter().chain(publishing.threads).collect();
    let result = runtime.block_on(running.run(threads, started));
    // A thread that outlived the grace must not hold the process back.
    runtime.shutdown_background();
    // Until here no other process may use the directory.
    drop(places);
    result
}

/// The databases' threads.
struct Delivery {
    threads: Vec<JoinHandle<()>>,
    handles: Vec<DatabaseHandle>,
}

impl Delivery {
    fn start(
        config: &Config,
        journal: &JournalHandle<Storage>,
        rules: &RuleFeed,
        metrics: &Arc<Metrics>,
        answers: AnswerSender,
        shutdown: &Shutdown,
    ) -> io::Result<Delivery> {
        let mut delivery = Delivery { threads: Vec::new(), handles: Vec::new() };
        for (index, database) in config.databases.iter().enumerate() {
            let state = Arc::new(SharedState::of(database));
            let answers = answers.clone();
            let common = Common { config, index, database, rules, journal, state: &state, metrics, answers, shutdown };
            let thread = match &database.url {
                DatabaseUrl::Sqlite(_) => {
                    let labels = DatabaseLabels { database: database.name.to_string() };
                    let log_bytes = metrics.sqlite_wal_bytes.get_or_create(&labels).clone();
                    spawn(common.setup(SqliteSink::new(database).measured_by(log_bytes)))?
                }
                DatabaseUrl::Postgres(_) => spawn(common.setup(PostgresSink::new(database)))?,
            };
            delivery.threads.push(thread);
            delivery.handles.push(DatabaseHandle { name: Arc::clone(&database.name), state });
        }
        Ok(delivery)
    }
}

/// The parts of a setup that do not depend on the sink.
struct Common<'a> {
    config: &'a Config,
    index: usize,
    database: &'a Database,
    rules: &'a RuleFeed,
    journal: &'a JournalHandle<Storage>,
    state: &'a Arc<SharedState>,
    metrics: &'a Arc<Metrics>,
    answers: AnswerSender,
    shutdown: &'a Shutdown,
}

impl Common<'_> {
    fn setup<S: Sink>(self, sink: S) -> Setup<S, Storage> {
        Setup {
            sink,
            bridge: Arc::clone(&self.config.bridge),
            database: self.database.clone(),
            index: self.index,
            rules: self.rules.clone(),
            data_dir: self.config.data_dir.clone(),
            journal: self.journal.clone(),
            state: Arc::clone(self.state),
            metrics: Arc::clone(self.metrics),
            answers: Some(self.answers),
            shutdown: self.shutdown.clone(),
        }
    }
}

/// A thread with an event loop of its own, so that a slow database delays nobody else.
fn spawn<S: Sink + Send + 'static>(setup: Setup<S, Storage>) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let name = format!("db-{}", setup.database.name);
    // Room for jq programs; what is not used is only addresses.
    std::thread::Builder::new().name(name).stack_size(jq::STACK_BYTES).spawn(move || {
        jq::has_stack();
        runtime.block_on(Worker::new(setup).run())
    })
}

/// The parts, started.
struct Running {
    config: Config,
    request: LoadRequest,
    watch_config: bool,
    signals: Signals,
    intake: Intake<Storage>,
    file: SubscriptionsFile,
    subscriptions: Subscriptions,
    rules: RuleSets,
    overview: Arc<Overview<Storage>>,
    handle: JournalHandle<Storage>,
    writer: JoinHandle<()>,
    stop_delivery: ShutdownTrigger,
    /// The second MQTT connection, opened if something uses it.
    connection: Connection,
    /// The outcomes of messages that get an answer.
    noted: Receiver<Vec<Answered>>,
    requests: Receiver<Request>,
}

impl Running {
    async fn run(self, databases: Vec<JoinHandle<()>>, started: Instant) -> Result<(), RunError> {
        let (stop_source, source_shutdown) = shutdown::channel();
        let (stop_http, http_shutdown) = shutdown::channel();
        if let Http::Listen(address) = self.config.http {
            let listener = admin::bind(address).await?;
            let access = Access::new(address, self.config.http_access.clone());
            tokio::spawn(admin::serve(listener, Arc::clone(&self.overview), access, http_shutdown));
        }
        let (stop_outbound, outbound_shutdown) = shutdown::channel();
        let outbound = tokio::spawn(self.connection.behind(Arc::clone(&self.overview.source)).run(outbound_shutdown));
        let queries = outbound::query::start(
            &self.config,
            self.overview.outbound.clone(),
            self.requests,
            Arc::clone(&self.overview.metrics),
        );
        let answering = tokio::spawn(outbound::answer(
            self.overview.outbound.clone(),
            self.noted,
            self.overview.rules.clone(),
            Arc::clone(&self.overview.metrics),
        ));
        tokio::spawn(outbound::tell_abandoned(&self.config));
        let mut signals = self.signals;
        announce(&self.config, &self.handle, started);
        let grace = self.config.shutdown_grace;
        let (plans, plan) = tokio::sync::watch::channel(self.subscriptions);
        let mut mqtt = self.config.mqtt.clone();
        mqtt.status_topic = mqtt.status_topic.map(|topic| topic.for_bridge(&self.config.bridge));
        let session = tokio::spawn(source::run(
            mqtt,
            plan,
            self.file,
            self.intake,
            Arc::clone(&self.overview.source),
            Arc::clone(&self.overview.metrics),
            source_shutdown,
        ));
        let state = Arc::clone(&self.overview.reloads);
        let watched = LoadRequest { file: self.config.file.clone(), ..self.request.clone() };
        let (reloader, trigger) = Reloader::new(self.request, self.config, self.rules, plans, state);
        // Queries end with it.
        let reloader = tokio::spawn(reloader.with_queries(queries).run());
        if self.watch_config {
            tokio::spawn(reload::watch_files(watched, trigger.clone()));
        }
        let heartbeat = tokio::spawn(heartbeat());
        let observer = tokio::spawn(admin::observe(Arc::clone(&self.overview)));
        let rates = tokio::spawn(admin::log_rates(Arc::clone(&self.overview)));
        let signal = signals.stop_requested(|| trigger.ask("SIGHUP")).await;
        reloader.abort();
        tracing::info!(signal, ?grace, "stopping: no more messages are taken, what is in flight is committed");
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        watch_for_second(signals);
        crash_point!("stop.requested");
        let deadline = tokio::time::Instant::now() + grace;
        stop_source.fire();
        // Half of the grace: the databases need some of it as well.
        if tokio::time::timeout(grace / 2, session).await.is_err() {
            tracing::warn!("the session did not end in time; what it had not acknowledged the broker sends again");
        }
        crash_point!("stop.session_left");
        self.handle.stop();
        self.stop_delivery.fire();
        let threads = databases.into_iter().chain([self.writer]);
        let joined = tokio::task::spawn_blocking(move || threads.for_each(|thread| drop(thread.join())));
        // The answers to what was committed need the rest.
        let answers_wait = (outbound::STOP_WAIT * 3 / 2).min(grace / 4);
        match tokio::time::timeout_at(deadline - answers_wait, joined).await {
            Ok(_) => {
                crash_point!("stop.delivered");
                tracing::info!("stopped");
            }
            Err(_) => {
                crash_point!("stop.grace_over");
                tracing::warn!("a database did not finish in time; its messages wait in the journal");
            }
        }
        // Last: what was committed by now is answered.
        let _ = tokio::time::timeout(answers_wait / 3, answering).await;
        stop_outbound.fire();
        let _ =
            tokio::time::timeout_at(deadline.min(tokio::time::Instant::now() + outbound::STOP_WAIT), outbound).await;
        stop_http.fire();
        heartbeat.abort();
        rates.abort();
        observer.abort();
        Ok(())
    }
}

/// One line that says what runs, and one for each promise that the configuration gives up.
fn announce(config: &Config, journal: &JournalHandle<Storage>, started: Instant) {
    let status = journal.status();
    let databases: Vec<&str> = config.databases.iter().map(|database| database.name.as_ref()).collect();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        bridge = %config.bridge,
        data_dir = %config.data_dir.display(),
        journal_id = %status.id,
        next_seq = %status.next_seq,
        databases = databases.join(","),
        rules = config.rules.len(),
        start_ms = started.elapsed().as_millis() as u64,
        "rowbridge runs"
    );
    // Those of journal.durability were logged when the journal was opened.
    for promise in promises(config).into_iter().filter(|promise| promise.subject != "journal.durability") {
        let advice = promise.remedy.unwrap_or_default();
        tracing::warn!(key = promise.subject, advice, "{}", promise.finding);
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
}

/// Tells systemd's watchdog that the event loop turns.
async fn heartbeat() {
    let Some(timeout) = sd_notify::watchdog_enabled() else { return };
    let mut ticks = tokio::time::interval((timeout / 2).max(Duration::from_millis(100)));
    loop {
        ticks.tick().await;
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
    }
}
