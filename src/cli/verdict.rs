//! The verdict of a status in one line: all is well, or the fault, since when it lasts, and the remedy.

use serde_json::Value;

use super::figures::{ago, bytes, count, counted, plain, rate, span};

/// A database that is connected and this far behind is too slow.
const BEHIND_SECONDS: f64 = 60.0;

/// What is wrong, the worst first.
pub(super) fn problems(status: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    broker(status, &mut problems);
    journal(status, &mut problems);
    subscriptions(status, &mut problems);
    for (name, database) in status["databases"].as_object().into_iter().flatten() {
        self::database(&plain(name), database, &mut problems);
    }
    outbound(&status["mqtt"], &mut problems);
    publications(status, &mut problems);
    losses(status, &mut problems);
    problems
}

/// The line for a status without problems. `taken` is the rate at which messages come, if it is known.
pub(super) fn well(status: &Value, taken: Option<f64>) -> String {
    let databases = status["databases"].as_object();
    let waiting: u64 = databases.into_iter().flatten().filter_map(|(_, part)| part["pending"].as_u64()).sum();
    let names: Vec<String> = databases.into_iter().flatten().map(|(name, _)| plain(name)).collect();
    let flow = taken.map_or_else(|| "messages flow".to_owned(), |taken| format!("{} come", rate(taken)));
    let waiting =
        if waiting == 0 { "nothing waits".to_owned() } else { format!("{} waiting", counted(waiting, "message")) };
    format!("ok: {flow} from {}, into {}; {waiting}", text(&status["mqtt"]["url"]), names.join(", "))
}

fn broker(status: &Value, problems: &mut Vec<String>) {
    let mqtt = &status["mqtt"];
    if mqtt["connected"] == true {
        return;
    }
    let since = since(&mqtt["since"]);
    let why = match mqtt["last_error"].as_str() {
        Some(error) => format!("NOT connected to the broker{since}: {}", plain(error)),
        None => format!("not connected to the broker yet{since}"),
    };
    let url = text(&mqtt["url"]);
    problems.push(format!("{why}; start the broker at {url}, or correct mqtt in bridge.yaml; until then it queues"));
}

fn journal(status: &Value, problems: &mut Vec<String>) {
    let journal = &status["journal"];
    if journal["paused"] != true {
        return;
    }
    let number = |key: &str| journal[key].as_u64().unwrap_or_default();
    let fill = format!("{} of {}", bytes(number("bytes")), bytes(number("max_bytes")));
    problems.push(format!(
        "NO MESSAGES ARE TAKEN{}: the journal ({fill}) or its disk is full, or the disk fails; bring back the database that \
         lags, or make room on the disk; until then the broker queues",
        since(&journal["paused_since"])
    ));
}

fn subscriptions(status: &Value, problems: &mut Vec<String>) {
    for subscription in status["mqtt"]["subscriptions"].as_array().into_iter().flatten() {
        let filter = text(&subscription["filter"]);
        if let Some(error) = subscription["error"].as_str() {
            let error = plain(error);
            problems.push(format!("the broker REFUSED the topic filter {filter}: {error}; allow it in the broker"));
        } else if let (Some(asked), Some(granted)) =
            (subscription["qos_asked"].as_u64(), subscription["qos_granted"].as_u64())
            && granted < asked
        {
            problems.push(format!(
                "the broker grants QoS {granted} for {filter}, not {asked}: messages may be lost on the way; raise it in the \
                 broker, or ask for {granted}"
            ));
        }
    }
}

fn database(name: &str, database: &Value, problems: &mut Vec<String>) {
    let waiting = counted(database["pending"].as_u64().unwrap_or_default(), "message");
    let held = &database["held"];
    if held.is_object() {
        let todo = match held["mend"].as_str() {
            Some(_) => "run the statement below",
            None => "mend what the reason says",
        };
        let reason = first_line(&text(&held["reason"]));
        problems.push(format!(
            "database {name} is HELD{}: {reason}; {todo}, delivery goes on by itself; {waiting} waiting",
            since(&held["since"])
        ));
    } else if database["connected"] != true {
        let why = database["last_error"]
            .as_str()
            .map_or_else(|| "no answer yet".to_owned(), |error| first_line(&plain(error)));
        problems.push(format!(
            "database {name} is NOT connected{}: {why}; bring it back, delivery goes on by itself; {waiting} waiting in the \
             journal",
            since(&database["since"])
        ));
    } else if let Some(behind) = database["oldest_pending_seconds"].as_f64().filter(|age| *age >= BEHIND_SECONDS) {
        problems.push(format!(
            "database {name} is {} BEHIND: {waiting} waiting; it takes rows more slowly than they come, or catches up",
            span(behind)
        ));
    }
    for parked in database["parked"].as_array().into_iter().flatten() {
        problems.push(format!(
            "{} of rule {} are PARKED{}: {}; mend table {}, they go in by themselves",
            counted(parked["messages"].as_u64().unwrap_or_default(), "message"),
            text(&parked["rule"]),
            since(&parked["since"]),
            first_line(&text(&parked["reason"])),
            text(&parked["table"])
        ));
    }
}

