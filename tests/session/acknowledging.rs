//! When a message is acknowledged, in which order, on which connection; and that QoS 2 is once.

use std::time::Duration;

use super::fake_broker::{BOTH, FakeBroker, Publish, Version, pubrel};
use super::memory_journal::Record;
use super::source::{Client, eventually};

const A_MOMENT: Duration = Duration::from_millis(150);

#[tokio::test]
async fn acknowledgements_wait_for_the_disk_and_leave_in_order_of_arrival() {
    for version in BOTH {
        let broker = FakeBroker::start().await;
        let client = Client::new(version, broker.port());
        let running = client.start();
        let mut peer = broker.welcome(false).await;
        client.disk.hold();
        for (qos, id) in [(1, 7), (2, 3), (0, 0), (1, 1), (2, 9)] {
            peer.send(&Publish::new(qos, id, format!("m{id}")).encode(version)).await;
        }
        peer.expect_silence(A_MOMENT).await;
        assert_eq!(client.disk.waiting(), 5);
        client.disk.let_go();
        for (first, id) in [(0x40, 7), (0x50, 3), (0x40, 1), (0x50, 9)] {
            assert_eq!(peer.expect(first).await.id(), id);
        }
        assert_eq!(client.disk.payloads(), ["m7", "m3", "m0", "m1", "m9"]);
        running.finish().await;
    }
}

#[tokio::test]
async fn an_acknowledgement_never_reaches_another_connection() {
    for version in BOTH {
        let broker = FakeBroker::start().await;
        let client = Client::new(version, broker.port());
        let running = client.start();
        let mut peer = broker.welcome(false).await;
        client.disk.hold();
        peer.send(&Publish::new(1, 1, "old").encode(version)).await;
        eventually("the message is on its way to the disk", || client.disk.waiting() == 1).await;
        drop(peer);
        let mut peer = broker.welcome(true).await;
        client.disk.let_go();
        // Identifier 1 may mean another message here.
        peer.expect_silence(A_MOMENT).await;
        peer.send(&Publish::new(1, 1, "old").again().encode(version)).await;
        assert_eq!(peer.expect(0x40).await.id(), 1);
        assert_eq!(client.disk.payloads(), ["old", "old"], "QoS 1 may repeat");
        running.finish().await;
    }
}

#[tokio::test]
async fn a_qos_2_message_is_stored_once_over_crashes_at_every_step() {
    for version in BOTH {
        let broker = FakeBroker::start().await;
        let client = Client::new(version, broker.port());
        let message = Publish::new(2, 5, "once");

        // Dies before the disk has it: it must be taken again.
        let running = client.start();
        let mut peer = broker.welcome(false).await;
        client.disk.hold();
        peer.send(&message.encode(version)).await;
        eventually("the message is on its way to the disk", || client.disk.waiting() == 1).await;
        eventually("the subscriptions are on the disk", || client.is_confirmed()).await;
        running.kill().await;

        // Dies after the disk has it, before the broker has PUBREC.
        let running = client.start();
        client.disk.let_go();
        let mut peer = broker.welcome(true).await;
        peer.send(&message.clone().again().encode(version)).await;
        assert_eq!(peer.expect(0x50).await.id(), 5);
        eventually("the subscriptions are on the disk", || client.is_confirmed()).await;
        running.kill().await;

        // Redelivered: not stored again. Dies before the release is on the disk: no PUBCOMP.
        let running = client.start();
        let mut peer = broker.welcome(true).await;
        peer.send(&message.clone().again().encode(version)).await;
        assert_eq!(peer.expect(0x50).await.id(), 5);
        client.disk.hold();
        peer.send(&pubrel(5)).await;
        peer.expect_silence(A_MOMENT).await;
        eventually("the subscriptions are on the disk", || client.is_confirmed()).await;
        running.kill().await;

        // The release comes again, and once more, as PUBCOMP was lost.
        let running = client.start();
        client.disk.let_go();
        let mut peer = broker.welcome(true).await;
        for _ in 0..2 {
            peer.send(&pubrel(5)).await;
            assert_eq!(peer.expect(0x70).await.id(), 5);
        }
        assert_eq!(client.disk.payloads(), ["once"]);

        // The identifier's next message is another one.
        peer.send(&Publish::new(2, 5, "once").encode(version)).await;
        peer.expect(0x50).await;
        assert_eq!(client.disk.payloads(), ["once", "once"]);
        assert_eq!(running.metrics.messages_received[2].get(), 1);
        running.finish().await;
    }
}

#[tokio::test]
async fn a_pubrel_of_an_unknown_identifier_is_answered() {
    for version in BOTH {
        let broker = FakeBroker::start().await;
        let client = Client::new(version, broker.port());
        let running = client.start();
        let mut peer = broker.welcome(true).await;
        peer.grant().await;
        peer.send(&pubrel(77)).await;
        assert_eq!(peer.expect(0x70).await.id(), 77);
        peer.send(&pubrel(77)).await;
        assert_eq!(peer.expect(0x70).await.id(), 77);
        running.finish().await;
    }
}

