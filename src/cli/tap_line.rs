//! One line of text for each followed message.

use serde_json::Value;

use super::figures;

/// Characters of a payload, and of an error, that a line shows.
const PAYLOAD_CHARS_MAX: usize = 80;
const ERROR_CHARS_MAX: usize = 160;

const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
const FAINT: &str = "\x1b[2m";
const END: &str = "\x1b[0m";

/// How lines look.
pub(super) struct Lines {
    has_colours: bool,
}

impl Lines {
    pub(super) fn new(is_terminal: bool) -> Lines {
        let is_wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Lines { has_colours: is_terminal && is_wanted }
    }

    /// `08:26:00.123 #41 sensors/a/d1/telemetry  telemetry → local.readings  {"temp":21.5}`
    pub(super) fn message(&self, message: &Value) -> String {
        let text = |name: &str| message[name].as_str().unwrap_or_default();
        // Of 2026-11-21T08:26:00.123456Z.
        let time = text("received_at").get(11..23).unwrap_or("--:--:--.---");
        let seq = message["seq"].as_u64().unwrap_or_default();
        let rule = message["rule"].as_str().map_or_else(|| "-".to_owned(), one_line);
        let (colour, outcome) = match text("outcome") {
            "written" => {
                let tables = message["tables"].as_array().into_iter().flatten();
                let tables: Vec<String> = tables.filter_map(Value::as_str).map(one_line).collect();
                let mut outcome = format!("→ {}.{}", one_line(text("database")), tables.join(", "));
                match message["rows"].as_u64().unwrap_or_default() {
                    1 => {}
                    rows => outcome.push_str(&format!(" ({})", figures::counted(rows, "row"))),
                }
                match message["nulled"].as_str() {
                    Some(why) => (YELLOW, format!("{outcome} with NULL: {}", short(why, ERROR_CHARS_MAX))),
                    None => ("", outcome),
                }
            }
            "filtered" => (FAINT, "filtered".to_owned()),
            "unmatched" => (FAINT, "no rule takes it".to_owned()),
            outcome @ ("parked" | "lost") => (YELLOW, with_reason(outcome, message)),
            "dead_lettered" => (RED, with_reason("dead letter", message)),
            outcome => (RED, with_reason(&one_line(outcome), message)),
        };
        let outcome = self.coloured(colour, &outcome);
        format!("{time} #{seq} {}  {rule} {outcome}  {}", one_line(text("topic")), payload(message))
            .trim_end()
            .to_owned()
    }

    pub(super) fn not_shown(&self, count: u64) -> String {
        self.coloured(FAINT, &format!("… {} more not shown", figures::count(count)))
    }

    /// Of the broker or a database.
    pub(super) fn state(&self, name: &str, state: &Value) -> String {
        let name = one_line(name);
        let error = state["last_error"]
            .as_str()
            .map_or_else(String::new, |error| format!(": {}", short(error, ERROR_CHARS_MAX)));
        let waits = match state["pending"].as_u64() {
            Some(pending @ 1..) => format!("; {} not delivered yet", figures::counted(pending, "message")),
            _ => String::new(),
        };
        let (colour, line) = match (state["held"].as_str(), state["connected"].as_bool()) {
            (Some(held), _) => (RED, format!("{name} is held: {}{waits}", short(held, ERROR_CHARS_MAX))),
            (None, Some(true)) => (FAINT, format!("{name} is connected{waits}")),
            (None, _) => (YELLOW, format!("{name} is not connected{error}{waits}")),
        };
        self.coloured(colour, &format!("— {line}"))
    }

    /// Text of the bridge's for a terminal.
    pub(super) fn plain(&self, text: &Value) -> String {
        one_line(text.as_str().unwrap_or_default())
    }

    fn coloured(&self, colour: &str, text: &str) -> String {
        match self.has_colours && !colour.is_empty() {
            true => format!("{colour}{text}{END}"),
            false => text.to_owned(),
        }
    }
}

