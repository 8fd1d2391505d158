//! Outgoing packets: encoded by rumqttc for 3.1.1 and 5; the four-byte acknowledgements directly.

use std::time::Duration;

use bytes::BytesMut;
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::{self as mqtt5, v5};

use super::login::Login;
use crate::config::{self, MqttVersion};
use crate::message::Qos;

/// A filter to subscribe to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SubscribeTo {
    pub(crate) filter: String,
    pub(crate) qos: Qos,
    /// MQTT 5 only; all filters of one SUBSCRIBE share it.
    pub(crate) identifier: Option<u32>,
    /// User properties, name and value. MQTT 5 only; all filters of one SUBSCRIBE share them.
    pub(crate) properties: Vec<(String, String)>,
}

/// What an acknowledgement answers; the discriminant is the first byte on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[allow(clippy::enum_variant_names, reason = "the names of MQTT's packets")]
pub(crate) enum AckKind {
    /// A QoS 1 PUBLISH.
    PubAck = 0x40,
    /// A QoS 2 PUBLISH.
    PubRec = 0x50,
    /// A PUBREL.
    PubComp = 0x70,
}

pub(crate) const PINGREQ: [u8; 2] = [0xC0, 0];

/// Normal disconnection: no will to publish, the session stays for as long as CONNECT asked.
pub(crate) const DISCONNECT: [u8; 2] = [0xE0, 0];

/// MQTT 5: reason 0x81, malformed packet.
pub(crate) const DISCONNECT_MALFORMED: [u8; 4] = [0xE0, 2, 0x81, 0];

/// MQTT 5: reason 0x94, topic alias invalid.
pub(crate) const DISCONNECT_ALIAS: [u8; 4] = [0xE0, 2, 0x94, 0];

/// Appends an acknowledgement. Four bytes mean success in both versions.
pub(crate) fn acknowledge(kind: AckKind, packet_id: u16, out: &mut BytesMut) {
    let [high, low] = packet_id.to_be_bytes();
    out.extend_from_slice(&[kind as u8, 2, high, low]);
}

/// The session that CONNECT requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionKind<'a> {
    /// One that outlives the connection, with what the broker publishes when the connection breaks.
    Durable { will: Option<Will<'a>> },
    /// A new one, which ends with the connection.
    Clean,
}

/// A retained message of QoS 1 that the broker publishes once the connection breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Will<'a> {
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a str,
}

/// Appends PUBREL. Four bytes mean success in both versions.
pub(crate) fn release(packet_id: u16, out: &mut BytesMut) {
    let [high, low] = packet_id.to_be_bytes();
    out.extend_from_slice(&[0x62, 2, high, low]);
}

/// Appends CONNECT.
pub(crate) fn connect(config: &config::Mqtt, login: &Login, session: SessionKind<'_>, out: &mut BytesMut) {
    let keep_alive = keep_alive_s(config.keep_alive);
    let [username, password] = [&login.username, &login.password].map(|secret| secret.expose().to_owned());
    let has_login = !username.is_empty() || !password.is_empty();
    let (is_clean, will) = match session {
        SessionKind::Durable { will } => (false, will),
        SessionKind::Clean => (true, None),
    };
    let written = match config.version {
        MqttVersion::V3 => {
            let mut connect = v4::Connect::new(config.client_id.clone());
            connect.keep_alive = keep_alive;
            connect.clean_session = is_clean;
            connect.last_will = will
                .map(|will| v4::LastWill::new(will.topic, will.payload, rumqttc::mqttbytes::QoS::AtLeastOnce, true));
            connect.login = has_login.then(|| v4::Login::new(username, password));
            connect.write(out).is_ok()
        }
        MqttVersion::V5 => {
            let connect = v5::Connect {
                keep_alive,
                client_id: config.client_id.clone(),
                clean_start: is_clean,
                properties: Some(v5::ConnectProperties {
                    session_expiry_interval: (!is_clean).then(|| seconds_up(config.session_expiry)),
                    // Zero would be a protocol error.
                    receive_maximum: Some(config.receive_maximum.max(1)),
                    // A broker drops what is larger than a limit announced, without a word to anybody.
                    max_packet_size: None,
                    // Left out, it is 0: some brokers take the property itself for a permission.
                    topic_alias_max: Some(config.topic_alias_maximum).filter(|&max| max > 0),
                    ..v5::ConnectProperties::new()
                }),
            };
            let will =
                will.map(|will| v5::LastWill::new(will.topic, will.payload, mqtt5::QoS::AtLeastOnce, true, None));
            connect.write(&will, &has_login.then(|| v5::Login::new(username, password)), out).is_ok()
        }
    };
    assert!(written, "every field of a CONNECT is at most 64 KiB");
}

