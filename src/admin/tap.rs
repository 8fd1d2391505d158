//! `/tap`: the outcome of messages, for `rowbridge tap`.
//!
//! ```text
//! GET /tap?rate=20&rule=NAME   begins to follow these rules (all rules without `rule`); the answer has the id
//! GET /tap?id=ID               the outcomes since the last call; waits a while for the first one
//! ```
//! Each answer is short, so every connection's time stays bounded.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, timeout_at};

use super::status::Overview;
use crate::journal::Fs;
use crate::telemetry::tap::{FOLLOWERS_MAX, RATE_MAX};

/// How long an answer waits for a message.
const WAIT: Duration = Duration::from_secs(2);

/// Messages a second unless another rate is asked for: what a person can just follow.
const RATE: usize = 20;

#[derive(Debug, Default, PartialEq)]
struct Query {
    id: Option<u64>,
    rate: Option<usize>,
    rules: Vec<String>,
}

type Refusal = (StatusCode, String);

pub(super) async fn answer<F: Fs>(State(overview): State<Arc<Overview<F>>>, RawQuery(query): RawQuery) -> Response {
    let answered = async {
        let query = Query::read(query.as_deref().unwrap_or_default())?;
        match query.id {
            Some(id) => follow(&overview, id).await,
            None => begin(&overview, query),
        }
    };
    match answered.await {
        Ok(answer) => Json(answer).into_response(),
        Err((code, why)) => (code, format!("{why}\n")).into_response(),
    }
}

fn begin<F: Fs>(overview: &Overview<F>, query: Query) -> Result<Value, Refusal> {
    let rules = Arc::clone(&overview.rules.borrow());
    let names: Vec<&str> = rules.rules.iter().filter(|rule| !rule.is_copy()).map(|rule| &*rule.name).collect();
    if let Some(unknown) = query.rules.iter().find(|name| !names.contains(&name.as_str())) {
        let why = format!("the bridge has no rule {unknown}; it has: {}", names.join(", "));
        return Err((StatusCode::BAD_REQUEST, why));
    }
    match overview.metrics.taps.open(query.rules, query.rate.unwrap_or(RATE)) {
        Some(id) => Ok(told(overview, id, Vec::new(), 0)),
        None => Err((StatusCode::SERVICE_UNAVAILABLE, format!("{FOLLOWERS_MAX} others follow already"))),
    }
}

async fn follow<F: Fs>(overview: &Overview<F>, id: u64) -> Result<Value, Refusal> {
    let until = Instant::now() + WAIT;
    loop {
        let Some(taken) = overview.metrics.taps.take(id) else {
            return Err((StatusCode::GONE, "no follower has this id; start again".to_owned()));
        };
        let is_news = !taken.messages.is_empty() || taken.not_shown > 0;
        if is_news || timeout_at(until, taken.came.notified()).await.is_err() {
            return Ok(told(overview, id, taken.messages, taken.not_shown));
        }
    }
}

/// With the messages, what explains that none come.
fn told<F: Fs>(overview: &Overview<F>, id: u64, messages: Vec<Value>, not_shown: u64) -> Value {
    let status = overview.brief();
    let databases: Map<String, Value> = status
        .databases
        .into_iter()
        .map(|(name, part)| {
            let value = json!({
                "connected": part.connected,
                "held": part.held.map(|held| held.reason),
                "pending": part.pending,
                "last_error": part.last_error,
            });
            (name, value)
        })
        .collect();
    json!({
        "tap": id.to_string(),
        "bridge": status.bridge,
        "broker": { "connected": status.mqtt.connected, "last_error": status.mqtt.last_error },
        "databases": databases,
        "not_shown": not_shown,
        "messages": messages,
    })
}

impl Query {
    fn read(text: &str) -> Result<Query, Refusal> {
        let mut query = Query::default();
        for (name, value) in
            text.split('&').filter(|part| !part.is_empty()).map(|part| part.split_once('=').unwrap_or((part, "")))
        {
            let bad = |takes: &str| (StatusCode::BAD_REQUEST, format!("{name} takes {takes}"));
            match name {
                "id" => query.id = Some(value.parse().map_err(|_| bad("the id that the first answer has"))?),
                "rate" => {
                    let rate = value.parse().ok().filter(|rate| (1..=RATE_MAX).contains(rate));
                    query.rate = Some(rate.ok_or_else(|| bad(&format!("a number from 1 to {RATE_MAX}")))?);
                }
                "rule" => {
                    let name = percent_decode_str(value).decode_utf8().map_err(|_| bad("the name of a rule"))?;
                    query.rules.push(name.into_owned());
                }
                _ => return Err((StatusCode::BAD_REQUEST, "the query takes rate, rule and id".to_owned())),
            }
        }
        Ok(query)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_or_refused() {
        let rules = vec!["a b&c".to_owned(), "ž".to_owned()];
        let expected = Query { id: None, rate: Some(7), rules };
        assert_eq!(Query::read("rate=7&rule=a%20b%26c&rule=%C5%BE").unwrap(), expected);
        assert_eq!(Query::read("id=18446744073709551615").unwrap().id, Some(u64::MAX));
        assert_eq!(Query::read("").unwrap(), Query::default());
        for (text, why) in [
            ("rate=0", "rate takes a number from 1 to 1000"),
            ("rate=1001", "rate takes a number from 1 to 1000"),
            ("id=x", "id takes the id that the first answer has"),
            ("rule=%ff", "rule takes the name of a rule"),
            ("rules=a", "the query takes rate, rule and id"),
        ] {
            assert_eq!(Query::read(text).unwrap_err(), (StatusCode::BAD_REQUEST, why.to_owned()), "{text}");
        }
    }
}
