//! Files of golden tests: a list of messages, each with its expected outcome.
//!
//! ```yaml
//! - name: a reading becomes a row
//!   topic: sensors/a/d1/telemetry
//!   payload: { temp: 21.5 }
//!   expect: [ { rule: telemetry, table: telemetry, row: { site: a, temp: 21.5 } } ]
//! ```

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::value::Value;
use crate::clock::Timestamp;
use crate::config::document::{self, Core, Entries, Kind, Node};
use crate::config::{Finding, Place, Position, nearest};

/// When a message is received that does not say it: 2026-01-01T00:00:00Z, so that rows are the same on every day.
const RECEIVED_AT: Timestamp = Timestamp(1_767_225_600_000_000);

const KEYS: [&str; 10] = [
    "name",
    "topic",
    "payload",
    "payload_base64",
    "properties",
    "qos",
    "retain",
    "content_type",
    "received_at",
    "expect",
];
const EXPECT_KEYS: [&str; 8] = ["rule", "table", "database", "row", "rows", "outcome", "reason", "column"];
const OUTCOMES: [&str; 5] = ["written", "filtered", "dead_lettered", "dropped", "halted"];

/// One test.
#[derive(Debug)]
pub(super) struct Test {
    pub(super) name: String,
    pub(super) position: Position,
    /// Where its keys begin.
    pub(super) keys: Position,
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) properties: Vec<(String, String)>,
    pub(super) content_type: Option<String>,
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) received_at: Timestamp,
    /// `None` if it is not written yet.
    pub(super) expect: Option<Vec<Expected>>,
    /// Where the key `expect` stands.
    pub(super) expect_key: Option<Position>,
}

impl Test {
    /// Whether both are tests of the same message.
    pub(super) fn has_message_of(&self, other: &Test) -> bool {
        (&self.name, &self.topic, &self.payload, &self.properties, &self.content_type)
            == (&other.name, &other.topic, &other.payload, &other.properties, &other.content_type)
            && (self.qos, self.retain, self.received_at) == (other.qos, other.retain, other.received_at)
    }
}

/// What is expected of one rule, or of one table.
#[derive(Debug, Default)]
pub(super) struct Expected {
    pub(super) rule: Option<String>,
    pub(super) table: Option<String>,
    pub(super) database: Option<String>,
    /// In order; each with the columns that are compared.
    pub(super) rows: Option<Vec<Vec<(String, Value)>>>,
    pub(super) outcome: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) column: Option<String>,
}

/// Reads a file, or tells every mistake in it.
pub(super) fn read(file: &Path, text: &str) -> Result<Vec<Test>, Vec<Finding>> {
    let mut reader = Reader { file, findings: Vec::new() };
    let (tree, faults) = document::parse(text);
    for fault in faults {
        let accepted = fault.accepted.map(str::to_owned);
        reader.note(fault.position, &fault.path, fault.problem, accepted, None);
    }
    let mut tests = Vec::new();
    match tree.as_ref().and_then(|tree| tree.root()).map(|root| (root.kind(), root)) {
        Some((Kind::Sequence(items), _)) => {
            for (index, node) in items.enumerate() {
                tests.extend(reader.test(node, &format!("[{index}]")));
            }
        }
        Some((_, root)) => reader.refuse(root, "", "is no list of tests", LIST),
        None if reader.findings.is_empty() => {
            reader.note(Position { line: 1, column: 1 }, "", "holds no test".to_owned(), Some(LIST.to_owned()), None);
        }
        None => {}
    }
    if reader.findings.is_empty() { Ok(tests) } else { Err(reader.findings) }
}

const LIST: &str = "a list of tests, each with `name`, `topic`, `payload` and `expect`";
const EXPECT: &str = "a list such as [ { rule: telemetry, row: { temp: 21.5 } } ] or [ { rule: telemetry, outcome: \
                      dead_lettered, reason: value } ]; [] where no rule may take the message";

struct Reader<'f> {
    file: &'f Path,
    findings: Vec<Finding>,
}

