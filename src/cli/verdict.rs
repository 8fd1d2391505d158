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
    let place = mqtt["url"].as_str().map_or_else(String::new, |url| format!(" at {}", plain(url)));
    // What says what to do says it behind a semicolon.
    let says_what = mqtt["last_error"].as_str().is_some_and(|error| error.contains("; "));
    let remedy =
        if says_what { String::new() } else { format!("; start the broker{place}, or correct mqtt in bridge.yaml") };
    problems.push(format!("{why}{remedy}; until then it queues"));
}

fn journal(status: &Value, problems: &mut Vec<String>) {
    let journal = &status["journal"];
    let number = |key: &str| journal[key].as_u64().unwrap_or_default();
    let fill = format!("{} of {}", bytes(number("bytes")), bytes(number("max_bytes")));
    if journal["dropping"] == true {
        problems.push(format!(
            "MESSAGES ARE BEING DROPPED: the journal ({fill}) or its disk is full, and journal.when_full says so; bring back \
             the database that lags, make room on the disk, or raise journal.max_size"
        ));
    }
    if journal["paused"] != true {
        return;
    }
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
        let todo = todo(held);
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
    } else if database["unanswered_since"].is_string() {
        problems.push(format!(
            "database {name} has NOT ANSWERED{}: {waiting} waiting in the journal; look at the server, and at who holds locks \
             on its tables; after statement_timeout the bridge connects again by itself",
            since(&database["unanswered_since"])
        ));
    } else if let Some(behind) = database["oldest_pending_seconds"].as_f64().filter(|age| *age >= BEHIND_SECONDS) {
        problems.push(format!(
            "database {name} is {} BEHIND: {waiting} waiting; it takes rows more slowly than they come, or catches up",
            span(behind)
        ));
    }
    for parked in database["parked"].as_array().into_iter().flatten() {
        let messages = parked["messages"].as_u64().unwrap_or_default();
        let todo = match is_halted(parked) {
            true => todo(parked),
            false => format!("mend table {}", text(&parked["table"])),
        };
        problems.push(format!(
            "{} of rule {} {} PARKED{}: {}; {todo}, {} by {}",
            counted(messages, "message"),
            text(&parked["rule"]),
            if messages == 1 { "is" } else { "are" },
            since(&parked["since"]),
            first_line(&text(&parked["reason"])),
            if messages == 1 { "it goes in" } else { "they go in" },
            if messages == 1 { "itself" } else { "themselves" },
        ));
    }
}

/// In the reason of a rule that waits for `on_error: halt`: the message's value is at fault, or the rule.
const HALT: &str = "says on_error: halt";

fn is_halted(fault: &Value) -> bool {
    fault["reason"].as_str().is_some_and(|reason| reason.contains(HALT))
}

/// What a person is to do about a fault: the SQL below, or the advice itself, if it is one.
fn todo(fault: &Value) -> String {
    if is_halted(fault) {
        return "correct the rule or the table, or set on_error: dead_letter, then run `rowbridge reload`".to_owned();
    }
    let mend = fault["mend"].as_str().map(plain).unwrap_or_default();
    let mut statements = mend.lines().map(is_sql);
    match (statements.next().unwrap_or(false), statements.any(|is_sql| is_sql)) {
        (true, _) => "run the statement below".to_owned(),
        (false, true) => "do what is said below".to_owned(),
        (false, false) if mend.trim().is_empty() => "mend what the reason says".to_owned(),
        (false, false) => first_line(&mend),
    }
}

/// Whether a line begins a statement: our advice begins in lower case.
fn is_sql(line: &str) -> bool {
    const VERBS: [&str; 9] = ["ALTER", "COMMENT", "CREATE", "DELETE", "DROP", "GRANT", "INSERT", "SELECT", "UPDATE"];
    line.split_whitespace().next().is_some_and(|word| VERBS.contains(&word))
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
                "/databases/local/held",
                json!({"reason": "no role", "mend": "create the role, or correct the URL", "since": long_ago}),
                ["no role; create the role, or correct the URL, delivery goes on", "HELD"],
            ),
            (
                "/databases/local/held",
                json!({"reason": "another name", "mend": "rename it here:\nUPDATE o SET b = 1", "since": long_ago}),
                ["another name; do what is said below", "HELD"],
            ),
            (
                "/databases/local/held",
                json!({"reason": "rule r says on_error: halt, and …", "mend": "mend it", "since": long_ago}),
                ["correct the rule or the table", "rowbridge reload"],
            ),
            (
                "/databases/local/parked",
                json!([{"rule": "r", "table": "t", "reason": "no table", "since": long_ago, "messages": 7}]),
                ["7 messages of rule r are PARKED for", "mend table t, they go in by themselves"],
            ),
            (
                "/databases/local/parked",
                json!([{"rule": "r", "table": "t", "reason": "rule r says on_error: halt, …", "messages": 1}]),
                ["1 message of rule r is PARKED: ", "on_error: dead_letter, then run `rowbridge reload`, it goes in"],
            ),
            ("/mqtt", json!({"connected": false, "url": null}), ["start the broker, or", "not connected"]),
            ("/journal/dropping", json!(true), ["MESSAGES ARE BEING DROPPED", "max_size"]),
            ("/databases/local/unanswered_since", json!(long_ago), ["has NOT ANSWERED for", "locks"]),
        ] {
            let mut status = healthy();
            let (above, key) = place.rsplit_once('/').unwrap();
            match status.pointer_mut(place) {
                Some(part) => *part = value,
                None => status.pointer_mut(above).unwrap()[key] = value,
            }
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
