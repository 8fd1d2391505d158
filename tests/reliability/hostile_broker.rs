//! A broker that breaks every rule it can, from a seed: it lies about the session, withholds and refuses, uses packet
//! identifiers twice, repeats with and without DUP, releases what it never sent, uses topic aliases as it likes, cuts
//! packets in two and sends garbage.
//!
//! Whatever it does: what was acknowledged is journaled, acknowledgements come in the order of the messages, the session
//! does not panic, and once the broker behaves it works at once.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use rowbridge::campaign::Campaign;
use rowbridge::config::Retry;
use tokio::time::timeout;

use super::dice::Dice;
use crate::session::fake_broker::{BOTH, FakeBroker, Packet, Peer, Publish, Version, connack, packet, pubrel, suback};
use crate::session::source::Client;

/// Few, so that they are used again while they are in use.
const IDENTIFIERS: u64 = 6;
/// How long the broker listens before it does the next thing.
const LISTENS: Duration = Duration::from_millis(3);
/// For the client to say that it stays where it is.
const CALM: Duration = Duration::from_millis(60);

/// Rounds that go side by side.
const AT_ONCE: usize = 20;

/// What the client owes: the first byte of the answer, the identifier, and the message that it answers for.
type Owed = (u8, u16, Option<String>);

/// One round's broker.
struct Hostile {
    dice: Dice,
    version: Version,
    owed: VecDeque<Owed>,
    sent: Vec<String>,
    acknowledged: HashSet<String>,
    figures: Figures,
}

/// What was done to the client.
#[derive(Default)]
struct Figures {
    connections: u64,
    messages: u64,
    acknowledged: u64,
    lies: u64,
    aliases: u64,
    cuts: u64,
}

impl Hostile {
    /// One connection from CONNACK to its end, which is the broker's doing or the client's answer to it.
    async fn converse(&mut self, mut peer: Peer) {
        self.owed.clear();
        self.figures.connections += 1;
        if self.dice.once_in(8) {
            // Closed instead of an answer, or in the midst of it.
            let answer = connack(self.version, true);
            peer.send(&answer[..self.dice.below(answer.len() as u64) as usize]).await;
            self.figures.cuts += 1;
            return;
        }
        let present = self.dice.once_in(2);
        self.figures.lies += u64::from(present);
        peer.send(&connack(self.version, present)).await;
        for _ in 0..4 + self.dice.below(30) {
            if !self.act(&mut peer).await || !self.listen(&mut peer).await {
                return;
            }
        }
        self.figures.cuts += 1;
    }

    /// One deed; false if nothing can follow it on this connection.
    async fn act(&mut self, peer: &mut Peer) -> bool {
        let id = 1 + self.dice.below(IDENTIFIERS) as u16;
        match self.dice.below(24) {
            0..=11 => self.publish(peer, id).await,
            12..=15 => {
                self.owed.push_back((0x70, id, None));
                peer.send(&pubrel(id)).await;
            }
            16 => peer.send(&packet(0xD0, &[])).await,
            17 => {
                // Half of a packet, and then nothing for a while.
                let bytes = Publish::new(0, 0, "half").encode(self.version);
                peer.send(&bytes[..1 + self.dice.below(bytes.len() as u64 - 1) as usize]).await;
                self.figures.cuts += 1;
                self.listen(peer).await;
                return false;
            }
            18 if self.dice.once_in(3) => {
                let garbage: Vec<u8> = (0..1 + self.dice.below(40)).map(|_| self.dice.below(256) as u8).collect();
                // 0xE0 would be a farewell: with the code for a take-over the client waits a minute, as it should.
                if garbage[0] & 0xF0 != 0xE0 {
                    peer.send(&garbage).await;
                    // Some of it may have been a packet: the answers are nobody's.
                    let _ = timeout(LISTENS, async { while peer.receive().await.is_some() {} }).await;
                    return false;
                }
            }
            19 if self.dice.once_in(3) => {
                peer.send(&packet(0xE0, if self.version == Version::V5 { &[0x89] } else { &[] })).await;
                self.listen(peer).await;
                return false;
            }
            20 => peer.send(&suback(self.version, u16::MAX - self.dice.below(9) as u16, &[1])).await,
            _ => {}
        }
        true
    }

    async fn publish(&mut self, peer: &mut Peer, id: u16) {
        let qos = self.dice.below(3) as u8;
        let repeats = !self.sent.is_empty() && self.dice.once_in(3);
        let payload = if repeats {
            self.sent[self.dice.below(self.sent.len() as u64) as usize].clone()
        } else {
            format!("m{}", self.sent.len())
        };
        let mut publish = Publish::new(qos, if qos == 0 { 0 } else { id }, payload.clone());
        // MQTT knows no repetition at QoS 0.
        publish.dup = qos > 0 && self.dice.once_in(2);
        if self.version == Version::V5 && self.dice.once_in(8) {
            // Allowed or not, announced or not, with the topic or in its place.
            publish = publish.alias(self.dice.below(5) as u16);
            if self.dice.once_in(2) {
                publish = publish.topic("");
            }
            self.figures.aliases += 1;
        }
        self.sent.push(payload.clone());
        self.figures.messages += 1;
        if qos > 0 {
            self.owed.push_back((if qos == 1 { 0x40 } else { 0x50 }, id, Some(payload)));
        }
        peer.send(&publish.encode(self.version)).await;
    }

