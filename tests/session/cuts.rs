//! The line is cut after every single byte that the broker sends, and the exchange is finished on the next connection:
//! QoS 1 is never lost, QoS 2 is stored once.

use super::fake_broker::{BOTH, FakeBroker, Peer, Publish, Version, connack, pubrel, suback};
use super::source::Client;

/// What the broker sends in one session: the messages, and the release of the QoS 2 one.
fn exchange(version: Version) -> Vec<u8> {
    let mut bytes = connack(version, false);
    bytes.extend(suback(version, 1, &[2]));
    bytes.extend(Publish::new(1, 1, "one").encode(version));
    bytes.extend(Publish::new(2, 2, "two").encode(version));
    bytes.extend(pubrel(2));
    bytes.extend(Publish::new(1, 3, "three").encode(version));
    bytes
}

/// Reads until the client has acknowledged the packet that begins with `first`, granting what it subscribes to.
async fn until(peer: &mut Peer, first: u8, id: u16) {
    loop {
        let packet = peer.receive().await.expect("the connection lives");
        if packet.first == 0x82 {
            let filters = 1;
            peer.send(&suback(peer.version, packet.id(), &vec![2; filters])).await;
        } else if packet.first == first && packet.id() == id {
            return;
        }
    }
}

async fn cut_after(version: Version, len: usize) {
    let broker = FakeBroker::start().await;
    let client = Client::new(version, broker.port());
    let running = client.start();
    let mut peer = broker.accept().await;
    let bytes = exchange(version);
    peer.send(&bytes[..len]).await;
    drop(peer);

    // The broker does not know what arrived: it sends everything again. Its session holds since CONNECT.
    let mut peer = broker.accept().await;
    peer.send(&connack(version, true)).await;
    peer.send(&Publish::new(1, 1, "one").again().encode(version)).await;
    peer.send(&Publish::new(2, 2, "two").again().encode(version)).await;
    until(&mut peer, 0x50, 2).await;
    peer.send(&pubrel(2)).await;
    until(&mut peer, 0x70, 2).await;
    peer.send(&Publish::new(1, 3, "three").again().encode(version)).await;
    until(&mut peer, 0x40, 3).await;
    running.finish().await;

    let payloads = client.disk.payloads();
    let count = |text: &str| payloads.iter().filter(|payload| *payload == text).count();
    assert!(count("one") >= 1 && count("three") >= 1, "cut after {len}: {payloads:?}");
    assert_eq!(count("two"), 1, "cut after {len}: {payloads:?}");
    assert_eq!(payloads.len(), count("one") + count("two") + count("three"), "cut after {len}: {payloads:?}");
}

#[tokio::test]
async fn a_cut_after_any_byte_loses_nothing() {
    for version in BOTH {
        let cuts = (0..=exchange(version).len()).map(|len| cut_after(version, len));
        futures_util::future::join_all(cuts).await;
    }
}
