//! What is subscribed to, when, and what a refusal does.

use rowbridge::telemetry::FilterLabels;

use super::fake_broker::{BOTH, FakeBroker, Publish, Version, connack, connack_with, suback, unsuback};
use super::source::{Client, eventually};
use crate::support::bridge::Bridge;

fn granted(running: &super::source::Running, filter: &str) -> i64 {
    running.metrics.subscription_granted_qos.get_or_create(&FilterLabels { filter: filter.into() }).get()
}

#[tokio::test]
async fn a_session_that_is_present_is_left_alone_but_for_what_changed() {
    for version in BOTH {
        let broker = FakeBroker::start().await;
        let client = Client::new(version, broker.port()).subscribing_to(&["a", "b"]);
        let running = client.start();
        broker.welcome(false).await;
        eventually("the subscriptions are shown", || {
            running.status().subscriptions.iter().all(|subscription| subscription.qos_granted == Some(2))
        })
        .await;
        running.finish().await;

        let client = client.subscribing_to(&["b", "c"]);
        let running = client.start();
        let mut peer = broker.welcome(true).await;
        assert_eq!(peer.grant().await.filters, ["c"]);
        let unsubscribe = peer.expect(0xA2).await;
        assert!(unsubscribe.body.ends_with(&[0, 1, b'a']), "{unsubscribe:?}");
        peer.send(&unsuback(version, unsubscribe.id())).await;
        running.finish().await;

        let running = client.start();
        let mut peer = broker.welcome(true).await;
        peer.send(&Publish::new(1, 1, "x").encode(version)).await;
        peer.expect(0x40).await;
        running.finish().await;
    }
}

#[tokio::test]
async fn a_reload_changes_the_subscriptions_on_the_living_connection() {
    for version in BOTH {
        let broker = FakeBroker::start().await;
        let client = Client::new(version, broker.port()).subscribing_to(&["a", "b"]);
        let running = client.start();
        let mut peer = broker.welcome(false).await;
        running.reload(&["b", "c/#"]);
        assert_eq!(peer.grant().await.filters, ["c/#"]);
        let unsubscribe = peer.expect(0xA2).await;
        peer.send(&unsuback(version, unsubscribe.id())).await;
        eventually("the status shows the new filters", || {
            let subscriptions = running.status().subscriptions;
            subscriptions.len() == 2 && subscriptions.iter().all(|known| known.qos_granted == Some(2))
        })
        .await;
        running.finish().await;
    }
}

#[tokio::test]
async fn a_session_made_by_a_connect_whose_answer_was_lost_is_subscribed_in_whole() {
    for version in BOTH {
        let broker = FakeBroker::start().await;
        let client = Client::new(version, broker.port());
        let running = client.start();
        broker.welcome(false).await;
        running.finish().await;

        // The broker lost the session, made a new one, and died before its answer arrived.
        let running = client.start();
        drop(broker.accept().await);
        let mut peer = broker.welcome(true).await;
        assert_eq!(peer.grant().await.filters, ["t/#"]);
        running.finish().await;
    }
}

#[tokio::test]
async fn a_crash_before_suback_is_made_good_at_the_next_start() {
    for version in BOTH {
        let broker = FakeBroker::start().await;
        let client = Client::new(version, broker.port());
        let running = client.start();
        let mut peer = broker.accept().await;
        peer.send(&connack(version, false)).await;
        peer.subscribe().await;
        running.kill().await;
        let running = client.start();
        let mut peer = broker.welcome(true).await;
        assert_eq!(peer.grant().await.filters, ["t/#"]);
        running.finish().await;
    }
}

#[tokio::test]
async fn a_refused_filter_is_told_and_the_others_go_on() {
    for version in BOTH {
        let broker = FakeBroker::start().await;
        let client = Client::new(version, broker.port()).subscribing_to(&["a", "b", "t/#"]);
        let running = client.start();
        let mut peer = broker.accept().await;
        peer.send(&connack(version, false)).await;
        let subscribe = peer.subscribe().await;
        let refusal = if version == Version::V5 { 0x87 } else { 0x80 };
        peer.send(&suback(version, subscribe.packet_id, &[refusal, 0, 2])).await;
        peer.send(&Publish::new(1, 1, "x").encode(version)).await;
        peer.expect(0x40).await;
        assert_eq!([granted(&running, "a"), granted(&running, "b"), granted(&running, "t/#")], [-1, 0, 2]);
        let status = running.status();
        let error = status.subscriptions[0].error.as_deref().unwrap();
        assert!(error.contains("access rules"), "{error}");
        assert_eq!(status.subscriptions[0].qos_granted, None);
        assert_eq!((status.subscriptions[1].qos_asked, status.subscriptions[1].qos_granted), (2, Some(0)));

        // Asked for again at the next connect.
        drop(peer);
        let mut peer = broker.welcome(true).await;
        assert_eq!(peer.grant().await.filters, ["a"]);
        eventually("the refusal is forgotten", || running.status().subscriptions[0].error.is_none()).await;
        running.finish().await;
    }
}

