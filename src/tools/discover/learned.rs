//! The received messages, within bounds: the count of each topic, and some different payloads.

use std::collections::BTreeMap;

use crate::message::Message;

/// Topics that are looked at. Further ones are counted only; a house has hundreds, a plant thousands.
const TOPICS_MAX: usize = 50_000;

/// Different payloads of one topic. Types are inferred from them: more tell little that is new.
const SAMPLES_MAX: usize = 32;

/// Of all samples together, weighed against the small computer that a broker often runs on.
const SAMPLE_BYTES_MAX: usize = 64 << 20;

/// Everything heard.
#[derive(Debug, Default)]
pub(super) struct Learned {
    /// By topic.
    pub(super) topics: BTreeMap<String, TopicSeen>,
    pub(super) messages: u64,
    /// Messages of topics beyond the bound.
    pub(super) passed_over: u64,
    sample_bytes: usize,
}

/// One topic.
#[derive(Debug, Default)]
pub(super) struct TopicSeen {
    pub(super) count: u64,
    /// Of these, kept by the broker.
    pub(super) retained: u64,
    /// Different ones, in the order in which they came; empty payloads are not among them.
    pub(super) samples: Vec<Vec<u8>>,
}

impl Learned {
    pub(super) fn add(&mut self, message: &Message<'_>) {
        self.messages += 1;
        // Neither its topic nor its payload is what the broker sent.
        if message.fault.is_some() {
            self.passed_over += 1;
            return;
        }
        if !self.topics.contains_key(message.topic) && self.topics.len() >= TOPICS_MAX {
            self.passed_over += 1;
            return;
        }
        let topic = self.topics.entry(message.topic.to_owned()).or_default();
        topic.count += 1;
        topic.retained += u64::from(message.retain);
        let has_room =
            topic.samples.len() < SAMPLES_MAX && self.sample_bytes + message.payload.len() <= SAMPLE_BYTES_MAX;
        let is_new = !message.payload.is_empty() && !topic.samples.iter().any(|sample| sample == message.payload);
        if has_room && is_new {
            self.sample_bytes += message.payload.len();
            topic.samples.push(message.payload.to_vec());
        }
    }

    /// Messages and topics so far.
    pub(super) fn extent(&self) -> (u64, usize) {
        (self.messages, self.topics.len())
    }
}
