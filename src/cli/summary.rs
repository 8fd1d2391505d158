//! A status as text, the verdict first.

use std::time::Duration;

use serde_json::Value;

use super::figures::{ago, bytes, count, counted, plain, rate, span};
use super::verdict;

/// So many topic filters are listed, and rules; of more, those that need a look.
const LISTED_MAX: usize = 50;

/// Two looks at a bridge, for rates. `before` is `None` if there was none, or if the bridge was restarted in between.
pub(super) struct Looks<'a> {
    pub(super) before: Option<(&'a Value, Duration)>,
    pub(super) now: &'a Value,
}

impl Looks<'_> {
    /// All of it.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = self.verdict();
        self.bridge(&mut lines);
        self.broker(&mut lines);
        self.journal(&mut lines);
        for (name, database) in self.now["databases"].as_object().into_iter().flatten() {
            self.database(name, database, &mut lines);
        }
        self.rules(&mut lines);
        self.publications(&mut lines);
        self.queries(&mut lines);
        lines
    }

    fn verdict(&self) -> Vec<String> {
        let mut problems = verdict::problems(self.now).into_iter();
        match problems.next() {
            None => vec![verdict::well(self.now, self.rate("/journal/next_seq"))],
            Some(worst) => std::iter::once(worst).chain(problems.map(|other| format!("also: {other}"))).collect(),
        }
    }

    fn bridge(&self, lines: &mut Vec<String>) {
        let status = self.now;
        let up = span(status["uptime_seconds"].as_f64().unwrap_or_default());
        let unmatched = match number(&status["unmatched"]) {
            0 => String::new(),
            messages => format!("; no rule took {}", counted(messages, "message")),
        };
        lines.push(format!(
            "bridge    {}, version {}, up {up}{unmatched}",
            text(&status["bridge"]),
            text(&status["version"])
        ));
    }

    fn broker(&self, lines: &mut Vec<String>) {
        let mqtt = &self.now["mqtt"];
        let state = if mqtt["connected"] == true { "connected" } else { "NOT connected" };
        let since = mqtt["since"].as_str().and_then(ago).map_or_else(String::new, |ago| format!(" for {ago}"));
        let taken = self.rate("/journal/next_seq").map_or_else(String::new, |taken| format!(", {} in", rate(taken)));
        let lost = number(&mqtt["sessions_lost"]);
        let lost = if lost == 0 { String::new() } else { format!("; sessions lost: {}", count(lost)) };
        lines.push(format!("broker    {state}{since}, {}{taken}{lost}", text(&mqtt["url"])));
        if let Some(error) = mqtt["last_error"].as_str() {
            lines.extend(block("last error", error));
        }
        let all = mqtt["subscriptions"].as_array().map_or(&[][..], Vec::as_slice);
        let is_fine = |one: &&Value| one["error"].is_null() && one["qos_granted"] == one["qos_asked"];
        let (shown, hidden): (Vec<&Value>, Vec<&Value>) =
            all.iter().partition(|one| all.len() <= LISTED_MAX || !is_fine(one));
        for one in shown {
            let granted = match (one["error"].as_str(), one["qos_granted"].as_u64()) {
                (Some(error), _) => format!("REFUSED: {}", plain(error)),
                (None, Some(granted)) => format!("granted {granted}"),
                (None, None) => "not answered yet".to_owned(),
            };
            lines.push(format!("  filter  {}: QoS {} asked, {granted}", text(&one["filter"]), one["qos_asked"]));
        }
        if !hidden.is_empty() {
            lines.push(format!("  filter  {} more, granted as asked", count(hidden.len() as u64)));
        }
    }

    fn journal(&self, lines: &mut Vec<String>) {
        let journal = &self.now["journal"];
        let messages = number(&journal["next_seq"]).saturating_sub(number(&journal["oldest_seq"]));
        let lost = match number(&journal["lost"]) {
            0 => String::new(),
            lost => format!("; LOST: {}", count(lost)),
        };
        let paused = match (journal["paused"] == true, journal["dropping"] == true) {
            (true, _) => ", PAUSED",
            (false, true) => ", DROPPING",
            (false, false) => "",
        };
        lines.push(format!(
            "journal   {} of {}, {}, next {}{paused}{lost}",
            bytes(number(&journal["bytes"])),
            bytes(number(&journal["max_bytes"])),
            counted(messages, "message"),
            count(number(&journal["next_seq"]))
        ));
    }

    fn database(&self, name: &str, database: &Value, lines: &mut Vec<String>) {
        let state = match (database["held"].is_object(), database["connected"] == true) {
            (true, _) => "HELD",
            (false, true) => "connected",
            (false, false) => "NOT connected",
        };
        let path = format!("/databases/{}/next_seq", name.replace('~', "~0").replace('/', "~1"));
        let delivered = self.rate(&path).map_or_else(String::new, |delivered| format!(", {} out", rate(delivered)));
        let waiting = match number(&database["pending"]) {
            0 => "nothing waits".to_owned(),
            pending => {
                let age = span(database["oldest_pending_seconds"].as_f64().unwrap_or_default());
                format!("{} waiting, the oldest for {age}", counted(pending, "message"))
            }
        };
        let swallowed = match number(&database["rows_swallowed"]) {
            0 => String::new(),
            rows => format!("; its tables swallowed {}", counted(rows, "row")),
        };
        lines.push(format!("database  {}: {state}{delivered}, {waiting}{swallowed}", plain(name)));
        let held = &database["held"];
        if held.is_object() {
            lines.extend(block("reason", held["reason"].as_str().unwrap_or_default()));
            lines.extend(held["mend"].as_str().into_iter().flat_map(|mend| block("mend", mend)));
        } else if let Some(error) = database["last_error"].as_str() {
            lines.extend(block("last error", error));
        }
        for parked in database["parked"].as_array().into_iter().flatten() {
            let messages = counted(number(&parked["messages"]), "message");
            let (rule, table) = (text(&parked["rule"]), text(&parked["table"]));
            lines.push(format!("  parked  {messages} of rule {rule} for table {table}, until this is mended:"));
            lines.extend(block("reason", parked["reason"].as_str().unwrap_or_default()));
            lines.extend(parked["mend"].as_str().into_iter().flat_map(|mend| block("mend", mend)));
        }
    }

    fn rules(&self, lines: &mut Vec<String>) {
        let rules = self.now["rules"].as_array().map_or(&[][..], Vec::as_slice);
        let has_refusals = |rule: &Value| number(&rule["dead_lettered"]) + number(&rule["dropped"]) > 0;
        for (index, rule) in rules.iter().enumerate() {
            if rules.len() > LISTED_MAX && !has_refusals(rule) {
                continue;
            }
            let figure = |key: &str| number(&rule[key]);
            let rate = self.rate(&format!("/rules/{index}/written")).filter(|rate| *rate > 0.0);
            let rate = rate.map_or_else(String::new, |written| format!(" at {}", self::rate(written)));
            let swallowed = match figure("rows_swallowed") {
                0 => String::new(),
                rows => format!(", {} swallowed by the table", count(rows)),
            };
            let mut line = format!(
                "rule      {} → {}: matched {}, written {}{rate} ({}{swallowed})",
                text(&rule["rule"]),
                text(&rule["database"]),
                count(figure("matched")),
                count(figure("written")),
                counted(figure("rows"), "row"),
            );
            for (key, word) in [("filtered", "filtered"), ("dead_lettered", "dead letters"), ("dropped", "dropped")] {
                if figure(key) > 0 {
                    line.push_str(&format!(", {word} {}", count(figure(key))));
                }
            }
            lines.push(line);
        }
        if rules.len() > LISTED_MAX {
            let quiet = rules.iter().filter(|rule| !has_refusals(rule)).count() as u64;
            lines.push(format!("rule      {} more without dead letters; all with --json", count(quiet)));
        }
    }

    fn publications(&self, lines: &mut Vec<String>) {
        for (index, entry) in self.now["publish"].as_array().into_iter().flatten().enumerate() {
            let figure = |key: &str| number(&entry[key]);
            let rate = self.rate(&format!("/publish/{index}/published")).filter(|rate| *rate > 0.0);
            let rate = rate.map_or_else(String::new, |published| format!(" at {}", self::rate(published)));
            let skipped = match figure("skipped") {
                0 => String::new(),
                skipped => format!(", {} skipped", count(skipped)),
            };
            lines.push(format!(
                "publish   {}: {} published{rate}{skipped}, {} waiting",
                text(&entry["name"]),
                counted(figure("published"), "row"),
                counted(figure("pending"), "change")
            ));
        }
    }

    fn queries(&self, lines: &mut Vec<String>) {
        for entry in self.now["queries"].as_array().into_iter().flatten() {
            let figure = |key: &str| count(number(&entry[key]));
            let (answered, refused) = (figure("answered"), figure("refused"));
            lines.push(format!("query     {}: {answered} answered, {refused} refused", text(&entry["name"])));
        }
    }

    /// How fast the figure at a JSON pointer grows.
    fn rate(&self, pointer: &str) -> Option<f64> {
        let (before, elapsed) = self.before?;
        let figure = |status: &Value| status.pointer(pointer)?.as_u64();
        let grown = figure(self.now)?.checked_sub(figure(before)?)?;
        Some(grown as f64 / elapsed.as_secs_f64().max(0.001))
    }
}

