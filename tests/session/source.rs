//! One run of the source, as a process would hold it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rowbridge::config::{
    Columns, Format, Mode, Mqtt, MqttTls, MqttUrl, MqttVersion, OnError, Retained, Retry, Rule, Scheme,
};
use rowbridge::journal::RealFs;
use rowbridge::message::Qos;
use rowbridge::rule::{TableName, TopicPattern};
use rowbridge::shutdown::{self, ShutdownTrigger};
use rowbridge::source::{self, SourceSnapshot, SourceStatus, Subscriptions, SubscriptionsFile};
use rowbridge::telemetry::Metrics;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::fake_broker::Version;
use super::memory_journal::Disk;

/// The files and the disk that one client keeps over its runs.
pub(crate) struct Client {
    folder: TempDir,
    pub(crate) disk: Disk,
    pub(crate) config: Mqtt,
    filters: Vec<String>,
}

/// A running source.
pub(crate) struct Running {
    status: Arc<SourceStatus>,
    pub(crate) metrics: Arc<Metrics>,
    plan: watch::Sender<Subscriptions>,
    version: MqttVersion,
    folder: PathBuf,
    trigger: ShutdownTrigger,
    task: JoinHandle<()>,
}

impl Client {
    pub(crate) fn new(version: Version, port: u16) -> Client {
        Client {
            folder: TempDir::new().unwrap(),
            disk: Disk::default(),
            config: config(version, port),
            filters: vec!["t/#".to_owned()],
        }
    }

    pub(crate) fn subscribing_to(mut self, filters: &[&str]) -> Client {
        self.filters = filters.iter().map(|&filter| filter.to_owned()).collect();
        self
    }

    /// Whether the client has written down that the broker confirmed its subscriptions.
    pub(crate) fn is_confirmed(&self) -> bool {
        SubscriptionsFile::new(RealFs, self.folder.path().to_owned()).load().is_some_and(|stored| stored.confirmed)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Begins a run; an earlier one of this client must be over.
    pub(crate) fn start(&self) -> Running {
        self.start_with(self.disk.journal())
    }

    /// Begins a run that writes to `journal`.
    pub(crate) fn start_with(&self, journal: impl source::Journal) -> Running {
        let version = self.config.version;
        let (plan, plans) = watch::channel(plan(version, &self.filters, self.folder.path()));
        let (trigger, shutdown) = shutdown::channel();
        let (status, metrics) = (Arc::new(SourceStatus::default()), Arc::new(Metrics::new()));
        let task = tokio::spawn(source::run(
            self.config.clone(),
            plans,
            SubscriptionsFile::new(RealFs, self.folder.path().to_owned()),
            journal,
            Arc::clone(&status),
            Arc::clone(&metrics),
            shutdown,
        ));
        Running { status, metrics, plan, version, folder: self.folder.path().to_owned(), trigger, task }
    }
}

impl Running {
    pub(crate) fn status(&self) -> SourceSnapshot {
        self.status.snapshot()
    }

    /// The rules have changed.
    pub(crate) fn reload(&self, filters: &[&str]) {
        let filters: Vec<String> = filters.iter().map(|&filter| filter.to_owned()).collect();
        self.plan.send_replace(plan(self.version, &filters, &self.folder));
    }

    /// As SIGTERM.
    pub(crate) fn stop(&self) {
        self.trigger.fire();
    }

    /// Stops and waits for the end.
    pub(crate) async fn finish(self) {
        self.trigger.fire();
        tokio::time::timeout(Duration::from_secs(30), self.task).await.expect("the source ends").unwrap();
    }

    pub(crate) fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// As SIGKILL.
    pub(crate) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

/// Asks until the answer is yes; fails with `what` when it never is.
#[track_caller]
pub(crate) fn eventually(what: &str, mut question: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    let deadline = Instant::now() + Duration::from_secs(30);
    async move {
        while !question() {
            assert!(Instant::now() < deadline, "{caller}: {what}: it never came to that");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn config(version: Version, port: u16) -> Mqtt {
    Mqtt {
        status_topic: None,
        urls: vec![url(Scheme::Mqtt, port)],
        version: match version {
            Version::V3 => MqttVersion::V3,
            Version::V5 => MqttVersion::V5,
        },
        client_id: "gw1".into(),
        username: None,
        password: None,
        session_expiry: Duration::from_secs(3600),
        keep_alive: Duration::from_secs(30),
        connect_timeout: Duration::from_secs(10),
        receive_maximum: 100,
        max_packet_size: 64 * 1024,
        topic_alias_maximum: 0,
        retry: Retry { min: Duration::from_millis(200), max: Duration::from_secs(30) },
        tls: MqttTls::default(),
    }
}

pub(crate) fn url(scheme: Scheme, port: u16) -> MqttUrl {
    let path = if matches!(scheme, Scheme::Ws | Scheme::Wss) { "/mqtt" } else { "" };
    MqttUrl { scheme, host: "127.0.0.1".into(), port, path: path.into() }
}

/// One rule per filter, named as its filter.
fn plan(version: MqttVersion, filters: &[String], folder: &Path) -> Subscriptions {
    let rule = |filter: &String| {
        Arc::new(Rule {
            name: filter.as_str().into(),
            topics: [TopicPattern::parse(filter).unwrap()].into(),
            qos: Qos::ExactlyOnce,
            own_qos: Vec::new(),
            subscribe_properties: Vec::new(),
            database: 0,
            chooser: None,
            table: TableName { schema: None, name: "t".into() },
            format: Format::Json,
            columns: Columns::Auto,
            create: None,
            routing: None,
            statement: None,
            for_each: rowbridge::config::ForEach::NONE,
            times: None,
            unmapped: rowbridge::config::Unmapped::Ignore,
            rows_max: 100_000,
            shaping: rowbridge::config::Shaping::default(),
            mode: Mode::Insert,
            retained: Retained::Store,
            on_error: OnError::DeadLetter,
            reply: None,
            position: String::new(),
        })
    };
    let rules: Vec<_> = filters.iter().map(rule).collect();
    Subscriptions::plan(version, &rules, SubscriptionsFile::new(RealFs, folder.to_owned()).load())
}
