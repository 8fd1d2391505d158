//! Receives published messages: the daemon's own session under a throw-away client id, at QoS 0, into memory.
//!
//! The broker's session of the bridge is not touched, and nothing is acknowledged.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::learned::Learned;
use crate::config::{Mqtt, MqttVersion, Retry, Rule, Scheme};
use crate::journal::{Qos2Table, RealFs};
use crate::message::Message;
use crate::shutdown;
use crate::source::{self, Journal, SourceSnapshot, SourceStatus, Subscriptions, SubscriptionsFile};
use crate::telemetry::Metrics;
use crate::tools::check::forget;
use crate::tools::live::{SCRATCH_REMEDY, Scratch, unique};

/// Between two looks at the session, and two reports of progress.
const LOOK: Duration = Duration::from_millis(200);

/// For leaving; then the connection is cut, which ends the session as well.
const LEAVING: Duration = Duration::from_millis(500);

/// For answers to subscriptions.
const ANSWERS: Duration = Duration::from_secs(10);

/// How it goes on, a few times a second.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    pub messages: u64,
    pub topics: usize,
    /// Since the broker has granted the filters.
    pub elapsed: Duration,
}

/// What was heard.
pub(super) struct Heard {
    pub(super) learned: Learned,
    /// Filters that the broker refused, each with its words.
    pub(super) refused: Vec<String>,
}

/// Subscribes to the filters of `rules` for that long, or until `stop` is ready. The error is a sentence.
pub(super) async fn listen(
    mqtt: &Mqtt,
    rules: &[Arc<Rule>],
    time: Duration,
    progress: &mut dyn FnMut(Progress),
    stop: impl Future<Output = ()>,
) -> Result<Heard, String> {
    let is_plain = mqtt.urls.iter().all(|url| url.scheme == Scheme::Mqtt);
    if mqtt.version == MqttVersion::V3 && !is_plain {
        return Err("with MQTT 3.1.1 over TLS or WebSocket the throw-away session would stay in the broker; if the \
                    broker speaks MQTT 5, write --set mqtt.version=5"
            .to_owned());
    }
    let scratch = Scratch::new().map_err(|error| format!("{error}; {SCRATCH_REMEDY}"))?;
    let mqtt = Mqtt {
        client_id: format!("rowbridge-discover-{}", unique()),
        // Ends with the connection.
        session_expiry: Duration::ZERO,
        status_topic: None,
        retry: Retry { min: Duration::from_millis(200), max: Duration::from_secs(1) },
        ..mqtt.clone()
    };
    let ear = Ear::default();
    let status = Arc::new(SourceStatus::default());
    let (trigger, shutdown) = shutdown::channel();
    let (_plan, plans) = tokio::sync::watch::channel(Subscriptions::plan(mqtt.version, rules, None));
    let mut session = tokio::spawn(source::run(
        mqtt.clone(),
        plans,
        SubscriptionsFile::new(RealFs, scratch.path().to_owned()),
        ear.clone(),
        Arc::clone(&status),
        Arc::new(Metrics::new()),
        shutdown,
    ));
    let heard = follow(&mqtt, &status, &ear, time, progress, stop).await;
    trigger.fire();
    if timeout(LEAVING, &mut session).await.is_err() {
        session.abort();
        // Dropped by then, with its connection.
        let _ = session.await;
    }
    if mqtt.version == MqttVersion::V3 {
        for url in &mqtt.urls {
            // A failure leaves a session without subscriptions, which nobody waits for.
            let _ = timeout(mqtt.connect_timeout, forget(&mqtt, url)).await;
        }
    }
    let refused = heard?;
    Ok(Heard { learned: std::mem::take(&mut *ear.learned()), refused })
}

/// Waits; the filters that were refused.
async fn follow(
    mqtt: &Mqtt,
    status: &SourceStatus,
    ear: &Ear,
    time: Duration,
    progress: &mut dyn FnMut(Progress),
    stop: impl Future<Output = ()>,
) -> Result<Vec<String>, String> {
    let mut stop = std::pin::pin!(stop);
    let begun = Instant::now();
    let mut granted: Option<Instant> = None;
    loop {
        let snapshot = status.snapshot();
        let is_answered = snapshot.connected && is_answered(&snapshot);
        let patience = mqtt.connect_timeout + if snapshot.connected { ANSWERS } else { LEAVING };
        match granted {
            None if is_answered => granted = Some(Instant::now()),
            None if begun.elapsed() > patience => {
                let why = snapshot.last_error.unwrap_or_else(|| "no answer".to_owned());
                return Err(format!("the broker cannot be listened to: {why}"));
            }
            _ => {}
        }
        let elapsed = granted.map_or(Duration::ZERO, |since| since.elapsed());
        let (messages, topics) = ear.learned().extent();
        progress(Progress { messages, topics, elapsed });
        if granted.is_some() && elapsed >= time {
            return Ok(refused(&snapshot));
        }
        tokio::select! {
            () = sleep(LOOK) => {}
            () = &mut stop => return Ok(refused(&snapshot)),
        }
    }
}

fn is_answered(snapshot: &SourceSnapshot) -> bool {
    let subscriptions = &snapshot.subscriptions;
    !subscriptions.is_empty() && subscriptions.iter().all(|one| one.qos_granted.is_some() || one.error.is_some())
}

fn refused(snapshot: &SourceSnapshot) -> Vec<String> {
    let subscriptions = snapshot.subscriptions.iter();
    subscriptions.filter_map(|one| one.error.as_ref().map(|error| format!("{}: {error}", one.filter))).collect()
}

/// Stands where the session has its journal. What comes at QoS 0 needs no acknowledgement, so everything counts as durable.
#[derive(Clone, Default)]
struct Ear {
    learned: Arc<Mutex<Learned>>,
    last: u64,
    submitted: Arc<Notify>,
}

impl Ear {
    fn learned(&self) -> MutexGuard<'_, Learned> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

impl Journal for Ear {
    fn qos2(&self) -> Qos2Table {
        Qos2Table::default()
    }

    fn generation(&self) -> u64 {
        0
    }

    fn push_message(&mut self, message: &Message<'_>, _qos2: Option<(u16, u64)>) -> u64 {
        self.learned().add(message);
        self.next()
    }

    fn push_release(&mut self, _packet_id: u16) -> u64 {
        self.next()
    }

    fn push_clear(&mut self) -> u64 {
        self.next()
    }

    fn submit(&mut self) {
        self.submitted.notify_one();
    }

    fn discard(&mut self) {}

    fn is_backlogged(&self) -> bool {
        false
    }

    fn durable(&self) -> u64 {
        self.last
    }

    async fn changed(&self) {
        self.submitted.notified().await;
    }
}
