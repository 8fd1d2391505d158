use bytes::BytesMut;
use proptest::prelude::*;
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5;

use super::*;
use crate::message::{Properties, Property, Qos};
use crate::mqtt::publish::translate_properties;

/// The first byte and the body of an encoded packet.
fn split(packet: &[u8]) -> (u8, &[u8]) {
    let header = FixedHeader::read(packet).unwrap().unwrap();
    assert_eq!(header.packet_len(), packet.len());
    (header.first, &packet[header.len..])
}

fn control(version: MqttVersion, packet: &[u8]) -> Control {
    let (first, body) = split(packet);
    match Incoming::decode(version, first, body).unwrap() {
        Incoming::Control(control) => control,
        Incoming::Publish(publish) => panic!("{publish:?}"),
    }
}

proptest! {
    #[test]
    fn a_publish_that_rumqttc_encoded_is_read(
        topic in "[a-zé/]{1,40}", payload: Vec<u8>, qos in 0u8..3, retain: bool, dup: bool, id in 1u16.., alias: u16,
        expiry: u32, key in "[a-z]{0,9}", value in "[a-z]{0,9}", subscription in 1usize..200_000,
    ) {
        let level = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(qos)];
        let properties = v5::PublishProperties {
            payload_format_indicator: Some(1),
            message_expiry_interval: Some(expiry),
            topic_alias: Some(alias),
            response_topic: Some(value.clone()),
            correlation_data: Some(payload.clone().into()),
            user_properties: vec![(key.clone(), value.clone()), (value.clone(), key.clone())],
            subscription_identifiers: vec![subscription],
            content_type: Some(key.clone()),
        };
        let mut publish = v5::Publish::new(topic.clone(), level, payload.clone(), Some(properties));
        (publish.dup, publish.retain, publish.pkid) = (dup, retain, id);
        let mut bytes = BytesMut::new();
        publish.write(&mut bytes).unwrap();
        let (first, body) = split(&bytes);
        let Incoming::Publish(read) = Incoming::decode(MqttVersion::V5, first, body).unwrap() else { panic!() };
        prop_assert_eq!(read.topic, topic.as_bytes());
        prop_assert_eq!(read.payload, &payload[..]);
        prop_assert_eq!((read.qos.level(), read.retain, read.dup), (qos, retain, dup));
        prop_assert_eq!(read.packet_id, if qos == 0 { 0 } else { id });
        let mut translated = Vec::new();
        prop_assert_eq!(translate_properties(read.properties, &mut translated), Ok(Some(alias)));
        let mut seen: Vec<Property<'_>> = Properties::from_encoded(&translated).iter().collect();
        let mut expected = vec![
            Property::PayloadFormat(1), Property::MessageExpiry(expiry), Property::ContentType(key.as_bytes()),
            Property::ResponseTopic(value.as_bytes()), Property::CorrelationData(&payload),
            Property::SubscriptionId(subscription as u32), Property::User(key.as_bytes(), value.as_bytes()),
            Property::User(value.as_bytes(), key.as_bytes()),
        ];
        seen.sort_by_key(|property| format!("{property:?}"));
        expected.sort_by_key(|property| format!("{property:?}"));
        prop_assert_eq!(seen, expected);
    }

    #[test]
    fn arbitrary_bytes_never_panic(first: u8, body: Vec<u8>, v5: bool) {
        let version = if v5 { MqttVersion::V5 } else { MqttVersion::V3 };
        if let Ok(Incoming::Publish(publish)) = Incoming::decode(version, first, &body) {
            let mut out = Vec::new();
            let _ = translate_properties(publish.properties, &mut out);
        }
        let _ = Publish::decode_head(version, first & 0x0F, &body);
    }

    #[test]
    fn a_publish_cut_off_anywhere_is_malformed_or_a_shorter_payload(cut in 0usize..40) {
        let mut bytes = BytesMut::new();
        let mut publish = v4::Publish::new("sensors/a/telemetry", rumqttc::mqttbytes::QoS::AtLeastOnce, vec![9; 20]);
        publish.pkid = 7;
        publish.write(&mut bytes).unwrap();
        let (first, body) = split(&bytes);
        let cut = cut.min(body.len());
        match Incoming::decode(MqttVersion::V3, first, &body[..cut]) {
            Ok(Incoming::Publish(read)) => prop_assert!(cut >= 23 && read.payload.len() == cut - 23),
            Ok(other) => prop_assert!(false, "{:?}", other),
            Err(_) => prop_assert!(cut < 23),
        }
    }
}

#[test]
fn a_publish_against_the_protocol_is_malformed() {
    let qos_3 = Incoming::decode(MqttVersion::V3, 0x36, &[0, 1, b'a', 0, 1]);
    let packet_id_0 = Incoming::decode(MqttVersion::V3, 0x32, &[0, 1, b'a', 0, 0]);
    assert!(qos_3.is_err() && packet_id_0.is_err());
}

#[test]
fn every_short_form_of_disconnect_is_understood() {
    let code = |packet: &[u8]| match control(MqttVersion::V5, packet) {
        Control::Disconnect(disconnect) => disconnect,
        other => panic!("{other:?}"),
    };
    assert_eq!(code(&[0xE0, 0]).code, 0);
    assert_eq!(code(&[0xE0, 1, 0x94]).code, 0x94, "Mosquitto's form");
    assert_eq!(code(&[0xE0, 2, 0x8E, 0]).code, 0x8E);
    let spoken = code(&[0xE0, 7, 0x87, 5, 31, 0, 2, b'n', b'o']);
    assert_eq!((spoken.code, spoken.reason.as_deref()), (0x87, Some("no")));
}

