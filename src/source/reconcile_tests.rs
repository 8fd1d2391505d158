use std::sync::Arc;

use rumqttc::v5::mqttbytes::v5::{Packet, Subscribe};

use super::*;
use crate::message::Qos;
use crate::source::subscriptions::tests::rule;

fn plan(filters: &[&str]) -> Subscriptions {
    let rules: Vec<Arc<_>> = filters.iter().map(|filter| rule(filter, Qos::AtLeastOnce, &[filter])).collect();
    Subscriptions::plan(MqttVersion::V5, &rules, None)
}

/// What was sent, as rumqttc reads it.
fn sent(out: &mut BytesMut) -> Vec<Packet> {
    let mut packets = Vec::new();
    while !out.is_empty() {
        packets.push(Packet::read(out, None).unwrap());
    }
    packets
}

fn subscribe(packet: &Packet) -> &Subscribe {
    match packet {
        Packet::Subscribe(subscribe) => subscribe,
        other => panic!("{other:?}"),
    }
}

fn suback(subscribe: &Subscribe, code: u8) -> SubAck {
    SubAck { packet_id: subscribe.pkid, codes: vec![code; subscribe.filters.len()], reason: None }
}

/// Answers everything with `code` until the reconciler is settled; returns all that was sent.
fn settle(reconciler: &mut Reconciler, stored: &mut StoredSubscriptions, out: &mut BytesMut, code: u8) -> Vec<Packet> {
    let mut all = Vec::new();
    while !reconciler.is_settled() {
        for packet in sent(out) {
            match &packet {
                Packet::Subscribe(subscribe) => {
                    reconciler.on_suback(&suback(subscribe, code), stored, out).unwrap();
                }
                Packet::Unsubscribe(unsubscribe) => {
                    reconciler.on_unsuback(unsubscribe.pkid, stored);
                }
                other => panic!("{other:?}"),
            }
            all.push(packet);
        }
    }
    all
}

#[test]
fn what_is_subscribed_already_is_left_alone() {
    let mut stored = StoredSubscriptions::empty("c");
    let mut out = BytesMut::new();
    let mut reconciler = Reconciler::new(MqttVersion::V5, true);
    reconciler.begin(&plan(&["a", "b"]), &stored, false, &mut out);
    settle(&mut reconciler, &mut stored, &mut out, 1);
    reconciler.begin(&plan(&["a", "b", "c"]), &stored, false, &mut out);
    let again = settle(&mut reconciler, &mut stored, &mut out, 1);
    assert_eq!(again.len(), 1);
    assert_eq!(subscribe(&again[0]).filters[0].path, "c");
    reconciler.begin(&plan(&["a", "b", "c"]), &stored, false, &mut out);
    assert!(reconciler.is_settled() && out.is_empty());
    reconciler.begin(&plan(&["a", "b", "c"]), &stored, true, &mut out);
    assert_eq!(subscribe(&settle(&mut reconciler, &mut stored, &mut out, 1)[0]).filters.len(), 3);
}

#[test]
fn a_filter_is_given_up_only_after_the_one_that_took_over_is_confirmed() {
    let mut stored = StoredSubscriptions::empty("c");
    let mut out = BytesMut::new();
    let mut reconciler = Reconciler::new(MqttVersion::V5, true);
    reconciler.begin(&plan(&["a/b"]), &stored, false, &mut out);
    settle(&mut reconciler, &mut stored, &mut out, 1);
    reconciler.begin(&plan(&["a/#"]), &stored, false, &mut out);
    let first = sent(&mut out);
    assert_eq!(first.len(), 1, "no UNSUBSCRIBE yet: {first:?}");
    reconciler.on_suback(&suback(subscribe(&first[0]), 1), &mut stored, &mut out).unwrap();
    assert!(!reconciler.is_settled());
    let Packet::Unsubscribe(unsubscribe) = &sent(&mut out)[0] else { panic!() };
    assert_eq!(unsubscribe.filters, ["a/b"]);
    assert_eq!(reconciler.on_unsuback(unsubscribe.pkid, &mut stored), ["a/b"]);
    assert_eq!(stored.filters.len(), 1);
}

#[test]
fn a_refused_filter_does_not_touch_the_others_and_is_asked_for_again() {
    let mut stored = StoredSubscriptions::empty("c");
    let mut out = BytesMut::new();
    let mut reconciler = Reconciler::new(MqttVersion::V5, true);
    reconciler.begin(&plan(&["a", "b"]), &stored, false, &mut out);
    let request = sent(&mut out);
    let answer = SubAck { packet_id: subscribe(&request[0]).pkid, codes: vec![0x87, 0], reason: None };
    let answers = reconciler.on_suback(&answer, &mut stored, &mut out).unwrap();
    assert_eq!(answers.iter().map(|answer| answer.code).collect::<Vec<_>>(), [0x87, 0]);
    assert_eq!(stored.filters.len(), 1);
    assert_eq!((stored.filters[0].qos, stored.filters[0].granted), (1, 0));
    reconciler.begin(&plan(&["a", "b"]), &stored, false, &mut out);
    assert_eq!(subscribe(&sent(&mut out)[0]).filters[0].path, "a");
}

#[test]
fn many_filters_go_out_in_packets_that_the_strictest_broker_takes() {
    let names: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut stored = StoredSubscriptions::empty("c");
    let mut out = BytesMut::new();
    let mut reconciler = Reconciler::new(MqttVersion::V5, true);
    reconciler.begin(&plan(&names), &stored, false, &mut out);
    let packets = settle(&mut reconciler, &mut stored, &mut out, 1);
    assert_eq!(packets.iter().map(|packet| subscribe(packet).filters.len()).collect::<Vec<_>>(), [8, 8, 4]);
    assert_eq!(stored.filters.len(), 20);
}

#[test]
fn each_identifier_has_a_subscribe_of_its_own_unless_the_broker_knows_none() {
    let plan = plan(&["a/+", "+/b", "z"]);
    let mut out = BytesMut::new();
    let stored = StoredSubscriptions::empty("c");
    Reconciler::new(MqttVersion::V5, true).begin(&plan, &stored, false, &mut out);
    let ids: Vec<_> = sent(&mut out)
        .iter()
        .map(|packet| subscribe(packet).properties.as_ref().and_then(|properties| properties.id))
        .collect();
    assert_eq!(ids, [None, Some(1), Some(2)]);
    Reconciler::new(MqttVersion::V5, false).begin(&plan, &stored, false, &mut out);
    let plain = sent(&mut out);
    assert_eq!((plain.len(), subscribe(&plain[0]).filters.len()), (1, 3));
}

#[test]
fn a_suback_that_does_not_fit_is_malformed_and_one_nobody_waits_for_is_passed_over() {
    let mut stored = StoredSubscriptions::empty("c");
    let mut out = BytesMut::new();
    let mut reconciler = Reconciler::new(MqttVersion::V5, true);
    reconciler.begin(&plan(&["a"]), &stored, false, &mut out);
    let stray = SubAck { packet_id: 999, codes: vec![1], reason: None };
    assert_eq!(reconciler.on_suback(&stray, &mut stored, &mut out), Ok(vec![]));
    let wrong = SubAck { packet_id: 1, codes: vec![1, 1], reason: None };
    assert!(reconciler.on_suback(&wrong, &mut stored, &mut out).is_err());
}