#[tokio::test]
async fn what_the_journal_lost_is_never_acknowledged_and_taken_again() {
    for version in BOTH {
        let broker = FakeBroker::start().await;
        let client = Client::new(version, broker.port());
        let running = client.start();
        let mut peer = broker.welcome(false).await;
        client.disk.hold();
        peer.send(&Publish::new(2, 4, "lost").encode(version)).await;
        peer.send(&Publish::new(1, 5, "lost too").encode(version)).await;
        eventually("the messages are on their way to the disk", || client.disk.waiting() == 2).await;
        client.disk.lose();
        peer.expect_end().await;
        client.disk.let_go();
        let mut peer = broker.welcome(true).await;
        peer.send(&Publish::new(2, 4, "lost").again().encode(version)).await;
        peer.send(&Publish::new(1, 5, "lost too").again().encode(version)).await;
        assert_eq!(peer.expect(0x50).await.id(), 4);
        assert_eq!(peer.expect(0x40).await.id(), 5);
        assert_eq!(client.disk.payloads(), ["lost", "lost too"]);
        running.finish().await;
    }
}

#[tokio::test]
async fn a_stop_makes_durable_then_acknowledges_then_leaves_the_session() {
    for version in BOTH {
        let broker = FakeBroker::start().await;
        let client = Client::new(version, broker.port());
        let running = client.start();
        let mut peer = broker.welcome(false).await;
        client.disk.hold();
        peer.send(&Publish::new(1, 1, "last").encode(version)).await;
        eventually("the message is on its way to the disk", || client.disk.waiting() == 1).await;
        running.stop();
        // What comes now is not read any more, and stays with the broker.
        peer.send(&Publish::new(1, 2, "later").encode(version)).await;
        peer.expect_silence(A_MOMENT).await;
        assert!(!running.is_over());
        client.disk.let_go();
        assert_eq!(peer.expect(0x40).await.id(), 1);
        let farewell = peer.expect(0xE0).await;
        assert!(farewell.body.is_empty(), "a normal farewell that leaves the session's expiry alone");
        running.finish().await;
        assert_eq!(client.disk.payloads(), ["last"]);
    }
}

#[tokio::test]
async fn what_becomes_durable_at_any_moment_of_a_stop_is_acknowledged() {
    for (version, looks) in BOTH.into_iter().flat_map(|version| (1..=6).map(move |looks| (version, looks))) {
        let broker = FakeBroker::start().await;
        let client = Client::new(version, broker.port());
        let running = client.start();
        let mut peer = broker.welcome(false).await;
        client.disk.hold();
        peer.send(&Publish::new(1, 1, "last").encode(version)).await;
        eventually("the message is on its way to the disk", || client.disk.waiting() == 1).await;
        client.disk.let_go_after_looks(looks);
        running.stop();
        if looks > 3 {
            // The session may wait for the disk before it has looked so often.
            tokio::time::sleep(A_MOMENT).await;
            client.disk.let_go();
        }
        assert_eq!(peer.expect(0x40).await.id(), 1, "durable behind look {looks}");
        peer.expect(0xE0).await;
        running.finish().await;
    }
}

#[tokio::test]
async fn a_stop_while_the_journal_is_full_does_not_wait_for_room() {
    for version in BOTH {
        let broker = FakeBroker::start().await;
        let client = Client::new(version, broker.port());
        let running = client.start();
        let mut peer = broker.welcome(false).await;
        client.disk.hold();
        peer.send(&Publish::new(1, 1, "last").encode(version)).await;
        eventually("the message is on its way to the disk", || client.disk.waiting() == 1).await;
        client.disk.set_full(true);
        running.stop();
        // Not acknowledged: the broker keeps it.
        let left = async {
            peer.expect(0xE0).await;
            peer.expect_end().await;
        };
        tokio::time::timeout(Duration::from_secs(4), left).await.expect("it leaves long before the grace is over");
        running.finish().await;
    }
}

#[tokio::test]
async fn a_lost_session_clears_the_identifiers_on_disk_before_anything_is_taken() {
    for version in BOTH {
        let broker = FakeBroker::start().await;
        let client = Client::new(version, broker.port());
        let running = client.start();
        let mut peer = broker.welcome(false).await;
        peer.send(&Publish::new(2, 5, "same").encode(version)).await;
        peer.expect(0x50).await;
        drop(peer);
        client.disk.hold();
        let mut peer = broker.accept().await;
        peer.send(&super::fake_broker::connack(version, false)).await;
        peer.grant().await;
        // The same identifier and content in a new session, its first delivery lost: another message.
        peer.send(&Publish::new(2, 5, "same").again().encode(version)).await;
        peer.expect_silence(A_MOMENT).await;
        client.disk.let_go();
        peer.expect(0x50).await;
        assert_eq!(client.disk.payloads(), ["same", "same"]);
        let clears = client.disk.records().iter().filter(|record| **record == Record::Clear).count();
        assert_eq!(clears, 2);
        assert_eq!((running.metrics.session_lost.get(), running.status().sessions_lost), (1, 1));
        running.finish().await;
    }
}

#[tokio::test]
async fn many_messages_in_one_go_are_acknowledged_one_by_one() {
    let broker = FakeBroker::start().await;
    let client = Client::new(Version::V5, broker.port());
    let running = client.start();
    let mut peer = broker.welcome(false).await;
    let all: Vec<u8> = (1..=5000u16).flat_map(|id| Publish::new(1, id, vec![b'x'; 100]).encode(Version::V5)).collect();
    peer.send(&all).await;
    for id in 1..=5000 {
        assert_eq!(peer.expect(0x40).await.id(), id);
    }
    assert_eq!(running.metrics.messages_received[1].get(), 5000);
    running.finish().await;
}
