//! Brokers that do things in their own way, one habit at a time: nothing is lost, nothing gets another message's topic,
//! and QoS 2 is once wherever a client can know it.

use std::time::Duration;

use rowbridge::message::Fault;

use super::fake_broker::{BOTH, FakeBroker, Peer, Publish, Version};
use super::fake_session::{CUTS, Cut, FakeSession, Habits, NUMBERS, Numbers};
use super::source::{Client, eventually};

/// Ten equal messages, `window` at a time; at the sixth the link is cut once.
async fn ten_times_on(version: Version, habits: Habits, cut: Cut, window: usize) {
    let broker = FakeBroker::start().await;
    let client = Client::new(version, broker.port());
    let running = client.start();
    let mut session = FakeSession::new(habits);
    let mut peer = session.welcome(&broker).await;
    for number in 1..=10 {
        let is_cut = number == 6;
        while session.in_flight() >= window {
            session.hear(&mut peer, None).await;
        }
        session.publish(&mut peer, Publish::new(2, 0, "ON"), is_cut && cut == Cut::Publish).await;
        if is_cut {
            while cut != Cut::Publish && !session.hear(&mut peer, Some(cut)).await {}
            drop(peer);
            peer = session.welcome(&broker).await;
        }
    }
    session.settle(&mut peer).await;
    assert_eq!(client.disk.payloads(), ["ON"; 10], "{version:?} {habits:?} {cut:?} window {window}");
    running.finish().await;
}

#[tokio::test]
async fn ten_equal_qos_2_messages_are_ten_rows_wherever_the_link_is_cut_and_however_the_broker_numbers() {
    let mut cases = Vec::new();
    for version in BOTH {
        for numbers in NUMBERS {
            for marks_redelivery in [true, false] {
                for cut in CUTS {
                    for window in [1, 3] {
                        let habits = Habits { numbers, marks_redelivery, ..Habits::default() };
                        cases.push(ten_times_on(version, habits, cut, window));
                    }
                }
            }
        }
    }
    futures_util::future::join_all(cases).await;
}

/// Enough messages, over a reconnect, for the broker to be known as one that numbers in order.
async fn show_order(session: &mut FakeSession, broker: &FakeBroker, client: &Client) -> (Peer, usize) {
    const MESSAGES: usize = 1_200;
    let mut peer = session.welcome(broker).await;
    for number in 0..MESSAGES {
        session.publish(&mut peer, Publish::new(2, 0, "same"), number == 100).await;
        if number == 100 {
            drop(peer);
            peer = session.welcome(broker).await;
        }
        while session.in_flight() > 2 {
            session.hear(&mut peer, None).await;
        }
    }
    session.settle(&mut peer).await;
    assert_eq!(client.disk.messages().len(), MESSAGES);
    (peer, MESSAGES)
}

#[tokio::test]
async fn mosquitto_sends_a_publish_again_after_its_pubrel_and_it_is_stored_once_also_by_the_next_process() {
    for version in BOTH {
        let broker = FakeBroker::start().await;
        let client = Client::new(version, broker.port());
        let running = client.start();
        let mut session = FakeSession::new(Habits::default());
        let (mut peer, before) = show_order(&mut session, &broker, &client).await;
        session.habits.repeats_released = true;
        session.publish(&mut peer, Publish::new(2, 0, "same"), false).await;
        while !session.hear(&mut peer, Some(Cut::Complete)).await {}
        drop(peer);
        // Its PUBREC is lost, and it comes once more, to another process.
        let mut peer = session.welcome(&broker).await;
        while !session.hear(&mut peer, Some(Cut::Received)).await {}
        eventually("the subscriptions are on the disk", || client.is_confirmed()).await;
        running.kill().await;
        let running = client.start();
        let mut peer = session.welcome(&broker).await;
        session.settle(&mut peer).await;
        session.publish(&mut peer, Publish::new(2, 0, "same"), false).await;
        session.settle(&mut peer).await;
        assert_eq!(client.disk.messages().len(), before + 2);
        running.finish().await;
    }
}

#[tokio::test]
async fn where_a_repeated_publish_cannot_be_told_from_a_new_message_it_is_stored_twice_rather_than_lost() {
    let broker = FakeBroker::start().await;
    let client = Client::new(Version::V5, broker.port());
    let running = client.start();
    let habits = Habits { numbers: Numbers::LowestFree, repeats_released: true, ..Habits::default() };
    let mut session = FakeSession::new(habits);
    let mut peer = session.welcome(&broker).await;
    session.publish(&mut peer, Publish::new(2, 0, "ON"), false).await;
    while !session.hear(&mut peer, Some(Cut::Complete)).await {}
    drop(peer);
    let mut peer = session.welcome(&broker).await;
    session.settle(&mut peer).await;
    assert_eq!(client.disk.payloads(), ["ON", "ON"]);
    running.finish().await;
}

