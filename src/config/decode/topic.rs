//! The subscriptions of a rule: `topic`, `subscribe_properties`.

use super::table::Table;
use crate::config::MqttVersion;
use crate::message::Qos;
use crate::rule::TopicPattern;

pub(super) const QOS: [(&str, Qos); 3] = [("0", Qos::AtMostOnce), ("1", Qos::AtLeastOnce), ("2", Qos::ExactlyOnce)];

/// The patterns, and the QoS that each says for itself, as taosX writes it: `filter::1`.
pub(super) fn topics(table: &Table<'_>) -> Option<(Vec<TopicPattern>, Vec<Option<Qos>>)> {
    const FORMS: &str = "a topic or a list of topics: {x} takes one level, {*x} the rest, + and # as in MQTT (a lone \"#\" in \
                         quotes); `::1` behind it sets its QoS";
    let Some(value) = table.get("topic") else {
        table.miss("topic", FORMS);
        return None;
    };
    let texts = value.texts();
    if texts.is_empty() && value.list().next().is_none() {
        value.refuse("is empty", FORMS);
    }
    let (mut patterns, mut own_qos) = (Vec::new(), Vec::new());
    for (text, value) in texts {
        let (text, qos) = match text.rsplit_once("::") {
            Some((filter, level)) => match QOS.iter().find(|(name, _)| *name == level) {
                Some((_, qos)) => (filter, Some(*qos)),
                None => {
                    if !level.is_empty() && level.bytes().all(|byte| byte.is_ascii_digit()) {
                        value.refuse(
                            format!("ends in `::{level}`, which is no QoS"),
                            "`::0`, `::1` or `::2` behind a topic",
                        );
                    }
                    (text.as_str(), None)
                }
            },
            None => (text.as_str(), None),
        };
        own_qos.push(qos);
        match TopicPattern::parse(text) {
            Ok(pattern) => patterns.push(pattern),
            // The error quotes a level.
            Err(error) if value.may_be_quoted() => value.refuse(format!("found {}: {error}", value.shown()), FORMS),
            Err(_) => {
                value.refuse(format!("found {}, which is no topic with its variables filled in", value.shown()), FORMS)
            }
        }
    }
    if own_qos.iter().all(Option::is_none) {
        own_qos.clear();
    }
    (!patterns.is_empty()).then_some((patterns, own_qos))
}

/// User properties: names to texts.
pub(super) fn subscribe_properties(table: &Table<'_>, version: MqttVersion) -> Vec<(String, String)> {
    const FORMS: &str = "a mapping of names to values, as in { sub-offset: earliest }";
    let Some(value) = table.get("subscribe_properties") else { return Vec::new() };
    let Some(entries) = value.entries() else {
        value.refuse(format!("found {}", value.shown()), FORMS);
        return Vec::new();
    };
    let mut properties = Vec::new();
    for (name, value) in entries {
        if version == MqttVersion::V3 {
            value.refuse("MQTT 3.1.1 has no properties", "mqtt.version: 5, or no subscribe_properties");
        }
        let Some(text) = value.text() else { continue };
        // MQTT counts their bytes in 16 bits, and has no NUL in its strings.
        if [name, &text].iter().any(|text| text.len() > usize::from(u16::MAX) || text.contains('\0')) {
            value.refuse("is no string of MQTT", "at most 65,535 bytes in name and value, and no NUL");
            continue;
        }
        properties.push((name.to_owned(), text));
    }
    properties
}
