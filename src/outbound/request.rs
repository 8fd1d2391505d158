//! A request: a message on a subscribed topic of the second connection. It is not journaled.

use std::time::Instant;

use crate::clock::{self, Timestamp};
use crate::message::{Message, Properties, Property, Qos, Seq};
use crate::mqtt::publish::{Publish, translate_properties};
use crate::mqtt::wire::Malformed;

/// What came on a request topic.
#[derive(Debug)]
pub struct Request {
    pub topic: String,
    /// Empty if [`Request::is_too_large`].
    pub payload: Vec<u8>,
    pub qos: Qos,
    pub dup: bool,
    /// See [`super::REQUEST_BYTES_MAX`].
    pub is_too_large: bool,
    pub received_at: Timestamp,
    /// For how long it took.
    pub received: Instant,
    properties: Vec<u8>,
}

impl Request {
    /// `None` where the topic is not text.
    pub(super) fn new(publish: &Publish<'_>, is_too_large: bool) -> Result<Option<Request>, Malformed> {
        let Ok(topic) = std::str::from_utf8(publish.topic) else { return Ok(None) };
        let mut properties = Vec::new();
        translate_properties(publish.properties, &mut properties)?;
        Ok(Some(Request {
            topic: topic.to_owned(),
            payload: publish.payload.to_vec(),
            qos: publish.qos,
            dup: publish.dup,
            is_too_large,
            received_at: clock::now(),
            received: Instant::now(),
            properties,
        }))
    }

    /// As rules see a message: for sources such as `payload.a`, `topic.NAME`, `property.NAME`.
    pub fn message(&self) -> Message<'_> {
        Message {
            topic: &self.topic,
            payload: &self.payload,
            qos: self.qos,
            retain: false,
            dup: self.dup,
            properties: self.properties(),
            received_at: self.received_at,
            fault: None,
            seq: Seq::default(),
        }
    }

    pub fn properties(&self) -> Properties<'_> {
        Properties::from_encoded(&self.properties)
    }

    /// Where the answer is wanted. Not checked, see [`super::reply_topic`].
    pub fn response_topic(&self) -> Option<&str> {
        self.properties().iter().find_map(|property| match property {
            Property::ResponseTopic(topic) => std::str::from_utf8(topic).ok(),
            _ => None,
        })
    }

    /// What goes back with the answer.
    pub fn correlation_data(&self) -> Option<&[u8]> {
        self.properties().iter().find_map(|property| match property {
            Property::CorrelationData(data) => Some(data),
            _ => None,
        })
    }
}
