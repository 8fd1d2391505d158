//! The fields of JSON objects: their paths, and the columns that fit all of their values.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::names;

/// Objects in objects that become columns of their own; deeper ones are kept as documents.
const DEPTH_MAX: usize = 4;

/// Columns of one rule. A wider object is kept as a document.
pub(super) const COLUMNS_MAX: usize = 100;

/// So many values of a field that are all whole say that it is a count; a temperature is whole now and then.
const WHOLE_VALUES_MIN: u64 = 5;

/// Above, a double does not have every whole number.
const DOUBLE_WHOLE_MAX: u64 = 1 << 53;

/// 2001 to 2100, in seconds.
const EPOCH: std::ops::Range<f64> = 1.0e9..4.102e9;

/// What a column is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Draft {
    pub(super) name: String,
    /// As a rule has it.
    pub(super) from: String,
    /// As a rule has it; `None` where the source tells.
    pub(super) declared: Option<&'static str>,
    /// The format of times.
    pub(super) time: Option<&'static str>,
}

/// What the values of one field are.
#[derive(Debug, Default)]
struct Seen {
    fields: Vec<(String, Seen)>,
    values: u64,
    objects: u64,
    arrays: u64,
    bools: u64,
    whole: u64,
    fractions: u64,
    texts: u64,
    times: u64,
    /// Of whole numbers.
    largest: u64,
    /// By unit: seconds, milliseconds, microseconds, nanoseconds.
    epochs: [u64; 4],
}

/// Columns for the fields of these objects; `root` is what a rule calls an object. Empty if there are too many.
pub(super) fn columns(objects: &[Map<String, Value>], root: &str, taken: &mut BTreeSet<String>) -> Vec<Draft> {
    let mut all = Seen::default();
    objects.iter().for_each(|object| all.add_object(object));
    let mut drafts = Vec::new();
    all.draft(root, "", 0, taken, &mut drafts);
    if drafts.len() > COLUMNS_MAX {
        drafts.clear();
    }
    drafts
}

/// A column for values at one position, such as one field in lines of CSV.
pub(super) fn column(values: &[&str], name: &str, from: &str, taken: &mut BTreeSet<String>) -> Draft {
    let mut seen = Seen::default();
    for value in values {
        // Numbers and words; other JSON is text in CSV.
        match value.trim().parse::<serde_json::Number>() {
            Ok(number) => seen.add(&Value::Number(number)),
            Err(_) => seen.add(&Value::String(value.trim().to_owned())),
        }
    }
    let name = names::unique(names::identifier(name, "column"), taken);
    let (declared, time) = seen.column_type(&name);
    Draft { name, from: from.to_owned(), declared, time }
}

impl Seen {
    fn add_object(&mut self, object: &Map<String, Value>) {
        self.objects += 1;
        for (key, value) in object {
            let place = match self.fields.iter().position(|(name, _)| name == key) {
                Some(place) => place,
                None => {
                    self.fields.push((key.clone(), Seen::default()));
                    self.fields.len() - 1
                }
            };
            self.fields[place].1.add(value);
        }
    }

    fn add(&mut self, value: &Value) {
        self.values += u64::from(!value.is_null());
        match value {
            Value::Null => {}
            Value::Bool(_) => self.bools += 1,
            Value::Number(number) => self.add_number(number),
            Value::String(text) => {
                self.texts += 1;
                self.times += u64::from(is_time(text));
            }
            Value::Array(_) => self.arrays += 1,
            Value::Object(object) => self.add_object(object),
        }
    }

    fn add_number(&mut self, number: &serde_json::Number) {
        let whole = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
        match whole {
            Some(whole) => {
                self.whole += 1;
                self.largest = self.largest.max(whole);
            }
            None => self.fractions += 1,
        }
        let Some(value) = number.as_f64() else { return };
        for (unit, scale) in [1.0, 1e3, 1e6, 1e9].iter().enumerate() {
            self.epochs[unit] += u64::from(EPOCH.contains(&(value / scale)));
        }
    }

    fn draft(&self, path: &str, name: &str, depth: usize, taken: &mut BTreeSet<String>, drafts: &mut Vec<Draft>) {
        let identifying = self.fields.iter().filter(|(key, _)| names::is_identifier(key)).count();
        let has_names = identifying * 2 <= self.fields.len();
        if self.objects == self.values && self.objects > 0 && depth < DEPTH_MAX && has_names && !self.fields.is_empty()
            || depth == 0
        {
            for (key, seen) in &self.fields {
                let path = format!("{path}{}", step(key));
                let name = if name.is_empty() { key.clone() } else { format!("{name}_{key}") };
                seen.draft(&path, &name, depth + 1, taken, drafts);
            }
            return;
        }
        let (declared, time) = self.column_type(name);
        let name = names::unique(names::identifier(name, "field"), taken);
        drafts.push(Draft { name, from: path.to_owned(), declared, time });
    }

