//! What a broker should not send, and sends: it ends as a dead letter or a reconnect, never as a reconnect loop.

use std::time::Duration;

use rowbridge::config::Retry;
use rowbridge::message::Fault;

use super::fake_broker::{BOTH, FakeBroker, Publish, Version, packet};
use super::source::{Client, eventually};

#[tokio::test]
async fn topic_aliases_are_resolved_where_they_are_allowed() {
    let broker = FakeBroker::start().await;
    let mut client = Client::new(Version::V5, broker.port());
    client.config.topic_alias_maximum = 4;
    let running = client.start();
    let mut peer = broker.welcome(false).await;
    peer.send(&Publish::new(1, 1, "named").topic("t/long").alias(4).encode(Version::V5)).await;
    peer.send(&Publish::new(1, 2, "known").topic("").alias(4).encode(Version::V5)).await;
    peer.send(&Publish::new(1, 3, "renamed").topic("t/other").alias(4).encode(Version::V5)).await;
    peer.send(&Publish::new(1, 4, "known").topic("").alias(4).encode(Version::V5)).await;
    for id in 1..=4 {
        assert_eq!(peer.expect(0x40).await.id(), id);
    }
    let seen: Vec<_> = client.disk.messages().into_iter().map(|message| (message.topic, message.fault)).collect();
    assert_eq!(seen, ["t/long", "t/long", "t/other", "t/other"].map(|topic| (topic.to_owned(), None)));
    running.finish().await;
}

#[tokio::test]
async fn a_message_too_large_is_passed_over_acknowledged_and_kept_as_a_fault() {
    for version in BOTH {
        let broker = FakeBroker::start().await;
        let client = Client::new(version, broker.port());
        let running = client.start();
        let mut peer = broker.welcome(false).await;
        peer.send(&Publish::new(1, 1, vec![b'x'; 65 * 1024]).encode(version)).await;
        let huge = Publish::new(2, 2, vec![b'x'; 3 * 1024 * 1024]);
        peer.send(&huge.encode(version)).await;
        peer.send(&Publish::new(1, 3, "next").encode(version)).await;
        for (first, id) in [(0x40, 1), (0x50, 2), (0x40, 3)] {
            assert_eq!(peer.expect(first).await.id(), id);
        }
        // A redelivery is recognised without its payload.
        peer.send(&huge.again().encode(version)).await;
        assert_eq!(peer.expect(0x50).await.id(), 2);
        let messages = client.disk.messages();
        let seen: Vec<_> =
            messages.iter().map(|message| (message.topic.as_str(), message.payload.len(), message.fault)).collect();
        let too_large = ("t/a", 0, Some(Fault::TooLarge));
        assert_eq!(seen, [too_large, too_large, ("t/a", 4, None)]);
        running.finish().await;
    }
}

#[tokio::test]
async fn a_topic_that_is_no_text_is_kept_as_a_fault() {
    for version in BOTH {
        let broker = FakeBroker::start().await;
        let client = Client::new(version, broker.port());
        let running = client.start();
        let mut peer = broker.welcome(false).await;
        peer.send(&Publish::new(1, 1, "x").topic(*b"t/\xFF").encode(version)).await;
        peer.send(&Publish::new(1, 2, "x").topic(*b"t/\0").encode(version)).await;
        peer.expect(0x40).await;
        peer.expect(0x40).await;
        let messages = client.disk.messages();
        assert!(
            messages.iter().all(|m| m.topic == "t/\u{FFFD}" && m.fault == Some(Fault::TopicNotUtf8)),
            "{messages:?}"
        );
        running.finish().await;
    }
}