#[tokio::test]
async fn an_identifier_whose_message_the_broker_gave_up_carries_the_next_one() {
    for version in BOTH {
        let broker = FakeBroker::start().await;
        let client = Client::new(version, broker.port());
        let running = client.start();
        let mut peer = broker.welcome(false).await;
        // Expired at the broker between PUBREC and PUBREL, say: its number is free again.
        for payload in ["first", "second"] {
            peer.send(&Publish::new(2, 7, payload).encode(version)).await;
            assert_eq!(peer.expect(0x50).await.id(), 7);
        }
        assert_eq!(client.disk.payloads(), ["first", "second"]);
        running.finish().await;
    }
}

#[tokio::test]
async fn an_alias_of_the_connection_before_never_gives_a_message_another_topic() {
    let broker = FakeBroker::start().await;
    let mut client = Client::new(Version::V5, broker.port());
    client.config.topic_alias_maximum = 10;
    let running = client.start();
    let mut session = FakeSession::new(Habits { repeats_aliases: true, ..Habits::default() });
    let mut peer = session.welcome(&broker).await;
    session.publish(&mut peer, Publish::new(1, 0, "a").topic("t/a").alias(1), false).await;
    while !session.hear(&mut peer, Some(Cut::Received)).await {}
    drop(peer);
    // Comes again without its topic, under an alias that this connection does not know.
    let mut peer = session.welcome(&broker).await;
    expect_alias_refused(&mut peer).await;
    // And again, now as a dead letter: or nothing would ever come again from this broker.
    let mut peer = session.welcome(&broker).await;
    session.settle(&mut peer).await;
    session.publish(&mut peer, Publish::new(1, 0, "b").topic("t/b").alias(2), false).await;
    session.settle(&mut peer).await;
    let unknown = (String::new(), Some(Fault::UnknownAlias));
    assert_eq!(topics(&client), [("t/a".to_owned(), None), unknown, ("t/b".to_owned(), None)]);
    running.finish().await;
}

#[tokio::test]
async fn a_broker_that_uses_aliases_unasked_gets_no_message_under_a_wrong_topic_and_is_not_fought_for_ever() {
    let broker = FakeBroker::start().await;
    let client = Client::new(Version::V5, broker.port());
    let running = client.start();
    let mut session = FakeSession::new(Habits { alias_for_all: Some(1), ..Habits::default() });
    let mut peer = session.welcome(&broker).await;
    session.publish(&mut peer, Publish::new(1, 0, "a").topic("t/a"), false).await;
    expect_alias_refused(&mut peer).await;
    assert_eq!(client.disk.messages().len(), 0);
    let mut peer = session.welcome(&broker).await;
    for topic in ["t/b", "t/c", "t/d"] {
        session.publish(&mut peer, Publish::new(1, 0, "x").topic(topic), false).await;
    }
    session.settle(&mut peer).await;
    let unknown = (String::new(), Some(Fault::UnknownAlias));
    let whole = |topic: &str| (topic.to_owned(), None);
    assert_eq!(topics(&client), [whole("t/a"), unknown.clone(), whole("t/c"), unknown]);
    running.finish().await;
}

#[tokio::test]
async fn nothing_that_came_in_one_read_with_a_bad_alias_is_acknowledged_or_journaled() {
    let broker = FakeBroker::start().await;
    let client = Client::new(Version::V5, broker.port());
    let running = client.start();
    let mut peer = broker.welcome(false).await;
    client.disk.hold();
    peer.send(&Publish::new(2, 1, "before").encode(Version::V5)).await;
    eventually("the first message is on its way to the disk", || client.disk.waiting() == 1).await;
    let good = [Publish::new(1, 2, "good"), Publish::new(2, 3, "good too")].map(|good| good.encode(Version::V5));
    for alias in [0, 1, 65_535] {
        let bad = Publish::new(1, 4, "bad").alias(alias).encode(Version::V5);
        peer.send(&[&good.concat()[..], &bad].concat()).await;
        expect_alias_refused(&mut peer).await;
        assert_eq!(client.disk.waiting(), usize::from(alias == 0), "what came before stays");
        client.disk.let_go();
        peer = broker.welcome(true).await;
        // This connection puts up with it; the next one does not.
        peer.send(&Publish::new(2, 1, "before").again().encode(Version::V5)).await;
        assert_eq!(peer.expect(0x50).await.id(), 1);
        drop(peer);
        peer = broker.welcome(true).await;
    }
    peer.send(&good.concat()).await;
    assert_eq!((peer.expect(0x40).await.id(), peer.expect(0x50).await.id()), (2, 3));
    assert_eq!(client.disk.payloads(), ["before", "good", "good too"]);
    running.finish().await;
}

async fn expect_alias_refused(peer: &mut Peer) {
    loop {
        let packet = peer.receive().await.expect("a farewell");
        match packet.first {
            0x82 => {}
            0xE0 => break assert_eq!(packet.body, [0x94, 0]),
            other => panic!("0x{other:02X} before the farewell"),
        }
    }
    peer.expect_end().await;
}

