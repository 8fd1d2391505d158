//! One request: the topic of its answer, and its content.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::answer::{self, Layout};
use super::named::Reading;
use super::service::QuerySet;
use super::{ANSWER_BYTES_MAX, PACKET_SPARE, REFUSED_BYTES_MAX, REPLY_BYTES_MAX, machbase};
use crate::config::DatabaseUrl;
use crate::config::query::{Asked, Query};
use crate::message::Message;
use crate::outbound::{NotQueued, Outbound, Request, ToPublish, check_reply_topic};
use crate::sink::query::{Answer, Parameter, QueryError, Reader};
use crate::telemetry::{AnswerFate, AnswerTo, Metrics, QueryOutcome};

/// A request and the query that it is for.
pub(super) struct Job {
    pub(super) set: Arc<QuerySet>,
    /// Index into [`QuerySet::queries`].
    pub(super) query: usize,
    pub(super) request: Request,
}

/// Somebody who answers requests, with what there is to keep between them.
pub(super) struct Clerk {
    outbound: Outbound,
    metrics: Arc<Metrics>,
    set: Arc<QuerySet>,
    /// By query of that set.
    readings: HashMap<usize, Result<Reading, String>>,
    /// By database.
    readers: HashMap<usize, Reader>,
    /// What the last statement took, if its answer was beyond a limit: work for nothing.
    pub(super) wasted: Option<Duration>,
}

/// An answer's payload, and what it is.
struct Payload {
    bytes: Vec<u8>,
    content_type: &'static str,
}

impl Clerk {
    pub(super) fn new(outbound: Outbound, metrics: Arc<Metrics>, set: Arc<QuerySet>) -> Clerk {
        Clerk { outbound, metrics, set, readings: HashMap::new(), readers: HashMap::new(), wasted: None }
    }

    /// Runs the request's statement and answers.
    pub(super) async fn answer(&mut self, job: &Job) {
        let topic = match self.destination(job, &job.request.payload) {
            Ok(topic) => topic,
            Err(why) => return self.unanswered(job, &why),
        };
        match self.result(job, &topic).await {
            Ok(payload) => match self.send(job, &topic, &payload) {
                Ok(()) => self.metrics.queries.count(&job.query().name, QueryOutcome::answered),
                Err(error @ NotQueued::TooLarge { .. }) => self.refuse_to(job, &topic, &error.to_string()),
                Err(error) => self.unsent(job, error),
            },
            Err(reason) => self.refuse_to(job, &topic, &reason),
        }
    }

    /// Answers a request with the reason of its refusal. A payload with more than [`REFUSED_BYTES_MAX`] is not read. While
    /// half of the queue of answers is taken, no such refusal is sent: the rest is for answers of statements that ran.
    pub(super) fn refuse(&mut self, job: &Job, reason: &str) {
        if self.outbound.is_half_full() {
            return self.unsent(job, NotQueued::Full);
        }
        match self.destination(job, looked_at(&job.request.payload)) {
            Ok(topic) => self.refuse_to(job, &topic, reason),
            Err(why) => self.unanswered(job, &why),
        }
    }

    fn refuse_to(&self, job: &Job, topic: &str, reason: &str) {
        let query = job.query();
        let bytes = answer::refusal(reason, job.elapsed()).into_bytes();
        match self.send(job, topic, &Payload { bytes, content_type: "application/json" }) {
            Ok(()) => {
                tracing::debug!(query = &*query.name, reason, "a query was refused");
                self.metrics.queries.count(&query.name, QueryOutcome::refused);
            }
            Err(error) => self.unsent(job, error),
        }
    }

    /// An answer, or a refusal, was not queued.
    fn unsent(&self, job: &Job, error: NotQueued) {
        if error != NotQueued::Full {
            return self.unanswered(job, &error.to_string());
        }
        self.metrics.queries.count(&job.query().name, QueryOutcome::refused);
        self.metrics.outbound.crowded_out(AnswerTo::Query, 1);
    }

    fn unanswered(&self, job: &Job, why: &str) {
        let query = job.query();
        tracing::debug!(query = &*query.name, why, "a query could not be answered");
        self.metrics.queries.count(&query.name, QueryOutcome::refused);
        self.metrics.outbound.answered(AnswerFate::dropped, 1);
    }

    fn send(&self, job: &Job, topic: &str, payload: &Payload) -> Result<(), NotQueued> {
        self.outbound.try_publish(&ToPublish {
            qos: job.request.qos,
            content_type: Some(payload.content_type),
            correlation_data: job.request.correlation_data(),
            ..ToPublish::new(topic, &payload.bytes)
        })
    }

    /// The answer's topic: the Response Topic, else the topic in `payload` (the request's), else the configured one. If
    /// the client names a topic that may get no answer, the answer goes to the configured one.
    fn destination(&mut self, job: &Job, payload: &[u8]) -> Result<String, String> {
        let mut why = "it names no topic for the answer, and the configuration has none".to_owned();
        let mut fits = |topic: &str| match job.check_topic(topic) {
            Ok(()) => true,
            Err(fault) => {
                why = fault;
                false
            }
        };
        let asked = match (job.request.response_topic(), &job.query().asked) {
            (Some(topic), _) => Some(topic.to_owned()),
            (None, Asked::Machbase { .. }) => machbase::reply_of(payload),
            (None, Asked::Named(_)) => None,
        };
        if let Some(topic) = asked.filter(|topic| fits(topic)) {
            return Ok(topic);
        }
        let configured = match &job.query().asked {
            Asked::Machbase { reply, .. } => Some(reply.clone()),
            Asked::Named(_) => {
                let message = Message { payload, ..job.request.message() };
                self.reading(job).ok().and_then(|reading| reading.reply(&message))
            }
        };
        configured.filter(|topic| fits(topic)).ok_or(why)
    }

