use std::sync::Arc;
use std::time::Duration;

use rumqttc::v5::mqttbytes::v5::{Packet, Subscribe};

use super::*;
use crate::config::Retry;
use crate::message::Qos;
use crate::source::caution::Evidence;
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

fn nothing_known() -> Caution {
    Caution::new(&Retry { min: Duration::from_millis(200), max: Duration::from_secs(30) })
}

/// One step as the session takes it: subscribes to what is missing, else gives up what is superfluous.
fn advance(
    reconciler: &mut Reconciler,
    plan: &Subscriptions,
    stored: &StoredSubscriptions,
    caution: &Caution,
    all: bool,
    out: &mut BytesMut,
) {
    reconciler.subscribe(plan, stored, caution, all, out);
    if reconciler.is_settled() {
        reconciler.unsubscribe(superfluous(plan, stored, caution), caution, out);
    }
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
                    reconciler.on_unsuback(unsubscribe.pkid, stored, out);
                }
                other => panic!("{other:?}"),
            }
            all.push(packet);
        }
    }
    all
}

/// The filters of each SUBSCRIBE that was sent.
fn asked(packets: &[Packet]) -> Vec<Vec<&str>> {
    packets.iter().map(|packet| subscribe(packet).filters.iter().map(|filter| filter.path.as_str()).collect()).collect()
}

#[test]
fn what_is_subscribed_already_is_left_alone() {
    let mut stored = StoredSubscriptions::empty("c");
    let mut out = BytesMut::new();
    let mut reconciler = Reconciler::new(MqttVersion::V5);
    advance(&mut reconciler, &plan(&["a", "b"]), &stored, &nothing_known(), false, &mut out);
    settle(&mut reconciler, &mut stored, &mut out, 1);
    advance(&mut reconciler, &plan(&["a", "b", "c"]), &stored, &nothing_known(), false, &mut out);
    let again = settle(&mut reconciler, &mut stored, &mut out, 1);
    assert_eq!(again.len(), 1);
    assert_eq!(subscribe(&again[0]).filters[0].path, "c");
    advance(&mut reconciler, &plan(&["a", "b", "c"]), &stored, &nothing_known(), false, &mut out);
    assert!(reconciler.is_settled() && out.is_empty());
    advance(&mut reconciler, &plan(&["a", "b", "c"]), &stored, &nothing_known(), true, &mut out);
    assert_eq!(subscribe(&settle(&mut reconciler, &mut stored, &mut out, 1)[0]).filters.len(), 3);
}

#[test]
fn a_filter_is_given_up_only_after_the_one_that_took_over_is_confirmed() {
    let mut stored = StoredSubscriptions::empty("c");
    let mut out = BytesMut::new();
    let mut reconciler = Reconciler::new(MqttVersion::V5);
    advance(&mut reconciler, &plan(&["a/b"]), &stored, &nothing_known(), false, &mut out);
    settle(&mut reconciler, &mut stored, &mut out, 1);
    advance(&mut reconciler, &plan(&["a/#"]), &stored, &nothing_known(), false, &mut out);
    let first = sent(&mut out);
    assert_eq!(first.len(), 1, "no UNSUBSCRIBE yet: {first:?}");
    reconciler.on_suback(&suback(subscribe(&first[0]), 1), &mut stored, &mut out).unwrap();
    advance(&mut reconciler, &plan(&["a/#"]), &stored, &nothing_known(), false, &mut out);
    assert!(!reconciler.is_settled());
    let Packet::Unsubscribe(unsubscribe) = &sent(&mut out)[0] else { panic!() };
    assert_eq!(unsubscribe.filters, ["a/b"]);
    assert_eq!(reconciler.on_unsuback(unsubscribe.pkid, &mut stored, &mut out), ["a/b"]);
    assert_eq!(stored.filters.len(), 1);
}