fn topics(client: &Client) -> Vec<(String, Option<Fault>)> {
    client.disk.messages().into_iter().map(|message| (message.topic, message.fault)).collect()
}

#[tokio::test]
async fn a_message_before_connack_is_told_by_name_and_the_next_attempt_is_quick() {
    for version in BOTH {
        let broker = FakeBroker::start().await;
        let mut client = Client::new(version, broker.port());
        // With back-off, eight attempts would take longer than this test waits for a connection.
        client.config.retry.min = std::time::Duration::from_millis(5);
        client.config.retry.max = std::time::Duration::from_secs(3600);
        let running = client.start();
        let mut session = FakeSession::new(Habits { publishes_before_connack: 8, ..Habits::default() });
        let mut early = broker.accept().await;
        early.send(&Publish::new(1, 9, "too early").encode(version)).await;
        early.expect_end().await;
        eventually("it is told", || running.status().last_error.is_some()).await;
        let error = running.status().last_error.unwrap();
        assert!(error.contains("the broker sent PUBLISH before CONNACK"), "{error}");
        let mut peer = session.welcome(&broker).await;
        session.publish(&mut peer, Publish::new(1, 0, "in time"), false).await;
        session.settle(&mut peer).await;
        assert_eq!(client.disk.payloads(), ["in time"]);
        running.finish().await;
    }
}

#[tokio::test]
async fn a_subscribe_never_has_the_number_of_a_message_under_way() {
    let broker = FakeBroker::start().await;
    let client = Client::new(Version::V5, broker.port());
    let running = client.start();
    let mut session = FakeSession::new(Habits { minds_identifiers_in_use: true, ..Habits::default() });
    let mut peer = session.welcome(&broker).await;
    session.hear(&mut peer, None).await;
    eventually("it is subscribed", || running.status().subscriptions[0].qos_granted == Some(2)).await;
    client.disk.hold();
    for _ in 0..2 {
        session.publish(&mut peer, Publish::new(1, 0, "x"), false).await;
    }
    running.reload(&["t/#", "u/#"]);
    session.hear(&mut peer, None).await;
    eventually("that too", || running.status().subscriptions.iter().all(|s| s.qos_granted == Some(2))).await;
    client.disk.let_go();
    session.settle(&mut peer).await;
    running.finish().await;
}

#[tokio::test]
async fn a_subscription_refused_for_now_is_asked_for_again_soon() {
    for code in [0x91, 0x97] {
        let broker = FakeBroker::start().await;
        let client = Client::new(Version::V5, broker.port());
        let running = client.start();
        let mut peer = broker.accept().await;
        peer.send(&super::fake_broker::connack(Version::V5, false)).await;
        let first = peer.subscribe().await;
        peer.send(&super::fake_broker::suback(Version::V5, first.packet_id, &[code])).await;
        let second = peer.grant().await;
        assert_eq!(second.filters, first.filters);
        assert_ne!(second.packet_id, first.packet_id);
        eventually("it is granted", || running.status().subscriptions[0].qos_granted == Some(2)).await;
        running.finish().await;
    }
}

#[tokio::test]
async fn what_is_granted_above_the_announced_maximum_is_shown_as_that_maximum() {
    let broker = FakeBroker::start().await;
    let client = Client::new(Version::V5, broker.port());
    let running = client.start();
    let mut session = FakeSession::new(Habits { maximum_qos: Some(1), ..Habits::default() });
    let mut peer = session.welcome(&broker).await;
    session.hear(&mut peer, None).await;
    eventually("it is granted", || running.status().subscriptions[0].qos_granted.is_some()).await;
    assert_eq!(running.status().subscriptions[0].qos_granted, Some(1));
    running.finish().await;
}

#[tokio::test]
async fn a_session_of_qos_0_alone_that_the_broker_does_not_keep_is_no_loss() {
    for version in BOTH {
        let broker = FakeBroker::start().await;
        let mut client = Client::new(version, broker.port());
        // Cuts so soon after the SUBSCRIBE look like another client with the same id.
        client.config.retry.max = Duration::from_millis(500);
        let running = client.start();
        for _ in 0..2 {
            let mut peer = broker.accept().await;
            peer.send(&super::fake_broker::connack(version, false)).await;
            let subscribe = peer.subscribe().await;
            peer.send(&super::fake_broker::suback(version, subscribe.packet_id, &[0])).await;
            eventually("it is granted", || running.status().subscriptions[0].qos_granted == Some(0)).await;
            drop(peer);
        }
        let mut peer = broker.accept().await;
        peer.send(&super::fake_broker::connack(version, false)).await;
        peer.grant().await;
        assert_eq!((running.metrics.session_lost.get(), running.status().sessions_lost), (0, 0));
        drop(peer);
        // With QoS 2 granted, it is one.
        broker.welcome(false).await;
        eventually("the loss is told", || running.metrics.session_lost.get() == 1).await;
        running.finish().await;
    }
}
