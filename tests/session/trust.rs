//! What the client takes for granted of the broker's session, and what makes it ask anew.

use std::fs;
use std::time::Duration;

use rowbridge::config::Scheme;

use super::fake_broker::{BOTH, FakeBroker, Peer, Publish, Version, connack, pubrel};
use super::memory_journal::Record;
use super::source::{Client, eventually, url};

const A_MOMENT: Duration = Duration::from_millis(150);

/// Delivers a QoS 2 message that is always the same, and waits until it is acknowledged.
async fn deliver_again(peer: &mut Peer) {
    peer.send(&Publish::new(2, 5, "same").again().encode(peer.version)).await;
    assert_eq!(peer.expect(0x50).await.id(), 5);
}

/// A client that has a session with `broker`, and has taken the message of [`deliver_again`] in it.
async fn client_with_a_session(version: Version, broker: &FakeBroker) -> Client {
    let client = Client::new(version, broker.port());
    let running = client.start();
    let mut peer = broker.welcome(false).await;
    deliver_again(&mut peer).await;
    eventually("the subscriptions are on the disk", || client.is_confirmed()).await;
    running.finish().await;
    client
}

#[tokio::test]
async fn connect_is_not_sent_before_the_disk_has_it_that_the_session_is_uncertain() {
    for version in BOTH {
        let broker = FakeBroker::start().await;
        let client = client_with_a_session(version, &broker).await;
        // Stands for a full disk: the file cannot be replaced.
        let obstacle = client.folder().join("subscriptions.json.tmp");
        fs::create_dir(&obstacle).unwrap();
        let running = client.start();
        broker.connection().await.expect_end().await;
        eventually("the failure is shown", || running.status().last_error.is_some()).await;
        let error = running.status().last_error.unwrap();
        assert!(error.contains("subscriptions.json") && error.contains("look at what lies there"), "{error}");

        fs::remove_dir(&obstacle).unwrap();
        let mut peer = loop {
            // An attempt from before may have come first.
            let mut peer = broker.connection().await;
            if peer.receive().await.is_some_and(|packet| packet.first == 0x10) {
                peer.version = version;
                break peer;
            }
        };
        peer.send(&connack(version, true)).await;
        // The attempts that sent nothing changed nothing: there is no SUBSCRIBE.
        deliver_again(&mut peer).await;
        assert_eq!(client.disk.payloads(), ["same"]);
        running.finish().await;
    }
}

#[tokio::test]
async fn a_new_session_is_subscribed_while_the_journal_is_full_and_read_once_it_is_cleared() {
    for version in BOTH {
        let broker = FakeBroker::start().await;
        let client = client_with_a_session(version, &broker).await;
        client.disk.hold();
        client.disk.set_full(true);
        let running = client.start();
        let mut peer = broker.accept().await;
        peer.send(&connack(version, false)).await;
        assert_eq!(peer.grant().await.filters, ["t/#"]);
        peer.send(&Publish::new(2, 5, "same").again().encode(version)).await;
        peer.expect_silence(A_MOMENT).await;
        client.disk.set_full(false);
        peer.expect_silence(A_MOMENT).await;
        assert_eq!(client.disk.waiting(), 1, "the clear record, and nothing read yet");
        client.disk.let_go();
        assert_eq!(peer.expect(0x50).await.id(), 5);
        // From the first message on the identifiers count again, over a crash too.
        eventually("the subscriptions are on the disk", || client.is_confirmed()).await;
        running.kill().await;
        let running = client.start();
        let mut peer = broker.welcome(true).await;
        deliver_again(&mut peer).await;
        assert_eq!(client.disk.payloads(), ["same", "same"]);
        running.finish().await;
    }
}

#[tokio::test]
async fn a_clear_that_the_journal_never_kept_is_made_good_in_this_process_and_in_the_next() {
    for version in BOTH {
        for dies in [false, true] {
            let broker = FakeBroker::start().await;
            let client = client_with_a_session(version, &broker).await;
            client.disk.hold();
            let mut running = client.start();
            let mut peer = broker.accept().await;
            peer.send(&connack(version, false)).await;
            peer.grant().await;
            if dies {
                running.kill().await;
                running = client.start();
            } else {
                client.disk.lose();
            }
            client.disk.let_go();
            // The session was made by the CONNECT before.
            let mut peer = broker.welcome(true).await;
            peer.grant().await;
            deliver_again(&mut peer).await;
            assert_eq!(client.disk.payloads(), ["same", "same"], "another session's identifier says nothing");
            running.finish().await;
        }
    }
}

#[tokio::test]
async fn a_session_at_another_address_is_another_session() {
    for version in BOTH {
        let (first, second) = (FakeBroker::start().await, FakeBroker::start().await);
        let mut client = client_with_a_session(version, &first).await.subscribing_to(&["t/#", "u"]);
        for broker in [&second, &first] {
            let before = client.disk.payloads().len();
            client.config.urls = vec![url(Scheme::Mqtt, broker.port())];
            let running = client.start();
            let mut peer = broker.welcome(true).await;
            assert_eq!(peer.grant().await.filters, ["t/#", "u"]);
            deliver_again(&mut peer).await;
            assert_eq!(client.disk.payloads().len(), before + 1);
            eventually("the subscriptions are on the disk", || client.is_confirmed()).await;
            running.finish().await;

            // The same address again: nothing to subscribe to, nothing to store again.
            let running = client.start();
            let mut peer = broker.welcome(true).await;
            deliver_again(&mut peer).await;
            assert_eq!(client.disk.payloads().len(), before + 1);
            peer.send(&pubrel(5)).await;
            peer.expect(0x70).await;
            running.finish().await;
        }
    }
}

#[tokio::test]
async fn a_session_of_another_client_id_is_another_session() {
    for version in BOTH {
        let broker = FakeBroker::start().await;
        let mut client = client_with_a_session(version, &broker).await;
        client.config.client_id = "gw2".into();
        let running = client.start();
        let mut peer = broker.welcome(true).await;
        peer.grant().await;
        deliver_again(&mut peer).await;
        assert_eq!(client.disk.payloads(), ["same", "same"]);
        assert_eq!(client.disk.records().iter().filter(|record| **record == Record::Clear).count(), 2);
        running.finish().await;
    }
}
