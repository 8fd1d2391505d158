//! Getting in: several addresses, refusals in words, and what CONNECT says.

use std::time::Duration;

use rowbridge::config::{Scheme, Secret, SecretSource};
use rowbridge::telemetry::PeerLabels;

use super::fake_broker::{BOTH, FakeBroker, Version, connack_with, packet};
use super::source::{Client, eventually, url};

#[tokio::test]
async fn connect_asks_for_a_session_that_stays() {
    let broker = FakeBroker::start().await;
    let mut client = Client::new(Version::V5, broker.port());
    client.config.username = Some(SecretSource::Value(Secret::new("user".into())));
    client.config.password = Some(SecretSource::Value(Secret::new("hunter2".into())));
    let running = client.start();
    let connect = broker.accept_connect().await;
    assert_eq!(connect.body[..8], [0, 4, b'M', b'Q', b'T', b'T', 5, 0b1100_0000], "not clean, with a login");
    // Session expiry and receive maximum: no packet size, or the broker drops what is larger without a word; and no
    // topic aliases, which several brokers get wrong.
    assert_eq!(connect.body[10], 8);
    assert_eq!(connect.body[11..19], [17, 0, 0, 0x0E, 0x10, 33, 0, 100]);
    assert!(connect.body.ends_with(b"hunter2"));
    running.kill().await;

    let broker = FakeBroker::start().await;
    let mut client = Client::new(Version::V5, broker.port());
    client.config.topic_alias_maximum = 10;
    let running = client.start();
    let connect = broker.accept_connect().await;
    assert_eq!(connect.body[10..22], [11, 17, 0, 0, 0x0E, 0x10, 33, 0, 100, 34, 0, 10]);
    running.kill().await;

    let broker = FakeBroker::start().await;
    let running = Client::new(Version::V3, broker.port()).start();
    let connect = broker.accept_connect().await;
    assert_eq!(connect.body[6..8], [4, 0]);
    running.kill().await;
}

#[tokio::test]
async fn every_refusal_is_told_in_words_and_tried_again() {
    let cases = [
        (Version::V3, connack_with(Version::V3, false, 5, &[]), "not authorised"),
        (Version::V3, connack_with(Version::V3, false, 4, &[]), "mqtt.password"),
        (Version::V5, connack_with(Version::V5, false, 0x86, &[31, 0, 2, b'n', b'o']), "the broker says: no"),
        (Version::V5, connack_with(Version::V5, false, 0x8A, &[]), "banned"),
        (Version::V5, packet(0x20, &[0, 1]), "set mqtt.version to 3.1.1"),
        (Version::V5, packet(0xE0, &[0x89]), "busy"),
        (Version::V5, vec![], "mqtt.version"),
        (Version::V5, b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "not its MQTT port"),
    ];
    for (version, answer, words) in cases {
        let broker = FakeBroker::start().await;
        let running = Client::new(version, broker.port()).start();
        let mut peer = broker.accept().await;
        peer.send(&answer).await;
        drop(peer);
        eventually("the refusal is shown", || running.status().last_error.is_some()).await;
        let error = running.status().last_error.unwrap();
        assert!(error.contains(words), "{error}");
        assert!(!running.status().connected);
        let mut peer = broker.accept().await;
        peer.send(&connack_with(version, false, 0, &[])).await;
        peer.grant().await;
        eventually("it got in", || running.status().connected && running.status().last_error.is_none()).await;
        running.finish().await;
    }
}

#[tokio::test]
async fn the_addresses_are_tried_in_turn_without_a_wait_between_them() {
    for version in BOTH {
        let (first, second) = (FakeBroker::start().await, FakeBroker::start().await);
        let mut client = Client::new(version, first.port());
        client.config.urls.push(url(Scheme::Mqtt, second.port()));
        let running = client.start();
        let mut peer = first.accept().await;
        peer.send(&connack_with(version, false, 3, &[])).await;
        let mut peer = second.welcome(false).await;
        assert!(running.status().url.unwrap().ends_with(&second.port().to_string()));
        // The address that worked is the one to come back to: the session is there.
        peer.send(&packet(0x36, &[])).await;
        second.welcome(true).await;
        running.finish().await;
    }
}

#[tokio::test]
async fn a_broker_that_never_answers_is_given_up_after_the_connect_timeout() {
    let broker = FakeBroker::start().await;
    let mut client = Client::new(Version::V5, broker.port());
    client.config.connect_timeout = Duration::from_millis(300);
    let running = client.start();
    let mut peer = broker.accept().await;
    peer.expect_end().await;
    eventually("the timeout is shown", || running.status().last_error.is_some()).await;
    assert!(running.status().last_error.unwrap().contains("mqtt.connect_timeout"));
    running.finish().await;
}

#[tokio::test]
async fn a_stop_while_nobody_answers_is_immediate() {
    let broker = FakeBroker::start().await;
    let running = Client::new(Version::V5, broker.port()).start();
    let _peer = broker.accept().await;
    let gauge = running.metrics.connected.get_or_create(&PeerLabels { peer: "mqtt".into() }).get();
    assert_eq!(gauge, 0);
    tokio::time::timeout(Duration::from_secs(2), running.finish()).await.expect("it stops at once");
}