/// Appends a SUBSCRIBE for `filters`, which all have the same identifier and properties. Retained messages come only for
/// subscriptions that are new (MQTT 5).
pub(crate) fn subscribe(version: MqttVersion, packet_id: u16, filters: &[&SubscribeTo], out: &mut BytesMut) {
    let written = match version {
        MqttVersion::V3 => {
            let filters =
                filters.iter().map(|to| v4::SubscribeFilter::new(to.filter.clone(), qos_v4(to.qos))).collect();
            v4::Subscribe { pkid: packet_id, filters }.write(out).is_ok()
        }
        MqttVersion::V5 => {
            let first = filters.first();
            let id = first.and_then(|to| to.identifier).map(|identifier| identifier as usize);
            let user_properties = first.map(|to| to.properties.clone()).unwrap_or_default();
            let filters = filters
                .iter()
                .map(|to| v5::Filter {
                    path: to.filter.clone(),
                    qos: qos_v5(to.qos),
                    nolocal: false,
                    // `retain` then means the same in both versions: kept by the broker from before we subscribed.
                    preserve_retain: false,
                    retain_forward_rule: v5::RetainForwardRule::OnNewSubscribe,
                })
                .collect();
            let has_some = id.is_some() || !user_properties.is_empty();
            let properties = has_some.then_some(v5::SubscribeProperties { id, user_properties });
            v5::Subscribe { pkid: packet_id, filters, properties }.write(out).is_ok()
        }
    };
    assert!(written, "a SUBSCRIBE is far below MQTT's limit of 256 MiB");
}

/// Appends an UNSUBSCRIBE.
pub(crate) fn unsubscribe(version: MqttVersion, packet_id: u16, filters: Vec<String>, out: &mut BytesMut) {
    let written = match version {
        MqttVersion::V3 => v4::Unsubscribe { pkid: packet_id, topics: filters }.write(out).is_ok(),
        MqttVersion::V5 => v5::Unsubscribe { pkid: packet_id, filters, properties: None }.write(out).is_ok(),
    };
    assert!(written, "an UNSUBSCRIBE is far below MQTT's limit of 256 MiB");
}

/// The keep-alive as CONNECT carries it: whole seconds, rounded up; 0 = none.
pub(crate) fn keep_alive_s(keep_alive: Duration) -> u16 {
    u16::try_from(seconds_up(keep_alive)).unwrap_or(u16::MAX)
}

fn seconds_up(duration: Duration) -> u32 {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    // As a session expiry 0xFFFF_FFFF means "never", which is the meaning of such a large number.
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

fn qos_v4(qos: Qos) -> rumqttc::mqttbytes::QoS {
    match qos {
        Qos::AtMostOnce => rumqttc::mqttbytes::QoS::AtMostOnce,
        Qos::AtLeastOnce => rumqttc::mqttbytes::QoS::AtLeastOnce,
        Qos::ExactlyOnce => rumqttc::mqttbytes::QoS::ExactlyOnce,
    }
}

fn qos_v5(qos: Qos) -> mqtt5::QoS {
    match qos {
        Qos::AtMostOnce => mqtt5::QoS::AtMostOnce,
        Qos::AtLeastOnce => mqtt5::QoS::AtLeastOnce,
        Qos::ExactlyOnce => mqtt5::QoS::ExactlyOnce,
    }
}
