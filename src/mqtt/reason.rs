//! The broker's reason codes in words, with the remedy where one exists.

use crate::config::MqttVersion;

/// Why a broker refused CONNECT.
pub(crate) fn connect_refusal(version: MqttVersion, code: u8) -> String {
    // Codes 1 to 5 are 3.1.1's; a broker without MQTT 5 answers a version 5 CONNECT with 1.
    let words = match (version, code) {
        (MqttVersion::V5, 1) => "the broker does not speak MQTT 5; set mqtt.version to 3.1.1",
        (_, 1) => "the broker does not speak MQTT 3.1.1; set mqtt.version to 5",
        (_, 2) => "the client id is not accepted; change mqtt.client_id",
        (_, 3) => "the broker is not available yet",
        (_, 4) => "user name or password is wrong; check mqtt.username and mqtt.password",
        (_, 5) => "not authorised; check mqtt.username, mqtt.password and the broker's access rules for this client",
        (_, 0x84) => "the broker does not speak MQTT 5; set mqtt.version to 3.1.1",
        (_, 0x95) => "our CONNECT is too large for the broker",
        (_, code) => general(code),
    };
    format!("{words} (code 0x{code:02X})")
}

/// Why a broker ended the connection (MQTT 5).
pub(crate) fn disconnect(code: u8) -> String {
    format!("{} (code 0x{code:02X})", general(code))
}

/// Why a broker refused a subscription.
pub(crate) fn subscribe_refusal(version: MqttVersion, code: u8) -> String {
    let words = match (version, code) {
        // 3.1.1 has no other code.
        (MqttVersion::V3, 0x80) => {
            "refused; most often the broker's access rules do not let this client read these topics"
        }
        (_, 0x80) => "refused without a reason; see the broker's log",
        (_, 0x87) => "not authorised; let this client read these topics in the broker's access rules",
        (_, 0x8F) => "the broker does not accept this topic filter",
        (_, 0x9E) => "the broker has no shared subscriptions; remove $share/GROUP/ from the topic",
        (_, 0xA1) => "the broker has no subscription identifiers",
        (_, 0xA2) => "the broker does not allow wildcards in subscriptions",
        (_, code) => general(code),
    };
    format!("{words} (code 0x{code:02X})")
}

/// Why a broker refused a message of ours (MQTT 5).
pub(crate) fn publish_refusal(code: u8) -> String {
    let words = match code {
        0x80 => "refused without a reason; see the broker's log",
        0x83 => "the broker does not take it; see its log",
        0x87 => "not authorised; let this client write to the topic in the broker's access rules",
        0x99 => "the broker reports an invalid payload format",
        code => general(code),
    };
    format!("{words} (code 0x{code:02X})")
}

/// Whether a refused subscription is worth asking for again soon: the packet identifier is in use, a quota is exceeded.
pub(crate) fn is_passing(code: u8) -> bool {
    matches!(code, 0x91 | 0x97)
}

/// Whether nothing but a person can mend what made the broker refuse CONNECT or end the connection: login, access
/// rules, client id, version.
pub(crate) fn needs_a_person(version: MqttVersion, code: u8) -> bool {
    match version {
        MqttVersion::V3 => matches!(code, 1 | 2 | 4 | 5),
        MqttVersion::V5 => matches!(code, 1..=5 | 0x84..=0x87 | 0x8A | 0x8C | 0x95 | 0x9D) && code != 3,
    }
}

/// Whether a broker may refuse CONNECT so because of the will's topic, its QoS or its retention.
pub(crate) fn may_be_the_will(version: MqttVersion, code: u8) -> bool {
    match version {
        MqttVersion::V3 => code == 5,
        MqttVersion::V5 => matches!(code, 0x80 | 0x83 | 0x87 | 0x90 | 0x99..=0x9B),
    }
}

/// Another client connected with our client id.
pub(crate) const SESSION_TAKEN_OVER: u8 = 0x8E;

fn general(code: u8) -> &'static str {
    match code {
        0x00 => "normal disconnection",
        0x04 => "disconnected with will",
        0x80 => "no reason given; see the broker's log",
        0x81 => "the broker reports a malformed packet",
        0x82 => "the broker reports a protocol error",
        0x83 => "the broker does not allow it; see its log",
        0x84 => "the protocol version is not supported",
        0x85 => "the client id is not accepted; change mqtt.client_id",
        0x86 => "user name or password is wrong; check mqtt.username and mqtt.password",
        0x87 => "not authorised; check mqtt.username, mqtt.password and the broker's access rules for this client",
        0x88 => "the broker is not available yet",
        0x89 => "the broker is busy",
        0x8A => "this client is banned; ask the broker's administrator",
        0x8B => "the broker is shutting down",
        0x8C => "the authentication method is not supported",
        0x8D => "the broker received nothing within the keep-alive; raise mqtt.keep_alive if the network is slow",
        0x8E => "another client connected with the same client id; give each its own mqtt.client_id",
        0x8F => "the topic filter is not accepted",
        0x90 => "the topic is not accepted",
        0x91 => "the packet identifier is in use",
        0x92 => "the packet identifier is not known",
        0x93 => "more messages in flight than the broker allows",
        0x94 => "the topic alias is not valid",
        0x95 => "a packet is too large",
        0x96 => "the message rate is too high",
        0x97 => "a quota is exceeded; see the broker's limits for this client",
        0x98 => "an administrator ended the connection",
        0x99 => "the payload's format is not valid",
        0x9A => "the broker keeps no retained messages",
        0x9B => "the QoS is not supported; lower the rule's qos",
        0x9C => "the broker asks to use another server for now; see mqtt.url",
        0x9D => "the broker has moved; change mqtt.url",
        0x9E => "the broker has no shared subscriptions; remove $share/GROUP/ from the topic",
        0x9F => "connections come too often; the broker wants fewer",
        0xA0 => "the broker's maximum connect time is over",
        0xA1 => "the broker has no subscription identifiers",
        0xA2 => "the broker does not allow wildcards in subscriptions",
        _ => "a reason that MQTT 5 does not define; see the broker's log",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_words_and_shows_its_number() {
        for code in 0..=255 {
            for version in [MqttVersion::V3, MqttVersion::V5] {
                for text in [
                    connect_refusal(version, code),
                    disconnect(code),
                    subscribe_refusal(version, code),
                    publish_refusal(code),
                ] {
                    assert!(text.contains(&format!("0x{code:02X}")) && text.len() > 15, "{text}");
                }
            }
        }
    }

    #[test]
    fn a_refusal_that_a_person_can_mend_names_the_key_to_mend() {
        assert!(connect_refusal(MqttVersion::V3, 4).contains("mqtt.password"));
        assert!(connect_refusal(MqttVersion::V5, 0x86).contains("mqtt.password"));
        assert!(connect_refusal(MqttVersion::V5, 1).contains("mqtt.version to 3.1.1"));
        assert!(disconnect(0x8E).contains("mqtt.client_id"));
    }
}
