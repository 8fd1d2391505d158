//! Pings, silent brokers, and a journal that pauses.

use std::time::{Duration, Instant};

use super::fake_broker::{BOTH, FakeBroker, Publish, Version, connack_with, suback};
use super::source::{Client, eventually};

const PINGREQ: u8 = 0xC0;
const PINGRESP: [u8; 2] = [0xD0, 0];

#[tokio::test]
async fn a_quiet_connection_is_pinged_and_a_dead_one_is_left() {
    for version in BOTH {
        let broker = FakeBroker::start().await;
        let mut client = Client::new(version, broker.port());
        client.config.keep_alive = Duration::from_secs(1);
        let running = client.start();
        let mut peer = broker.welcome(false).await;
        let start = Instant::now();
        for _ in 0..2 {
            peer.expect(PINGREQ).await;
            peer.send(&PINGRESP).await;
        }
        assert!(start.elapsed() >= Duration::from_millis(1500), "pings came too early");
        assert!(running.status().connected);
        // From here on the broker says nothing.
        while peer.receive().await.is_some() {}
        assert!(running.status().last_error.unwrap().contains("PINGREQ"));
        let mut peer = broker.welcome(true).await;
        peer.send(&Publish::new(1, 1, "x").encode(version)).await;
        peer.expect(0x40).await;
        running.finish().await;
    }
}

#[tokio::test]
async fn the_broker_s_own_keep_alive_is_honoured() {
    let broker = FakeBroker::start().await;
    let client = Client::new(Version::V5, broker.port());
    let running = client.start();
    let mut peer = broker.accept().await;
    peer.send(&connack_with(Version::V5, false, 0, &[19, 0, 1])).await;
    peer.grant().await;
    peer.expect(PINGREQ).await;
    running.finish().await;
}

#[tokio::test]
async fn a_broker_that_wants_no_keep_alive_gets_no_pings() {
    let broker = FakeBroker::start().await;
    let mut client = Client::new(Version::V5, broker.port());
    client.config.keep_alive = Duration::from_secs(1);
    let running = client.start();
    let mut peer = broker.accept().await;
    peer.send(&connack_with(Version::V5, false, 0, &[19, 0, 0])).await;
    peer.grant().await;
    peer.expect_silence(Duration::from_millis(2500)).await;
    assert!(running.status().connected);
    running.finish().await;
}

#[tokio::test]
async fn while_the_journal_is_full_nothing_is_read_but_the_connection_lives() {
    for version in BOTH {
        let broker = FakeBroker::start().await;
        let mut client = Client::new(version, broker.port());
        client.config.keep_alive = Duration::from_secs(1);
        let running = client.start();
        let mut peer = broker.welcome(false).await;
        client.disk.hold();
        peer.send(&Publish::new(1, 1, "before").encode(version)).await;
        eventually("the message is on its way to the disk", || client.disk.waiting() == 1).await;
        client.disk.set_full(true);

        // More than the sockets hold: the broker cannot get rid of it.
        let flood: Vec<u8> = (0..600).flat_map(|_| Publish::new(0, 0, vec![b'x'; 32 * 1024]).encode(version)).collect();
        let sent = peer.send_for(&flood, Duration::from_millis(500)).await;
        assert!(sent < flood.len(), "it is all read");

        // Pings go on, unanswered, for longer than the keep-alive; what becomes durable is acknowledged.
        for _ in 0..3 {
            peer.expect(PINGREQ).await;
        }
        client.disk.let_go();
        assert_eq!(peer.expect(0x40).await.id(), 1);
        assert!(running.status().connected);

        client.disk.set_full(false);
        peer.send(&flood[sent..]).await;
        peer.send(&PINGRESP).await;
        peer.send(&Publish::new(1, 2, "after").encode(version)).await;
        loop {
            let packet = peer.receive().await.expect("the connection outlived the pause");
            if packet.first == 0x40 {
                break;
            }
        }
        assert_eq!(client.disk.messages().len(), 602);
        running.finish().await;
    }
}

#[tokio::test]
async fn an_answer_to_subscribe_may_take_its_time_while_messages_come() {
    let broker = FakeBroker::start().await;
    let client = Client::new(Version::V5, broker.port());
    let running = client.start();
    let mut peer = broker.accept().await;
    peer.send(&super::fake_broker::connack(Version::V5, false)).await;
    let subscribe = peer.subscribe().await;
    peer.send(&Publish::new(1, 1, "retained").encode(Version::V5)).await;
    peer.expect(0x40).await;
    peer.send(&suback(Version::V5, subscribe.packet_id, &[2])).await;
    eventually("the grant is shown", || running.status().subscriptions[0].qos_granted == Some(2)).await;
    running.finish().await;
}