    /// The compiled mapping of requests to this query.
    fn reading(&mut self, job: &Job) -> Result<&mut Reading, String> {
        if !Arc::ptr_eq(&self.set, &job.set) {
            self.set = Arc::clone(&job.set);
            self.readings.clear();
        }
        let query = job.query();
        let reading = self.readings.entry(job.query).or_insert_with(|| match &query.asked {
            Asked::Named(named) => Reading::new(&job.set.bridge, named, job.is_sqlite()),
            Asked::Machbase { .. } => Err("the request brings its own statement".to_owned()),
        });
        reading.as_mut().map_err(|why| why.clone())
    }

    /// The payload; or the reason that is answered in its place.
    async fn result(&mut self, job: &Job, topic: &str) -> Result<Payload, String> {
        let (query, request) = (job.query(), &job.request);
        if let Some(asked) = request.response_topic() {
            job.check_topic(asked).map_err(|fault| format!("the Response Topic is refused: {fault}"))?;
        }
        if request.is_too_large {
            return Err(format!("the request has more than {} bytes", crate::outbound::REQUEST_BYTES_MAX));
        }
        let correlation = request.correlation_data().map_or(0, <[u8]>::len);
        let spare = topic.len() + correlation + PACKET_SPARE;
        let bytes_max = (self.outbound.packet_bytes_max() as usize).saturating_sub(spare).min(ANSWER_BYTES_MAX);
        let (answer, layout, is_gzip) = match &query.asked {
            Asked::Named(named) => {
                let parameters = self.reading(job)?.parameters(&request.message())?;
                let answer = self.run(job, &named.statement, &parameters, (bytes_max, false)).await?;
                (answer, Layout::new(named.format, named.time.clone()), false)
            }
            Asked::Machbase { is_allowed: false, .. } => return Err("allow_sql is off".to_owned()),
            Asked::Machbase { .. } => {
                if let Some(asked) = machbase::reply_of(&request.payload) {
                    job.check_topic(&asked).map_err(|fault| format!("\"reply\" is refused: {fault}"))?;
                }
                let asked = machbase::Request::parse(&request.payload, job.is_sqlite())?;
                let answer = self.run(job, &asked.statement, &asked.parameters, (bytes_max, true)).await?;
                (answer, asked.layout, asked.is_gzip)
            }
        };
        if layout.least_bytes(&answer) > bytes_max {
            self.wasted = Some(job.elapsed());
            return Err(QueryError::TooLarge(bytes_max).to_string());
        }
        let text = layout.payload(answer, job.elapsed());
        // The limit also applies to compressed answers after expansion, because the client must hold them.
        if text.len() > bytes_max {
            return Err(QueryError::TooLarge(bytes_max).to_string());
        }
        let bytes = if is_gzip { gzip(text.as_bytes()) } else { text.into_bytes() };
        let content_type = if is_gzip { "application/gzip" } else { layout.content_type() };
        Ok(Payload { bytes, content_type })
    }

    async fn run(
        &mut self,
        job: &Job,
        statement: &crate::rule::QueryStatement,
        parameters: &[Parameter],
        (bytes_max, is_foreign): (usize, bool),
    ) -> Result<Answer, String> {
        let query = job.query();
        let database = &job.set.databases[query.database];
        let reader = self.readers.entry(query.database).or_insert_with(|| Reader::new(database));
        let deadline = job.request.received + query.timeout;
        if Instant::now() >= deadline {
            return Err("the request waited for others until its time limit; ask again later".to_owned());
        }
        let rows_max = query.rows_max;
        let asked = crate::sink::query::Query { statement, parameters, rows_max, bytes_max, is_foreign, deadline };
        let begun = Instant::now();
        reader.run(&asked).await.map_err(|error| {
            if let QueryError::TooLarge(_) | QueryError::TooManyRows(_) = &error {
                self.wasted = Some(begun.elapsed());
            }
            if let QueryError::Unavailable(why) = &error {
                job.set.unavailable(query, &database.name, why);
            }
            error.to_string()
        })
    }
}

impl Job {
    pub(super) fn query(&self) -> &Query {
        &self.set.queries[self.query]
    }

    fn is_sqlite(&self) -> bool {
        matches!(self.set.databases[self.query().database].url, DatabaseUrl::Sqlite(_))
    }

    fn elapsed(&self) -> Duration {
        self.request.received.elapsed()
    }

    /// Whether the answer may go there: never to where requests are taken, which would ask again for ever.
    fn check_topic(&self, topic: &str) -> Result<(), String> {
        if topic.len() > REPLY_BYTES_MAX {
            return Err(format!("the topic has more than {REPLY_BYTES_MAX} bytes"));
        }
        check_reply_topic(topic, self.query().reply_prefix.as_deref())?;
        match self.set.find(topic) {
            None => Ok(()),
            Some(_) => Err("the topic is one of requests".to_owned()),
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("a Vec takes everything")
}

/// What is read of the payload of a request that is refused for lack of room.
fn looked_at(payload: &[u8]) -> &[u8] {
    if payload.len() <= REFUSED_BYTES_MAX { payload } else { b"{}" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_payload_is_not_read_where_the_request_is_refused_anyway() {
        let long = format!(r#"{{"q":"{}","reply":"db/reply/1"}}"#, "x".repeat(REFUSED_BYTES_MAX));
        assert_eq!(machbase::reply_of(looked_at(long.as_bytes())), None);
        assert_eq!(machbase::reply_of(looked_at(br#"{"q":"x","reply":"db/reply/1"}"#)).unwrap(), "db/reply/1");
    }
}