#[test]
fn a_refused_filter_does_not_touch_the_others_and_is_asked_for_again() {
    let mut stored = StoredSubscriptions::empty("c");
    let mut out = BytesMut::new();
    let mut reconciler = Reconciler::new(MqttVersion::V5);
    advance(&mut reconciler, &plan(&["a", "b"]), &stored, &nothing_known(), false, &mut out);
    let request = sent(&mut out);
    let answer = SubAck { packet_id: subscribe(&request[0]).pkid, codes: vec![0x87, 0], reason: None };
    let answers = reconciler.on_suback(&answer, &mut stored, &mut out).unwrap();
    assert_eq!(answers.iter().map(|answer| answer.code).collect::<Vec<_>>(), [0x87, 0]);
    assert_eq!(stored.filters.len(), 1);
    assert_eq!((stored.filters[0].qos, stored.filters[0].granted), (1, 0));
    advance(&mut reconciler, &plan(&["a", "b"]), &stored, &nothing_known(), false, &mut out);
    assert_eq!(subscribe(&sent(&mut out)[0]).filters[0].path, "a");
}

#[test]
fn many_filters_go_out_in_packets_that_the_strictest_broker_takes() {
    let names: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut stored = StoredSubscriptions::empty("c");
    let mut out = BytesMut::new();
    let mut reconciler = Reconciler::new(MqttVersion::V5);
    advance(&mut reconciler, &plan(&names), &stored, &nothing_known(), false, &mut out);
    let packets = settle(&mut reconciler, &mut stored, &mut out, 1);
    assert_eq!(packets.iter().map(|packet| subscribe(packet).filters.len()).collect::<Vec<_>>(), [8, 8, 4]);
    assert_eq!(stored.filters.len(), 20);
}

#[test]
fn each_identifier_has_a_subscribe_of_its_own() {
    let plan = plan(&["a/+", "+/b", "z"]);
    let mut out = BytesMut::new();
    let stored = StoredSubscriptions::empty("c");
    advance(&mut Reconciler::new(MqttVersion::V5), &plan, &stored, &nothing_known(), false, &mut out);
    let ids: Vec<_> = sent(&mut out)
        .iter()
        .map(|packet| subscribe(packet).properties.as_ref().and_then(|properties| properties.id))
        .collect();
    assert_eq!(ids, [None, Some(1), Some(2)]);
}

/// What is known of the broker after a connection that ended with these filters unanswered.
fn wary(unanswered: &[&str]) -> Caution {
    let mut caution = nothing_known();
    let unanswered: Vec<String> = unanswered.iter().map(|&filter| filter.to_owned()).collect();
    caution.ended(&unanswered, Evidence::Possible, |_, _| true, Instant::now());
    caution
}

#[test]
fn a_suspect_is_asked_for_alone_and_after_all_others_are_answered() {
    let mut caution = wary(&["a", "b"]);
    caution.ended(&["a".into()], Evidence::Possible, |_, _| true, Instant::now());
    let plan = plan(&["a", "b", "c", "d"]);
    let mut stored = StoredSubscriptions::empty("c");
    let mut out = BytesMut::new();
    let mut reconciler = Reconciler::new(MqttVersion::V5);
    advance(&mut reconciler, &plan, &stored, &caution, true, &mut out);
    for expected in [vec!["c", "d"], vec!["b"], vec!["a"]] {
        let packets = sent(&mut out);
        assert_eq!(asked(&packets).len(), 1);
        assert_eq!(asked(&packets)[0], expected);
        assert_eq!(reconciler.unanswered(), expected);
        reconciler.on_suback(&suback(subscribe(&packets[0]), 1), &mut stored, &mut out).unwrap();
    }
    assert!(reconciler.is_settled());
}

#[test]
fn after_many_filters_were_unanswered_each_packet_waits_for_the_one_before() {
    let names: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let caution = wary(&names);
    let mut stored = StoredSubscriptions::empty("c");
    let mut out = BytesMut::new();
    let mut reconciler = Reconciler::new(MqttVersion::V5);
    advance(&mut reconciler, &plan(&names), &stored, &caution, true, &mut out);
    for len in [8, 8, 4] {
        let packets = sent(&mut out);
        assert_eq!(asked(&packets).iter().map(Vec::len).collect::<Vec<_>>(), [len]);
        reconciler.on_suback(&suback(subscribe(&packets[0]), 1), &mut stored, &mut out).unwrap();
    }
    assert!(reconciler.is_settled());
}