impl Reader<'_> {
    fn note(
        &mut self,
        position: Position,
        key: &str,
        problem: String,
        accepted: Option<String>,
        suggestion: Option<String>,
    ) {
        let place = Place::File { file: self.file.to_owned(), position };
        self.findings.push(Finding { place, key: key.to_owned(), problem, excerpt: None, accepted, suggestion });
    }

    fn refuse(&mut self, node: Node<'_>, key: &str, problem: &str, accepted: &str) {
        self.note(node.position(), key, problem.to_owned(), Some(accepted.to_owned()), None);
    }

    /// The entries of a mapping, all of whose keys are known.
    fn mapping<'n>(&mut self, node: Node<'n>, path: &str, keys: &[&str]) -> Option<Entries<'n>> {
        let Kind::Mapping(entries) = node.kind() else {
            self.refuse(node, path, "is no mapping", &keys.join(", "));
            return None;
        };
        for entry in entries.clone().filter(|entry| !keys.contains(&entry.key)) {
            let suggestion = nearest(entry.key, keys.iter().copied());
            let problem = "is no key of a test".to_owned();
            self.note(entry.key_position, &format!("{path}.{}", entry.key), problem, Some(keys.join(", ")), suggestion);
        }
        Some(entries)
    }

    fn test(&mut self, node: Node<'_>, path: &str) -> Option<Test> {
        let entries = self.mapping(node, path, &KEYS)?;
        let keys = entries.clone().next().map_or(node.position(), |entry| entry.key_position);
        let mut test = Test {
            name: String::new(),
            position: node.position(),
            keys,
            topic: String::new(),
            payload: Vec::new(),
            properties: Vec::new(),
            content_type: None,
            qos: 1,
            retain: false,
            received_at: RECEIVED_AT,
            expect: None,
            expect_key: None,
        };
        let mut has_payload = false;
        for entry in entries {
            let (value, at) = (entry.value, format!("{path}.{}", entry.key));
            match entry.key {
                "name" => test.name = self.text(value, &at).unwrap_or_default(),
                "topic" => test.topic = self.topic(value, &at).unwrap_or_default(),
                "payload" | "payload_base64" if has_payload => {
                    self.refuse(value, &at, "is a second payload", "either `payload` or `payload_base64`");
                }
                "payload" => {
                    has_payload = true;
                    test.payload = match Value::of_yaml(value) {
                        Value::Text(text) => text.into_bytes(),
                        other => other.json().into_bytes(),
                    };
                }
                "payload_base64" => {
                    has_payload = true;
                    let text: String = value.text().chars().filter(|c| !c.is_whitespace()).collect();
                    match STANDARD.decode(text) {
                        Ok(bytes) => test.payload = bytes,
                        Err(_) => self.refuse(value, &at, "is no base64", "bytes such as AAEC/w=="),
                    }
                }
                "properties" => test.properties = self.properties(value, &at),
                "content_type" => test.content_type = self.text(value, &at),
                "qos" => match value.kind() {
                    Kind::Scalar(Core::Integer(level @ 0..=2)) => test.qos = level as u8,
                    _ => self.refuse(value, &at, "is no QoS", "0, 1 or 2"),
                },
                "retain" => match value.kind() {
                    Kind::Scalar(Core::Bool(retain)) => test.retain = retain,
                    _ => self.refuse(value, &at, "is neither true nor false", "true or false"),
                },
                "received_at" => match value.text().parse::<jiff::Timestamp>() {
                    Ok(time) => test.received_at = Timestamp(time.as_microsecond()),
                    Err(_) => self.refuse(value, &at, "is no time", "a time such as 2026-11-21T08:26:00.123Z"),
                },
                "expect" => {
                    test.expect_key = Some(entry.key_position);
                    test.expect = self.expect(value, &at);
                }
                _ => {}
            }
        }
        if test.topic.is_empty() {
            let accepted = "topic: sensors/a/d1/telemetry".to_owned();
            self.note(node.position(), path, "has no `topic`".to_owned(), Some(accepted), None);
        }
        if test.name.is_empty() {
            test.name = format!("test at line {}", test.position.line);
        }
        Some(test)
    }

    fn text(&mut self, node: Node<'_>, path: &str) -> Option<String> {
        match node.kind() {
            Kind::Scalar(Core::Null) | Kind::Sequence(_) | Kind::Mapping(_) => {
                self.refuse(node, path, "is no text", "a text");
                None
            }
            Kind::Scalar(_) => Some(node.text().to_owned()),
        }
    }

    fn topic(&mut self, node: Node<'_>, path: &str) -> Option<String> {
        let text = self.text(node, path)?;
        if text.is_empty() || text.contains(['+', '#', '\0']) || text.len() > usize::from(u16::MAX) {
            self.refuse(node, path, "is no topic that a device would publish to", "a topic without wildcards");
            return None;
        }
        Some(text)
    }

    fn properties(&mut self, node: Node<'_>, path: &str) -> Vec<(String, String)> {
        let Kind::Mapping(entries) = node.kind() else {
            self.refuse(node, path, "is no mapping", "MQTT 5 user properties such as { unit: C }");
            return Vec::new();
        };
        let mut properties = Vec::new();
        for entry in entries {
            if let Some(text) = self.text(entry.value, &format!("{path}.{}", entry.key)) {
                properties.push((entry.key.to_owned(), text));
            }
        }
        properties
    }

    fn expect(&mut self, node: Node<'_>, path: &str) -> Option<Vec<Expected>> {
        let items = match node.kind() {
            Kind::Sequence(items) => items,
            // As good as none.
            Kind::Scalar(Core::Null) => return None,
            _ => {
                self.refuse(node, path, "is no list", EXPECT);
                return None;
            }
        };
        Some(items.enumerate().filter_map(|(index, item)| self.expected(item, &format!("{path}[{index}]"))).collect())
    }

    fn expected(&mut self, node: Node<'_>, path: &str) -> Option<Expected> {
        let mut expected = Expected::default();
        for entry in self.mapping(node, path, &EXPECT_KEYS)? {
            let (value, at) = (entry.value, format!("{path}.{}", entry.key));
            match entry.key {
                "rule" => expected.rule = self.text(value, &at),
                "table" => expected.table = self.text(value, &at),
                "database" => expected.database = self.text(value, &at),
                "reason" => expected.reason = self.text(value, &at),
                "column" => expected.column = self.text(value, &at),
                "outcome" => match value.text() {
                    word if OUTCOMES.contains(&word) => expected.outcome = Some(word.to_owned()),
                    word => {
                        let suggestion = nearest(word, OUTCOMES);
                        let problem = "is no outcome".to_owned();
                        self.note(value.position(), &at, problem, Some(OUTCOMES.join(", ")), suggestion);
                    }
                },
                "row" => expected.rows = self.row(value, &at).map(|row| vec![row]),
                "rows" => match value.kind() {
                    Kind::Sequence(rows) => {
                        let rows = rows.enumerate().filter_map(|(index, row)| self.row(row, &format!("{at}[{index}]")));
                        expected.rows = Some(rows.collect());
                    }
                    _ => self.refuse(value, &at, "is no list", "a list of rows such as [ { temp: 21.5 } ]"),
                },
                _ => {}
            }
        }
        if expected.rule.is_none() && expected.table.is_none() {
            self.refuse(node, path, "names neither a rule nor a table", "rule: NAME, or table: NAME");
        }
        let has_rows = expected.rows.is_some();
        if has_rows && expected.outcome.as_deref().is_some_and(|outcome| outcome != "written") {
            self.refuse(node, path, "has rows and an outcome without any", "rows, or an outcome such as dead_lettered");
        }
        if has_rows && (expected.reason.is_some() || expected.column.is_some()) {
            self.refuse(node, path, "has rows and the reason of a dead letter", "rows, or outcome and reason");
        }
        Some(expected)
    }

    fn row(&mut self, node: Node<'_>, path: &str) -> Option<Vec<(String, Value)>> {
        let Value::Map(columns) = Value::of_yaml(node) else {
            self.refuse(node, path, "is no row", "columns and values such as { temp: 21.5 }");
            return None;
        };
        Some(columns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_a_text_as_it_is_and_anything_else_as_json() {
        let read = |payload: &str| {
            let text = format!("- topic: a\n  {payload}\n  expect: []\n");
            String::from_utf8(read(Path::new("t.yaml"), &text).unwrap().remove(0).payload).unwrap()
        };
        assert_eq!(read("payload: { temp: 21.50, ok: true, none: null }"), r#"{"temp":21.50,"ok":true,"none":null}"#);
        assert_eq!(read("payload: on"), "on");
        assert_eq!(read("payload: '21.5'"), "21.5");
        assert_eq!(read("payload: [1, 2]"), "[1,2]");
        assert_eq!(read("payload: |\n    a,b\n    1,2"), "a,b\n1,2\n");
        assert_eq!(read("payload_base64: aGk="), "hi");
        assert_eq!(read("retain: true"), "");
    }

    #[test]
    fn every_mistake_is_told_with_its_place() {
        let text = "- nmae: x\n  topic: a/#\n  qos: 3\n  payload_base64: '*'\n  expect:\n    - { row: 1 }\n    - { rule: r, outcome: lost, rows: {} }\n- 5\n";
        let findings = read(Path::new("t.yaml"), text).unwrap_err();
        let told: Vec<String> =
            findings.iter().map(|finding| finding.to_string().lines().next().unwrap().to_owned()).collect();
        assert_eq!(
            told,
            [
                "t.yaml:1:3: [0].nmae: is no key of a test",
                "t.yaml:2:10: [0].topic: is no topic that a device would publish to",
                "t.yaml:3:8: [0].qos: is no QoS",
                "t.yaml:4:19: [0].payload_base64: is no base64",
                "t.yaml:6:14: [0].expect[0].row: is no row",
                "t.yaml:6:7: [0].expect[0]: names neither a rule nor a table",
                "t.yaml:7:27: [0].expect[1].outcome: is no outcome",
                "t.yaml:7:39: [0].expect[1].rows: is no list",
                "t.yaml:1:3: [0]: has no `topic`",
                "t.yaml:8:3: [1]: is no mapping",
            ]
        );
        assert!(read(Path::new("t.yaml"), "").is_err() && read(Path::new("t.yaml"), "a: 1").is_err());
        assert!(read(Path::new("t.yaml"), "- a: [").is_err());
    }
}
