//! The line is cut after every single byte that the broker sends, and the exchange is finished on the next connection:
//! QoS 1 is never lost, QoS 2 is stored once.

use std::time::Duration;

use super::fake_broker::{BOTH, FakeBroker, Peer, Publish, Version, connack, pubrel, suback};
use super::source::Client;

/// What the broker sends in one session: the messages, and once the QoS 2 one is received, its release and another.
fn exchange(version: Version) -> [Vec<u8>; 2] {
    let mut messages = connack(version, false);
    messages.extend(suback(version, u16::MAX, &[2]));
    messages.extend(Publish::new(1, 1, "one").encode(version));
    messages.extend(Publish::new(2, 2, "two").encode(version));
    let mut release = pubrel(2);
    release.extend(Publish::new(1, 3, "three").encode(version));
    [messages, release]
}

/// Reads until the client has acknowledged the packet that begins with `first`, granting what it subscribes to.
async fn until(peer: &mut Peer, first: u8, id: u16) {
    loop {
        let Some(packet) = peer.receive().await else { panic!("no 0x{first:02X}, but the end of the connection") };
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
    let mut client = Client::new(version, broker.port());
    // All cuts go side by side, and each syncs files.
    client.config.connect_timeout = Duration::from_secs(60);
    let running = client.start();
    let mut peer = broker.accept().await;
    let [messages, release] = exchange(version);
    peer.send(&messages[..len.min(messages.len())]).await;
    let is_released = len > messages.len();
    if is_released {
        until(&mut peer, 0x50, 2).await;
        peer.send(&release[..len - messages.len()]).await;
    }
    drop(peer);

    // The broker does not know what arrived: it sends everything again, but no message whose release it has sent. Its
    // session holds since CONNECT.
    let mut peer = broker.accept().await;
    peer.send(&connack(version, true)).await;
    peer.send(&Publish::new(1, 1, "one").again().encode(version)).await;
    if !is_released {
        peer.send(&Publish::new(2, 2, "two").again().encode(version)).await;
        until(&mut peer, 0x50, 2).await;
    }
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
        let cuts = (0..=exchange(version).concat().len()).map(|len| cut_after(version, len));
        futures_util::future::join_all(cuts).await;
    }
}