#[test]
fn a_connack_in_the_form_of_3_1_1_is_understood_by_a_version_5_client() {
    let Control::ConnAck(connack) = control(MqttVersion::V5, &[0x20, 2, 0, 1]) else { panic!() };
    assert_eq!((connack.code, connack.session_present), (1, false));
}

#[test]
fn what_a_connack_says_of_the_session_is_read() {
    let connack = v5::ConnAck {
        session_present: true,
        code: v5::ConnectReturnCode::Success,
        properties: Some(v5::ConnAckProperties {
            session_expiry_interval: Some(60),
            receive_max: Some(5),
            max_qos: Some(1),
            retain_available: Some(0),
            max_packet_size: Some(900),
            assigned_client_identifier: Some("x".into()),
            topic_alias_max: Some(4),
            reason_string: Some("why\nnot".into()),
            user_properties: vec![("a".into(), "b".into())],
            wildcard_subscription_available: Some(0),
            subscription_identifiers_available: Some(0),
            shared_subscription_available: Some(0),
            server_keep_alive: Some(17),
            response_information: Some("r".into()),
            server_reference: Some("other:1883".into()),
            authentication_method: None,
            authentication_data: None,
        }),
    };
    let mut bytes = BytesMut::new();
    connack.write(&mut bytes).unwrap();
    let expected = ConnAck {
        session_present: true,
        code: 0,
        session_expiry_s: Some(60),
        server_keep_alive_s: Some(17),
        limits: Limits {
            qos_max: Qos::AtLeastOnce,
            retained_messages: false,
            wildcards: false,
            subscription_identifiers: false,
            shared_subscriptions: false,
            packet_bytes_max: 900,
            receive_maximum: 5,
        },
        reason: Some("why not".into()),
        server_reference: Some("other:1883".into()),
    };
    assert_eq!(control(MqttVersion::V5, &bytes), Control::ConnAck(expected));
}

#[test]
fn a_suback_keeps_codes_that_nobody_defined() {
    let v3 = control(MqttVersion::V3, &[0x90, 5, 0, 9, 1, 0x80, 0xFE]);
    assert_eq!(v3, Control::SubAck(SubAck { packet_id: 9, codes: vec![1, 0x80, 0xFE], reason: None }));
    let v5 = control(MqttVersion::V5, &[0x90, 4, 0, 9, 0, 0x87]);
    assert_eq!(v5, Control::SubAck(SubAck { packet_id: 9, codes: vec![0x87], reason: None }));
    assert!(Incoming::decode(MqttVersion::V5, 0x90, &[0, 9, 0]).is_err());
}

#[test]
fn a_pubrel_in_both_forms_is_read() {
    assert_eq!(control(MqttVersion::V3, &[0x62, 2, 1, 2]), Control::PubRel { packet_id: 258 });
    assert_eq!(control(MqttVersion::V5, &[0x62, 4, 1, 2, 0x92, 0]), Control::PubRel { packet_id: 258 });
    assert!(Incoming::decode(MqttVersion::V5, 0x60, &[1, 2]).is_err(), "its flags are fixed");
}

#[test]
fn what_a_broker_answers_to_our_messages_is_read() {
    let answer = |kind, code, reason: Option<&str>| {
        Control::Answer(Answer { kind, packet_id: 258, code, reason: reason.map(str::to_owned) })
    };
    for version in [MqttVersion::V3, MqttVersion::V5] {
        assert_eq!(control(version, &[0x40, 2, 1, 2]), answer(AckKind::PubAck, 0, None));
        assert_eq!(control(version, &[0x50, 2, 1, 2]), answer(AckKind::PubRec, 0, None));
        assert_eq!(control(version, &[0x70, 2, 1, 2]), answer(AckKind::PubComp, 0, None));
        assert!(Incoming::decode(version, 0x41, &[1, 2]).is_err(), "its flags are fixed");
    }
    assert_eq!(control(MqttVersion::V5, &[0x40, 3, 1, 2, 0x87]), answer(AckKind::PubAck, 0x87, None));
    let spoken = [0x50, 9, 1, 2, 0x97, 5, 31, 0, 2, b'n', b'o'];
    assert_eq!(control(MqttVersion::V5, &spoken), answer(AckKind::PubRec, 0x97, Some("no")));
}

#[test]
fn the_head_of_a_packet_too_large_gives_topic_and_identifier() {
    let mut head = vec![0, 3, b'a', b'/', b'b', 0, 9, 4, 35, 0, 5, 1, 1];
    head.extend([b'x'; 100]);
    let whole = Publish::decode_head(MqttVersion::V5, 0b0010, &head).unwrap();
    assert_eq!((whole.topic, whole.packet_id, whole.qos), (&b"a/b"[..], 9, Qos::AtLeastOnce));
    assert!(whole.payload.is_empty() && !whole.properties.is_empty());
    let without_properties = Publish::decode_head(MqttVersion::V5, 0b0010, &head[..9]).unwrap();
    assert_eq!((without_properties.packet_id, without_properties.properties), (9, &[][..]));
}
