//! MQTT packets as the publisher needs them: written byte by byte, independent of the code under test.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V3,
    V5,
}

/// A message to publish.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outgoing {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    /// MQTT 5 only.
    pub(crate) user_properties: Vec<(String, String)>,
    pub(crate) content_type: Option<String>,
    pub(crate) response_topic: Option<String>,
    pub(crate) correlation_data: Option<Vec<u8>>,
}

impl Outgoing {
    pub(crate) fn new(topic: &str, payload: impl Into<Vec<u8>>) -> Outgoing {
        Outgoing { topic: topic.to_owned(), payload: payload.into(), qos: 1, ..Outgoing::default() }
    }

    pub(crate) fn retained(mut self) -> Outgoing {
        self.retain = true;
        self
    }

    /// With an MQTT 5 Response Topic and Correlation Data.
    pub(crate) fn asking(mut self, topic: &str, data: &str) -> Outgoing {
        self.response_topic = Some(topic.to_owned());
        self.correlation_data = Some(data.as_bytes().to_vec());
        self
    }

    /// With an MQTT 5 user property.
    pub(crate) fn property(mut self, name: &str, value: &str) -> Outgoing {
        self.user_properties.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A packet from the broker: its first byte and what follows the length.
#[derive(Debug)]
pub(crate) struct Packet {
    pub(crate) first: u8,
    pub(crate) body: Vec<u8>,
}

impl Packet {
    /// The packet identifier with which acknowledgements begin.
    pub(crate) fn id(&self) -> u16 {
        u16::from_be_bytes([self.body[0], self.body[1]])
    }
}

/// An open MQTT connection.
pub(crate) struct Connection {
    stream: TcpStream,
    version: Version,
    unread: Vec<u8>,
    /// What CONNACK said.
    pub(crate) session_present: bool,
}

impl Connection {
    /// Connects and waits for CONNACK. Without `clean`, the session outlives the connection.
    pub(crate) fn open(port: u16, version: Version, client_id: &str, clean: bool) -> io::Result<Connection> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(Duration::from_secs(30)))?;
        let mut connection = Connection { stream, version, unread: Vec::new(), session_present: false };
        // Keep-alive 0: the broker never misses us.
        let mut body = vec![0, 4, b'M', b'Q', b'T', b'T'];
        body.extend([if version == Version::V5 { 5 } else { 4 }, u8::from(clean) << 1, 0, 0]);
        if version == Version::V5 {
            // Session expiry: an hour.
            body.extend([5, 0x11, 0, 0, 0x0e, 0x10]);
        }
        put_text(client_id, &mut body);
        connection.send(&packet(0x10, &body))?;
        let answer = connection
            .receive(Duration::from_secs(10))?
            .ok_or_else(|| io::Error::new(ErrorKind::TimedOut, "no CONNACK"))?;
        if answer.first != 0x20 || answer.body[1] != 0 {
            return Err(io::Error::other(format!("CONNACK {:?}", answer.body)));
        }
        connection.session_present = answer.body[0] & 1 == 1;
        Ok(connection)
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next packet, or `None` if none came in time.
    pub(crate) fn receive(&mut self, patience: Duration) -> io::Result<Option<Packet>> {
        loop {
            if let Some(packet) = self.take_packet() {
                return Ok(Some(packet));
            }
            self.stream.set_read_timeout(Some(patience.max(Duration::from_millis(1))))?;
            let mut chunk = [0; 16 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.unread.extend_from_slice(&chunk[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// A PUBLISH packet; `id` counts at QoS 1 and 2 only.
    pub(crate) fn publish_packet(&self, message: &Outgoing, id: u16, dup: bool) -> Vec<u8> {
        let mut body = Vec::with_capacity(message.payload.len() + message.topic.len() + 8);
        put_text(&message.topic, &mut body);
        if message.qos > 0 {
            body.extend(id.to_be_bytes());
        }
        if self.version == Version::V5 {
            let mut properties = Vec::new();
            if let Some(content_type) = &message.content_type {
                properties.push(0x03);
                put_text(content_type, &mut properties);
            }
            if let Some(topic) = &message.response_topic {
                properties.push(0x08);
                put_text(topic, &mut properties);
            }
            if let Some(data) = &message.correlation_data {
                properties.push(0x09);
                properties.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
                properties.extend_from_slice(data);
            }
            for (key, value) in &message.user_properties {
                properties.push(0x26);
                put_text(key, &mut properties);
                put_text(value, &mut properties);
            }
            put_length(properties.len(), &mut body);
            body.extend(properties);
        }
        body.extend_from_slice(&message.payload);
        packet(0x30 | u8::from(dup) << 3 | message.qos << 1 | u8::from(message.retain), &body)
    }

    fn take_packet(&mut self) -> Option<Packet> {
        let (length, head) = self.length()?;
        if self.unread.len() < head + length {
            return None;
        }
        let body = self.unread[head..head + length].to_vec();
        let first = self.unread[0];
        self.unread.drain(..head + length);
        Some(Packet { first, body })
    }

    /// The remaining length and where the body begins.
    fn length(&self) -> Option<(usize, usize)> {
        let mut length = 0;
        for (index, byte) in self.unread.iter().skip(1).take(4).enumerate() {
            length |= usize::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                return Some((length, index + 2));
            }
        }
        None
    }
}

/// PUBREL for a packet identifier.
pub(crate) fn release(id: u16) -> Vec<u8> {
    packet(0x62, &id.to_be_bytes())
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    put_length(body.len(), &mut bytes);
    bytes.extend_from_slice(body);
    bytes
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    out.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn put_length(mut length: usize, out: &mut Vec<u8>) {
    loop {
        let low = (length & 0x7f) as u8;
        length >>= 7;
        out.push(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            return;
        }
    }
}
