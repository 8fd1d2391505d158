//! A broker that serves by itself, with one session, and has named peculiarities of real ones: what it will not have,
//! what it does then, and how many copies of a message it sends.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use rowbridge::rule::TopicPattern;
use tokio::sync::Notify;

use super::fake_broker::{
    FakeBroker, Packet, Peer, Publish, Subscribe, Version, connack_with, packet, suback, unsuback,
};

/// How it differs from a broker that grants everything. The default is one that does not.
#[derive(Clone, Default)]
pub(crate) struct Manners {
    /// Filters that it does not grant.
    pub(crate) forbidden: Vec<String>,
    /// What it does about those.
    pub(crate) refusal: Refusal,
    /// It ends the connection on a longer packet, and says so in CONNACK if the protocol lets it.
    pub(crate) packet_bytes_max: Option<u32>,
    /// It answers each SUBSCRIBE with one code, however many filters there are.
    pub(crate) answers_once: bool,
    /// Of those it says in CONNACK that it has none, and ends the connection when asked for one.
    pub(crate) lacks: Vec<Feature>,
    pub(crate) copies: Copies,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Without a word, as RabbitMQ.
    #[default]
    Closes,
    /// DISCONNECT with this code.
    Disconnects(u8),
    /// A SUBACK with this code.
    Answers(u8),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Feature {
    Wildcards,
    SharedSubscriptions,
    Identifiers,
}

/// What comes for a message that several subscriptions match.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Copies {
    /// One, with all identifiers.
    #[default]
    One,
    /// One for each subscription, with its identifier.
    Each,
    /// One for each subscription, with all identifiers, as Artemis.
    EachWithAll,
}

/// The broker, which serves for as long as it is held.
pub(crate) struct PickyBroker {
    port: u16,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    published: Notify,
}

#[derive(Default)]
struct State {
    manners: Manners,
    /// Filter → subscription identifier.
    subscriptions: HashMap<String, Option<u32>>,
    /// Topic and payload of what is to be sent.
    queue: Vec<(String, String)>,
    connections: u32,
    /// Each SUBSCRIBE's filters.
    asked: Vec<Vec<String>>,
}

impl PickyBroker {
    pub(crate) async fn start(manners: Manners) -> PickyBroker {
        let broker = FakeBroker::start().await;
        let shared = Arc::new(Shared::default());
        shared.state().manners = manners;
        let port = broker.port();
        let serving = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            loop {
                let peer = broker.accept().await;
                serving.serve(peer).await;
            }
        });
        PickyBroker { port, shared, task }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Sends a message at QoS 1 to the session, if it is subscribed.
    pub(crate) fn publish(&self, topic: &str, payload: &str) {
        self.shared.state().queue.push((topic.to_owned(), payload.to_owned()));
        self.shared.published.notify_one();
    }

    /// Changes its manners from now on.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Manners)) {
        change(&mut self.shared.state().manners);
    }

    /// What the session is subscribed to, in alphabetical order.
    pub(crate) fn subscriptions(&self) -> Vec<String> {
        let mut filters: Vec<String> = self.shared.state().subscriptions.keys().cloned().collect();
        filters.sort_unstable();
        filters
    }

    /// How many connections there were.
    pub(crate) fn connections(&self) -> u32 {
        self.shared.state().connections
    }

    /// The filters of each SUBSCRIBE so far.
    pub(crate) fn asked(&self) -> Vec<Vec<String>> {
        self.shared.state().asked.clone()
    }
}

impl Drop for PickyBroker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// One connection.
    async fn serve(&self, mut peer: Peer) {
        let (session_present, properties) = {
            let mut state = self.state();
            state.connections += 1;
            (state.connections > 1, state.manners.properties())
        };
        peer.send(&connack_with(peer.version, session_present, 0, &properties)).await;
        let mut packet_id = 0;
        loop {
            let copies = self.state().take_copies(peer.version, &mut packet_id);
            peer.send(&copies).await;
            tokio::select! {
                biased;
                received = peer.receive_at_leisure() => {
                    let Some(packet) = received else { return };
                    let Some(answer) = self.state().answer(peer.version, &packet) else {
                        return;
                    };
                    peer.send(&answer).await;
                    if answer.first() == Some(&0xE0) {
                        return;
                    }
                }
                () = self.published.notified() => {}
            }
        }
    }
}