/// Text of one or several lines under a heading.
fn block(heading: &str, text: &str) -> Vec<String> {
    let text = plain(text);
    let mut lines = text.lines();
    let mut block = vec![format!("  {heading}: {}", lines.next().unwrap_or_default())];
    block.extend(lines.map(|line| format!("    {line}")));
    block
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| "-".to_owned(), plain)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(next_seq: u64, written: u64) -> Value {
        json!({
            "bridge": "gw1", "version": "0.1.0", "uptime_seconds": 11_100, "unmatched": 2,
            "mqtt": {"connected": true, "url": "mqtt://b:1883", "sessions_lost": 0, "last_error": null, "subscriptions": [
                {"filter": "a/#", "qos_asked": 1, "qos_granted": 1, "error": null}
            ]},
            "journal": {"oldest_seq": 1, "next_seq": next_seq, "bytes": 12_897_485, "max_bytes": 1 << 30, "paused": false,
                        "lost": 0},
            "databases": {"a/b": {"connected": true, "next_seq": next_seq - 5, "pending": 5, "oldest_pending_seconds": 0.25,
                          "held": null, "parked": [], "last_error": null, "rows_swallowed": 0}},
            "rules": [{"rule": "r", "database": "a/b", "matched": written + 1, "written": written, "rows": written,
                       "filtered": 0, "dead_lettered": 1, "dropped": 0, "rows_swallowed": 0}],
        })
    }

    #[test]
    fn two_looks_give_rates_and_units_for_people() {
        let (before, now) = (status(10_001, 500), status(12_469, 501));
        let lines = Looks { before: Some((&before, Duration::from_secs(2))), now: &now }.lines();
        assert_eq!(
            lines,
            [
                "ok: 1,234/s come from mqtt://b:1883, into a/b; 5 messages waiting",
                "bridge    gw1, version 0.1.0, up 3 h 5 min; no rule took 2 messages",
                "broker    connected, mqtt://b:1883, 1,234/s in",
                "  filter  a/#: QoS 1 asked, granted 1",
                "journal   12.3 MiB of 1 GiB, 12,468 messages, next 12,469",
                "database  a/b: connected, 1,234/s out, 5 messages waiting, the oldest for 0.2 s",
                "rule      r → a/b: matched 502, written 501 at 0.5/s (501 rows), dead letters 1",
            ]
        );
        // After a restart, counters begin anew.
        assert!(
            Looks { before: Some((&now, Duration::from_secs(2))), now: &before }.lines()[0].contains("messages flow")
        );
    }
}
