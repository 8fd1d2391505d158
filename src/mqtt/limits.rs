//! The limits that a broker announces in CONNACK (MQTT 5). A 3.1.1 broker announces none, so everything is assumed to
//! be supported.
//!
//! A request for an unsupported feature makes brokers end the connection, for every rule. So such requests are not
//! sent.

use super::reason;
use crate::config::MqttVersion;
use crate::message::Qos;

/// The limits of one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Limits {
    /// The highest QoS that it takes.
    pub(crate) qos_max: Qos,
    pub(crate) retained_messages: bool,
    pub(crate) wildcards: bool,
    pub(crate) subscription_identifiers: bool,
    pub(crate) shared_subscriptions: bool,
    /// The longest packet that it takes.
    pub(crate) packet_bytes_max: u32,
    /// How many messages of QoS 1 and 2 it takes without having acknowledged the first.
    pub(crate) receive_maximum: u16,
}

impl Default for Limits {
    /// Nothing is limited.
    fn default() -> Limits {
        Limits {
            qos_max: Qos::ExactlyOnce,
            retained_messages: true,
            wildcards: true,
            subscription_identifiers: true,
            shared_subscriptions: true,
            packet_bytes_max: u32::MAX,
            receive_maximum: u16::MAX,
        }
    }
}

impl Limits {
    /// Takes in one property of CONNACK, if it is one of these.
    pub(crate) fn read(&mut self, property: u32, value: u32) {
        match property {
            33 if value > 0 => self.receive_maximum = u16::try_from(value).unwrap_or(u16::MAX),
            36 => self.qos_max = if value == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce },
            37 => self.retained_messages = value != 0,
            // Zero is no length that MQTT allows.
            39 if value > 0 => self.packet_bytes_max = value,
            40 => self.wildcards = value != 0,
            41 => self.subscription_identifiers = value != 0,
            42 => self.shared_subscriptions = value != 0,
            _ => {}
        }
    }

    /// Whether every filter of ordinary length can be subscribed to.
    pub(crate) fn bars_nothing(&self) -> bool {
        self.wildcards && self.shared_subscriptions && self.packet_bytes_max == u32::MAX
    }

    /// Why the broker cannot have a subscription to `filter`, in words.
    pub(crate) fn refusal(&self, version: MqttVersion, filter: &str) -> Option<String> {
        if !self.shared_subscriptions && filter.starts_with("$share/") {
            return Some(reason::subscribe_refusal(version, 0x9E));
        }
        if !self.wildcards && filter.split('/').any(|level| level == "+" || level == "#") {
            return Some(reason::subscribe_refusal(version, 0xA2));
        }
        let packet_bytes = subscribe_bytes(version, [filter]);
        (packet_bytes > self.packet_bytes_max as usize).then(|| {
            format!(
                "its SUBSCRIBE would have {packet_bytes} bytes and the broker takes packets of {} at most; raise its limit",
                self.packet_bytes_max
            )
        })
    }
}

/// The longest that a SUBSCRIBE or UNSUBSCRIBE for these filters can be.
pub(crate) fn subscribe_bytes<'a>(version: MqttVersion, filters: impl IntoIterator<Item = &'a str>) -> usize {
    // First byte, length, packet identifier; then the properties' length and a subscription identifier.
    let head = 1 + 4 + 2 + if version == MqttVersion::V5 { 1 + 1 + 4 } else { 0 };
    head + filters.into_iter().map(|filter| 2 + filter.len() + 1).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_broker_does_not_have_is_refused_here_with_a_remedy() {
        let refusal = |property, value, filter: &str| {
            let mut limits = Limits::default();
            limits.read(property, value);
            limits.refusal(MqttVersion::V5, filter)
        };
        for (property, filter, words) in
            [(42, "$share/g/a", "remove $share/GROUP/"), (40, "a/+", "wildcards"), (40, "#", "wildcards")]
        {
            let text = refusal(property, 0, filter).unwrap();
            assert!(text.contains(words), "{text}");
            assert_eq!(refusal(property, 1, filter), None);
        }
        assert_eq!(refusal(40, 0, "a+/b#"), None, "these are no wildcards");
        assert!(refusal(39, 20, "a/long/filter").unwrap().contains("takes packets of 20"));
        assert_eq!(refusal(39, 0, "a"), None);
    }

    #[test]
    fn the_length_of_a_subscribe_is_never_underestimated() {
        use crate::mqtt::outgoing::{self, SubscribeTo};
        for version in [MqttVersion::V3, MqttVersion::V5] {
            for (identifier, lengths) in [(None, vec![1, 300, 9]), (Some(200_000_000), vec![70]), (None, vec![20_000])]
            {
                let filters: Vec<SubscribeTo> = lengths
                    .iter()
                    .map(|&len| SubscribeTo {
                        filter: "x".repeat(len),
                        qos: Qos::AtLeastOnce,
                        identifier,
                        properties: Vec::new(),
                    })
                    .collect();
                let mut out = bytes::BytesMut::new();
                outgoing::subscribe(version, 1, &filters.iter().collect::<Vec<_>>(), &mut out);
                let bound = subscribe_bytes(version, filters.iter().map(|to| to.filter.as_str()));
                assert!((out.len()..out.len() + 10).contains(&bound), "{bound} for {}", out.len());
            }
        }
    }
}