impl Manners {
    /// Those of CONNACK.
    fn properties(&self) -> Vec<u8> {
        let mut properties = Vec::new();
        for feature in &self.lacks {
            let property = match feature {
                Feature::Wildcards => 40,
                Feature::Identifiers => 41,
                Feature::SharedSubscriptions => 42,
            };
            properties.extend([property, 0]);
        }
        if let Some(bytes) = self.packet_bytes_max {
            properties.push(39);
            properties.extend(bytes.to_be_bytes());
        }
        properties
    }

    fn has(&self, subscribe: &Subscribe, packet: &Packet) -> bool {
        let lacks = |feature| self.lacks.contains(&feature);
        let is_wild = |filter: &String| filter.contains(['+', '#']);
        // First byte and one byte of length, of packets as short as those here.
        let len = packet.body.len() + 2;
        self.packet_bytes_max.is_none_or(|bytes| len <= bytes as usize)
            && !(lacks(Feature::Identifiers) && subscribe.identifier.is_some())
            && !(lacks(Feature::Wildcards) && subscribe.filters.iter().any(is_wild))
            && !(lacks(Feature::SharedSubscriptions) && subscribe.filters.iter().any(|f| f.starts_with("$share/")))
    }
}

impl State {
    /// The answer to a packet; `None` ends the connection.
    fn answer(&mut self, version: Version, packet: &Packet) -> Option<Vec<u8>> {
        match packet.first {
            0x82 => {
                let subscribe = Subscribe::read(version, packet);
                self.asked.push(subscribe.filters.clone());
                if !self.manners.has(&subscribe, packet) {
                    return None;
                }
                self.subscribe(version, subscribe)
            }
            0xA2 => {
                let unsubscribe = Subscribe::read(version, packet);
                unsubscribe.filters.iter().for_each(|filter| _ = self.subscriptions.remove(filter));
                Some(unsuback(version, packet.id()))
            }
            0xC0 => Some(vec![0xD0, 0]),
            0xE0 => None,
            _ => Some(Vec::new()),
        }
    }

    fn subscribe(&mut self, version: Version, subscribe: Subscribe) -> Option<Vec<u8>> {
        let mut codes = Vec::new();
        for filter in subscribe.filters {
            if !self.manners.forbidden.contains(&filter) {
                self.subscriptions.insert(filter, subscribe.identifier);
                codes.push(1);
                continue;
            }
            match self.manners.refusal {
                Refusal::Closes => return None,
                Refusal::Disconnects(code) => return Some(packet(0xE0, &[code, 0])),
                Refusal::Answers(code) => codes.push(code),
            }
        }
        if self.manners.answers_once {
            codes.truncate(1);
        }
        Some(suback(version, subscribe.packet_id, &codes))
    }

    /// What is queued, as it goes out.
    fn take_copies(&mut self, version: Version, packet_id: &mut u16) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (topic, payload) in std::mem::take(&mut self.queue) {
            let matching: Vec<Option<u32>> = self.matching(&topic);
            let all: Vec<u32> = matching.iter().copied().flatten().collect();
            let copies: Vec<Vec<u32>> = match self.manners.copies {
                Copies::One => vec![all],
                Copies::Each => matching.iter().map(|identifier| identifier.iter().copied().collect()).collect(),
                Copies::EachWithAll => matching.iter().map(|_| all.clone()).collect(),
            };
            for identifiers in copies.into_iter().take(matching.len()) {
                *packet_id += 1;
                let mut publish = Publish::new(1, *packet_id, payload.as_bytes()).topic(topic.as_bytes());
                identifiers.iter().for_each(|id| publish.properties.extend([11, u8::try_from(*id).unwrap()]));
                bytes.extend(publish.encode(version));
            }
        }
        bytes
    }

    /// The identifier of each subscription that matches.
    fn matching(&self, topic: &str) -> Vec<Option<u32>> {
        let matches = |filter: &&String| TopicPattern::parse(filter).unwrap().matches(topic, &mut Vec::new());
        let mut filters: Vec<&String> = self.subscriptions.keys().filter(matches).collect();
        filters.sort_unstable();
        filters.into_iter().map(|filter| self.subscriptions[filter]).collect()
    }
}