#[tokio::test]
async fn a_malformed_packet_ends_the_connection_and_what_came_before_it_is_kept() {
    let malformed = [
        packet(0x36, &[0, 1, b'a', 0, 1]),        // QoS 3
        packet(0x32, &[0, 1, b'a', 0, 0, 0]),     // packet identifier 0
        packet(0x30, &[0, 9, b'a']),              // the topic reaches past the end
        packet(0x60, &[0, 1]),                    // a PUBREL with wrong flags
        packet(0x82, &[0, 1]),                    // not a broker's packet
        packet(0x20, &[0, 0]),                    // a second CONNACK
        vec![0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F], // a length of five bytes
        vec![0x90, 0xFF, 0xFF, 0xFF, 0x7F],       // a SUBACK of 256 MiB
    ];
    let cases = malformed.into_iter().flat_map(|bytes| BOTH.map(|version| (version, bytes.clone())));
    let runs = cases.map(|(version, bytes)| async move {
        let broker = FakeBroker::start().await;
        let client = Client::new(version, broker.port());
        let running = client.start();
        let mut peer = broker.welcome(false).await;
        peer.send(&[Publish::new(0, 0, "before").encode(version), bytes.clone()].concat()).await;
        if version == Version::V5 {
            assert_eq!(peer.expect(0xE0).await.body, [0x81, 0], "after {bytes:02X?}");
        }
        peer.expect_end().await;
        let mut peer = broker.welcome(true).await;
        peer.send(&Publish::new(1, 1, "after").encode(version)).await;
        peer.expect(0x40).await;
        assert_eq!(client.disk.payloads(), ["before", "after"]);
        running.finish().await;
    });
    futures_util::future::join_all(runs).await;
}

#[tokio::test]
async fn every_form_of_disconnect_is_told_in_words() {
    let long_form = packet(0xE0, &[0x98, 5, 31, 0, 2, b'h', b'i']);
    let cases = [
        (packet(0xE0, &[]), "normal disconnection"),
        (packet(0xE0, &[0x8B]), "shutting down"),
        (packet(0xE0, &[0x87, 0]), "mqtt.password"),
        (long_form, "the broker says: hi"),
    ];
    for (bytes, words) in cases {
        let broker = FakeBroker::start().await;
        let running = Client::new(Version::V5, broker.port()).start();
        let mut peer = broker.welcome(false).await;
        peer.send(&bytes).await;
        peer.expect_end().await;
        eventually("the reason is shown", || running.status().last_error.is_some()).await;
        let error = running.status().last_error.unwrap();
        assert!(error.contains(words), "{error}");
        running.finish().await;
    }
}

#[tokio::test]
async fn a_client_that_is_thrown_out_by_another_says_so_and_does_not_fight() {
    let broker = FakeBroker::start().await;
    let running = Client::new(Version::V5, broker.port()).start();
    let mut peer = broker.welcome(false).await;
    peer.send(&packet(0xE0, &[0x8E])).await;
    peer.expect_end().await;
    assert!(broker.is_left_alone(Duration::from_secs(3)).await);
    let error = running.status().last_error.unwrap();
    assert!(error.contains("another client") && error.contains("mqtt.client_id"), "{error}");
    running.finish().await;

    // 3.1.1 has no words for it: the connection is cut again and again, right after CONNACK.
    let broker = FakeBroker::start().await;
    let running = Client::new(Version::V3, broker.port()).start();
    drop(broker.welcome(false).await);
    drop(broker.welcome(true).await);
    drop(broker.welcome(true).await);
    assert!(broker.is_left_alone(Duration::from_secs(4)).await);
    let error = running.status().last_error.unwrap();
    assert!(error.contains("3 times in a row"), "{error}");
    running.finish().await;
}

#[tokio::test]
async fn a_network_that_breaks_handshakes_as_well_is_not_taken_for_another_client() {
    let broker = FakeBroker::start().await;
    let mut client = Client::new(Version::V3, broker.port());
    client.config.retry = Retry { min: Duration::from_millis(5), max: Duration::from_millis(20) };
    let running = client.start();
    for _ in 0..4 {
        drop(broker.welcome(false).await);
        // Whoever throws the older connection out accepts the newer one: this is not his doing.
        drop(broker.accept().await);
        eventually("the reason is shown", || running.status().last_error.is_some()).await;
        let error = running.status().last_error.unwrap();
        assert!(!error.contains("in a row"), "{error}");
    }
    running.finish().await;
}