#[test]
fn packets_stay_below_the_size_that_the_broker_takes() {
    let mut caution = nothing_known();
    caution.limits.packet_bytes_max = 40;
    let plan = plan(&["12345678", "abcdefgh", "ABCDEFGH", "a/filter/longer/than/any/packet/may/be"]);
    let mut stored = StoredSubscriptions::empty("c");
    let mut out = BytesMut::new();
    let mut reconciler = Reconciler::new(MqttVersion::V5);
    advance(&mut reconciler, &plan, &stored, &caution, true, &mut out);
    let packets = settle(&mut reconciler, &mut stored, &mut out, 1);
    assert_eq!(asked(&packets), [vec!["12345678", "abcdefgh"], vec!["ABCDEFGH"]]);
}

#[test]
fn no_higher_qos_is_asked_for_than_the_broker_takes_and_that_is_what_is_stored() {
    let mut caution = nothing_known();
    caution.limits.qos_max = Qos::AtMostOnce;
    let mut stored = StoredSubscriptions::empty("c");
    let mut out = BytesMut::new();
    let mut reconciler = Reconciler::new(MqttVersion::V5);
    advance(&mut reconciler, &plan(&["a"]), &stored, &caution, false, &mut out);
    let packets = settle(&mut reconciler, &mut stored, &mut out, 0);
    assert_eq!(subscribe(&packets[0]).filters[0].qos as u8, 0);
    advance(&mut reconciler, &plan(&["a"]), &stored, &caution, false, &mut out);
    assert!(reconciler.is_settled(), "it is subscribed to already");
    advance(&mut reconciler, &plan(&["a"]), &stored, &nothing_known(), false, &mut out);
    assert!(!reconciler.is_settled(), "the broker takes more now");
}

#[test]
fn a_suback_that_does_not_fit_is_malformed_and_one_nobody_waits_for_is_passed_over() {
    let mut stored = StoredSubscriptions::empty("c");
    let mut out = BytesMut::new();
    let mut reconciler = Reconciler::new(MqttVersion::V5);
    advance(&mut reconciler, &plan(&["a"]), &stored, &nothing_known(), false, &mut out);
    let stray = SubAck { packet_id: 999, codes: vec![1], reason: None };
    assert_eq!(reconciler.on_suback(&stray, &mut stored, &mut out), Ok(vec![]));
    let wrong = SubAck { packet_id: u16::MAX, codes: vec![1, 1], reason: None };
    assert!(reconciler.on_suback(&wrong, &mut stored, &mut out).is_err());
    assert_eq!(reconciler.unanswered(), ["a"], "it answered nothing");
}

#[test]
fn user_properties_go_with_the_filter_that_has_them_and_again_when_they_change() {
    let with = |properties: &[(&str, &str)]| {
        let mut rules: Vec<Arc<_>> = ["a", "b", "c"].map(|f| rule(f, Qos::AtLeastOnce, &[f])).into();
        Arc::make_mut(&mut rules[1]).subscribe_properties =
            properties.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        rules
    };
    let caution = nothing_known();
    let mut stored = StoredSubscriptions::empty("c");
    let mut ask = |version, properties: &[(&str, &str)]| {
        let plan = Subscriptions::plan(version, &with(properties), None);
        let (mut reconciler, mut out) = (Reconciler::new(version), BytesMut::new());
        advance(&mut reconciler, &plan, &stored, &caution, false, &mut out);
        settle(&mut reconciler, &mut stored, &mut out, 1)
    };
    let properties = |packet: &Packet| {
        subscribe(packet).properties.as_ref().map(|properties| properties.user_properties.clone()).unwrap_or_default()
    };
    let first = ask(MqttVersion::V5, &[("sub-offset", "earliest")]);
    assert_eq!(asked(&first), [vec!["a", "c"], vec!["b"]]);
    assert_eq!(properties(&first[0]), []);
    assert_eq!(properties(&first[1]), [("sub-offset".to_owned(), "earliest".to_owned())]);
    assert!(ask(MqttVersion::V5, &[("sub-offset", "earliest")]).is_empty(), "nothing changed");
    let again = ask(MqttVersion::V5, &[]);
    assert_eq!(asked(&again), [vec!["b"]]);
    assert_eq!(properties(&again[0]), []);
}
