//! The answer of `/readyz`: whether the bridge takes messages safely. A database that is away does not make the bridge
//! unready, because the journal keeps its messages; the answer still reports it.

use serde::Serialize;

use super::status::{ParkedPart, Status};
use crate::source::SubscriptionStatus;

/// The answer of `/readyz`.
#[derive(Debug, Serialize)]
pub struct Readiness {
    pub ready: bool,
    /// Why it is not ready; or, if it is, what is worth knowing.
    pub reasons: Vec<String>,
}

pub(super) fn readiness(status: &Status, subscriptions: &[SubscriptionStatus]) -> Readiness {
    let mut reasons = Vec::new();
    if !status.mqtt.connected {
        let why = status.mqtt.last_error.as_deref().unwrap_or("no connection yet");
        reasons.push(format!("not connected to the broker: {why}"));
    }
    if status.journal.paused {
        reasons.push(
            "the journal takes nothing (full, or its disk is full or fails: see the log): the broker queues".to_owned(),
        );
    }
    if status.journal.dropping {
        let lost = status.journal.lost;
        reasons.push(format!(
            "the journal is full and drops messages, as journal.when_full says; {lost} lost since the start: bring back the \
             database that lags, or raise journal.max_size"
        ));
    }
    let unanswered = subscriptions.iter().filter(|one| one.qos_granted.is_none() && one.error.is_none());
    if let (true, unanswered @ 1..) = (status.mqtt.connected, unanswered.count()) {
        let filters = if unanswered == 1 { "filter" } else { "filters" };
        reasons.push(format!("the broker has not answered for {unanswered} topic {filters} yet"));
    }
    let refused = subscriptions.iter().filter(|subscription| subscription.error.is_some());
    let is_deaf = !subscriptions.is_empty() && refused.clone().count() == subscriptions.len();
    let ready = reasons.is_empty() && !is_deaf;
    for subscription in refused {
        let error = subscription.error.as_deref().unwrap_or_default();
        reasons.push(format!("the broker refused {}: {error}", subscription.filter));
    }
    for (name, database) in &status.databases {
        if let Some(held) = &database.held {
            reasons.push(format!("database {name} is held: {}", held.reason));
        } else if !database.connected {
            let pending = database.pending;
            reasons.push(format!("database {name} is not connected; {pending} messages wait in the journal"));
        } else if let Some(since) = &database.unanswered_since {
            let pending = database.pending;
            reasons.push(format!(
                "database {name} has not answered since {since}; {pending} messages wait in the journal"
            ));
        }
        for parked in &database.parked {
            let ParkedPart { rule, table, reason, messages, .. } = parked;
            reasons.push(format!(
                "database {name}: {messages} messages of rule {rule} for table {table} are parked until this is mended: {reason}"
            ));
        }
    }
    Readiness { ready, reasons }
}