/// The second connection. Without the first it says nothing new.
fn outbound(mqtt: &Value, problems: &mut Vec<String>) {
    let outbound = &mqtt["outbound"];
    if mqtt["connected"] == true && outbound["connected"] == false {
        let why = outbound["last_error"].as_str().map_or_else(|| "no answer yet".to_owned(), plain);
        let why = first_line(&why);
        problems.push(format!(
            "rows are NOT published, and queries and answers wait: the second connection to the broker: {why}; let its client id \
             (mqtt.client_id with -out) in"
        ));
    }
    for refused in outbound["refused_topics"].as_array().into_iter().flatten() {
        let (topic, error) = (text(&refused["topic"]), text(&refused["error"]));
        problems.push(format!("the broker REFUSED the request topic {topic}: {error}; allow it in the broker"));
    }
}

fn publications(status: &Value, problems: &mut Vec<String>) {
    for entry in status["publish"].as_array().into_iter().flatten() {
        if let Some(error) = entry["error"].as_str() {
            let waiting = counted(entry["pending"].as_u64().unwrap_or_default(), "change");
            let why = first_line(&plain(error));
            problems.push(format!("publish {} WAITS: {why}; {waiting} waiting in its database", text(&entry["name"])));
        }
    }
}

fn losses(status: &Value, problems: &mut Vec<String>) {
    match status["journal"]["lost"].as_u64() {
        None | Some(0) => {}
        Some(lost) => problems
            .push(format!("{} LOST since the start: the log (ERROR) says which and why", counted(lost, "message"))),
    }
    match status["mqtt"]["sessions_lost"].as_u64() {
        None | Some(0) => {}
        Some(lost) => problems.push(format!(
            "the broker had FORGOTTEN the session {} times since the start: what was published while the bridge was away is \
             missing; raise the broker's session expiry",
            count(lost)
        )),
    }
}

/// ` for 3 min`; nothing where it is not known.
fn since(time: &Value) -> String {
    time.as_str().and_then(ago).map_or_else(String::new, |ago| format!(" for {ago}"))
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim_end_matches([';', '.']).to_owned()
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| "-".to_owned(), plain)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn healthy() -> Value {
        json!({
            "mqtt": {"connected": true, "url": "mqtt://b:1883", "sessions_lost": 0, "last_error": null, "outbound": null, "subscriptions": [
                {"filter": "a/#", "qos_asked": 1, "qos_granted": 1, "error": null}
            ]},
            "journal": {"paused": false, "bytes": 1024, "max_bytes": 2048, "lost": 0},
            "databases": {"local": {"connected": true, "pending": 0, "oldest_pending_seconds": 0.0, "held": null, "parked": []}},
        })
    }

    #[test]
    fn a_healthy_status_is_ok() {
        assert_eq!(problems(&healthy()), Vec::<String>::new());
        assert_eq!(well(&healthy(), Some(1234.0)), "ok: 1,234/s come from mqtt://b:1883, into local; nothing waits");
    }

    #[test]
    fn each_problem_says_what_is_wrong_since_when_and_what_to_do() {
        let long_ago = "2001-01-01T00:00:00Z";
        for (place, value, words) in [
            ("/mqtt/connected", json!(false), ["not connected to the broker", "mqtt://b:1883"]),
            ("/journal/paused", json!(true), ["NO MESSAGES ARE TAKEN", "1 KiB of 2 KiB"]),
            ("/journal/lost", json!(3), ["3 messages LOST", "log"]),
            ("/mqtt/sessions_lost", json!(1), ["FORGOTTEN", "session expiry"]),
            ("/mqtt/subscriptions/0/error", json!("no\u{1b}[2J"), ["REFUSED", "a/#: no\\u{1b}[2J; allow"]),
            ("/mqtt/subscriptions/0/qos_granted", json!(0), ["grants QoS 0", "not 1"]),
            (
                "/mqtt/outbound",
                json!({"connected": false, "last_error": "bad client"}),
                ["NOT published", "bad client; let"],
            ),
            (
                "/mqtt/outbound",
                json!({"connected": true, "refused_topics": [{"topic": "q", "error": "no"}]}),
                ["REFUSED the request topic", "q: no; allow"],
            ),
            ("/databases/local/connected", json!(false), ["local is NOT connected", "bring it back"]),
            ("/databases/local/oldest_pending_seconds", json!(300.0), ["5 min BEHIND", "local"]),
            (
                "/databases/local/held",
                json!({"reason": "no table t;\nmore", "mend": "CREATE …", "since": long_ago}),
                [" d", "no table t; run the statement below"],
            ),
            (
                "/databases/local/parked",
                json!([{"rule": "r", "table": "t", "reason": "no table", "since": long_ago, "messages": 7}]),
                ["7 messages of rule r are PARKED for", "mend table t"],
            ),
        ] {
            let mut status = healthy();
            *status.pointer_mut(place).unwrap() = value;
            if place == "/mqtt/subscriptions/0/error" {
                status["mqtt"]["subscriptions"][0]["qos_granted"] = Value::Null;
            }
            let problems = problems(&status);
            assert_eq!(problems.len(), 1, "{place}: {problems:?}");
            for word in words {
                assert!(problems[0].contains(word), "{place}: {word} in {}", problems[0]);
            }
            assert!(!problems[0].contains('\n'), "a line: {}", problems[0]);
        }
    }
}
