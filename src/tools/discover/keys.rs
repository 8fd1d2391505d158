//! Suggests keys as comments; only a person knows whether a device sends messages again.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::fields::Draft;
use super::form::{Form, objects};
use super::group::Group;
use super::rule::RuleDraft;

/// Fewer payloads say nothing.
const OBJECTS_MIN: usize = 3;

/// Names of a message's own number, in lower case.
const IDS: [&str; 8] = ["id", "uuid", "msg_id", "msgid", "message_id", "messageid", "event_id", "seq"];

/// Names of who sends, in lower case.
const DEVICES: [&str; 12] = [
    "device",
    "device_id",
    "deviceid",
    "dev",
    "dev_eui",
    "deveui",
    "sensor",
    "sensor_id",
    "node",
    "node_id",
    "serial",
    "mac",
];

/// Lines for the rule; none if nothing is different in every payload.
pub(super) fn remark(group: &Group<'_>, draft: &RuleDraft) -> Vec<String> {
    let seen = seen(group);
    if seen.len() < OBJECTS_MIN {
        return Vec::new();
    }
    let field = |draft: &Draft| {
        let name = draft.from.strip_prefix("payload.").or_else(|| draft.from.strip_prefix("item."))?;
        (!name.contains(['.', '[', '"'])).then(|| name.to_owned())
    };
    let fields: Vec<(&Draft, String)> =
        draft.columns.iter().filter_map(|column| Some((column, field(column)?))).collect();
    let named = |names: &'static [&'static str]| {
        fields.iter().filter(move |(_, field)| names.contains(&field.to_lowercase().as_str()))
    };
    let id = named(&IDS).find(|(_, field)| are_different(&seen, |_, object| Some(vec![scalar(object.get(field)?)?])));
    if let Some((column, _)) = id {
        return lines(&[&column.name]);
    }
    let Some((time, at)) = fields.iter().find(|(column, _)| column.declared == Some("timestamptz")) else {
        return Vec::new();
    };
    if let Some((device, by)) = named(&DEVICES).next() {
        let key = |_: &str, object: &Map<String, Value>| Some(vec![scalar(object.get(by)?)?, scalar(object.get(at)?)?]);
        return if are_different(&seen, key) { lines(&[&device.name, &time.name]) } else { Vec::new() };
    }
    let captures: Vec<&str> = draft
        .columns
        .iter()
        .filter(|column| column.from.starts_with("topic"))
        .map(|column| column.name.as_str())
        .collect();
    let key = |topic: &str, object: &Map<String, Value>| Some(vec![topic.to_owned(), scalar(object.get(at)?)?]);
    if captures.is_empty() || !are_different(&seen, key) {
        return Vec::new();
    }
    lines(&captures.into_iter().chain([time.name.as_str()]).collect::<Vec<_>>())
}

/// The objects that were heard, each with its topic.
fn seen<'l>(group: &Group<'l>) -> Vec<(&'l str, Map<String, Value>)> {
    if !matches!(group.form, Form::Object | Form::Objects | Form::Lines) {
        return Vec::new();
    }
    let samples = group.topics.iter().flat_map(|(topic, seen)| seen.samples.iter().map(move |sample| (*topic, sample)));
    samples.flat_map(|(topic, sample)| objects(sample).into_iter().map(move |object| (topic, object))).collect()
}

fn are_different(
    seen: &[(&str, Map<String, Value>)],
    key: impl Fn(&str, &Map<String, Value>) -> Option<Vec<String>>,
) -> bool {
    let mut keys = HashSet::new();
    seen.iter().all(|(topic, object)| key(topic, object).is_some_and(|key| keys.insert(key)))
}

fn scalar(value: &Value) -> Option<String> {
    matches!(value, Value::Number(_) | Value::String(_)).then(|| value.to_string())
}

fn lines(columns: &[&str]) -> Vec<String> {
    let list = columns.join(", ");
    vec![
        format!("Different in every payload heard: {list}. If messages may be sent again, `mode: ignore` and"),
        format!("`key: [{list}]` keep each once; `mode: upsert` keeps the last one."),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::group::groups;
    use super::super::learned::Learned;
    use super::super::rule::drafts;
    use super::*;
    use crate::clock::Timestamp;
    use crate::message::{Message, Properties, Qos, Seq};

    fn remarks(heard: &[(&str, &str)]) -> String {
        let mut learned = Learned::default();
        for (topic, payload) in heard {
            learned.add(&Message {
                topic,
                payload: payload.as_bytes(),
                qos: Qos::AtMostOnce,
                retain: false,
                dup: false,
                properties: Properties::NONE,
                received_at: Timestamp(0),
                fault: None,
                seq: Seq(1),
            });
        }
        let groups = groups(&learned);
        let group = &groups[0];
        remark(group, &drafts(group, "t".to_owned())[0]).join(" ")
    }

    #[test]
    fn what_was_different_in_every_payload_is_told() {
        for (heard, key) in [
            (["{\"id\":1,\"v\":2}", "{\"id\":2,\"v\":2}", "{\"id\":3,\"v\":2}"], "`key: [id]`"),
            (
                [
                    "{\"ts\":1795249560,\"device\":\"a\"}",
                    "{\"ts\":1795249560,\"device\":\"b\"}",
                    "{\"ts\":1795249561,\"device\":\"a\"}",
                ],
                "`key: [device, ts]`",
            ),
        ] {
            let told = remarks(&heard.map(|payload| ("a/b", payload)));
            assert!(told.contains(key), "{told}");
        }
        let ts = |second: u64| format!("{{\"ts\":{},\"v\":1}}", 1_795_249_560 + second);
        let told = remarks(&[("s/site1/t", &ts(0)), ("s/site2/t", &ts(0)), ("s/site1/t", &ts(1))]);
        assert!(told.contains("`key: [site, ts]`"), "{told}");
        for heard in [
            ["{\"id\":1,\"v\":2}", "{\"id\":1,\"v\":3}", "{\"id\":3,\"v\":2}"],
            ["{\"id\":1,\"v\":2}", "{\"id\":2,\"v\":3}", "{\"v\":4}"],
            ["{\"v\":1}", "{\"v\":2}", "{\"v\":3}"],
        ] {
            assert_eq!(remarks(&heard.map(|payload| ("a/b", payload))), "");
        }
    }
}