#[tokio::test]
async fn overlapping_filters_have_identifiers_that_outlive_restarts_and_arrive_with_messages() {
    let broker = FakeBroker::start().await;
    let client = Client::new(Version::V5, broker.port()).subscribing_to(&["a/+", "+/b"]);
    let running = client.start();
    let mut peer = broker.accept().await;
    peer.send(&connack(Version::V5, false)).await;
    let (first, second) = (peer.grant().await, peer.grant().await);
    assert_eq!((first.identifier, second.identifier), (Some(1), Some(2)));
    let mut message = Publish::new(1, 1, "x").topic("a/b");
    message.properties = vec![11, 2];
    peer.send(&message.encode(Version::V5)).await;
    peer.expect(0x40).await;
    assert_eq!(client.disk.messages()[0].subscription_ids, [2]);
    running.finish().await;

    // The next process gets the backlog in one go with CONNACK: the copies can still be told apart.
    let running = client.start();
    let mut peer = broker.accept().await;
    let copies = [1, 2].map(|identifier| {
        let mut copy = Publish::new(1, 1 + u16::from(identifier), "y").topic("a/b");
        copy.properties = vec![11, identifier];
        copy.encode(Version::V5)
    });
    peer.send(&[connack(Version::V5, true), copies.concat()].concat()).await;
    peer.expect(0x40).await;
    peer.expect(0x40).await;
    let seen: Vec<_> = client.disk.messages().into_iter().map(|message| message.subscription_ids).collect();
    assert_eq!(seen, [[2], [1], [2]]);
    running.finish().await;

    let client = client.subscribing_to(&["a/+", "+/c"]);
    let running = client.start();
    let mut peer = broker.welcome(true).await;
    let subscribe = peer.grant().await;
    assert_eq!((subscribe.filters, subscribe.identifier), (vec!["+/c".to_owned()], Some(3)));
    running.finish().await;
}

#[tokio::test]
async fn a_broker_without_identifiers_is_not_sent_any() {
    let broker = FakeBroker::start().await;
    let client = Client::new(Version::V5, broker.port()).subscribing_to(&["a/+", "+/b"]);
    let running = client.start();
    let mut peer = broker.accept().await;
    peer.send(&connack_with(Version::V5, false, 0, &[41, 0])).await;
    let subscribe = peer.grant().await;
    assert_eq!((subscribe.filters.len(), subscribe.identifier), (2, None));
    running.finish().await;
}

#[tokio::test]
async fn user_properties_of_a_rule_go_with_its_filters() {
    let broker = FakeBroker::start().await;
    let mut bridge = Bridge::new(
        broker.port(),
        "databases:\n  local: { url: 'sqlite:rows.db' }\nrules:\n  - topic: [db/t1, 'db/t2::0']\n    table: t\n    create: true\n    \
         columns: { x: topic }\n    subscribe_properties: { sub-offset: earliest }\n  - topic: other\n    table: t\n    columns: { x: \
         topic }\n",
    );
    bridge.spawn();
    let mut peer = broker.accept().await;
    peer.send(&connack(Version::V5, false)).await;
    let mut asked = Vec::new();
    for _ in 0..3 {
        let subscribe = peer.grant().await;
        let properties: Vec<String> = subscribe.user_properties.iter().map(|(n, v)| format!("{n}={v}")).collect();
        asked.push((subscribe.filters.join(" "), properties.join(" ")));
    }
    let with = |filter: &str, properties: &str| (filter.to_owned(), properties.to_owned());
    assert_eq!(asked, [with("other", ""), with("db/t1", "sub-offset=earliest"), with("db/t2", "sub-offset=earliest")]);
}