    /// Takes what the client says for a moment; false once it has gone.
    async fn listen(&mut self, peer: &mut Peer) -> bool {
        loop {
            match timeout(LISTENS, peer.receive()).await {
                Err(_) => return true,
                Ok(None) => return false,
                Ok(Some(packet)) => self.heard(peer, &packet).await,
            }
        }
    }

    async fn heard(&mut self, peer: &mut Peer, packet: &Packet) {
        match packet.first {
            0x40 | 0x50 | 0x70 => {
                let (first, id, message) = self.owed.pop_front().expect("nothing is acknowledged that was not sent");
                assert_eq!((packet.first, packet.id()), (first, id), "acknowledged in the order of the messages");
                self.figures.acknowledged += u64::from(message.is_some());
                self.acknowledged.extend(message);
            }
            0x82 => match self.dice.below(6) {
                0 => {}
                1 => peer.send(&suback(self.version, packet.id(), &[0x80])).await,
                2 => peer.send(&suback(self.version, packet.id().wrapping_add(1), &[2])).await,
                3 => peer.send(&suback(self.version, packet.id(), &[2, 2, 2])).await,
                _ => peer.send(&suback(self.version, packet.id(), &[2])).await,
            },
            0xC0 | 0xA2 | 0xE0 => {}
            other => panic!("the client sends 0x{other:02X}"),
        }
    }
}

/// The broker behaves: the next connection is the last, and a message goes through it.
async fn behave(broker: &FakeBroker, version: Version) {
    let mut peer = broker.accept().await;
    peer.send(&connack(version, false)).await;
    peer.grant().await;
    peer.send(&Publish::new(1, 77, "the last").encode(version)).await;
    while peer.expect(0x40).await.id() != 77 {}
    assert!(broker.is_left_alone(CALM).await, "a client that is served well connects again");
    peer.expect_silence(Duration::from_millis(1)).await;
}

async fn round(seed: u64) -> Figures {
    let version = BOTH[(seed % 2) as usize];
    let broker = FakeBroker::start().await;
    let mut client = Client::new(version, broker.port());
    client.config.retry = Retry { min: Duration::from_millis(2), max: Duration::from_millis(5) };
    client.config.topic_alias_maximum = 3 * (seed / 2 % 2) as u16;
    let running = client.start();
    let mut hostile = Hostile {
        dice: Dice::new(seed),
        version,
        owed: VecDeque::new(),
        sent: Vec::new(),
        acknowledged: HashSet::new(),
        figures: Figures::default(),
    };
    for _ in 0..2 + hostile.dice.below(5) {
        let peer = broker.accept().await;
        hostile.converse(peer).await;
        assert!(!running.is_over(), "the session has ended");
    }
    behave(&broker, version).await;
    running.finish().await;
    let journaled: HashSet<String> = client.disk.payloads().into_iter().collect();
    let lost: Vec<&String> = hostile.acknowledged.iter().filter(|message| !journaled.contains(*message)).collect();
    assert!(lost.is_empty(), "acknowledged and not journaled: {lost:?}");
    assert!(journaled.contains("the last"));
    hostile.figures
}

#[test]
fn a_hostile_broker_neither_stops_the_session_nor_makes_it_forget_what_it_acknowledged() {
    let mut campaign = Campaign::begin("hostile_broker", 60);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut sum = Figures::default();
    loop {
        // They mostly wait, so many go at once.
        let seeds: Vec<u64> = std::iter::from_fn(|| campaign.next_seed()).take(AT_ONCE).collect();
        let rounds: Vec<_> = seeds.iter().map(|&seed| runtime.spawn(round(seed))).collect();
        if rounds.is_empty() {
            break;
        }
        for (seed, round) in seeds.into_iter().zip(rounds) {
            let figures = runtime.block_on(round);
            let figures = figures.unwrap_or_else(|error| panic!("seed {seed} failed, see above: {error}"));
            sum.connections += figures.connections;
            sum.messages += figures.messages;
            sum.acknowledged += figures.acknowledged;
            sum.lies += figures.lies;
            sum.aliases += figures.aliases;
            sum.cuts += figures.cuts;
        }
    }
    assert!(sum.acknowledged > 0 && sum.cuts > 0, "nothing hostile happened");
    campaign.proved(&[
        ("connections", sum.connections),
        ("messages", sum.messages),
        ("acknowledged", sum.acknowledged),
        ("sessions_pretended", sum.lies),
        ("aliases", sum.aliases),
        ("cuts", sum.cuts),
    ]);
}
