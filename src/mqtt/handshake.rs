//! CONNECT and CONNACK.

use std::io;

use thiserror::Error;

use super::inbox::Frame;
use super::link::Link;
use super::login::Login;
use super::outgoing::{self, SessionKind};
use super::packet::{self, ConnAck, Control, Incoming};
use super::reason;
use super::wire::Malformed;
use crate::config::{self, MqttVersion};

/// Why the broker did not take us.
#[derive(Debug, Error)]
pub(crate) enum HandshakeError {
    #[error("the connection failed before the broker answered CONNECT: {0}")]
    Io(io::Error),
    #[error("the broker closed the connection instead of answering CONNECT; it may not speak {}", version_name(.0))]
    Closed(MqttVersion),
    #[error("the broker refused us: {words}{}", detail(.connack))]
    Refused { words: String, connack: Box<ConnAck> },
    #[error("the broker sent {0} before CONNACK, which MQTT does not allow")]
    NotConnAck(&'static str),
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

impl HandshakeError {
    /// Whether the next attempt may well succeed at once: some brokers (aedes) take up the session before they answer
    /// CONNECT, and send what is published just then.
    pub(crate) fn is_early_packet(&self) -> bool {
        matches!(self, HandshakeError::NotConnAck(_))
    }

    /// Whether the broker will not take us before a person has changed something.
    pub(crate) fn needs_a_person(&self, version: MqttVersion) -> bool {
        matches!(self, HandshakeError::Refused { connack, .. } if reason::needs_a_person(version, connack.code))
    }

    /// Whether the broker made no session for this CONNECT, for certain.
    pub(crate) fn leaves_no_session(&self) -> bool {
        matches!(self, HandshakeError::Refused { .. })
    }
}

/// Sends CONNECT and waits for CONNACK. Without a limit of time: the caller has one.
pub(crate) async fn connect(
    link: &mut Link,
    config: &config::Mqtt,
    login: &Login,
    session: SessionKind<'_>,
) -> Result<ConnAck, HandshakeError> {
    outgoing::connect(config, login, session, &mut link.out);
    loop {
        let read = link.exchange(true).await;
        read.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => HandshakeError::Closed(config.version),
            _ => HandshakeError::Io(error),
        })?;
        // Bytes that follow CONNACK in the same read stay in the inbox.
        match link.inbox.next()? {
            None => {}
            Some(Frame::TooLarge { first, .. }) => return Err(HandshakeError::NotConnAck(packet::name(first))),
            Some(Frame::Whole { first, body }) => match Incoming::decode(config.version, first, body)? {
                Incoming::Control(Control::ConnAck(connack)) if connack.code == 0 => return Ok(connack),
                Incoming::Control(Control::ConnAck(connack)) => {
                    let words = reason::connect_refusal(config.version, connack.code);
                    return Err(HandshakeError::Refused { words, connack: Box::new(connack) });
                }
                Incoming::Control(Control::Disconnect(farewell)) => {
                    let words = reason::disconnect(farewell.code);
                    let connack = ConnAck { code: farewell.code, reason: farewell.reason, ..ConnAck::default() };
                    return Err(HandshakeError::Refused { words, connack: Box::new(connack) });
                }
                _ => return Err(HandshakeError::NotConnAck(packet::name(first))),
            },
        }
    }
}

fn version_name(version: &MqttVersion) -> &'static str {
    match version {
        MqttVersion::V3 => "MQTT 3.1.1 here (mqtt.version), or this is not its MQTT port",
        MqttVersion::V5 => "MQTT 5 here (set mqtt.version to 3.1.1), or this is not its MQTT port",
    }
}

/// What the broker itself says about it.
fn detail(connack: &ConnAck) -> String {
    said(connack.reason.as_deref(), connack.server_reference.as_deref())
}

/// The broker's own words and the server it points to, as the tail of a sentence.
pub(crate) fn said(reason: Option<&str>, server_reference: Option<&str>) -> String {
    let mut text = reason.map_or(String::new(), |reason| format!("; the broker says: {reason}"));
    if let Some(server) = server_reference {
        text.push_str(&format!("; it points to {server}"));
    }
    text
}
