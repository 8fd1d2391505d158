//! The session with the journal it is made for, on a real disk.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rowbridge::config::{self, Corruption, Durability, WhenFull};
use rowbridge::journal::{Entry, Intake, Journal, JournalHandle, RealFs};
use rowbridge::message::Seq;
use rowbridge::telemetry::Metrics;

use super::fake_broker::{BOTH, FakeBroker, Publish, pubrel};
use super::source::{Client, eventually};

fn open(client: &Client) -> (JournalHandle<RealFs>, Intake<RealFs>, JoinHandle<()>) {
    let config = config::Journal {
        durability: Durability::Commit,
        sync_interval: Duration::ZERO,
        segment_size: 1 << 20,
        max_size: 16 << 20,
        when_full: WhenFull::Pause,
        keep: Duration::ZERO,
        on_corruption: Corruption::Quarantine,
    };
    Journal::open(RealFs, client.folder(), &config, 1, Arc::new(Metrics::new())).unwrap().spawn()
}

fn payloads(handle: &JournalHandle<RealFs>) -> Vec<String> {
    let mut reader = handle.reader();
    reader.seek(Seq::FIRST).unwrap();
    let mut payloads = Vec::new();
    while let Some(entry) = reader.next().unwrap() {
        match entry {
            Entry::Message(message) => payloads.push(String::from_utf8(message.payload.to_vec()).unwrap()),
            Entry::Lost(lost) => panic!("{lost:?}"),
        }
    }
    payloads
}

#[tokio::test]
async fn what_was_acknowledged_is_in_the_journal_and_recognised_by_the_next_process() {
    for version in BOTH {
        let broker = FakeBroker::start().await;
        let client = Client::new(version, broker.port());
        let (handle, intake, thread) = open(&client);
        let running = client.start_with(intake);
        let mut peer = broker.welcome(false).await;
        let numbers = 1..=3000u16;
        let all = numbers.clone().flat_map(|id| Publish::new(1 + (id % 2) as u8, id, id.to_string()).encode(version));
        peer.send(&all.collect::<Vec<u8>>()).await;
        for id in numbers.clone() {
            assert_eq!(peer.expect(if id % 2 == 0 { 0x40 } else { 0x50 }).await.id(), id);
        }
        eventually("the subscriptions are on the disk", || client.is_confirmed()).await;
        running.kill().await;
        handle.stop();
        thread.join().unwrap();
        drop(handle);

        let (handle, intake, thread) = open(&client);
        let running = client.start_with(intake);
        let mut peer = broker.welcome(true).await;
        for id in numbers.clone().filter(|id| id % 2 == 1) {
            peer.send(&Publish::new(2, id, id.to_string()).again().encode(version)).await;
            peer.send(&pubrel(id)).await;
        }
        for id in numbers.clone().filter(|id| id % 2 == 1) {
            assert_eq!(peer.expect(0x50).await.id(), id);
            assert_eq!(peer.expect(0x70).await.id(), id);
        }
        assert_eq!(payloads(&handle), numbers.map(|id| id.to_string()).collect::<Vec<_>>());
        running.finish().await;
        handle.stop();
        thread.join().unwrap();
    }
}