    fn column_type(&self, name: &str) -> (Option<&'static str>, Option<&'static str>) {
        let numbers = self.whole + self.fractions;
        let declared = match self.values {
            // Always null: it may become anything.
            0 => "text",
            all if all == self.bools => "bool",
            all if all == numbers => match self.epoch(name) {
                Some(unit) => return (Some("timestamptz"), Some(unit)),
                None if self.fractions > 0 => "double",
                None if self.largest > DOUBLE_WHOLE_MAX || self.whole >= WHOLE_VALUES_MIN || is_count(name) => "bigint",
                None => "double",
            },
            all if all == self.texts && all == self.times => "timestamptz",
            all if all == self.texts + numbers + self.bools => "text",
            _ => "json",
        };
        (Some(declared), None)
    }

    /// The unit of the time that all numbers are, if its name says that it is one.
    fn epoch(&self, name: &str) -> Option<&'static str> {
        let unit = self.epochs.iter().position(|count| *count == self.values)?;
        is_named_time(name).then(|| ["s", "ms", "us", "ns"][unit])
    }
}

/// A step of a path, as rules have it.
fn step(key: &str) -> String {
    let is_plain =
        !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    if is_plain { format!(".{key}") } else { format!("[{}]", Value::from(key)) }
}

fn is_time(text: &str) -> bool {
    // A date with a time of day; zones are as they are.
    const LEN_MIN: usize = 19;
    text.len() >= LEN_MIN && (text.parse::<jiff::Timestamp>().is_ok() || text.parse::<jiff::civil::DateTime>().is_ok())
}

fn is_named_time(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let last = name.rsplit(['_', '.', '-']).next().unwrap_or_default();
    let words = [
        "ts",
        "tst",
        "t",
        "time",
        "timestamp",
        "at",
        "date",
        "datetime",
        "seen",
        "epoch",
        "unixtime",
        "created",
        "updated",
        "created_at",
        "utc",
    ];
    words.contains(&last) || last.ends_with("time") || last.ends_with("timestamp")
}

fn is_count(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let last = name.rsplit(['_', '.', '-']).next().unwrap_or_default();
    let words = [
        "id",
        "count",
        "counter",
        "seq",
        "number",
        "index",
        "uptime",
        "uptimesec",
        "rssi",
        "port",
        "total_bytes",
        "heap",
        "channel",
    ];
    words.contains(&last) || last.ends_with("count")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drafted(texts: &[&str]) -> Vec<(String, String, String)> {
        let objects: Vec<Map<String, Value>> = texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
        let drafts = columns(&objects, "payload", &mut BTreeSet::new());
        let shown = |draft: Draft| {
            let declared =
                format!("{}{}", draft.declared.unwrap(), draft.time.map_or(String::new(), |time| format!(" {time}")));
            (draft.name, draft.from, declared)
        };
        drafts.into_iter().map(shown).collect()
    }

    fn row(name: &str, from: &str, declared: &str) -> (String, String, String) {
        (name.to_owned(), from.to_owned(), declared.to_owned())
    }

    #[test]
    fn fields_become_columns_that_fit_all_of_their_values() {
        let drafts = drafted(&[
            r#"{"temp":21,"ok":true,"state":"ON","none":null,"Time":"2026-11-21T08:26:00","mixed":1,"list":[1]}"#,
            r#"{"temp":21.5,"ok":false,"AM2301":{"Temperature":20.1,"odd key":1},"mixed":"x","id":5,"ts":1795249560123}"#,
        ]);
        assert_eq!(
            drafts,
            [
                row("time", "payload.Time", "timestamptz"),
                row("list", "payload.list", "json"),
                row("mixed", "payload.mixed", "text"),
                row("none", "payload.none", "text"),
                row("ok", "payload.ok", "bool"),
                row("state", "payload.state", "text"),
                row("temp", "payload.temp", "double"),
                row("am2301_temperature", "payload.AM2301.Temperature", "double"),
                row("am2301_odd_key", "payload.AM2301[\"odd key\"]", "double"),
                row("id", "payload.id", "bigint"),
                row("ts", "payload.ts", "timestamptz ms"),
            ]
        );
    }

    #[test]
    fn what_is_an_object_now_and_a_value_then_is_a_document() {
        assert_eq!(drafted(&[r#"{"a":{"b":1}}"#, r#"{"a":5}"#]), [row("a", "payload.a", "json")]);
        // Addresses for keys: each device would be a column.
        assert_eq!(
            drafted(&[r#"{"devices":{"0x00158d0001":1,"0x00158d0002":2}}"#]),
            [row("devices", "payload.devices", "json")]
        );
    }
}