fn with_reason(outcome: &str, message: &Value) -> String {
    let reason = message["reason"].as_str().map_or_else(String::new, |reason| format!(" ({})", one_line(reason)));
    let error =
        message["error"].as_str().map_or_else(String::new, |error| format!(": {}", short(error, ERROR_CHARS_MAX)));
    format!("{outcome}{reason}{error}")
}

fn payload(message: &Value) -> String {
    let bytes = message["payload_bytes"].as_u64().unwrap_or_default();
    let (sign, shown, whole) = match (message["payload"].as_str(), message["payload_hex"].as_str()) {
        (Some(text), _) => ("", text, text.len() as u64 == bytes),
        (None, Some(hex)) => (r"\x", hex, hex.len() as u64 == 2 * bytes),
        (None, None) => return String::new(),
    };
    let is_cut = !whole || shown.chars().nth(PAYLOAD_CHARS_MAX).is_some();
    let shown: String = shown.chars().take(PAYLOAD_CHARS_MAX).collect();
    match is_cut {
        true => format!("{sign}{}… ({})", one_line(&shown), figures::bytes(bytes)),
        false => format!("{sign}{}", one_line(&shown)),
    }
}

fn short(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", one_line(&text[..end])),
        None => one_line(text),
    }
}

/// Text from outside for one line of a terminal: what moves the cursor, changes colours or turns the direction of writing is
/// escaped.
fn one_line(text: &str) -> String {
    let is_harmless = |c: char| {
        !c.is_control() && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().fold(String::with_capacity(text.len()), |mut plain, c| {
        if is_harmless(c) {
            plain.push(c);
        } else {
            plain.extend(c.escape_default());
        }
        plain
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_outcome_has_its_line() {
        let lines = Lines { has_colours: false };
        let base = json!({
            "seq": 41, "received_at": "2026-11-21T08:26:00.123456Z", "topic": "a/b", "rule": "r", "database": "local",
            "outcome": "written", "tables": ["t"], "rows": 1, "payload": "{}", "payload_bytes": 2,
        });
        for (changes, expected) in [
            (json!({}), "r → local.t  {}"),
            (
                json!({ "rows": 3, "nulled": "column a: no number" }),
                "r → local.t (3 rows) with NULL: column a: no number  {}",
            ),
            (json!({ "outcome": "filtered" }), "r filtered  {}"),
            (json!({ "outcome": "unmatched", "rule": null }), "- no rule takes it  {}"),
            (
                json!({ "outcome": "dead_lettered", "reason": "value", "error": "column temp: \n is no number" }),
                r"r dead letter (value): column temp: \n is no number  {}",
            ),
            (json!({ "outcome": "dropped", "reason": "parse", "error": "no" }), "r dropped (parse): no  {}"),
            (json!({ "payload": "\u{1b}[2J\u{202e}x", "payload_bytes": 8 }), r"r → local.t  \u{1b}[2J\u{202e}x"),
            (json!({ "payload": null, "payload_hex": "ff00", "payload_bytes": 2 }), r"r → local.t  \xff00"),
            (json!({ "payload": "ab", "payload_bytes": 5_000 }), "r → local.t  ab… (4.9 KiB)"),
        ] {
            let mut message = base.clone();
            message.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
            assert_eq!(lines.message(&message), format!("08:26:00.123 #41 a/b  {expected}"));
        }
    }

    #[test]
    fn a_state_says_what_keeps_messages_from_coming() {
        let lines = Lines { has_colours: false };
        for (state, expected) in [
            (json!({ "connected": true, "held": null, "pending": 0 }), "— database cloud is connected"),
            (
                json!({ "connected": false, "held": null, "pending": 2, "last_error": "refused" }),
                "— database cloud is not connected: refused; 2 messages not delivered yet",
            ),
            (
                json!({ "connected": true, "held": "no table", "pending": 1 }),
                "— database cloud is held: no table; 1 message not delivered yet",
            ),
        ] {
            assert_eq!(lines.state("database cloud", &state), expected);
        }
    }
}
