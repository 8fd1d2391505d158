//! Answers to messages under rules with `reply`: one answer per message, once every database that stores it has
//! committed.
//!
//! Answers are best effort: each is sent at most once. An answer is lost if the process or the connection ends before
//! it is sent, or if the sender cannot keep up. The rows are in the databases in all these cases.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::mpsc;

use super::handle::{NotQueued, Outbound};
use crate::delivery::{Answered, RuleFeed};
use crate::message::Seq;
use crate::mqtt::publishing::ToPublish;
use crate::telemetry::{AnswerFate, AnswerTo, Metrics};

/// Messages of which some databases have answered and others not. A database that is away for long has more behind it than
/// anybody waits for: the oldest go, without an answer.
const PENDING_MAX: usize = 10_000;

/// Sends an answer for each message that `answers` tells of, until that is closed.
pub async fn answer(
    outbound: Outbound,
    mut answers: mpsc::Receiver<Vec<Answered>>,
    mut rules: RuleFeed,
    metrics: Arc<Metrics>,
) {
    let mut pending = Pending::default();
    let mut is_open = false;
    loop {
        if !is_open && rules.borrow_and_update().rules.iter().any(|rule| rule.reply.is_some()) {
            outbound.open();
            is_open = true;
        }
        let noted = tokio::select! {
            noted = answers.recv() => noted,
            Ok(()) = rules.changed(), if !is_open => continue,
        };
        let Some(noted) = noted else { return };
        for answered in noted {
            let (complete, forgotten) = pending.add(answered);
            metrics.outbound.crowded_out(AnswerTo::Message, forgotten);
            let Some(answered) = complete else { continue };
            if let Err(error) = send(&outbound, &answered).await {
                metrics.outbound.answered(AnswerFate::dropped, 1);
                tracing::debug!(seq = %answered.seq, %error, "an answer is not sent");
            }
        }
    }
}

async fn send(outbound: &Outbound, answered: &Answered) -> Result<(), NotQueued> {
    let payload = payload(answered);
    let message = ToPublish {
        qos: answered.qos,
        content_type: Some("application/json"),
        correlation_data: answered.correlation_data.as_deref(),
        ..ToPublish::new(&answered.topic, payload.as_bytes())
    };
    outbound.answer(&message).await
}

/// What is known so far of messages that several databases store.
#[derive(Default)]
struct Pending {
    /// With how many databases are yet to answer.
    messages: HashMap<Seq, (usize, Answered)>,
    order: VecDeque<Seq>,
}

impl Pending {
    /// The answer, if this was the last database; and how many messages were given up.
    fn add(&mut self, answered: Answered) -> (Option<Answered>, u64) {
        let seq = answered.seq;
        let Some((left, known)) = self.messages.get_mut(&seq) else {
            if answered.databases <= 1 {
                return (Some(answered), 0);
            }
            self.messages.insert(seq, (answered.databases - 1, answered));
            self.order.push_back(seq);
            return (None, self.forget());
        };
        known.rows += answered.rows;
        known.committed_at = known.committed_at.max(answered.committed_at);
        if known.error.is_none() {
            known.error = answered.error;
        }
        *left -= 1;
        if *left > 0 {
            return (None, 0);
        }
        (self.messages.remove(&seq).map(|(_, answered)| answered), 0)
    }

    fn forget(&mut self) -> u64 {
        // What was answered stays in the order until it is at its front.
        let mut forgotten = 0;
        while self.order.len() > PENDING_MAX {
            let oldest = self.order.pop_front();
            forgotten += u64::from(oldest.and_then(|seq| self.messages.remove(&seq)).is_some());
        }
        forgotten
    }
}

/// As Machbase has it.
#[derive(Serialize)]
struct Payload<'a> {
    success: bool,
    reason: &'a str,
    elapse: &'a str,
}

fn payload(answered: &Answered) -> String {
    let rows = answered.rows;
    let reason = match &answered.error {
        None => format!("success, {rows} record(s) inserted"),
        Some(error) if rows > 0 => format!("{error}; {rows} record(s) inserted by other rules"),
        Some(error) => error.clone(),
    };
    let micros = answered.committed_at.as_micros().saturating_sub(answered.received_at.as_micros());
    let elapse = elapse(Duration::from_micros(u64::try_from(micros).unwrap_or(0)));
    let payload = Payload { success: answered.error.is_none(), reason: &reason, elapse: &elapse };
    serde_json::to_string(&payload).expect("two strings and a flag are JSON")
}

/// As Go writes durations, with one decimal.
pub fn elapse(elapsed: Duration) -> String {
    let micros = elapsed.as_micros();
    match micros {
        0..1_000 => format!("{micros}µs"),
        1_000..1_000_000 => format!("{:.1}ms", elapsed.as_secs_f64() * 1e3),
        _ => format!("{:.1}s", elapsed.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::message::Qos;

    fn answered(seq: u64, databases: usize, rows: u64, error: Option<&str>) -> Answered {
        Answered {
            seq: Seq(seq),
            topic: "r".into(),
            correlation_data: None,
            qos: Qos::AtLeastOnce,
            received_at: Timestamp(0),
            committed_at: Timestamp(1_240),
            rows,
            error: error.map(str::to_owned),
            databases,
        }
    }

    #[test]
    fn the_worst_outcome_wins_and_counts_are_added() {
        let mut pending = Pending::default();
        let text = |answered: (Option<Answered>, u64)| answered.0.map(|answered| payload(&answered));
        let success = r#"{"success":true,"reason":"success, 3 record(s) inserted","elapse":"1.2ms"}"#;
        assert_eq!(text(pending.add(answered(1, 1, 3, None))).as_deref(), Some(success));
        assert_eq!(text(pending.add(answered(2, 3, 1, None))), None);
        assert_eq!(text(pending.add(answered(3, 2, 1, None))), None);
        assert_eq!(text(pending.add(answered(2, 3, 1, None))), None);
        assert_eq!(text(pending.add(answered(2, 3, 1, None))).as_deref(), Some(success));
        let failure = r#"{"success":false,"reason":"no \"x\"; 1 record(s) inserted by other rules","elapse":"1.2ms"}"#;
        assert_eq!(text(pending.add(answered(3, 2, 0, Some("no \"x\"")))).as_deref(), Some(failure));
        assert!(pending.messages.is_empty());
    }

    #[test]
    fn of_messages_that_a_database_never_answers_for_the_oldest_go() {
        let mut pending = Pending::default();
        let total = PENDING_MAX as u64 + 5;
        let forgotten: u64 = (0..total).map(|seq| pending.add(answered(seq, 2, 1, None)).1).sum();
        assert_eq!((forgotten, pending.messages.len()), (5, PENDING_MAX));
    }

    #[test]
    fn durations_read_as_in_go() {
        let texts = [0, 850, 1_000, 1_240, 999_949, 2_340_000].map(|micros| elapse(Duration::from_micros(micros)));
        assert_eq!(texts, ["0µs", "850µs", "1.0ms", "1.2ms", "999.9ms", "2.3s"]);
    }
}
